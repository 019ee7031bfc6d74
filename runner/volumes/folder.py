"""A folder that serves as a volume: on this machine, or mounted in a container."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG

from runner.errors import FileChanged, VolumeGone, naming_path
from runner.system import atomic, read_only
from runner.volumes.base import BLOCK, CHANGE, TRASH, Entries, Entry, Paths

BATCH = 1000


class FolderVolume:
    """The Volume Protocol over a folder. No path leaves it: not by `..`, not absolute, not through a link."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._root = Path(location)

    def path(self, path: str) -> Path:
        """The file behind a volume path. Raises FileNotFoundError for a path that leaves the volume."""
        if not self._root.is_dir():
            raise VolumeGone(f"the volume folder {self.location} is gone", "put it back, or give another with --volume")
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\0" in path:
            raise FileNotFoundError(errno.ENOENT, "is no path of a volume", path)
        if pure.parts[:1] == (TRASH,):
            raise FileNotFoundError(errno.ENOENT, "is the trash: nanochat-tui restore lists it", path)
        full = self._root / pure
        if not Path(os.path.realpath(full)).is_relative_to(os.path.realpath(self._root)):
            raise FileNotFoundError(errno.ENOENT, "leads out of the volume", path)
        return full

    def straight(self, path: str) -> Path:
        """A file by the one path that it has: what is judged by its path must not be reached through a link."""
        full = self.path(_named(path))
        straight = Path(os.path.realpath(self._root)).joinpath(*PurePosixPath(path).parts[:-1])
        if Path(os.path.realpath(full.parent)) != straight:
            raise OSError(errno.ELOOP, "is reached through a link", path)
        return full

    def list(self, path: str) -> Entries:
        return sorted((e for batch in self.scan(path) for e in batch), key=lambda e: (not e.is_dir, e.path))

    def scan(self, path: str, *, deep: bool = False, left_out: Paths | None = None) -> Iterator[Entries]:
        inside = "/".join(part for part in path.split("/") if part not in ("", "."))
        folders, first = [(self.path(path), inside)], True
        while folders:
            folder, name = folders.pop()
            try:
                for batch in _batches(folder, name):
                    if deep:
                        folders += [(folder / e.name, e.path) for e in batch if e.is_dir]
                    yield batch
            except FileNotFoundError:
                # A folder that goes while its parent is walked is no longer there to be told.
                if first:
                    raise
            except PermissionError:
                if first or left_out is None:
                    raise
                left_out.append(name)
            first = False

    def stat(self, path: str) -> Entry:
        return _entry(path, self.path(path))

    def local_path(self, path: str) -> Path | None:
        return self.path(path)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        full = self.path(path)
        if full.exists() and not full.is_file():
            raise FileNotFoundError(errno.ENOENT, "is no regular file", path)
        with full.open("rb") as file:
            if offset < 0:
                size = file.seek(0, os.SEEK_END)
                offset = max(0, size + offset)
            file.seek(offset)
            return file.read(-1 if length is None else length)

    def write(self, path: str, data: bytes) -> None:
        read_only.refuse(CHANGE)
        full = self.path(path)
        with naming_path(full), atomic.replacing(full) as file:
            file.write(data)

    def open(self, entry: Entry) -> "FolderBlockReader":
        return FolderBlockReader(entry, self.path(entry.path))

    def put(self, origin: Path, path: str, told: Callable[[int], None], *, over: bool) -> None:
        read_only.refuse(CHANGE)
        full = self.path(path)
        with naming_path(origin), origin.open("rb") as source, atomic.replacing(full, over=over) as file:
            while data := source.read(BLOCK):
                with naming_path(full):
                    file.write(data)
                told(len(data))

    def rename(self, path: str, to: str) -> None:
        read_only.refuse(CHANGE)
        origin, target = self.straight(path), self.straight(to)
        origin.lstat()
        target.parent.mkdir(parents=True, exist_ok=True)
        origin.rename(target)

    def remove(self, path: str) -> None:
        read_only.refuse(CHANGE)
        full = self.straight(path)
        if full.is_dir() and not full.is_symlink():
            shutil.rmtree(full)
        else:
            full.unlink()


class FolderBlockReader:
    """The BlockReader Protocol over a file that is open: what is read is one file, even if another takes its name."""

    verified = True

    def __init__(self, entry: Entry, full: Path) -> None:
        self._full, self._entry = full, entry
        self._fd = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            self._stat = os.fstat(self._fd)
            if not S_ISREG(self._stat.st_mode):
                raise FileNotFoundError(errno.ENOENT, "is no regular file", entry.path)
            if (self._stat.st_size, self._stat.st_mtime) != (entry.bytes, entry.mtime):
                raise FileChanged(f"{entry.name} has changed on the volume", "start again")
        except (OSError, FileChanged):
            self.close()
            raise

    def block(self, number: int) -> bytes:
        start = number * BLOCK
        wanted = min(BLOCK, self._entry.bytes - start)
        with naming_path(self._full):
            data = os.pread(self._fd, wanted, start)
        if len(data) != wanted:
            raise FileChanged(f"{self._entry.name} was written while it was read", "try again")
        return data

    def unchanged(self) -> bool:
        try:
            found = self._full.lstat()
        except FileNotFoundError:
            return False
        was = self._stat
        return (found.st_ino, found.st_size, found.st_mtime_ns) == (was.st_ino, was.st_size, was.st_mtime_ns)

    def close(self) -> None:
        os.close(self._fd)


def _named(path: str) -> str:
    """A path of something in the volume. Raises FileNotFoundError for the volume itself."""
    if not any(part not in ("", ".") for part in path.split("/")):
        raise FileNotFoundError(errno.ENOENT, "is the volume itself", path)
    return path


def _batches(folder: Path, name: str) -> Iterator[Entries]:
    """The files and folders in a folder; links, devices and the trash left out."""
    found: Entries = []
    before = f"{name}/" if name else ""
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                is_dir = entry.is_dir(follow_symlinks=False)
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if (is_dir or S_ISREG(stat.st_mode)) and (name or entry.name != TRASH):
                found.append(Entry(before + entry.name, is_dir, 0 if is_dir else stat.st_size, stat.st_mtime))
            if len(found) == BATCH:
                yield found
                found = []
    yield found


def _entry(path: str, full: Path) -> Entry:
    stat = full.lstat()
    if not S_ISREG(stat.st_mode) and not S_ISDIR(stat.st_mode):
        raise FileNotFoundError(errno.ENOENT, "is no regular file", path)
    is_dir = S_ISDIR(stat.st_mode)
    return Entry(path, is_dir, 0 if is_dir else stat.st_size, stat.st_mtime)
