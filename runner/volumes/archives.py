"""Whether a zip is whole, as `torch.save` writes it: its directory, and a header where that says each part is.

Nothing is unpacked: a few bytes at the places that the directory names tell whether they are still there.
"""

import struct
from collections.abc import Callable, Iterator

TAIL = 65_557 + 76
# A directory of so many bytes is of more parts than any model has.
MOST_DIRECTORY = 16 << 20
HEADER = b"PK\x03\x04"
_ENTRY, _END, _END_64, _WHERE_64 = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LARGE, _LARGE_COUNT = 0xFFFFFFFF, 0xFFFF


CUT = "it is truncated"


class Damaged(ValueError):
    """The archive is not whole; says what of it is missing."""


def headers(read: Callable[[int, int], bytes], size: int) -> list[int]:
    """Where an archive of `size` bytes has the header of each part. `read` gives bytes at an offset. Raises Damaged."""
    begin = max(0, size - TAIL)
    tail = read(begin, size - begin)
    at, length, count = _directory(tail, begin, size)
    data = tail[at - begin : at - begin + length] if at >= begin else read(at, length)
    found = list(_offsets(data))
    if len(data) != length or len(found) != count or not found:
        raise Damaged("its directory is damaged")
    if any(offset + len(HEADER) > at for offset in found):
        raise Damaged("its directory is damaged")
    return found


def _directory(tail: bytes, begin: int, size: int) -> tuple[int, int, int]:
    """Where the directory is, how long, and of how many parts."""
    end = tail.rfind(_END)
    if end < 0 or len(tail) - end < 22:
        raise Damaged(CUT)
    count, length, at = struct.unpack_from("<HII", tail, end + 10)
    last = begin + end
    if _LARGE in (length, at) or count == _LARGE_COUNT:
        if tail[end - 20 : end - 16] != _WHERE_64 or end < 20:
            raise Damaged("its directory is damaged")
        (last,) = struct.unpack_from("<Q", tail, end - 12)
        record = tail[last - begin : last - begin + 56] if last >= begin else b""
        if record[:4] != _END_64 or len(record) < 56:
            raise Damaged("its directory is damaged")
        count, length, at = struct.unpack_from("<QQQ", record, 32)
    if length > MOST_DIRECTORY or at + length > last or last > size:
        raise Damaged(CUT)
    return at, length, count


def _offsets(directory: bytes) -> Iterator[int]:
    """Where each part begins, by the entries of a directory."""
    at = 0
    while at + 46 <= len(directory) and directory[at : at + 4] == _ENTRY:
        packed, plain, name, extra, comment = struct.unpack_from("<IIHHH", directory, at + 20)
        (offset,) = struct.unpack_from("<I", directory, at + 42)
        if offset == _LARGE:
            field = directory[at + 46 + name : at + 46 + name + extra]
            offset = _large(field, 8 * ((packed == _LARGE) + (plain == _LARGE)))
        yield offset
        at += 46 + name + extra + comment


def _large(extra: bytes, after: int) -> int:
    """A place beyond four gigabytes, which stands in an extra field after the sizes that are as large."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == 1 and after + 8 <= length and at + 12 + after <= len(extra):
            return int.from_bytes(extra[at + 4 + after : at + 12 + after], "little")
        at += 4 + length
    raise Damaged("its directory is damaged")
