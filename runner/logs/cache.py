"""Logs of Modal runs that are kept on this disk, and how much of them."""

import contextlib
import os
import shutil
from pathlib import Path

from runner.system import locks


def size(folder: Path) -> int:
    """Bytes of all kept logs and their events."""
    return sum(_stat(path).st_size for path in folder.glob("*/*") if path.is_file())


def trim(folder: Path, most: int, live: set[str]) -> int:
    """Remove the logs of ended runs, the oldest first, until at most so many bytes are kept; bytes that went.

    A log that a process has open stays, and another process may trim at the same time. What the volume has of it comes
    back when it is asked for.
    """
    kept, freed = size(folder), 0
    by_age = sorted((p for p in folder.glob("*") if p.is_dir() and p.name not in live), key=_changed)
    for run in by_age:
        if kept - freed <= most:
            break
        with contextlib.suppress(FileNotFoundError, locks.NoLocks), (run / "lock").open("a") as lock:
            if not locks.take(lock, run / "lock"):
                continue
            freed += sum(_stat(path).st_size for path in run.iterdir() if path.is_file())
            shutil.rmtree(run)
    return freed


def _stat(path: Path) -> os.stat_result:
    """Of a file that may go at any moment: then that of an empty one."""
    try:
        return path.stat()
    except FileNotFoundError:
        return os.stat_result([0] * 10)


def _changed(run: Path) -> float:
    try:
        return max((_stat(path).st_mtime for path in run.iterdir()), default=0.0)
    except FileNotFoundError:
        return 0.0
