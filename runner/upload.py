"""From this disk to a volume: files and folders, several at once, each all or nothing."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISREG

import msgspec
from msgspec import Struct

from runner.backends.base import Volume
from runner.errors import NanochatError, UsageError
from runner.transfer import Progress

WORKERS = 4


class Sending(Struct, frozen=True):
    """One file to bring to the volume."""

    origin: Path
    path: str
    bytes: int


def plan(origin: Path, to: str) -> list[Sending]:
    """A file, or every regular file in a folder, with where it goes; links are not followed. Raises UsageError."""
    if not origin.exists():
        raise UsageError(f"{origin} is not here", "name a file or folder of this machine")
    if not origin.is_dir():
        return [Sending(origin, to, origin.stat().st_size)]
    found = []
    for folder, names, files in os.walk(origin):
        names.sort()
        for name in sorted(files):
            path = Path(folder) / name
            stat = path.lstat()
            if S_ISREG(stat.st_mode):
                found.append(Sending(path, f"{to}/{path.relative_to(origin).as_posix()}", stat.st_size))
    return found


def in_the_way(volume: Volume, sendings: list[Sending]) -> list[str]:
    """Paths that the volume has already."""
    folders = {s.path.rpartition("/")[0] for s in sendings}
    taken: set[str] = set()
    for folder in folders:
        try:
            taken.update(e.path for e in volume.list(folder))
        except (FileNotFoundError, NotADirectoryError):
            continue
    return [s.path for s in sendings if s.path in taken]


def send(
    volume: Volume,
    sendings: list[Sending],
    *,
    told: Callable[[Progress], None] = lambda progress: None,
    stopped: Callable[[], bool] = lambda: False,
) -> bool:
    """Bring every file; whether all are there. Raises what stood against it; files that arrived stay."""
    progress = Progress(files=len(sendings), bytes=sum(s.bytes for s in sendings))
    lock = threading.Lock()
    work: Iterator[Sending] = iter(sendings)
    problems: list[BaseException] = []

    def count(amount: int) -> None:
        with lock:
            progress.bytes_done += amount
            progress.bytes_read += amount
            told(msgspec.structs.replace(progress))

    def help_() -> None:
        while not stopped() and not problems:
            with lock:
                sending = next(work, None)
            if sending is None:
                return
            arrived = 0

            def came(amount: int) -> None:
                nonlocal arrived
                arrived += amount
                count(amount)

            try:
                volume.put(sending.origin, sending.path, came)
            except (OSError, NanochatError) as error:
                problems.append(error)
                return
            progress.name = sending.path
            with lock:
                progress.files_done += 1
            # What the volume had already is not sent again, and nobody is told of it.
            count(sending.bytes - arrived)

    threads = [threading.Thread(target=help_, daemon=True) for _ in range(min(WORKERS, len(sendings)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return progress.files_done == len(sendings)
