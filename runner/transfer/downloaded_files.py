"""What was brought into a folder of this disk, known by a journal in it and by content; the rest is the person's own.

A name and a time say nothing of whose a file is: folders are copied, times are kept to two seconds, or not at all.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from enum import Enum
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG

import msgspec
from msgspec import Struct

from runner.errors import NanochatError, Unreachable, UsageError, naming_path
from runner.model import stored
from runner.nanochat import layout
from runner.system.atomic import ends_a_line
from runner.system.placing import make_folder, move_into
from runner.text.filenames import BROUGHT, path_for_json, path_for_terminal
from runner.volumes.base import BLOCK, Entry

# Some disks keep times to two seconds.
TIMES_S = 2.0
MOST_BYTES = 64 << 20
# What a disk answers that has no room, or takes nothing any more: then no other file will come either.
NOBODY = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ENOTCONN}


ANOTHER = "--force replaces it, or choose another folder"


class BroughtFile(Struct, frozen=True):
    """A file that was brought: what it is called here and on its volume, its size and time there, and its content.

    `digest` is that of the digests of its blocks; `here_ns` the time that this disk gave it; a file that was damaged
    is not `whole`.
    """

    target: str
    origin: str
    bytes: int
    mtime: float
    digest: str
    here_ns: int
    block: int
    whole: bool = True


class LocalCopy(Enum):
    """What has the name of a file that is to come."""

    NOTHING = "nothing"
    WHOLE = "that very file"
    OURS = "what we brought, unchanged since"
    UNKNOWN = "a file that may have the same content, or the beginning of it"
    ANOTHER = "another file"


class LeftOut(NanochatError):
    """One file cannot come, for a reason of its own; the others can."""


# Of a file as it was judged: which file, its size and its time.
Sign = tuple[int, int, int]


def digest_of(digests: list[bytes]) -> str:
    """The digest of a file by those of its blocks."""
    return sha256(b"".join(digests)).hexdigest()


def digest_here(path: Path, block: int) -> str:
    """The same of a file of this disk."""
    with naming_path(path), path.open("rb") as file:
        found = []
        while data := file.read(block):
            found.append(sha256(data).digest())
    return digest_of(found)


class DestinationJournal:
    """A chosen folder with what is in it, as files of one volume come into it. Its methods may come from any thread."""

    def __init__(self, folder: Path, location: str, *, overwrite: bool = False) -> None:
        self.folder, self._location, self._overwrite = folder, location, overwrite
        self._path = folder / BROUGHT
        self._lock = threading.Lock()
        self._records: dict[str, list[BroughtFile]] = {}
        for record in self._read():
            self._records.setdefault(record.target, []).append(record)
        self._may_go: dict[str, Sign] = {}

    def _read(self) -> list[BroughtFile]:
        """What is on record. Lines that are torn or mean nothing cost themselves; then content tells."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return []
        if not S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return []
        with os.fdopen(fd, "rb") as file:
            data = file.read(MOST_BYTES)
        found = []
        for line in data.split(b"\n"):
            with contextlib.suppress(*stored.UNREADABLE):
                found.append(msgspec.json.decode(line, type=BroughtFile))
        return [r for r in found if r.block > 0]

    def _write(self, record: BroughtFile) -> None:
        """Put a record down, on a line of its own whoever wrote before us."""
        self._records.setdefault(record.target, []).append(record)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            with os.fdopen(os.open(self._path, flags, 0o644), "r+b", buffering=0) as file:
                file.write(b"\n" * (not ends_a_line(file)) + msgspec.json.encode(record) + b"\n")
        except OSError as error:
            raise Unreachable(
                f"what came cannot be noted in {path_for_terminal(str(self._path))} ({error.strerror or error})",
                "see that it is yours, and that there is room",
            ) from error

    def _origin(self, entry: Entry) -> str:
        return path_for_json(f"{self._location}:{entry.path}")

    def judge(self, target: str, entry: Entry) -> LocalCopy:
        """What is here under the name of a file that is to come. Raises UsageError when it is no file."""
        path = self.folder / target
        self._may_go.pop(target, None)
        try:
            found = path.lstat()
        except FileNotFoundError:
            return LocalCopy.NOTHING
        except NotADirectoryError as error:
            raise UsageError(f"a file is in the way of {path}", "move it, or choose another folder") from error
        if not S_ISREG(found.st_mode):
            raise UsageError(f"{path} is in the way, and is no file", "move it, or choose another folder")
        mine = [r for r in self._records.get(target, ()) if r.origin == self._origin(entry)]
        verdict = self._by_record(path, found, mine, entry)
        if verdict is LocalCopy.UNKNOWN and target not in self._records and found.st_size == entry.bytes:
            # Nothing was put down: brought by an earlier release, or its journal is gone.
            verdict = LocalCopy.WHOLE if abs(found.st_mtime - entry.mtime) <= TIMES_S else verdict
        grows = entry.name in layout.GROWING and 0 < found.st_size < entry.bytes
        if verdict is LocalCopy.UNKNOWN and found.st_size != entry.bytes and not grows:
            verdict = LocalCopy.ANOTHER
        if verdict is LocalCopy.OURS or (self._overwrite and verdict is not LocalCopy.WHOLE):
            self._may_go[target] = _sign(found)
            return LocalCopy.OURS
        return verdict

    def _by_record(self, path: Path, found: os.stat_result, mine: list[BroughtFile], entry: Entry) -> LocalCopy:
        """What the journal says of a file; UNKNOWN where it does not say that it is ours as we brought it."""
        digests: dict[int, str] = {}

        def same(record: BroughtFile) -> bool:
            if record.block not in digests:
                # What may not be read was changed by somebody.
                with contextlib.suppress(PermissionError):
                    digests[record.block] = digest_here(path, record.block)
            return digests.get(record.block) == record.digest

        for record in reversed(mine):
            if record.bytes != found.st_size or not (record.here_ns == found.st_mtime_ns or same(record)):
                continue
            if (record.bytes, record.mtime) == (entry.bytes, entry.mtime) and record.whole:
                if record.here_ns != found.st_mtime_ns:
                    with self._lock:
                        self._write(msgspec.structs.replace(record, here_ns=found.st_mtime_ns))
                return LocalCopy.WHOLE
            # What is to be replaced is known by more than its time.
            if (entry.name in layout.REWRITTEN or not record.whole) and same(record):
                return LocalCopy.OURS
        return LocalCopy.UNKNOWN

    def place(self, part: Path, target: str, entry: Entry, digest: str, block: int, *, whole: bool) -> None:
        """Give a part that has all of its file its name. Raises LeftOut where that is not to be."""
        path, sign = self.folder / target, self._may_go.get(target)
        times = part.stat().st_mtime_ns
        record = BroughtFile(target, self._origin(entry), entry.bytes, entry.mtime, digest, times, block, whole=whole)
        with self._lock, self._refused(path):
            make_folder(self.folder, path.parent)
            try:
                found = path.lstat()
            except FileNotFoundError:
                self._write(record)
                move_into(part, path, over=False)
                return
            if sign == _sign(found) or (self._overwrite and S_ISREG(found.st_mode)):
                self._write(record)
                move_into(part, path, over=True)
                return
            same = S_ISREG(found.st_mode) and _begins(path, part)
            if same and found.st_size == entry.bytes:
                self._write(msgspec.structs.replace(record, here_ns=found.st_mtime_ns))
                part.unlink()
            elif same and found.st_size and entry.name in layout.GROWING:
                self._write(record)
                move_into(part, path, over=True)
            else:
                raise FileExistsError

    @contextlib.contextmanager
    def _refused(self, path: Path) -> Iterator[None]:
        """Inside, what keeps this one file from its place is told; what would keep every other, too, is raised."""
        name = path_for_terminal(str(path))
        try:
            yield
        except FileExistsError as error:
            raise LeftOut(f"{name} is there already, and is another", ANOTHER) from error
        except OSError as error:
            if error.errno in NOBODY:
                raise
            raise LeftOut(
                f"{name} cannot be written ({error.strerror or error})", "bring it into another folder"
            ) from error


def _sign(found: os.stat_result) -> Sign:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _begins(path: Path, part: Path) -> bool:
    """Whether what is in a file is the beginning of a part, or all of it."""
    with path.open("rb") as file, part.open("rb") as other:
        while data := file.read(BLOCK):
            if other.read(len(data)) != data:
                return False
    return True
