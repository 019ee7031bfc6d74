"""A log on this disk: append-only bytes and a sparse index of its lines. No UI in it."""

import os
import stat
import threading
import time
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from runner.system.same_file import FileIdentity

BLOCK = 1 << 16
READ = 64 * BLOCK
MAX_SHOWN = 4096
KEPT_BLOCKS = 16
# What was written so lately may be written again in the same moment, as far as the times of a disk tell.
MOMENT_NS = 3 * 10**9


class _Open:
    """A file that stays open for as long as anybody reads from it, and no longer."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        of = os.fstat(fd)
        self.identity, self.regular = (of.st_dev, of.st_ino), stat.S_ISREG(of.st_mode)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self.fd, length, offset)

    def __del__(self) -> None:
        os.close(self.fd)


class LogFile:
    """Lines of a growing file by number; the text stays on disk, and memory is 8 bytes for each 64 KiB of it.

    A carriage return starts the line over, as a terminal would show it. The unterminated last line counts as a line.
    One thread may refresh while others read; the lock is for what they share. The file may be cut, written anew or
    replaced at any time: until the next refresh lines may then be blank, after it they are of the new one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Takes off what others have put before each line, once that is known.
        self.cut: Callable[[str], str] | None = None
        # How often the log was found cut, written anew or replaced: line numbers of before mean nothing any more.
        self.anew = 0
        self._lock = threading.Lock()
        # Newlines up to the end of each block of the file; the last one may be of a block that still grows.
        self._newlines = array("Q")
        self._indexed = 0
        self._file: _Open | None = None
        # Lines, bytes and whole lines as of the last refresh, replaced at once.
        self._view = (0, 0, 0)
        self._ends_a_line = True
        self._blocks: OrderedDict[int, array[int]] = OrderedDict()
        self._known = FileIdentity()
        # When it was last changed, and whether that is long enough ago to be told from a later change.
        self._changed, self._settled = (0, 0), False

    def refresh(self, limit: int | None = None) -> bool:
        """Index what was appended since the last call, at most about `limit` bytes; whether there was anything.

        A missing file is an empty one, or the one that was there; one that is not the same any more is read anew.
        """
        file = self._opened()
        if file is None:
            return False
        now = os.fstat(file.fd)
        size, changed = now.st_size, (now.st_mtime_ns, now.st_ctime_ns)
        if file is self._file and size == self._indexed and changed == self._changed and self._settled:
            return False
        self._changed, self._settled = changed, time.time_ns() - max(changed) > MOMENT_NS
        if file is not self._file or size < self._indexed or not self._known.is_still(file.read):
            self._begin_anew(file)
        elif size == self._indexed:
            return False
        stop = size if limit is None else min(size, self._indexed + limit)
        while self._indexed < stop:
            # From the beginning of the block that still grows.
            first = self._indexed // BLOCK * BLOCK
            data = os.pread(file.fd, min(READ, size - first), first)
            if len(data) <= self._indexed - first:
                break
            self._count(first, data)
            self._known.took(first, data)
        with self._lock:
            whole = self._newlines[-1] if self._newlines else 0
            self._view = (whole + (not self._ends_a_line), self._indexed, whole)
        return True

    def _opened(self) -> _Open | None:
        """The file that the path names now; while it names none, the one that it named."""
        try:
            now = self.path.stat()
            if self._file and (now.st_dev, now.st_ino) == self._file.identity:
                return self._file
            if not stat.S_ISREG(now.st_mode):
                return self._file
            # It may have become something else meanwhile: a pipe must not hold us up.
            found = _Open(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        except (FileNotFoundError, NotADirectoryError):
            return self._file
        return found if found.regular else self._file

    def _begin_anew(self, file: _Open) -> None:
        with self._lock:
            self.anew += self._file is not None
            self._file = file
            self._newlines, self._indexed, self._ends_a_line, self._view = array("Q"), 0, True, (0, 0, 0)
            self._known = FileIdentity()
            self._blocks.clear()

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
        file = self._file
        return max(0, os.fstat(file.fd).st_size - self._indexed) if file else 0

    def start(self, number: int) -> int:
        """Where a line begins; the end of what is indexed for the line after the last."""
        with self._lock:
            _, size, whole = self._view
            if number <= 0:
                return 0
            if number > whole:
                return size
            block = bisect_left(self._newlines, number)
            before = self._newlines[block - 1] if block else 0
            ends = self._ends(block)
            nth = number - before - 1
            # A file that was cut since has fewer lines in it than were counted.
            return min(size, block * BLOCK + (ends[nth] if nth < len(ends) else BLOCK))

    def line_at(self, offset: int) -> int:
        """The number of the line that holds the byte at `offset`."""
        with self._lock:
            offset = min(max(0, offset), self._view[1])
            block = offset // BLOCK
            before = self._newlines[block - 1] if 0 < block <= len(self._newlines) else 0
            found = before + bisect_left(self._ends(block), offset - block * BLOCK + 1)
            # A file that was written anew since the last look may have more lines in as many bytes.
            return min(found, len(self))

    def _ends(self, block: int) -> "array[int]":
        """Where the lines of a block end, just behind their newlines, from the block's beginning."""
        known = self._blocks.get(block)
        if known is None:
            known = array("I")
            room = min(BLOCK, self._indexed - block * BLOCK)
            data = os.pread(self._file.fd, room, block * BLOCK) if self._file and room > 0 else b""
            at = data.find(b"\n")
            while at >= 0:
                known.append(at + 1)
                at = data.find(b"\n", at + 1)
            # That of the block that grows is forgotten when there is more of it.
            self._blocks[block] = known
            if len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return known

    def read(self, offset: int, length: int) -> bytes:
        """Bytes as they are on disk."""
        file = self._file
        return os.pread(file.fd, length, offset) if file and length > 0 else b""

    def raw(self, number: int, most: int = MAX_SHOWN) -> bytes:
        """The bytes of a line as they are on disk, at most so many of its end state, without its newline."""
        if not 0 <= number < self._view[0]:
            return b""
        start = self.start(number)
        end = self.start(number + 1) - (1 if number < self._view[2] else 0)
        return end_state(self.read, start, end, most)

    def bytes_of(self, number: int, most: int) -> bytes:
        """The first bytes of a line, whatever was written over, without its newline."""
        if not 0 <= number < self._view[0]:
            return b""
        start = self.start(number)
        end = self.start(number + 1) - (1 if number < self._view[2] else 0)
        return self.read(start, min(end - start, most))

    def text(self, number: int) -> str:
        """A line as text, without its prefix; bytes that are not UTF-8 are shown as replacement characters."""
        return self.whole_text(number, MAX_SHOWN)

    def whole_text(self, number: int, most: int) -> str:
        """A line as `text`, with what is not shown of a long one: at most so many bytes."""
        text = self.raw(number, most).decode("utf-8", "replace")
        return self.cut(text) if self.cut else text

    @property
    def changed_at(self) -> float:
        """When the file was last written to, as of the last refresh."""
        return self._changed[0] / 1e9

    def tail(self, lines: int) -> list[str]:
        """The last lines of the file, indexed or not: what can be shown at once."""
        file = self._file
        if file is None:
            return []
        size = os.fstat(file.fd).st_size
        data = os.pread(file.fd, BLOCK, max(0, size - BLOCK))
        found = data.rstrip(b"\n").split(b"\n")
        if size > BLOCK and len(found) > 1:
            del found[0]
        return [line[-MAX_SHOWN:].rpartition(b"\r")[2].decode("utf-8", "replace") for line in found[-lines:]]


def end_state(read: Callable[[int, int], bytes], start: int, end: int, most: int = MAX_SHOWN) -> bytes:
    """What a terminal would show in the end of a line between two offsets: the text after its last carriage return."""
    if end - start <= most:
        line = read(start, end - start)
    else:
        tail = read(end - most, most)
        line = tail if b"\r" in tail.rstrip(b"\r") else read(start, most)
    return line.rstrip(b"\r").rpartition(b"\r")[2]
