"""A folder that behaves as one on a memory stick: names in any case are one, some are refused, times are of 2 s."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

REFUSED = set('<>:"|?*\\')
ONE_PATH = ("open", "stat", "lstat", "mkdir", "unlink", "remove", "rmdir", "truncate", "scandir")


def like_vfat(folder: Path, put: Callable[[Any, str, Any], None], *, most: int = 1 << 32) -> None:
    """Let the functions of `os` take what is below a folder so; `put` sets an attribute, as monkeypatch.setattr does.

    No file gets a second name, and none is larger than `most`.
    """
    inside = f"{folder}/"

    def fold(path: Any) -> Any:
        if isinstance(path, int) or not os.fspath(path).startswith(inside):
            return path
        name = os.fspath(path)[len(inside) :]
        if any(c in REFUSED or ord(c) < 32 for c in name):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), os.fspath(path))
        return inside + name.lower()

    def one(real: Any) -> Any:
        return lambda path, *a, **k: real(fold(path), *a, **k)

    def two(real: Any) -> Any:
        return lambda path, to, *a, **k: real(fold(path), fold(to), *a, **k)

    for name in ONE_PATH:
        put(os, name, one(getattr(os, name)))
    put(io, "open", one(io.open))
    for name in ("rename", "replace"):
        put(os, name, two(getattr(os, name)))
    link, utime, ftruncate = os.link, os.utime, os.ftruncate

    def no_link(path: Any, to: Any, **more: Any) -> None:
        if os.fspath(to).startswith(inside):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), os.fspath(path), None, os.fspath(to))
        link(path, to, **more)

    def coarse(path: Any, times: Any = None, **more: Any) -> None:
        utime(fold(path), times and tuple(t // 2 * 2 for t in times), **more)

    def not_too_long(fd: int, length: int) -> None:
        if length > most:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        ftruncate(fd, length)

    put(os, "link", no_link)
    put(os, "utime", coarse)
    put(os, "ftruncate", not_too_long)
