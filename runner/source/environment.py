"""The packages in which somebody's nanochat differs from the image: whether there are any, and their archive."""

import contextlib
import hashlib
import os
import re
import stat
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from runner.errors import naming_path
from runner.nanochat.python_project import FILES, LOCK, PROJECT, has_folders, is_project
from runner.source import tar
from runner.source.limits import MOST_NAME, MOST_PATH, PACKAGES
from runner.source.unpack import BadArchive, unpack
from runner.system import atomic
from runner.text.filenames import path_for_terminal

# Raised when an archive is made in another way.
_VERSION = 1
_SHA = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20


class KeptPackages(Struct, frozen=True):
    """What is kept for one difference: its packages as `name==version`, and the digest of their archive."""

    sha256: str
    packages: tuple[str, ...]
    bytes: int = 0


def needs(theirs: Mapping[str, bytes], baked: Mapping[str, bytes], code: str, python: str = "") -> str:
    """The address of what code needs besides what the image was made with; empty where that will do.

    Both are files by their paths, of which pyproject.toml and uv.lock count; `code` is the address of all the code,
    which counts where packages come out of it; `python` says for which Python and system, if not for this one.
    """
    mine, image = ([files.get(name, b"") for name in FILES] for files in (theirs, baked))
    if mine == image or not is_project(mine[0]):
        return ""
    whole = code if has_folders(*mine) else ""
    said = [str(_VERSION), python or f"{sysconfig.get_python_version()} {sysconfig.get_platform()}", whole]
    parts = [*(text.encode() for text in said), *mine, *image]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder by which packages are decided, as far as they are there."""
    return {name: (folder / name).read_bytes() for name in (PROJECT, LOCK) if (folder / name).is_file()}


def kept(folder: Path, address: str) -> KeptPackages | None:
    """What an earlier run has kept; None where there is nothing, or what is there is no record of ours."""
    try:
        found = msgspec.json.decode((folder / f"{address}.json").read_bytes(), type=KeptPackages)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return found if _SHA.fullmatch(found.sha256) and _archive(folder, address, found.sha256).is_file() else None


def keep(tree: Path, names: Iterable[str], folder: Path, address: str, packages: Iterable[str]) -> KeptPackages:
    """Put these entries of a folder into an archive, and note it once it is whole; by one at a time for an address.

    Raises BadArchive for what would not be taken out again, OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clear(folder, address)
    # Told from those of others by the address, so that whoever makes this one next can clear it away.
    new = folder / f".{address}.new"
    try:
        with naming_path(folder, instead_of=new), new.open("xb") as file:
            digest, size = _write(file, tree, sorted(names))
        new.replace(_archive(folder, address, digest))
    except BaseException:
        # Where this cannot be done, what went wrong before says more.
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    made = KeptPackages(digest, tuple(packages), size)
    atomic.write(folder / f"{address}.json", msgspec.json.encode(made))
    return made


def clear(folder: Path, address: str) -> None:
    """Remove what is kept for an address: record, archives, and those that were never whole."""
    (folder / f"{address}.json").unlink(missing_ok=True)
    for left in (*folder.glob(f"{address}-*.tar"), folder / f".{address}.new"):
        left.unlink(missing_ok=True)


def lay_out(folder: Path, address: str, found: KeptPackages, target: Path) -> None:
    """Make `target` of an archive, all of it or nothing. Raises BadArchive, FileNotFoundError, OSError."""
    unpack(_archive(folder, address, found.sha256), target, found.sha256, PACKAGES)


def _archive(folder: Path, address: str, sha256: str) -> Path:
    return folder / f"{address}-{sha256[:16]}.tar"


def _write(file: BinaryIO, tree: Path, names: list[str]) -> tuple[str, int]:
    digest, size, count = hashlib.sha256(), 0, 0
    for name in names:
        for path, kind in _entries(tree, name):
            count += 1
            for piece in _entry(tree, path, kind):
                digest.update(piece)
                file.write(piece)
                size += len(piece)
            if count > PACKAGES.members or size > PACKAGES.unpacked:
                raise BadArchive(f"the packages have more than {PACKAGES.members:,} files, or 40 GB")
    digest.update(tar.END)
    file.write(tar.END)
    return digest.hexdigest(), size


def _entries(tree: Path, name: str) -> Iterator[tuple[str, int]]:
    """The files and links below an entry of a folder, sorted, with their modes."""
    mode = (tree / name).lstat().st_mode
    if not stat.S_ISDIR(mode):
        yield name, mode
        return
    for inside in sorted(path.name for path in (tree / name).iterdir()):
        yield from _entries(tree, f"{name}/{inside}")


def _entry(tree: Path, name: str, mode: int) -> Iterator[bytes]:
    path, raw = tree / name, os.fsencode(name)
    if len(raw) > MOST_PATH or len(raw.rpartition(b"/")[2]) > MOST_NAME:
        raise BadArchive(f"{path_for_terminal(name)[:200]} is too long a name")
    if stat.S_ISLNK(mode):
        yield tar.entry(raw, 0, target=os.fsencode(path.readlink()))
        return
    if not stat.S_ISREG(mode):
        raise BadArchive(f"{path_for_terminal(name)} is neither a file nor a link")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        yield tar.entry(raw, size, executable=bool(mode & 0o111))
        left = size
        while left and (data := file.read(min(left, _CHUNK))):
            left -= len(data)
            yield data
    if left:
        raise BadArchive(f"{path_for_terminal(name)} changed while it was read")
    yield bytes(-size % tar.BLOCK)
