"""An archive of code, or of packages, becomes a folder again: all of it and the right one, or none of it."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runner.errors import naming_path
from runner.source import tar
from runner.source.archive_reader import BadArchive, Member, members
from runner.source.limits import CODE, Limits
from runner.system import locks
from runner.text.filenames import path_for_terminal

__all__ = ["BadArchive", "unpack"]

# An unpacker takes its lock at once: a folder that has had none for so long has lost whoever began it.
_NO_LOCK_S = 60.0
_LOCK, _TREE = "lock", "tree"


def unpack(archive: Path | BinaryIO, target: Path, sha256: str, limits: Limits = CODE) -> None:
    """Make `target` from an archive whose uncompressed bytes have this digest; one that is there is kept as it is.

    Raises BadArchive, OSError where the disk takes no more, NoLocks; then there is no `target`.
    """
    if target.is_dir():
        _clear(target)
        return
    if isinstance(archive, Path):
        with archive.open("rb") as file:
            unpack(file, target, sha256, limits)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear(target)
    with _part(target) as part, naming_path(target):
        tree = part / _TREE
        tree.mkdir(0o755)
        made = {""}
        for member in members(archive, sha256, limits):
            _place(tree, member, made)
        try:
            tree.rename(target)
        except OSError:
            # Another process of this machine was faster.
            if not target.is_dir():
                raise


def _place(tree: Path, member: Member, made: set[str]) -> None:
    """Write one member; every folder above it is one that was made here, and links come after all files."""
    folder = member.name if member.kind == tar.FOLDER else member.name.rpartition("/")[0]
    try:
        _make(tree, folder, made)
        path = tree / member.name
        if member.kind == tar.LINK:
            path.symlink_to(member.target)
        elif member.kind == tar.FILE:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                for chunk in member.chunks:
                    file.write(chunk)
                os.fchmod(fd, 0o755 if member.executable else 0o644)
    except FileExistsError as error:
        raise BadArchive(f"{path_for_terminal(member.name)} has a name that this disk takes for another's") from error


def _make(tree: Path, folder: str, made: set[str]) -> None:
    missing = list[str]()
    while folder not in made:
        missing.append(folder)
        folder = folder.rpartition("/")[0]
    for name in reversed(missing):
        (tree / name).mkdir(0o755)
        made.add(name)


@contextlib.contextmanager
def _part(target: Path) -> Iterator[Path]:
    """A folder of our own beside the target, locked for as long as we live, gone afterwards."""
    while True:
        part = target.with_name(f"{target.name}.part-{os.urandom(6).hex()}")
        with naming_path(target):
            part.mkdir(0o700)
        try:
            with (part / _LOCK).open("xb") as lock:
                # Whoever clears up may have been between the two lines above.
                if locks.take(lock, part / _LOCK) and (part / _LOCK).exists():
                    yield part
                    return
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _clear(target: Path) -> None:
    """Remove what unpackers of the same target have left behind that live no more."""
    for part in target.parent.iterdir():
        if not part.name.startswith(f"{target.name}.part-"):
            continue
        try:
            with (part / _LOCK).open("r+b") as lock:
                if locks.take(lock, part / _LOCK):
                    shutil.rmtree(part, ignore_errors=True)
        except FileNotFoundError:
            with contextlib.suppress(FileNotFoundError):
                if abs(time.time() - part.stat().st_mtime) > _NO_LOCK_S:
                    shutil.rmtree(part, ignore_errors=True)
        except OSError:
            # Another user's, or nothing of ours, or on a disk that only reads.
            continue
