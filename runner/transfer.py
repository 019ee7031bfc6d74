"""From a volume to a folder of this disk: in blocks, several at once, paused and resumed, nothing half done.

What is not whole yet lies in `PARTS` in the chosen folder, a file with its journal beside it; a file gets its name
when all of it is there. A download that was cut finds both and goes on; blocks count when they are on the disk.
"""

import contextlib
import fcntl
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct

from runner import units
from runner.backends.base import BLOCK, Entry, Source, Volume
from runner.errors import FileChanged, NanochatError, UsageError
from runner.names import PARTS, disk_paths, shown
from runner.nanochat import layout

WORKERS = 8
# So often is a file asked for again that was written while it was read.
ROUNDS = 3
# Written blocks are made to last, and noted, by so many bytes: the most that is read again after a crash.
SYNC_BYTES = 64 << 20
TOLD_EVERY_S = 0.2
SPEED_OVER_S = 5.0
KEEP_FREE = 256 << 20


class Item(Struct, frozen=True):
    """One file to bring, and where to: a path on this disk, relative to the chosen folder."""

    entry: Entry
    target: str


class Progress(Struct):
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


class _Head(Struct, frozen=True):
    """The first line of a journal: which file it is about. Another size or time on the volume makes it void."""

    path: str
    bytes: int
    mtime: float
    block: int = BLOCK


def plan(entries: Iterable[Entry], base: str, called: str = "") -> list[Item]:
    """What to bring for files of a volume, in order; `base` is the folder whose name the targets begin with.

    With `base` "runs/a", "runs/a/log" goes to "a/log", or to "my-run/log" where it is `called` "my-run".
    Names that some disk would not take are changed.
    """
    above = base.rpartition("/")[0]
    cut = len(base) if called else len(above) + 1 if above else 0
    files = {e: called + e.path[cut:] for e in entries if not e.is_dir}
    targets = disk_paths(files.values())
    return sorted((Item(e, targets[wanted]) for e, wanted in files.items()), key=lambda i: i.entry.path)


def gather(volume: Volume, path: str, called: str = "") -> list[Item]:
    """Everything below a path of a volume, or that one file, as items."""
    entry = volume.stat(path)
    name = entry.path
    found = [e for batch in volume.scan(path, deep=True) for e in batch] if entry.is_dir else [entry]
    return plan(found, name, called)


class Download:
    """One transfer. `run` does it in the calling thread with helpers of its own; the other methods may come from any.

    `told` is called with the progress a few times a second, from one thread at a time.
    """

    def __init__(
        self,
        volume: Volume,
        items: list[Item],
        folder: Path,
        *,
        told: Callable[[Progress], None] = lambda progress: None,
        overwrite: bool = False,
        workers: int = WORKERS,
    ) -> None:
        self._volume, self._items, self._told = volume, items, told
        self._folder, self._overwrite, self._workers = folder, overwrite, workers
        self.progress = Progress(files=len(items), bytes=sum(i.entry.bytes for i in items))
        self._lock = threading.Lock()
        self._going, self._stop = threading.Event(), threading.Event()
        self._going.set()
        self._failed = threading.Event()
        self._changed: list[Item] = []
        self.warnings: list[str] = []
        self._speed: list[tuple[float, int]] = []
        self._parts: set[_Part] = set()

    def pause(self) -> None:
        self._going.clear()
        self.progress.paused = True

    def go_on(self) -> None:
        self.progress.paused = False
        self._going.set()

    def stop(self) -> None:
        """End soon; what has come is kept for another time."""
        self._stop.set()
        self._going.set()

    def run(self) -> bool:
        """Bring everything; whether it is all there now. Raises what stood against it.

        A file that is written while it is read is asked for again; the others come meanwhile.
        """
        self._make_folder(self._folder)
        items = self._items
        for _ in range(ROUNDS):
            self._changed = []
            missing = [item for item in items if not self._is_there(item)]
            self._check_room(missing)
            self._bring(missing)
            if not self._changed or self._stop.is_set():
                break
            items = self._as_now(self._changed)
        if self._stop.is_set():
            return False
        with contextlib.suppress(OSError):
            (self._folder / PARTS).rmdir()
        if self._changed:
            named = ", ".join(shown(item.entry.path) for item in self._changed[:4])
            raise FileChanged(f"{named} was written while it was read", "the same command brings what is missing")
        return self.progress.files_done == self.progress.files

    def _as_now(self, changed: list[Item]) -> list[Item]:
        """Files as the volume has them by now."""
        found = []
        for item in changed:
            try:
                entry = self._volume.stat(item.entry.path)
            except FileNotFoundError:
                self.progress.files -= 1
                self.progress.bytes -= item.entry.bytes
                continue
            self.progress.bytes += entry.bytes - item.entry.bytes
            found.append(Item(entry, item.target))
        return found

    def _bring(self, missing: list[Item]) -> None:
        work = self._work(missing)
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
            part.put_away()
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

    def _make_folder(self, folder: Path) -> None:
        """Make a folder in the chosen one, a step at a time. Raises UsageError where a link leads out of it."""
        if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(self._folder)):
            raise UsageError(f"{folder} leads out of {self._folder}", "remove the link, or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)

    def _is_there(self, item: Item) -> bool:
        """Whether a file is there already. Raises UsageError when another one has its name."""
        target, entry = self._folder / item.target, item.entry
        try:
            found = target.lstat()
        except FileNotFoundError:
            return False
        except NotADirectoryError as error:
            raise UsageError(f"a file is in the way of {target}", "move it, or choose another folder") from error
        if target.is_symlink() or not target.is_file():
            raise UsageError(f"{target} is in the way, and is no file", "move it, or choose another folder")
        if found.st_size == entry.bytes and int(found.st_mtime) == int(entry.mtime):
            with self._lock:
                self.progress.files_done += 1
                self.progress.bytes_done += entry.bytes
            return True
        if self._overwrite or entry.name in layout.REWRITTEN:
            return False
        raise UsageError(f"{target} is there already, and is another", "--force replaces it, or choose another folder")

    def _check_room(self, missing: list[Item]) -> None:
        here = 0
        for item in missing:
            with contextlib.suppress(OSError):
                # A part is as long as its file from the start, but holds only what has come.
                here += self._part_path(item).lstat().st_blocks * 512
        needs = sum(item.entry.bytes for item in missing) - here
        free = shutil.disk_usage(self._folder).free
        if needs > free - min(KEEP_FREE, free // 20):
            raise UsageError(
                f"{units.size(needs)} to come, {units.size(free)} free in {self._folder}", "choose another folder"
            )

    def _part_path(self, item: Item) -> Path:
        return self._folder / PARTS / sha256(item.target.encode()).hexdigest()[:24]

    def _work(self, missing: list[Item]) -> "Iterator[tuple[_Part, int]]":
        """Block after block of file after file; an iterator that is asked under the lock."""
        for item in missing:
            part = _Part(self, item)
            if not part.wanted:
                yield part, -1
            for number in list(part.wanted):
                yield part, number

    def _help(self, work: "Iterator[tuple[_Part, int]]") -> None:
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
                if not part.bring(number):
                    self._give_up(part)
        except BaseException:
            self._failed.set()
            raise

    def _give_up(self, part: "_Part") -> None:
        """This file is not what it was: the next round asks for it again."""
        with self._lock:
            self._changed.append(part.item)
            self.progress.bytes_done -= part.done

    def count(self, name: str, done: int, read: int, files: int = 0) -> None:
        """Note what has come."""
        with self._lock:
            progress = self.progress
            progress.name, progress.files_done = name, progress.files_done + files
            progress.bytes_done, progress.bytes_read = progress.bytes_done + done, progress.bytes_read + read


class _Part:
    """A file that is on its way; whoever opens its part has a lock on it, as another program may bring it, too."""

    def __init__(self, download: Download, item: Item) -> None:
        self._download, self.item = download, item
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._source: Source | None = None
        self._fd = -1
        self._path = download._part_path(item)
        self._journal = self._path.with_suffix(".journal")
        entry = item.entry
        path = entry.path.encode("utf-8", "surrogateescape").hex()
        self._head = msgspec.json.encode(_Head(path, entry.bytes, entry.mtime))
        self._numbers = range(-(-entry.bytes // BLOCK))
        self._noted = self._read_journal()
        self.wanted = [n for n in self._numbers if n not in self._noted]
        self._left = len(self.wanted)
        self._unsynced: list[int] = []
        self._active, self._dead, self._ended = 0, False, False
        self.done = sum(min(BLOCK, entry.bytes - n * BLOCK) for n in self._noted)
        # The caller holds the download's lock: it asks for the next block.
        download.progress.bytes_done += self.done

    def _read_journal(self) -> set[int]:
        """The blocks that are on this disk; none when the journal is about another file, or the part is gone."""
        try:
            head, *lines = self._journal.read_bytes().split(b"\n")
            if head != self._head or self._path.lstat().st_size != self.item.entry.bytes:
                return set()
            return {int(word) for line in lines[:-1] for word in line.split()} & set(self._numbers)
        except (OSError, ValueError):
            return set()

    def _open(self) -> tuple[Source, int]:
        """The source and the part, opened by the thread that comes first."""
        with self._opening:
            if self._source is None:
                source = self._download._volume.open(self.item.entry)
                self._download._make_folder(self._path.parent)
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
                self._download._parts.add(self)
                self._claim()
                self._source = source
            return self._source, self._fd

    def _claim(self) -> None:
        """Have the part for ourselves, as it was when we looked. Raises NanochatError when somebody else is at it."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = self._path.lstat().st_ino == os.fstat(self._fd).st_ino and self._read_journal() == self._noted
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            name = shown(self.item.entry.path)
            raise NanochatError(f"{name} is being brought to this folder already", "wait for that, or stop it")
        if not self._noted:
            os.ftruncate(self._fd, 0)
            if self.item.entry.bytes > BLOCK:
                self._journal.write_bytes(self._head + b"\n")
        os.ftruncate(self._fd, self.item.entry.bytes)

    def bring(self, number: int) -> bool:
        """Bring one block, -1 for none; the thread that leaves last ends the file. False when it is not what it was."""
        with self._lock:
            if self._dead:
                return True
            self._active += 1
        try:
            self._bring(number)
        except FileChanged:
            self._dead = True
        finally:
            with self._lock:
                self._active -= 1
                ends = self._active == 0 and (self._dead or self._left == 0) and not self._ended
                self._ended |= ends
        if not ends:
            return True
        try:
            if not self._dead:
                self._finish()
                return True
        except FileChanged:
            self._dead = True
        self.forget()
        return False

    def _bring(self, number: int) -> None:
        source, fd = self._open()
        if number < 0:
            return
        data = source.block(number)
        _write_all(fd, data, number * BLOCK)
        due: list[int] = []
        with self._lock:
            self._left -= 1
            self.done += len(data)
            self._unsynced.append(number)
            if len(self._unsynced) * BLOCK >= SYNC_BYTES:
                due, self._unsynced = self._unsynced, []
        if due:
            self._note(due)
        self._download.count(self.item.target, len(data), len(data))

    def _note(self, numbers: list[int]) -> None:
        """Put blocks down as brought, once the disk has them."""
        os.fsync(self._fd)
        with self._lock, self._journal.open("ab") as journal:
            journal.write(" ".join(map(str, numbers)).encode() + b"\n")

    def _finish(self) -> None:
        """All of it is here: see that it is still that file, then give it its name."""
        source, fd = self._open()
        entry, target = self.item.entry, self._download._folder / self.item.target
        if not source.unchanged() and not self._only_grew():
            raise FileChanged(f"{shown(entry.path)} was written while it was read", "try again")
        if not source.verified and not crcs_match(self._path):
            self._download.warnings.append(f"{shown(entry.path)} is damaged, on the volume or on the way")
        os.utime(fd, (entry.mtime, entry.mtime))
        if entry.bytes > BLOCK:
            os.fsync(fd)
        self._download._make_folder(target.parent)
        self._path.replace(target)
        self.forget(gone=True)
        self._download.count(self.item.target, 0, 0, 1)

    def _only_grew(self) -> bool:
        """Whether it is one of the files that a live run only adds to: what we have is its beginning."""
        entry = self.item.entry
        try:
            return entry.name in layout.GROWING and self._download._volume.stat(entry.path).bytes >= entry.bytes
        except FileNotFoundError:
            return False

    def put_away(self) -> None:
        """Close everything; what has come is noted, for another time."""
        with self._opening:
            if self._fd < 0:
                return
            if self._source:
                if self._unsynced and self.item.entry.bytes > BLOCK:
                    self._note(self._unsynced)
                self._source.close()
            os.close(self._fd)
            self._fd = -1

    def forget(self, *, gone: bool = False) -> None:
        """Close everything, and leave nothing behind; the part itself is `gone` when it has its name."""
        self._unsynced = []
        if self._source or gone:
            if not gone:
                self._path.unlink(missing_ok=True)
            self._journal.unlink(missing_ok=True)
        self.put_away()
        with self._download._lock:
            self._download._parts.discard(self)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def crcs_match(path: Path) -> bool:
    """Whether everything in a zip, as `torch.save` writes it, is what its checksum says; of other files none says."""
    try:
        with zipfile.ZipFile(path) as archive:
            if any(i.compress_type != zipfile.ZIP_STORED or i.flag_bits & 1 for i in archive.infolist()):
                return True
            return archive.testzip() is None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError):
        return True


def unfinished(folder: Path) -> int:
    """How many files a download that was cut has left in a folder, to be gone on with."""
    try:
        return sum(p.suffix == ".journal" for p in (folder / PARTS).iterdir())
    except OSError:
        return 0
