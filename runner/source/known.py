"""Which archive an unchanged folder has, remembered by what the disk says of its files, so that none is read."""

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from runner.source.code_files import CodeFile, Listing
from runner.system import atomic

FOLDER = "known"
# With each change of what is taken for a secret, or of how an archive is made.
RULES = 1
# Times on a disk are this coarse at worst: what changed so shortly before it was read may have changed after it, too.
RACY_NS = 2_000_000_000


class Known(Struct, frozen=True):
    """The archive of a folder as it was: `began` ns of the clock before its files were read; `packed` bytes of it.

    `suspect` is true where something in it looks like a secret.
    """

    fingerprint: str
    began: int
    sha256: str
    packed: int
    bytes: int
    suspect: bool
    rules: int = RULES


def fingerprint(files: Iterable[CodeFile]) -> str:
    """What changes whenever the disk says anything else of one of these files."""
    return hashlib.sha256(repr([msgspec.structs.astuple(entry) for entry in files]).encode()).hexdigest()


def recall(cache: Path, listing: Listing, *, include_secrets: bool) -> Known | None:
    """The archive of a folder that has not changed for certain; None where it must be read."""
    try:
        known = msgspec.json.decode(_file(cache, listing.folder).read_bytes(), type=Known)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    newest = max(max(entry.mtime_ns, entry.ctime_ns) for entry in listing.files)
    if known.rules != RULES or (known.suspect and not include_secrets) or newest >= known.began - RACY_NS:
        return None
    return known if known.fingerprint == fingerprint(listing.files) else None


def remember(cache: Path, folder: Path, known: Known) -> None:
    """Note the archive of a folder; where the disk takes no more it is read anew the next time."""
    with contextlib.suppress(OSError):
        atomic.write(_file(cache, folder), msgspec.json.encode(known), atomic.PRIVATE)


def _file(cache: Path, folder: Path) -> Path:
    return cache / FOLDER / f"{hashlib.sha256(bytes(folder)).hexdigest()[:32]}.json"
