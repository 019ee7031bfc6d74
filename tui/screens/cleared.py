"""Marks and filters that were cleared, to be brought back."""

from collections import deque
from typing import NamedTuple

MOST = 20


class Kept(NamedTuple):
    """What was cleared at once: a filter's text, letters that were looked for, rows that were marked."""

    words: str = ""
    letters: str = ""
    marked: frozenset[str] = frozenset()


class Cleared:
    """What was cleared on one screen, the last first."""

    def __init__(self) -> None:
        self._kept: deque[Kept] = deque(maxlen=MOST)

    def put(self, kept: Kept) -> None:
        if any(kept):
            self._kept.append(kept)

    def pop(self) -> Kept | None:
        return self._kept.pop() if self._kept else None

    def forget(self) -> None:
        """What they were of is no longer shown."""
        self._kept.clear()
