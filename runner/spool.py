"""A log on this disk: append-only bytes and a sparse index of its lines. No UI in it."""

import os
import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

BLOCK = 1 << 16
READ = 64 * BLOCK
MAX_SHOWN = 4096
KEPT_BLOCKS = 16


class LogFile:
    """Lines of a growing file by number; the text stays on disk, and memory is 8 bytes for each 64 KiB of it.

    A carriage return starts the line over, as a terminal would show it. The unterminated last line counts as a line.
    One thread may refresh while others read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Newlines up to the end of each block of the file; the last one may be of a block that still grows.
        self._newlines = array("Q")
        self._indexed = 0
        self._fd: int | None = None
        # Lines, bytes and whole lines as of the last refresh, replaced at once.
        self._view = (0, 0, 0)
        self._ends_a_line = True
        self._blocks: OrderedDict[int, array[int]] = OrderedDict()
        self._lock = threading.Lock()

    def refresh(self, limit: int | None = None) -> bool:
        """Index what was appended since the last call, at most about `limit` bytes; whether there was anything.

        A missing file is an empty one; a file that became shorter is read anew.
        """
        if self._fd is None:
            try:
                self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
        size = os.fstat(self._fd).st_size
        if size == self._indexed:
            return False
        if size < self._indexed:
            with self._lock:
                self._newlines, self._indexed, self._ends_a_line = array("Q"), 0, True
                self._blocks.clear()
        stop = size if limit is None else min(size, self._indexed + limit)
        while self._indexed < stop:
            # From the beginning of the block that still grows.
            first = self._indexed // BLOCK * BLOCK
            data = os.pread(self._fd, min(READ, size - first), first)
            if len(data) <= self._indexed - first:
                break
            self._count(first, data)
        whole = self._newlines[-1] if self._newlines else 0
        self._view = (whole + (not self._ends_a_line), self._indexed, whole)
        return True

    def _count(self, first: int, data: bytes) -> None:
        number = first // BLOCK
        so_far = self._newlines[number - 1] if number else 0
        found = array("Q")
        for at in range(0, len(data), BLOCK):
            so_far += data.count(b"\n", at, at + BLOCK)
            found.append(so_far)
        with self._lock:
            del self._newlines[number:]
            self._newlines.extend(found)
            self._blocks.pop(number, None)
            self._indexed = first + len(data)
            self._ends_a_line = data.endswith(b"\n")

    def __len__(self) -> int:
        return self._view[0]

    @property
    def whole(self) -> int:
        """Lines that have got their newline."""
        return self._view[2]

    @property
    def size(self) -> int:
        """Bytes that are indexed."""
        return self._view[1]

    @property
    def behind(self) -> int:
        """Bytes of the file that are not indexed yet."""
        return max(0, os.fstat(self._fd).st_size - self._indexed) if self._fd is not None else 0

    def start(self, number: int) -> int:
        """Where a line begins; the end of what is indexed for the line after the last."""
        if number <= 0:
            return 0
        if number > self._view[2]:
            return self._view[1]
        with self._lock:
            block = bisect_left(self._newlines, number)
            before = self._newlines[block - 1] if block else 0
            return block * BLOCK + self._ends(block)[number - before - 1]

    def line_at(self, offset: int) -> int:
        """The number of the line that holds the byte at `offset`."""
        with self._lock:
            block = min(max(0, offset), self._view[1]) // BLOCK
            before = self._newlines[block - 1] if 0 < block <= len(self._newlines) else 0
            return before + bisect_left(self._ends(block), offset - block * BLOCK + 1)

    def _ends(self, block: int) -> "array[int]":
        """Where the lines of a block end, just behind their newlines, from the block's beginning."""
        known = self._blocks.get(block)
        if known is None:
            data = os.pread(self._fd, BLOCK, block * BLOCK) if self._fd is not None else b""
            known, at = array("I"), data.find(b"\n")
            while at >= 0:
                known.append(at + 1)
                at = data.find(b"\n", at + 1)
            if len(data) == BLOCK:
                self._blocks[block] = known
                if len(self._blocks) > KEPT_BLOCKS:
                    self._blocks.popitem(last=False)
        return known

    def read(self, offset: int, length: int) -> bytes:
        """Bytes as they are on disk."""
        return os.pread(self._fd, length, offset) if self._fd is not None and length > 0 else b""

    def raw(self, number: int) -> bytes:
        """The bytes of a line, at most MAX_SHOWN of its end state, without its newline."""
        if not 0 <= number < self._view[0]:
            return b""
        start = self.start(number)
        end = self.start(number + 1) - (1 if number < self._view[2] else 0)
        return end_state(self.read, start, end)

    def text(self, number: int) -> str:
        """A line as text; bytes that are not UTF-8 are shown as replacement characters."""
        return self.raw(number).decode("utf-8", "replace")

    def tail(self, lines: int) -> list[str]:
        """The last lines of the file, indexed or not: what can be shown at once."""
        if self._fd is None:
            return []
        size = os.fstat(self._fd).st_size
        data = self.read(max(0, size - BLOCK), BLOCK)
        found = data.rstrip(b"\n").split(b"\n")
        if size > BLOCK and len(found) > 1:
            del found[0]
        return [line[-MAX_SHOWN:].rpartition(b"\r")[2].decode("utf-8", "replace") for line in found[-lines:]]

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def end_state(read: Callable[[int, int], bytes], start: int, end: int) -> bytes:
    """What a terminal would show in the end of a line between two offsets: the text after its last carriage return."""
    if end - start <= MAX_SHOWN:
        line = read(start, end - start)
    else:
        tail = read(end - MAX_SHOWN, MAX_SHOWN)
        line = tail if b"\r" in tail.rstrip(b"\r") else read(start, MAX_SHOWN)
    return line.rstrip(b"\r").rpartition(b"\r")[2]
