"""A folder's code -> one archive, named by the digest of what is in it: the same code always has the same name."""

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from runner.errors import SecretsInCode, UsageError, naming_path
from runner.source import tar
from runner.source.code_files import FIELD, CodeFile, Listing, entry_of, files_of
from runner.source.git import GitState, state_of
from runner.source.known import Known, fingerprint, recall, remember
from runner.source.limits import MOST_PACKED
from runner.source.secrets import suspicion
from runner.system import atomic
from runner.system.placing import move_into
from runner.text.filenames import path_for_terminal

if TYPE_CHECKING:
    from concurrent.futures import Future

TIMES = 3
_CHUNK = 1 << 20
_LARGEST = 10
# A packer takes seconds: what has lain so long was left by one that was killed.
_LEFT_S = 3600.0
_NEW = ".new-"


class Packed(Struct, frozen=True):
    """An archive in the cache: `bytes` are those of its files, `note` is for people."""

    sha256: str
    path: Path
    files: int
    bytes: int
    git: GitState
    note: str


def archive_path(cache: Path, sha256: str) -> Path:
    """Where the archive of that address is kept."""
    return cache / f"{sha256}.tar.gz"


def pack(folder: Path, cache: Path, *, include_secrets: bool = False) -> Packed:
    """Put the code of a folder into the cache, unless it is there. Raises UsageError, OSError of the cache's disk."""
    listing = files_of(folder)
    git = state_of(listing.folder)
    size = sum(entry.size for entry in listing.files if not entry.target)
    if size > MOST_PACKED:
        raise _too_large(listing, size)
    known = recall(cache, listing, include_secrets=include_secrets)
    if known is None or not _is_whole(archive_path(cache, known.sha256), known.packed):
        known = _make(listing, cache, include_secrets=include_secrets)
    path = archive_path(cache, known.sha256)
    return Packed(known.sha256, path, len(listing.files), known.bytes, git, listing.note)


def _make(listing: Listing, cache: Path, *, include_secrets: bool) -> Known:
    """Read all files into a new archive, and remember what they were."""
    began = time.time_ns()
    cache.mkdir(mode=atomic.PRIVATE_FOLDER, parents=True, exist_ok=True)
    _clear(cache)
    new = cache / f"{_NEW}{os.urandom(8).hex()}"
    found, seen = list[tuple[str, str]](), list[CodeFile]()
    try:
        with naming_path(cache, instead_of=new), _Writer(new) as archive:
            for entry in listing.files:
                entry, data = _read(listing.folder, entry)
                seen.append(entry)
                if why := suspicion(entry.name, data):
                    found.append((entry.name, why))
                is_link = bool(entry.target)
                target = os.fsencode(entry.target)
                executable = bool(entry.mode & 0o111) and not is_link
                size = 0 if is_link else len(data)
                archive.add(tar.entry(os.fsencode(entry.name), size, executable=executable, target=target))
                if not is_link:
                    archive.add(data)
                    archive.add(bytes(-size % tar.BLOCK))
            if found and not include_secrets:
                raise _suspected(found)
            archive.add(tar.END)
            archive.close()
        with naming_path(cache, instead_of=new):
            move_into(new, archive_path(cache, archive.sha256), over=True)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    size = sum(entry.size for entry in seen if not entry.target)
    known = Known(fingerprint(seen), began, archive.sha256, archive.packed, size, bool(found))
    remember(cache, listing.folder, known)
    return known


class _Writer:
    """A compressed file that is written while its digest is taken; a thread compresses meanwhile."""

    def __init__(self, path: Path) -> None:
        import hashlib
        import zlib
        from concurrent.futures import ThreadPoolExecutor

        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, atomic.PRIVATE)
        self._file = os.fdopen(fd, "wb")
        self._digest = hashlib.sha256()
        # The header that zlib writes for 31 has neither a name nor a time.
        self._deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None
        self._ready, self._count = list[bytes](), 0
        self.sha256, self.packed = "", 0

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        # What could not be written cannot be flushed either.
        with contextlib.suppress(OSError):
            self._file.close()

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self._digest.update(data)
        self._ready.append(data)
        self._count += len(data)
        if self._count >= _CHUNK:
            self._hand_over()

    def close(self) -> None:
        """Bring all of it to the disk."""
        self._hand_over()
        self._wait()
        self._file.write(self._deflate.flush())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.sha256, self.packed = self._digest.hexdigest(), self._file.tell()

    def _hand_over(self) -> None:
        self._wait()
        self._last = self._thread.submit(self._write, b"".join(self._ready))
        self._ready, self._count = [], 0

    def _wait(self) -> None:
        if self._last:
            self._last.result()

    def _write(self, data: bytes) -> None:
        self._file.write(self._deflate.compress(data))


def _read(root: Path, entry: CodeFile) -> tuple[CodeFile, bytes]:
    """A file as it is now, with its bytes, or a link; read anew while it changes. Raises UsageError."""
    said = path_for_terminal(entry.name)
    path = root / entry.name
    try:
        if entry.target:
            if os.readlink(path) != entry.target:  # noqa: PTH115 - as it stands
                raise _changing(said)
            return entry, b""
        for _ in range(TIMES):
            if (found := _read_once(path)) is not None:
                return entry_of(entry.name, found[0]), found[1]
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(
            f"{said} cannot be read ({why})", "see to it, or put it into .gitignore", field=FIELD
        ) from error
    raise _changing(said)


def _read_once(path: Path) -> tuple[os.stat_result, bytes] | None:
    """What the disk says of a file, and its bytes; None where it changed meanwhile."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode) or before.st_size > MOST_PACKED:
            return None
        # One more byte than it has tells of one that grows.
        pieces = list(_pieces(file.fileno(), before.st_size + 1))
        after = os.fstat(file.fileno())
    data = b"".join(pieces)
    same = (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    return (after, data) if same and len(data) == after.st_size else None


def _pieces(fd: int, most: int) -> Iterator[bytes]:
    while most > 0 and (piece := os.read(fd, most)):
        most -= len(piece)
        yield piece


def _is_whole(archive: Path, size: int) -> bool:
    try:
        return archive.stat().st_size == size
    except FileNotFoundError:
        return False


def _clear(cache: Path) -> None:
    """Remove what packers have left behind that were killed."""
    for left in cache.glob(f"{_NEW}*"):
        with contextlib.suppress(FileNotFoundError):
            if abs(time.time() - left.stat().st_mtime) > _LEFT_S:
                left.unlink()


def _changing(said: str) -> UsageError:
    return UsageError(f"{said} changes while it is read", "stop what writes it, or put it into .gitignore", field=FIELD)


def _too_large(listing: Listing, size: int) -> UsageError:
    largest = sorted((e for e in listing.files if not e.target), key=lambda e: -e.size)[:_LARGEST]
    named = ", ".join(f"{path_for_terminal(entry.name)} ({entry.size / 1e6:.1f} MB)" for entry in largest)
    said = path_for_terminal(str(listing.folder))
    return UsageError(
        f"{said} has {size / 1e6:.1f} MB of files, more than {MOST_PACKED // 1_000_000} MB",
        f"put into .gitignore what is no code; the largest: {named}",
        field=FIELD,
    )


def _suspected(found: list[tuple[str, str]]) -> SecretsInCode:
    named = ", ".join(f"{path_for_terminal(name)} ({why})" for name, why in found)
    what = "looks like a secret" if len(found) == 1 else "look like secrets"
    return SecretsInCode(
        f"{what}: {named}", "add them to .gitignore (and `git rm --cached` them), or --include-secrets", field=FIELD
    )
