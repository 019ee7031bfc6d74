"""A file of a volume on its way to this disk: its part, its journal, its lock, and how it gets its name.

What is not whole yet lies in `PARTS_FOLDER` in the chosen folder, a file with its journal beside it. A block counts
once it is written, for as long as the machine has not been started anew; for ever once the disk has it. Whoever goes on
with it finds both.
"""

import contextlib
import errno
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from enum import Enum
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct

from runner import processes
from runner.errors import FileChanged, NanochatError, Unreachable
from runner.nanochat import layout
from runner.system import locks
from runner.system.placing import make_folder
from runner.text import units
from runner.text.filenames import PARTS_FOLDER, path_for_terminal
from runner.transfer.downloaded_files import DestinationJournal, LeftOut, digest_of
from runner.volumes.base import BLOCK, BlockReader, Entry, Volume

# Written blocks are made to last by so many bytes: the most of a file that is read again after a loss of power.
SYNC_BYTES = 64 << 20
# Written at once: for a larger piece the kernel gathers large pages, which takes it several times as long.
WRITE_BYTES = 64 << 10
# So many bytes of a block's digest are in the journal of a part.
DIGEST = 12
# Told of a file's name, of bytes that came, and of files that are whole.
Came = Callable[[str, int, int], None]


class Brought(Enum):
    """What became of a file when one of its blocks was brought."""

    GOING = "going"
    WHOLE = "whole"
    CHANGED = "changed"
    LEFT_OUT = "left out"


class DownloadItem(Struct, frozen=True):
    """One file to bring, and where to: a path on this disk, relative to the chosen folder."""

    entry: Entry
    target: str


class _Head(Struct, frozen=True):
    """The first line of a journal: which file it is about. Another size or time on the volume makes it void."""

    path: str
    bytes: int
    mtime: float
    block: int = BLOCK


def part_path(folder: Path, item: DownloadItem) -> Path:
    """Where a file is while it is not whole."""
    return folder / PARTS_FOLDER / sha256(item.target.encode()).hexdigest()[:24]


class PartialFile:
    """A file that is on its way; whoever opens its part has a lock on it, as another program may bring it, too."""

    def __init__(self, volume: Volume, item: DownloadItem, home: DestinationJournal, came: Came) -> None:
        self._volume, self.item, self._home, self._folder, self._came = volume, item, home, home.folder, came
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._source: BlockReader | None = None
        self._fd = -1
        self._path = part_path(self._folder, item)
        self._journal = self._path.with_suffix(".journal")
        entry = item.entry
        path = entry.path.encode("utf-8", "surrogateescape").hex()
        self._head = msgspec.json.encode(_Head(path, entry.bytes, entry.mtime))
        self._numbers = range(-(-entry.bytes // BLOCK))
        self._boot = _written()
        self._noted = self._read_journal()
        # Of the blocks that have come since.
        self._digests: dict[int, bytes] = {}
        self.wanted = [n for n in self._numbers if n not in self._noted]
        self._left = len(self.wanted)
        self._unsynced: list[int] = []
        self._active, self._dead, self._ended, self._claimed = 0, False, False, False
        self.done = sum(min(BLOCK, entry.bytes - n * BLOCK) for n in self._noted)
        self.warning = self.left_out = ""

    @staticmethod
    def tidy(folder: Path, item: DownloadItem) -> None:
        """Take away the part of a file that has its name, where somebody was killed between the two."""
        part = part_path(folder, item)
        with contextlib.suppress(OSError):
            if part.samefile(folder / item.target):
                part.unlink()
                part.with_suffix(".journal").unlink(missing_ok=True)

    def _read_journal(self) -> dict[int, bytes]:
        """The blocks that are on this disk, with the beginnings of their digests; none when the part is gone, or
        when the journal is about another file, or of an earlier release.
        """
        try:
            head, *lines = self._journal.read_bytes().split(b"\n")
            if head != self._head or self._path.lstat().st_size != self.item.entry.bytes:
                return {}
            kept = [line for line in lines[:-1] if not line.startswith(b"@")]
            if self._boot:
                kept += [line.removeprefix(self._boot) for line in lines[:-1] if line.startswith(self._boot)]
            words = (word.partition(b":") for line in kept for word in line.split())
            found = {int(number): bytes.fromhex(digest.decode("ascii")) for number, _, digest in words}
        except (OSError, ValueError):
            return {}
        return {n: digest for n, digest in found.items() if n in self._numbers and len(digest) == DIGEST}

    def _open(self) -> tuple[BlockReader, int]:
        """The source and the part, opened by the thread that comes first."""
        with self._opening:
            if self._source is None:
                with self._on_volume():
                    source = self._volume.open(self.item.entry)
                with self._on_disk():
                    make_folder(self._folder, self._path.parent)
                    self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
                    self._claim()
                self._source = source
            return self._source, self._fd

    @contextlib.contextmanager
    def _on_disk(self) -> Iterator[None]:
        """Inside, what this disk refuses is told by the file that is waited for, not by its part."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.EFBIG:
                name, size = path_for_terminal(self.item.entry.path), units.size(self.item.entry.bytes)
                raise LeftOut(
                    f"{name} is too large for the file system of {self._folder} ({size})",
                    "bring it into another folder",
                ) from error
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            do = "make room" if full else "see that the folder is there, and yours"
            target = path_for_terminal(str(self._folder / self.item.target))
            raise Unreachable(
                f"{target} cannot be written ({error.strerror or error})",
                f"{do}; the same command goes on from here",
            ) from error

    @contextlib.contextmanager
    def _on_volume(self) -> Iterator[None]:
        """Inside, a file that the volume's own disk does not give is left out; the others may well come."""
        try:
            yield
        except (FileNotFoundError, NanochatError):
            raise
        except OSError as error:
            name = path_for_terminal(self.item.entry.path)
            raise LeftOut(f"{name} cannot be read ({error.strerror or error})", "see to the volume") from error

    def _locked(self) -> bool:
        """Whether the part's lock is ours. Raises NoLocks, and leaves nothing behind."""
        try:
            return locks.take(self._fd, self._path)
        except locks.NoLocks:
            self._path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._path.parent.rmdir()
            raise

    def _claim(self) -> None:
        """Have the part for ourselves, as it was when we looked. Raises NanochatError when somebody else is at it."""
        try:
            ours = self._locked() and self._path.lstat().st_ino == os.fstat(self._fd).st_ino
            ours = self._claimed = ours and self._read_journal() == self._noted
        except FileNotFoundError:
            ours = False
        if not ours:
            name = path_for_terminal(self.item.entry.path)
            raise NanochatError(f"{name} is being brought to this folder already", "wait for that, or stop it")
        if self._noted:
            os.truncate(self._journal, self._journal.read_bytes().rfind(b"\n") + 1)
        else:
            os.ftruncate(self._fd, 0)
            if self.item.entry.bytes > BLOCK:
                self._journal.write_bytes(self._head + b"\n")
        _make_long(self._fd, self.item.entry.bytes)

    def fetch_block(self, number: int) -> Brought:
        """Bring one block, -1 for none. The thread that leaves last ends the file, and is the only one that says so."""
        with self._lock:
            if self._dead:
                return Brought.GOING
            self._active += 1
        try:
            self._bring(number)
        except (FileChanged, FileNotFoundError):
            self._dead = True
        except LeftOut as why:
            self._dead, self.left_out = True, str(why)
        finally:
            with self._lock:
                self._active -= 1
                ends = self._active == 0 and (self._dead or self._left == 0) and not self._ended
                self._ended |= ends
        if not ends:
            return Brought.GOING
        try:
            if not self._dead:
                self._finish()
                return Brought.WHOLE
        except FileChanged:
            self._dead = True
        except LeftOut as why:
            self._dead, self.left_out = True, str(why)
        self.discard()
        return Brought.LEFT_OUT if self.left_out else Brought.CHANGED

    def _bring(self, number: int) -> None:
        source, fd = self._open()
        if number < 0:
            return
        with self._on_volume():
            data = source.block(number)
        with self._on_disk():
            _write_all(fd, data, number * BLOCK)
        due: list[int] = []
        digest = sha256(data).digest()
        with self._lock:
            self._digests[number] = digest
            self._left -= 1
            self.done += len(data)
            self._unsynced.append(number)
            if len(self._unsynced) * BLOCK >= SYNC_BYTES:
                due, self._unsynced = self._unsynced, []
        with self._on_disk():
            if self._boot and self.item.entry.bytes > BLOCK:
                self._note([number], self._boot)
            if due:
                os.fsync(fd)
                self._note(due)
        self._came(self.item.target, len(data), 0)

    def _note(self, numbers: list[int], how: bytes = b"") -> None:
        """Put blocks down as brought: to last, or `how` says until when."""
        with self._lock, self._journal.open("ab", buffering=0) as journal:
            words = " ".join(f"{n}:{self._digests[n][:DIGEST].hex()}" for n in numbers)
            line, size = how + words.encode() + b"\n", journal.tell()
            try:
                whole = journal.write(line) == len(line)
            except OSError:
                whole = False
                raise
            finally:
                if not whole:
                    # Half a number is another number.
                    journal.truncate(size)

    def _finish(self) -> None:
        """All of it is here: see that it is still that file, then give it its name."""
        source, fd = self._open()
        entry = self.item.entry
        if not source.unchanged() and not self._only_grew():
            raise FileChanged(f"{path_for_terminal(entry.path)} was written while it was read", "try again")
        with self._on_disk():
            if not source.verified and not crcs_match(self._path):
                self.warning = f"{path_for_terminal(entry.path)} is damaged, on the volume or on the way"
            digest = self._digest(fd)
            # Some disks keep no times, or let nobody set them: it is the content that counts.
            with contextlib.suppress(OSError):
                os.utime(fd, (entry.mtime, entry.mtime))
            if entry.bytes > BLOCK:
                os.fsync(fd)
            self._home.place(self._path, self.item.target, entry, digest, BLOCK, whole=not self.warning)
        self.discard(gone=True)
        self._came(self.item.target, 0, 1)

    def _digest(self, fd: int) -> str:
        """The digest of all of it. What was here when we came must still be what had come. Raises FileChanged."""
        found = []
        for number in self._numbers:
            digest = self._digests.get(number)
            if digest is None:
                wanted = min(BLOCK, self.item.entry.bytes - number * BLOCK)
                digest = sha256(os.pread(fd, wanted, number * BLOCK)).digest()
                if digest[:DIGEST] != self._noted[number]:
                    raise FileChanged(
                        f"what had come of {path_for_terminal(self.item.entry.path)} is damaged", "try again"
                    )
            found.append(digest)
        return digest_of(found)

    def _only_grew(self) -> bool:
        """Whether it is one of the files that a live run only adds to: what we have is its beginning."""
        entry = self.item.entry
        try:
            return entry.name in layout.GROWING and self._volume.stat(entry.path).bytes >= entry.bytes
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close everything; what has come is noted, for another time."""
        with self._opening:
            if self._fd < 0:
                return
            if self._source:
                # What cannot be noted is read again.
                with contextlib.suppress(OSError):
                    if self._unsynced and self.item.entry.bytes > BLOCK:
                        os.fsync(self._fd)
                        self._note(self._unsynced)
                self._source.close()
            os.close(self._fd)
            self._fd = -1

    def discard(self, *, gone: bool = False) -> None:
        """Close everything and leave nothing behind; `gone`: the file is whole and has its own name by now."""
        self._unsynced = []
        with self._on_disk():
            if self._claimed:
                if not gone:
                    self._path.unlink(missing_ok=True)
                self._journal.unlink(missing_ok=True)
        self.close()


def _written() -> bytes:
    """How a line begins whose blocks may be lost with the machine's memory; empty where that could not be noticed."""
    boot = processes.boot_id()
    return f"@{boot} ".encode() if boot else b""


def _make_long(fd: int, size: int) -> None:
    """Give a file its size; some file systems do that only by what is written."""
    try:
        os.ftruncate(fd, size)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        if os.fstat(fd).st_size < size:
            os.pwrite(fd, b"\0", size - 1)


def _write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view[:WRITE_BYTES], offset)
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
