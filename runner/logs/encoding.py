"""A log as it was packed or written elsewhere -> the bytes of its text in UTF-8, a piece at a time."""

import bz2
import codecs
import contextlib
import gzip
import importlib
import lzma
import math
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from runner.errors import UsageError
from runner.text.untrusted import json_object

# So much of a packed log is unpacked, and so much of the disk is left free: a small file may hold any number of bytes.
MOST, LEFT_FREE = 4 << 30, 1 << 30
LOOKED_EVERY, PIECE = 64 << 20, 1 << 16
HEAD, TOLD_BY = 4096, 6
# One inside another, no deeper.
DEEPEST = 3
_PACKED: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ARCHIVES = (
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
)
# Where a log driver puts what was said, and when.
_SAID, _AT, LONGEST_WRAPPED = ("log", "textPayload", "message"), ("time", "timestamp"), 1 << 20
_DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError, ValueError)


class Readable(Protocol):
    """Where bytes come from."""

    def read(self, size: int, /) -> bytes: ...


class _Ahead:
    """A source of which the first bytes were looked at."""

    def __init__(self, source: Readable) -> None:
        self._source, self.head = source, b""
        # No more is waited for than tells what it is: what comes through a pipe may come slowly.
        while len(self.head) < TOLD_BY and (data := source.read(HEAD)):
            self.head += data
        self._rest = self.head

    def read(self, size: int = -1, /) -> bytes:
        if self._rest and size:
            data, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
            return data
        return self._source.read(PIECE if size < 0 else size)


class _Decoded:
    """Text in another encoding, in UTF-8."""

    def __init__(self, source: Readable, encoding: str, mark: bytes) -> None:
        self._source, self._skip = source, len(mark)
        self._decode = codecs.getincrementaldecoder(encoding)(errors="replace").decode

    def read(self, size: int, /) -> bytes:
        while data := self._source.read(size):
            data, self._skip = data[self._skip :], max(0, self._skip - len(data))
            if text := self._decode(data):
                return text.encode("utf-8", "replace")
        return self._decode(b"", final=True).encode("utf-8", "replace")


class _Wrapped:
    """Lines that a container's log driver has wrapped as JSON, unwrapped: what was said, behind its time."""

    def __init__(self, source: Readable) -> None:
        self._source, self._rest = source, b""

    def read(self, size: int, /) -> bytes:
        while data := self._source.read(size):
            *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > LONGEST_WRAPPED:
                lines, self._rest = [*lines, self._rest], b""
            if lines:
                return b"".join(map(_unwrapped, lines))
        rest, self._rest = self._rest, b""
        return _unwrapped(rest) if rest else b""


def _unwrapped(line: bytes) -> bytes:
    found = json_object(line.decode("utf-8", "replace"))
    key = next((key for key in _SAID if found and isinstance(found.get(key), str)), "")
    if not found or not key:
        return line + b"\n"
    at = next((str(found[name]) for name in _AT if isinstance(found.get(name), str)), "")
    said = f"{at} {found[key]}" if at else str(found[key])
    return said.removesuffix("\n").encode("utf-8", "replace") + b"\n"


class _Ready:
    """What is unpacked already, and not all that was asked for: a damage behind it must not take it along."""

    def __init__(self, file: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile) -> None:
        self.read = file.read1


class Text:
    """The text of a log, to be read a piece at a time; afterwards `said` tells what of it could not be had."""

    def __init__(self, source: Readable, name: str, folder: Path, most: int = MOST) -> None:
        """`folder` is where it will lie. Raises UsageError for what is no log, or cannot be unpacked here."""
        self._folder, self._name, self._read, self._looked, self.said = folder, name, 0, 0, ""
        try:
            ahead = self._ahead = _Ahead(source)
            # What comes as it is takes no more room here than it took before.
            self._most = most if _packed(ahead.head) else math.inf
            self._source = _text(ahead, name)
        except _DAMAGED as error:
            raise UsageError(f"{name} cannot be unpacked ({error})", "get it again") from error

    def read(self, size: int = PIECE, /) -> bytes:
        """The next bytes; none at the end, and where the limit, the disk or a damage ends it."""
        if self.said:
            return b""
        if self._read >= self._most:
            self.said = f"only the first {self._read >> 20:,} MiB of {self._name} are read"
            return b""
        if self._read >= self._looked:
            self._looked = self._read + LOOKED_EVERY
            if shutil.disk_usage(self._folder).free < LEFT_FREE:
                self.said = f"the disk has no room for more than the first {self._read >> 20:,} MiB of {self._name}"
                return b""
        try:
            data = self._source.read(size)
        except _DAMAGED as error:
            what = f"{self._name} is damaged after {self._read:,} bytes of its text ({error})"
            self.said = f"{what}: what came before is read"
            return b""
        self._read += len(data)
        return data

    def drain(self) -> None:
        """Take what still comes and keep nothing of it, so that whoever sends it can go on."""
        with contextlib.suppress(OSError):
            while self._ahead.read(PIECE):
                pass


def is_plain(path: Path) -> bool:
    """Whether a file can be read as it is, also while it grows. Raises UsageError for an archive."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    _refuse(head, path.name)
    return not _packed(head) and _encoding(head)[0] == "" and not _is_wrapped(head)


def _text(ahead: _Ahead, name: str, depth: int = 0) -> Readable:
    _refuse(ahead.head, name)
    if kind := _packed(ahead.head):
        if depth == DEEPEST:
            raise UsageError(f"{name} is packed too many times over", "unpack it first")
        return _text(_Ahead(_unpacked(kind, ahead, name)), name, depth + 1)
    encoding, mark = _encoding(ahead.head)
    if encoding:
        return _Decoded(ahead, encoding, mark)
    return _Wrapped(ahead) if _is_wrapped(ahead.head) else ahead


def _is_wrapped(head: bytes) -> bool:
    """Whether the first line is an object that says what was said, as Docker's log files have it."""
    found = json_object(head.partition(b"\n")[0].decode("utf-8", "replace")) if head.startswith(b"{") else None
    return found is not None and any(isinstance(found.get(key), str) for key in _SAID)


def _refuse(head: bytes, name: str) -> None:
    for magic, what in _ARCHIVES:
        if head.startswith(magic):
            raise UsageError(f"{name} is {what}, no log", "unpack it, then give the log that is in it")
    if head[257:262] == b"ustar":
        raise UsageError(f"{name} is a tar archive, no log", "unpack it, then give the log that is in it")


def _packed(head: bytes) -> str:
    return next((kind for magic, kind in _PACKED if head.startswith(magic)), "")


def _encoding(head: bytes) -> tuple[str, bytes]:
    """The encoding of a text that is not plain UTF-8, and the mark that it begins with."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, mark
    even, odd = head[::2], head[1::2]
    for encoding, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        # Text of any language has line ends, blanks and digits, whose upper halves are zero.
        if len(head) > 3 and zeros.count(0) > len(zeros) // 3 and others.count(0) <= len(others) // 50:
            return encoding, b""
    return "", b""


def _unpacked(kind: str, source: _Ahead, name: str) -> Readable:
    # All that these ask for is `read`.
    file = cast(BinaryIO, source)
    match kind:
        case "gzip":
            return _Ready(gzip.GzipFile(fileobj=file))
        case "bzip2":
            return _Ready(bz2.BZ2File(file))
        case "xz":
            return _Ready(lzma.LZMAFile(file))
    return _zstd(file, name)


def _zstd(file: BinaryIO, name: str) -> Readable:
    for module in ("compression.zstd", "backports.zstd", "pyzstd"):
        with contextlib.suppress(ImportError):
            opened: Readable = importlib.import_module(module).ZstdFile(file)
            return opened
    if program := shutil.which("zstd") or shutil.which("unzstd"):
        return _Program([program, "-dcq"], file)
    what = f"{name} is packed with zstd, which nothing here can read"
    raise UsageError(what, "install the program zstd, or: pip install backports.zstd")


class _Program:
    """What a program makes of a source, which is laid into a file for it: it must not wait for us."""

    def __init__(self, words: list[str], source: Readable) -> None:
        with tempfile.TemporaryFile() as file:
            while data := source.read(PIECE):
                file.write(data)
            file.seek(0)
            self._child = subprocess.Popen(words, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def read(self, size: int, /) -> bytes:
        out, said = self._child.stdout, self._child.stderr
        data = out.read(size) if out else b""
        if not data and self._child.wait():
            raise ValueError((said.read(200) if said else b"").decode("utf-8", "replace").strip() or "it ended badly")
        return data
