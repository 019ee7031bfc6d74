"""A file of a volume as a file that can be sought in, of which only what is asked for is read, and not too much."""

import io
from collections import OrderedDict

from runner.text import units
from runner.volumes.base import Entry, Volume

PIECE = 256 << 10
KEPT = 32


class ReadLimitExceeded(OSError):
    """A preview would have to read more than it may."""


class RangeReader(io.RawIOBase):
    """Reads pieces of a file through its volume, at most `most` bytes in all. Raises ReadLimitExceeded beyond."""

    def __init__(self, volume: Volume, entry: Entry, most: int) -> None:
        self._volume, self._entry, self._most = volume, entry, most
        self._at = self.read_bytes = 0
        self._pieces: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._entry.bytes}[whence]
        if base + offset < 0:
            raise ValueError("negative position")
        self._at = base + offset
        return self._at

    def _piece(self, number: int) -> bytes:
        if number in self._pieces:
            self._pieces.move_to_end(number)
            return self._pieces[number]
        wanted = min(PIECE, self._entry.bytes - number * PIECE)
        if self.read_bytes + wanted > self._most:
            raise ReadLimitExceeded(f"more than {units.size(self._most)} would have to be read")
        data = self._volume.read(self._entry.path, number * PIECE, wanted)
        self.read_bytes += wanted
        self._pieces[number] = data
        if len(self._pieces) > KEPT:
            self._pieces.popitem(last=False)
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._at >= self._entry.bytes or not len(buffer):
            return 0
        number, inside = divmod(self._at, PIECE)
        data = self._piece(number)[inside : inside + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def open_ranged(volume: Volume, entry: Entry, most: int) -> io.BufferedReader:
    """A file of a volume, open for reading by whatever wants a file."""
    return io.BufferedReader(RangeReader(volume, entry, most), 1 << 16)
