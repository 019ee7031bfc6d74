"""Locks on files, by which processes take turns; on a disk that has none, that is said in words and nothing begins."""

import errno
import fcntl
import time
from pathlib import Path
from typing import IO

from runner.errors import Unreachable, naming_path

# What a file system answers that has no locks.
_NONE = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
LOOK_S = 0.02


class NoLocks(Unreachable):
    """A folder is on a file system that has no locks."""


def take(file: "IO[str] | IO[bytes] | int", path: Path, *, shared: bool = False) -> bool:
    """Take the lock of an open file, for oneself or with others; False while another process has it.

    A disk that several machines share gives one only for a file that is open to be written, unless it is `shared`.
    """
    try:
        with naming_path(path):
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NONE:
            raise
        from runner.text.filenames import path_for_terminal

        raise NoLocks(
            f"{path_for_terminal(str(path.parent))} is on a file system without locks ({error.strerror})",
            "use a folder of another disk",
        ) from error
    return True


def take_within(
    file: "IO[str] | IO[bytes] | int", path: Path, seconds: float, look_s: float = LOOK_S, *, shared: bool = False
) -> bool:
    """Take a lock, and wait so long for it; whether that was possible."""
    deadline = time.monotonic() + seconds
    while not take(file, path, shared=shared):
        if time.monotonic() > deadline:
            return False
        time.sleep(look_s)
    return True


def give_back(file: "IO[str] | IO[bytes] | int") -> None:
    """Unlock a file that was locked here."""
    fcntl.flock(file, fcntl.LOCK_UN)


def check(folder: Path, name: str = "lock") -> None:
    """See that a folder has locks, by a file of that name. Raises NoLocks."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with path.open("a") as file:
        if take(file, path, shared=True):
            give_back(file)


def is_held(path: Path) -> bool:
    """Whether a process has the lock of a file for itself. Raises NoLocks."""
    try:
        with path.open("rb") as file:
            return not take(file, path, shared=True)
    except FileNotFoundError:
        return False
