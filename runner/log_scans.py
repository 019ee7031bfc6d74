"""Everything that is looked for in one log at once: a filter, a search, its errors and its stages. No UI in it."""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable

from runner.log_search import Query, Scan, query
from runner.spool import LogFile


class Scans:
    """One thread lets the scans go on, another asks them; what a person asked for goes first."""

    def __init__(self, log: LogFile) -> None:
        self.log = log
        self.filter: Scan | None = None
        self.search: Scan | None = None
        self.errors, self.stages = Scan(log, query("level:error")), Scan(log, query("level:stage"))

    def advance(self, seconds: float) -> bool:
        """Go on for about so long; whether there was anything to do."""
        until, worked = time.monotonic() + seconds, False
        for scan in (self.filter, self.search, self.errors, self.stages):
            while scan and time.monotonic() < until and scan.advance():
                worked = True
        return worked

    def set_filter(self, wanted: Query | None) -> None:
        self.filter = Scan(self.log, wanted) if wanted else None

    @property
    def rows(self) -> int:
        """Lines that the filter leaves."""
        return len(self.filter.hits) if self.filter else len(self.log)

    def line_of(self, row: int) -> int:
        return self.filter.hits[row] if self.filter else row

    def row_of(self, line: int) -> int:
        return bisect_left(self.filter.hits, line) if self.filter else line

    def write_to(self, out: Callable[[bytes], object]) -> int:
        """Every line that the filter leaves now, whole and as it is on disk; how many."""
        lines = self.filter.hits[:] if self.filter else range(len(self.log))
        for line in lines:
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
