"""Whether a file that is read as it grows is still the one that was read before. Pure."""

from collections.abc import Callable

# So much of a file's beginning, and before the end of what was read of it, is compared.
TOLD_BY = 1 << 16
Read = Callable[[int, int], bytes]


class FileIdentity:
    """What was read of a file so far: its beginning and its end tell whether it is the same, whatever its times say."""

    def __init__(self) -> None:
        self.size = 0
        self._head = self._tail = b""

    def took(self, first: int, data: bytes) -> None:
        """Note what was read from a place on, which is not behind the end of what is known."""
        if first <= len(self._head) < TOLD_BY:
            self._head = (self._head[:first] + data[:TOLD_BY])[:TOLD_BY]
        kept = self._tail[: max(0, first - self.size + len(self._tail))]
        self._tail = (kept + data[-TOLD_BY:])[-TOLD_BY:]
        self.size = first + len(data)

    def is_still(self, read: Read) -> bool:
        """Whether what `read(offset, length)` gives begins with what is known, as far as that tells."""
        if read(0, len(self._head)) != self._head:
            return False
        whole = len(self._head) == self.size
        return whole or read(self.size - len(self._tail), len(self._tail)) == self._tail
