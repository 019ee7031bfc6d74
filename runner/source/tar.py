"""The few kinds of tar entries that archives of code are made of: the same bytes from every Python. Pure."""

import re
from typing import NamedTuple

BLOCK = 512
END = bytes(2 * BLOCK)
FILE, LINK, FOLDER = b"0", b"2", b"5"
LONG_NAME, LONG_TARGET = b"L", b"K"
KINDS = {
    b"1": "a hard link", b"3": "a device", b"4": "a device", b"6": "a fifo", b"7": "a file of a kind of its own",
    b"S": "a sparse file", b"x": "an extended header", b"g": "an extended header",
}  # fmt: skip
_OCTAL = re.compile(rb"[ \0]*([0-7]+)[ \0]*")
_MAGIC = b"ustar  \0"


class Malformed(ValueError):
    """The bytes are no header of an entry; says why in a few words."""


class Header(NamedTuple):
    """One header block."""

    name: bytes
    mode: int
    size: int
    kind: bytes
    target: bytes


def entry(name: bytes, size: int, *, executable: bool = False, target: bytes = b"") -> bytes:
    """The header of a file, or of a link if it has a target. Longer names have blocks of their own, as in GNU's tar."""
    kind = LINK if target else FILE
    mode = 0o777 if target else 0o755 if executable else 0o644
    before = b""
    for long, what in ((LONG_TARGET, target), (LONG_NAME, name)):
        if len(what) > 100:
            before += _block(b"././@LongLink", 0o644, len(what) + 1, long, b"") + padded(what + b"\0")
    return before + _block(name[:100], mode, size, kind, target[:100])


def padded(data: bytes) -> bytes:
    """Bytes, and zeros up to the end of a block."""
    return data + bytes(-len(data) % BLOCK)


def parse(block: bytes) -> Header:
    """What a header block says. Raises Malformed."""
    spaces = block[:148] + b" " * 8 + block[156:]
    if _number(block[148:156]) != sum(spaces):
        raise Malformed("a header is damaged")
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = prefix + b"/" + name
    kind = block[156:157].replace(b"\0", FILE)
    return Header(name, _number(block[100:108]), _number(block[124:136]), kind, _text(block[157:257]))


def _block(name: bytes, mode: int, size: int, kind: bytes, target: bytes) -> bytes:
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 0, 0, size, 0)
    head = name.ljust(100, b"\0") + numbers
    tail = (kind + target.ljust(100, b"\0") + _MAGIC).ljust(BLOCK - 156, b"\0")
    return head + b"%06o\0 " % (sum(head) + sum(tail) + 8 * ord(" ")) + tail


def _number(field: bytes) -> int:
    found = _OCTAL.fullmatch(field)
    if not found and field.strip(b" \0"):
        raise Malformed("a header is damaged")
    return int(found[1], 8) if found else 0


def _text(field: bytes) -> bytes:
    text, _, rest = field.partition(b"\0")
    if rest.strip(b"\0"):
        raise Malformed("a name has a NUL in it")
    return text
