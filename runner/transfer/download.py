"""From a volume to a folder of this disk: in blocks, several at once, paused and resumed, nothing half done."""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from enum import Enum
from pathlib import Path

import msgspec
from msgspec import Struct

from runner.errors import FileChanged, NanochatError, UsageError
from runner.model.identifiers import RUNS
from runner.nanochat import layout
from runner.system import read_only
from runner.system.placing import make_folder
from runner.text import units
from runner.text.filenames import PARTS_FOLDER, path_for_terminal, safe_paths
from runner.transfer.downloaded_files import ANOTHER, DestinationJournal, LocalCopy
from runner.transfer.partial_file import Brought, DownloadItem, PartialFile, part_path
from runner.volumes import tokenizers
from runner.volumes.base import Entry, Volume

WORKERS = 8
# So often is a file asked for again that was written while it was read.
ROUNDS = 3
TOLD_EVERY_S = 0.2
SPEED_OVER_S = 5.0
KEEP_FREE = 256 << 20


class End(Enum):
    """How a download ended that nothing stood against."""

    WHOLE = "whole"
    STOPPED = "stopped"


class TransferProgress(Struct):
    """How far a transfer is. Bytes that were there before count as done, but not as `read`."""

    files: int = 0
    bytes: int = 0
    files_done: int = 0
    bytes_done: int = 0
    bytes_read: int = 0
    name: str = ""
    per_s: float = 0.0
    paused: bool = False

    @property
    def left_s(self) -> float | None:
        return (self.bytes - self.bytes_done) / self.per_s if self.per_s > 0 else None


def plan_download(entries: Iterable[Entry], base: str, called: str = "") -> list[DownloadItem]:
    """What to bring for files of a volume, in order; `base` is the folder whose name the targets begin with.

    With `base` "runs/a", "runs/a/log" goes to "a/log", or to "my-run/log" where it is `called` "my-run".
    Names that some disk would not take are changed.
    """
    above = base.rpartition("/")[0]
    cut = len(base) if called else len(above) + 1 if above else 0
    files = {e: called + e.path[cut:] for e in entries if not e.is_dir}
    targets = safe_paths(files.values())
    return sorted((DownloadItem(e, targets[wanted]) for e, wanted in files.items()), key=lambda i: i.entry.path)


def list_files(volume: Volume, path: str, called: str = "") -> list[DownloadItem]:
    """Everything below a path of a volume, or that one file, as items; with checkpoints comes their tokenizer, so that
    nanochat finds both where it looks for them.
    """
    entry = volume.stat(path)
    name = entry.path
    found = [e for batch in volume.scan(path, deep=True) for e in batch] if entry.is_dir else [entry]
    return plan_download(found, name, called) + _tokenizer_of(volume, name, called, found)


def home_name(path: str, tags: Mapping[str, str]) -> str:
    """What a path of a volume is called at home: a run's folder by its tag (`tags` by path of the run), and what a run
    has saved by its place below that; empty for any other.
    """
    run, inner = _in_run(path)
    if run not in tags or not (path == run or inner.partition("/")[0] in layout.CHECKPOINT_DIRS.values()):
        return ""
    return f"{tags[run]}/{inner}".rstrip("/")


def _in_run(path: str) -> tuple[str, str]:
    """The folder of the run that a path is in, and the path in there; both empty for none."""
    above, _, rest = path.partition("/")
    name, _, inner = rest.partition("/")
    return (f"{above}/{name}", inner) if above == RUNS and name else ("", "")


def _tokenizer_of(volume: Volume, base: str, called: str, found: Iterable[Entry]) -> list[DownloadItem]:
    """The tokenizer of checkpoints that are brought home to their place below a folder that is called for their run."""
    run, inner = _in_run(base)
    home = (called or base.rpartition("/")[2]) if not inner else called.removesuffix(f"/{inner}")
    saved = any(layout.checkpoint_part(e.name) for e in found)
    if not (run and saved and home and (home != called or not inner)):
        return []
    folder, record = tokenizers.folder_for(volume, (run,))
    if folder.startswith(f"{base}/"):
        # Brought with all that is in the run's folder.
        return []
    names = (*layout.TOKENIZER_FILES, *((layout.TOKENIZER_RECORD,) if record else ()))
    try:
        there = {e.name: e for e in volume.list(folder) if not e.is_dir}
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [DownloadItem(there[n], f"{home}/{layout.TOKENIZER}/{n}") for n in names if n in there]


class Download:
    """One transfer. `run` does it in the calling thread with helpers of its own; the other methods may come from any.

    `told` is called with the progress a few times a second, from one thread at a time.
    """

    def __init__(
        self,
        volume: Volume,
        items: list[DownloadItem],
        folder: Path,
        *,
        told: Callable[[TransferProgress], None] = lambda progress: None,
        overwrite: bool = False,
        workers: int = WORKERS,
    ) -> None:
        read_only.refuse("bring files to this machine")
        self._volume, self._items, self._told = volume, items, told
        self._folder, self._overwrite, self._workers = folder, overwrite, workers
        self.progress = TransferProgress(files=len(items), bytes=sum(i.entry.bytes for i in items))
        self._lock = threading.Lock()
        self._going, self._stop = threading.Event(), threading.Event()
        self._going.set()
        self._failed = threading.Event()
        self._changed: list[DownloadItem] = []
        self.warnings: list[str] = []
        self._speed: list[tuple[float, int]] = []
        self._parts: set[PartialFile] = set()

    def pause(self) -> None:
        self._going.clear()
        self.progress.paused = True

    def unpause(self) -> None:
        self.progress.paused = False
        self._going.set()

    def stop(self) -> None:
        """End soon; what has come is kept for another time."""
        self._stop.set()
        self._going.set()

    def run(self) -> End:
        """Bring everything. Raises what stood against it.

        A file that is written while it is read is asked for again; the others come meanwhile.
        """
        make_folder(self._folder, self._folder)
        items = self._items
        home = DestinationJournal(self._folder, self._volume.location, overwrite=self._overwrite)
        for _ in range(ROUNDS):
            self._changed = []
            missing = [item for item in items if not self._is_there(home, item)]
            self._check_room(missing)
            self._bring(home, missing)
            if not self._changed or self._stop.is_set():
                break
            items = self._as_now(self._changed)
        here = self.progress.files_done == self.progress.files
        if self._stop.is_set() and not here:
            return End.STOPPED
        with contextlib.suppress(OSError):
            (self._folder / PARTS_FOLDER).rmdir()
        if self._changed:
            named = ", ".join(path_for_terminal(item.entry.path) for item in self._changed[:4])
            raise FileChanged(f"{named} was written while it was read", "the same command brings what is missing")
        if not here:
            came, of = self.progress.files_done, self.progress.files
            raise NanochatError(f"{came:,} of {of:,} files have come", "the same command brings what is missing")
        return End.WHOLE

    def _as_now(self, changed: list[DownloadItem]) -> list[DownloadItem]:
        """Files as the volume has them by now."""
        found = []
        for item in changed:
            try:
                entry = self._volume.stat(item.entry.path)
            except FileNotFoundError:
                self.warnings.append(f"{path_for_terminal(item.entry.path)} has been removed from the volume")
                self.progress.files -= 1
                self.progress.bytes -= item.entry.bytes
                continue
            self.progress.bytes += entry.bytes - item.entry.bytes
            found.append(DownloadItem(entry, item.target))
        return found

    def _bring(self, home: DestinationJournal, missing: list[DownloadItem]) -> None:
        work = self._work(home, missing)
        with ThreadPoolExecutor(self._workers, "download") as pool:
            threads = [pool.submit(self._help, work) for _ in range(self._workers)]
            try:
                while wait(threads, TOLD_EVERY_S).not_done:
                    self._tell()
            finally:
                # Whatever happens here, nobody goes on behind our back.
                self._failed.set()
                self._going.set()
        for part in self._parts:
            part.close()
        self._parts.clear()
        self._failed.clear()
        self._tell()
        for thread in threads:
            thread.result()

    def _tell(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._speed.append((now, self.progress.bytes_read))
            while len(self._speed) > 2 and now - self._speed[0][0] > SPEED_OVER_S:
                self._speed.pop(0)
            (_, before), took = self._speed[0], now - self._speed[0][0]
            self.progress.per_s = (self.progress.bytes_read - before) / took if took > 0.5 else 0.0
            snapshot = msgspec.structs.replace(self.progress)
        self._told(snapshot)

    def _is_there(self, home: DestinationJournal, item: DownloadItem) -> bool:
        """Whether a file is there already. Raises UsageError when another one has its name."""
        found = home.judge(item.target, item.entry)
        if found is LocalCopy.ANOTHER:
            raise UsageError(f"{self._folder / item.target} is there already, and is another", ANOTHER)
        if found is LocalCopy.WHOLE:
            PartialFile.tidy(self._folder, item)
            with self._lock:
                self.progress.files_done += 1
                self.progress.bytes_done += item.entry.bytes
        return found is LocalCopy.WHOLE

    def _check_room(self, missing: list[DownloadItem]) -> None:
        here = 0
        for item in missing:
            with contextlib.suppress(OSError):
                # A part is as long as its file from the start, but holds only what has come.
                here += part_path(self._folder, item).lstat().st_blocks * 512
        needs = sum(item.entry.bytes for item in missing) - here
        total, _, free = shutil.disk_usage(self._folder)
        if not total:
            # Some file systems, as of buckets, do not say how large they are.
            return
        if needs > free - min(KEEP_FREE, free // 20):
            raise UsageError(
                f"{units.size(needs)} to come, {units.size(free)} free in {self._folder}", "choose another folder"
            )

    def _work(self, home: DestinationJournal, missing: list[DownloadItem]) -> Iterator[tuple[PartialFile, int]]:
        """Block after block of file after file; an iterator that is asked under the lock."""
        for item in missing:
            part = PartialFile(self._volume, item, home, self._count)
            self._parts.add(part)
            self.progress.bytes_done += part.done
            if not part.wanted:
                yield part, -1
            for number in list(part.wanted):
                yield part, number

    def _help(self, work: Iterator[tuple[PartialFile, int]]) -> None:
        """One of several threads that bring blocks until there are none, or something went wrong."""
        try:
            while True:
                self._going.wait()
                if self._stop.is_set() or self._failed.is_set():
                    return
                with self._lock:
                    part, number = next(work, (None, 0))
                if part is None:
                    return
                brought = part.fetch_block(number)
                if brought is not Brought.GOING:
                    self._end(part, brought)
        except BaseException:
            self._failed.set()
            raise

    def _end(self, part: PartialFile, brought: Brought) -> None:
        """A file is done with; where it is not what it was, the next round asks for it again."""
        with self._lock:
            self._parts.discard(part)
            self.warnings += [said for said in (part.warning, part.left_out) if said]
            if brought is Brought.WHOLE:
                return
            self.progress.bytes_done -= part.done
            if brought is Brought.CHANGED:
                self._changed.append(part.item)
            else:
                self.progress.files -= 1
                self.progress.bytes -= part.item.entry.bytes

    def _count(self, name: str, size: int, files: int) -> None:
        """Note what has come."""
        with self._lock:
            progress = self.progress
            progress.name, progress.files_done = name, progress.files_done + files
            progress.bytes_done, progress.bytes_read = progress.bytes_done + size, progress.bytes_read + size
