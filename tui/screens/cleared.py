"""Marks and filters that were cleared, to be brought back."""

import time
from collections import deque
from typing import NamedTuple

MOST = 20


class ClearedState(NamedTuple):
    """What was cleared at once: a filter's text, letters that were looked for, rows that were marked."""

    words: str = ""
    letters: str = ""
    marked: frozenset[str] = frozenset()


class Cleared:
    """What was cleared on one screen, the last first."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, ClearedState]] = deque(maxlen=MOST)

    @property
    def at(self) -> float:
        """When the last of it was cleared, by the clock of the process."""
        return self._kept[-1][0] if self._kept else 0.0

    def put(self, kept: ClearedState) -> None:
        if any(kept):
            self._kept.append((time.monotonic(), kept))

    def pop(self) -> ClearedState | None:
        return self._kept.pop()[1] if self._kept else None

    def forget(self) -> None:
        """What they were of is no longer shown."""
        self._kept.clear()
