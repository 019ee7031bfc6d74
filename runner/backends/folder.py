"""A folder that serves as a volume: on this machine, or mounted in a container."""

import errno
import os
import shutil
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from runner.backends.base import Entry
from runner.errors import Unreachable


class FolderVolume:
    """The Volume Protocol over a folder. No path leaves it: not by `..`, not absolute, not through a link."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._root = Path(location)

    def path(self, path: str) -> Path:
        """The file behind a volume path. Raises FileNotFoundError for a path that leaves the volume."""
        if not self._root.is_dir():
            raise Unreachable(
                f"the volume folder {self.location} is gone", "put it back, or give another with --volume"
            )
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\0" in path:
            raise FileNotFoundError(errno.ENOENT, "is no path of a volume", path)
        full = self._root / pure
        if not Path(os.path.realpath(full)).is_relative_to(os.path.realpath(self._root)):
            raise FileNotFoundError(errno.ENOENT, "leads out of the volume", path)
        return full

    def list(self, path: str) -> list[Entry]:
        found = []
        with os.scandir(self.path(path)) as entries:
            for entry in entries:
                try:
                    stat = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                is_dir = entry.is_dir(follow_symlinks=False)
                if not is_dir and not S_ISREG(stat.st_mode):
                    continue
                full = f"{path.rstrip('/')}/{entry.name}".lstrip("/") if path not in ("", ".") else entry.name
                found.append(Entry(full, is_dir, 0 if is_dir else stat.st_size, stat.st_mtime))
        return sorted(found, key=lambda e: (not e.is_dir, e.path))

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
        full = self.path(path)
        full.parent.mkdir(parents=True, exist_ok=True)
        temporary = full.with_name(f".{full.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(data)
            temporary.replace(full)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def rename(self, path: str, to: str) -> None:
        origin, target = self.path(path), self.path(to)
        origin.lstat()
        target.parent.mkdir(parents=True, exist_ok=True)
        origin.rename(target)

    def remove(self, path: str) -> None:
        full = self.path(path)
        if full.is_dir() and not full.is_symlink():
            shutil.rmtree(full)
        else:
            full.unlink()
