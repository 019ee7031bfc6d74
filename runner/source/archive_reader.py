"""What is in an archive that may be hostile, read once from its beginning to its end; nothing is written here."""

import hashlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from runner.source import tar
from runner.source.limits import CODE, MOST_NAME, MOST_PATH, Limits
from runner.source.links import leading_out
from runner.text.filenames import path_for_terminal

_CHUNK = 1 << 18
CUT = "the archive is cut off"


class BadArchive(ValueError):
    """An archive that is not taken; says why in one line."""


class Member(NamedTuple):
    """A file with its bytes, which are read before the next member; a link with its target; or a folder."""

    name: str
    kind: bytes
    executable: bool
    target: str
    chunks: Iterator[bytes]


def members(archive: BinaryIO, sha256: str = "", limits: Limits = CODE) -> Iterator[Member]:
    """All that is in an archive, files and folders in its order, then links. Raises BadArchive.

    A caller that has not come to the end knows nothing yet: the address, the links and whether more follows come last.
    """
    stream = (_Gzip if limits.packed else _Stream)(archive, limits.unpacked)
    known = _Known(limits)
    for header in _headers(stream):
        known.add(header)
        if header.kind != tar.LINK:
            chunks = _content(stream, header.size)
            yield Member(known.name, header.kind, bool(header.mode & 0o111), "", chunks)
            for _ in chunks:
                pass
    stream.finish(sha256)
    if out := leading_out(known.links):
        raise BadArchive(f"{path_for_terminal(out)} is a link that leads out of the folder")
    for name, target in known.links.items():
        yield Member(name, tar.LINK, False, target, iter(()))


def too_large(limit: int) -> str:
    """Why an archive with more bytes in it is not taken."""
    return f"the archive holds more than {limit // 1_000_000} MB"


class _Stream:
    """The bytes of a tar: counted, and their digest taken, as they are read."""

    def __init__(self, archive: BinaryIO, limit: int) -> None:
        self._archive, self._limit = archive, limit
        self._digest = hashlib.sha256()
        self._ready, self._at = b"", 0
        self._count = 0

    def take(self, count: int) -> bytes:
        """So many bytes. Raises BadArchive where there are fewer."""
        while len(self._ready) - self._at < count:
            if not (more := self._more()):
                raise BadArchive(CUT)
            self._ready, self._at = self._ready[self._at :] + more, 0
        self._at += count
        return self._ready[self._at - count : self._at]

    def finish(self, sha256: str) -> None:
        """See that nothing but zeros follows, and that all of it has this address."""
        piece = self._ready[self._at :] or self._more()
        while piece:
            if piece.count(0) != len(piece):
                raise BadArchive("the archive goes on after its end")
            piece = self._more()
        self._ended()
        if sha256 and self._digest.hexdigest() != sha256:
            raise BadArchive("the archive is not the one that was meant: its sha256 is another")

    def _more(self) -> bytes:
        """The next bytes; none at the end."""
        return self._counted(self._archive.read(_CHUNK))

    def _counted(self, piece: bytes) -> bytes:
        self._count += len(piece)
        if self._count > self._limit:
            raise BadArchive(too_large(self._limit))
        self._digest.update(piece)
        return piece

    def _ended(self) -> None:
        return


class _Gzip(_Stream):
    """The bytes of a tar that was compressed by gzip."""

    def __init__(self, archive: BinaryIO, limit: int) -> None:
        super().__init__(archive, limit)
        self._inflate = zlib.decompressobj(31)

    def _more(self) -> bytes:
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._archive.read(_CHUNK)
            try:
                piece = self._inflate.decompress(packed, _CHUNK)
            except zlib.error as error:
                raise BadArchive("the archive is damaged, or no gzip") from error
            if piece:
                return self._counted(piece)
            if not packed:
                raise BadArchive(CUT)
        return b""

    def _ended(self) -> None:
        if self._inflate.unused_data or self._archive.read(1):
            raise BadArchive("the archive goes on after its end")


def _headers(stream: _Stream) -> Iterator[tar.Header]:
    """The entries up to the end, each with its whole name."""
    long = dict[bytes, bytes]()
    while any(block := stream.take(tar.BLOCK)):
        try:
            header = tar.parse(block)
        except tar.Malformed as error:
            raise BadArchive(str(error)) from error
        if header.kind in (tar.LONG_NAME, tar.LONG_TARGET):
            if header.size > 4 * MOST_PATH or header.kind in long:
                raise BadArchive("a name is too long")
            text = stream.take(header.size + -header.size % tar.BLOCK)[: header.size]
            long[header.kind] = text.removesuffix(b"\0")
            continue
        yield header._replace(
            name=long.get(tar.LONG_NAME, header.name), target=long.get(tar.LONG_TARGET, header.target)
        )
        long.clear()
    if long or any(stream.take(tar.BLOCK)):
        raise BadArchive("a header is damaged")


def _content(stream: _Stream, size: int) -> Iterator[bytes]:
    for at in range(0, size, _CHUNK):
        yield stream.take(min(_CHUNK, size - at))
    stream.take(-size % tar.BLOCK)


class _Known:
    """The names so far: none twice, none through what is no folder."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.name = ""
        self.links: dict[str, str] = {}
        self._names: set[str] = set()
        self._folders: set[str] = set()

    def add(self, header: tar.Header) -> None:
        """Take the next entry, or say why it is not taken."""
        is_folder = header.kind == tar.FOLDER
        name = self.name = _checked(header.name.removesuffix(b"/") if is_folder else header.name)
        said = path_for_terminal(name)
        if header.kind not in (tar.FILE, tar.LINK, tar.FOLDER):
            raise BadArchive(f"{said} is {tar.KINDS.get(header.kind, 'of an unknown kind')}")
        if header.size > self._limits.unpacked:
            raise BadArchive(too_large(self._limits.unpacked))
        if header.size and header.kind != tar.FILE:
            raise BadArchive("a header is damaged")
        if name in self._names or (name in self._folders and not is_folder):
            raise BadArchive(f"{said} is there twice")
        at = name.rfind("/")
        above = set[str]()
        while at > 0 and (folder := name[:at]) not in self._folders:
            if folder in self._names:
                raise BadArchive(f"{said} is inside of what is no folder")
            above.add(folder)
            at = name.rfind("/", 0, at)
        self._folders |= above
        (self._folders if is_folder else self._names).add(name)
        if len(self._names) + len(self._folders) > self._limits.members:
            raise BadArchive(f"the archive has more than {self._limits.members:,} files and folders")
        if header.kind == tar.LINK:
            if not header.target or b"\0" in header.target or len(header.target) > MOST_PATH:
                raise BadArchive(f"{said} is a link to no path")
            self.links[name] = header.target.decode("utf-8", "surrogateescape")


def _checked(raw: bytes) -> str:
    """A name inside of the folder, or the reason why it is none."""
    name = raw.decode("utf-8", "surrogateescape")
    parts = raw.split(b"/")
    if len(raw) > MOST_PATH or any(len(part) > MOST_NAME for part in parts):
        raise BadArchive("a name is too long")
    said = path_for_terminal(name)
    if b"\0" in raw:
        raise BadArchive(f"{said} has a NUL in its name")
    if raw.startswith(b"/"):
        raise BadArchive(f"{said} is an absolute path")
    if b".." in parts:
        raise BadArchive(f"{said} leads out of the folder")
    if b"" in parts or b"." in parts:
        raise BadArchive(f"{said or 'an empty name'} is no name of a file")
    return name
