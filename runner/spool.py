"""A run's log on this disk: append-only bytes and an index of its lines. No UI in it."""

import os
from array import array
from pathlib import Path

BLOCK = 1 << 20
MAX_SHOWN = 4096


class LogFile:
    """Lines of a growing file by number. Memory is 8 bytes a line; the text stays on disk.

    A carriage return starts the line over, as a terminal would show it. The unterminated last line counts as a line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts = array("Q", [0])
        self._indexed = 0
        self._fd: int | None = None
        # Lines, bytes and whole lines as of the last whole refresh: one thread may refresh while another reads.
        self._view = (0, 0, 0)

    def refresh(self) -> bool:
        """Index what was appended since the last call; whether there was anything. A missing file is an empty one."""
        if self._fd is None:
            try:
                self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
        size = os.fstat(self._fd).st_size
        if size == self._indexed:
            return False
        if size < self._indexed:
            self._starts, self._indexed = array("Q", [0]), 0
        while self._indexed < size:
            block = os.pread(self._fd, min(BLOCK, size - self._indexed), self._indexed)
            if not block:
                break
            at = block.find(b"\n")
            while at >= 0:
                self._starts.append(self._indexed + at + 1)
                at = block.find(b"\n", at + 1)
            self._indexed += len(block)
        whole = len(self._starts) - 1
        self._view = (whole + (self._starts[-1] != self._indexed), self._indexed, whole)
        return True

    def __len__(self) -> int:
        return self._view[0]

    @property
    def whole(self) -> int:
        """Lines that have got their newline."""
        return self._view[2]

    def raw(self, number: int) -> bytes:
        """The bytes of a line, at most MAX_SHOWN of its end state, without its newline."""
        if self._fd is None or not 0 <= number < self._view[0]:
            return b""
        start = self._starts[number]
        end = self._starts[number + 1] - 1 if number + 1 < len(self._starts) else self._view[1]
        if end - start <= MAX_SHOWN:
            line = os.pread(self._fd, max(0, end - start), start)
        else:
            tail = os.pread(self._fd, MAX_SHOWN, end - MAX_SHOWN)
            line = tail if b"\r" in tail.rstrip(b"\r") else os.pread(self._fd, MAX_SHOWN, start)
        return line.rstrip(b"\r").rpartition(b"\r")[2]

    def text(self, number: int) -> str:
        """A line as text; bytes that are not UTF-8 are shown as replacement characters."""
        return self.raw(number).decode("utf-8", "replace")

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
