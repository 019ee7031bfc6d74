"""From this disk to a volume: files and folders, several at once, each all or nothing."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_ISREG

import msgspec
from msgspec import Struct

from runner.errors import NanochatError, UsageError
from runner.system import read_only
from runner.text.filenames import BROUGHT, PARTS_FOLDER, path_for_terminal
from runner.transfer.download import TransferProgress
from runner.volumes.base import BLOCK, Entry, Volume

WORKERS = 4


class UploadItem(Struct, frozen=True):
    """One file to bring to the volume."""

    origin: Path
    path: str
    bytes: int


class UploadStopped(NanochatError):
    """Somebody said stop; files that arrived stay, what was on its way does not."""


def plan_upload(origin: Path, to: str) -> tuple[list[UploadItem], list[Path]]:
    """A file, or every regular file in a folder, with where it goes; and what is left out: links, devices.

    Raises UsageError for an origin that is neither, OSError for a folder that cannot be read.
    """
    read_only.refuse("send files to a volume")
    if not origin.exists():
        raise UsageError(f"{origin} is not here", "name a file or folder of this machine")
    if origin.is_file():
        return [UploadItem(origin, to, origin.stat().st_size)], []
    if not origin.is_dir():
        raise UsageError(f"{origin} is neither file nor folder", "name a file or folder of this machine")
    found, left_out = [], []

    def refused(error: OSError) -> None:
        raise error

    for folder, names, files in os.walk(origin, onerror=refused):
        # What a download has put down for itself is nobody else's.
        names[:] = sorted(name for name in names if name != PARTS_FOLDER)
        left_out += [Path(folder) / name for name in names if (Path(folder) / name).is_symlink()]
        for name in sorted(files):
            if name == BROUGHT:
                continue
            path = Path(folder) / name
            stat = path.lstat()
            if S_ISREG(stat.st_mode):
                found.append(UploadItem(path, f"{to}/{path.relative_to(origin).as_posix()}", stat.st_size))
            else:
                left_out.append(path)
    return found, left_out


def unsent(
    volume: Volume, sendings: list[UploadItem], *, stopped: Callable[[], bool] = lambda: False
) -> tuple[list[UploadItem], list[str]]:
    """What the volume has not yet, as of an upload that was cut; and the paths that hold something else there.

    Files of the same size are compared byte by byte, which reads them from the volume. Raises UploadStopped.
    """
    there = _there(volume, sendings)
    same = {s.path for s in sendings if (e := there.get(s.path)) and _is_same(volume, e, s, stopped)}
    return [s for s in sendings if s.path not in same], [path for path in there if path not in same]


def _there(volume: Volume, sendings: list[UploadItem]) -> dict[str, Entry | None]:
    """What the volume has under these paths; None for what is no regular file."""
    if volume.local_path("") is not None:
        # Asked for one by one: whether two names are one is for that disk to say.
        here = {s.path: volume.local_path(s.path) for s in sendings if exists(volume, s.path)}
        return {path: volume.stat(path) if at and at.is_file() else None for path, at in here.items()}
    found: dict[str, Entry | None] = {}
    for folder in {s.path.rpartition("/")[0] for s in sendings}:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found |= {e.path: e for e in volume.list(folder)}
    return {s.path: found[s.path] for s in sendings if s.path in found}


def _is_same(volume: Volume, entry: Entry, sending: UploadItem, stopped: Callable[[], bool]) -> bool:
    if entry.is_dir or entry.bytes != sending.bytes:
        return False
    blocks = volume.open(entry)
    try:
        with sending.origin.open("rb") as file:
            for number in range(-(-entry.bytes // BLOCK)):
                if stopped():
                    raise _stopped()
                if blocks.block(number) != file.read(BLOCK):
                    return False
    finally:
        blocks.close()
    return True


def _stopped() -> UploadStopped:
    return UploadStopped("stopped", "the same command sends the rest")


def exists(volume: Volume, path: str) -> bool:
    """Whether there is something of that name on a volume."""
    try:
        if (here := volume.local_path(path)) is not None:
            return os.path.lexists(here)
        above, _, name = path.rpartition("/")
        return any(e.name == name for e in volume.list(above))
    except (FileNotFoundError, NotADirectoryError):
        return False


def upload(
    volume: Volume,
    sendings: list[UploadItem],
    *,
    told: Callable[[TransferProgress], None] = lambda progress: None,
    stopped: Callable[[], bool] = lambda: False,
    over: bool = False,
) -> None:
    """Bring every file, `over` what is there only if that is said.

    Raises UploadStopped when it was told to stop, else what kept a file from being sent.
    """
    progress = TransferProgress(files=len(sendings), bytes=sum(s.bytes for s in sendings))
    lock, failed = threading.Lock(), threading.Event()
    work: Iterator[UploadItem] = iter(sendings)

    def count(amount: int, files: int = 0) -> None:
        with lock:
            progress.files_done += files
            progress.bytes_done += amount
            progress.bytes_read += amount
            told(msgspec.structs.replace(progress))

    def put(sending: UploadItem) -> None:
        arrived = 0

        def came(amount: int) -> None:
            nonlocal arrived
            if stopped() or failed.is_set():
                raise _stopped()
            # What is sent a second time, after the line broke, is no more than the file.
            amount = min(amount, sending.bytes - arrived)
            arrived += amount
            count(amount)

        progress.name = sending.path
        try:
            volume.put(sending.origin, sending.path, came, over=over)
        except FileExistsError as error:
            raise UsageError(f"{path_for_terminal(sending.path)} is there already", "--force replaces it") from error
        # What the volume had already is not sent again, and nobody is told of it.
        count(sending.bytes - arrived, 1)

    def help_() -> None:
        try:
            while not failed.is_set():
                with lock:
                    sending = next(work, None)
                if sending is None:
                    return
                if stopped():
                    raise _stopped()
                put(sending)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(WORKERS, "upload") as pool:
        threads = [pool.submit(help_) for _ in range(min(WORKERS, len(sendings)))]
    problems = [p for thread in threads if (p := thread.exception())]
    if problems:
        raise next((p for p in problems if not isinstance(p, UploadStopped)), problems[0])
