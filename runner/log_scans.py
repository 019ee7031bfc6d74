"""Everything that is looked for in one log at once: a filter, a search, its errors and its stages. No UI in it."""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable

from runner.log_search import UNFINISHED, Query, Scan, query
from runner.spool import LogFile


class Scans:
    """One thread lets the scans go on, another asks them; what a person asked for goes first."""

    def __init__(self, log: LogFile) -> None:
        self.log = log
        self.filter: Scan | None = None
        # The line that a window of time begins with; those before it are not shown.
        self.first = 0
        self._open: list[int] = []
        self._open_at = -1
        self.search: Scan | None = None
        self.errors, self.stages = Scan(log, query("level:error")), Scan(log, query("level:stage"))

    def advance(self, seconds: float) -> bool:
        """Go on for about so long; whether there was anything to do."""
        until, worked = time.monotonic() + seconds, False
        for scan in (self.filter, self.search, self.errors, self.stages):
            while scan and time.monotonic() < until and scan.advance():
                worked = True
        if (
            self.filter
            and self._open_at != self.log.size
            and self.filter.done >= 1 - UNFINISHED / max(1, self.log.size)
        ):
            # The line that is being written has no place among the hits yet.
            self._open_at, self._open = self.log.size, self.filter.last()
            worked = True
        return worked

    def set_filter(self, wanted: Query | None) -> None:
        self.filter = Scan(self.log, wanted) if wanted else None
        self._open, self._open_at = [], -1

    @property
    def _hidden(self) -> int:
        """Rows before the first that is shown."""
        return bisect_left(self.filter.hits, self.first) if self.filter else min(self.first, len(self.log))

    @property
    def rows(self) -> int:
        """Lines that filter and window leave."""
        return (len(self.filter.hits) + len(self._open) if self.filter else len(self.log)) - self._hidden

    def line_of(self, row: int) -> int:
        row += self._hidden
        if self.filter is None:
            return row
        hits, rest = self.filter.hits, self._open
        return hits[row] if row < len(hits) else rest[0] if rest else len(self.log) - 1

    def row_of(self, line: int) -> int:
        return (bisect_left(self.filter.hits, line) if self.filter else line) - self._hidden

    def write_to(self, out: Callable[[bytes], object]) -> int:
        """Every line that filter and window leave now, whole and as it is on disk; how many."""
        lines = range(self.rows)
        for line in map(self.line_of, lines):
            start = self.log.start(line)
            out(self.log.read(start, self.log.start(line + 1) - start))
        return len(lines)

    def landmark(self, first: int, last: int) -> str:
        """What the lines from `first` to before `last` hold that is worth a mark: error, stage, or nothing."""
        for scan, kind in ((self.errors, "error"), (self.stages, "stage")):
            if bisect_left(scan.hits, first) < bisect_left(scan.hits, last):
                return kind
        return ""


def nearest(scan: Scan, line: int, *, forward: bool) -> tuple[int | None, bool]:
    """The next hit of a finished scan after or before a line, and whether that was round the end of the log."""
    hits = scan.hits
    at = bisect_right(hits, line) if forward else bisect_left(hits, line) - 1
    return (hits[at % len(hits)] if hits else None), not 0 <= at < len(hits)
