"""Everything that is looked for in one log at once: a filter, a search, its errors and its stages. No UI in it."""

import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from runner.errors import FileChanged
from runner.logs.log_file import READ, LogFile
from runner.logs.search import Query, Scan, parse_query


class LogScans:
    """One thread lets the scans go on, another asks them; what a person asked for goes first.

    Who asks sets filter, search and window; each scan looks after itself.
    """

    def __init__(self, log: LogFile) -> None:
        self.log = log
        self.filter: Scan | None = None
        # The line that a window of time begins with; those before it are not shown.
        self.first = 0
        self.search: Scan | None = None
        self.errors, self.stages = Scan(log, parse_query("level:error")), Scan(log, parse_query("level:stage"))
        # What stands before the lines of the log.
        self.before: Sequence[str] = ()

    def set_prefixes(self, before: Sequence[str]) -> None:
        """Look anew for what is at the beginning of lines, as something stands before them."""
        self.before = before
        self.errors, self.stages = Scan(self.log, self.query("level:error")), Scan(self.log, self.query("level:stage"))

    def query(self, said: str) -> Query:
        """What a person typed, for this log. Raises UsageError."""
        return parse_query(said, self.before)

    def advance(self, seconds: float) -> bool:
        """Go on for about so long; whether there was anything to do."""
        until, worked, only = time.monotonic() + seconds, False, self.filter
        for scan in (only, self.search, self.errors, self.stages):
            while scan and time.monotonic() < until and scan.advance():
                worked = True
        # The line that is being written may be one of those that are shown.
        return bool(only and only.look_at_unfinished()) or worked

    def set_filter(self, wanted: Query | None) -> None:
        self.filter = Scan(self.log, wanted) if wanted else None

    @property
    def _hidden(self) -> int:
        """Rows before the first that is shown."""
        return self.filter.before(self.first) if self.filter else min(self.first, len(self.log))

    @property
    def rows(self) -> int:
        """Lines that filter and window leave."""
        return max(0, (self.filter.count if self.filter else len(self.log)) - self._hidden)

    def line_of(self, row: int) -> int:
        row += self._hidden
        line = self.filter.line(row) if self.filter else row
        return line if line is not None else max(0, len(self.log) - 1)

    def row_of(self, line: int) -> int:
        return (self.filter.before(line) if self.filter else line) - self._hidden

    def visible_lines(self) -> "VisibleLines":
        """The lines that filter and window leave now."""
        hidden = self._hidden
        lines = self.filter.lines()[hidden:] if self.filter else range(hidden, len(self.log))
        return VisibleLines(self.log, lines, self.log.anew)

    def landmark(self, first: int, last: int) -> str:
        """What the lines from `first` to before `last` hold that is worth a mark: error, stage, or nothing."""
        for scan, kind in ((self.errors, "error"), (self.stages, "stage")):
            if scan.before(first) < scan.before(last):
                return kind
        return ""


class VisibleLines(Struct, frozen=True):
    """Lines of a log as they were shown at a moment, to be written somewhere."""

    log: LogFile
    lines: Sequence[int]
    anew: int

    def write_to(self, out: Callable[[bytes], object], stop: Callable[[], bool] = lambda: False) -> None:
        """Every line, whole and as it is on disk, until told to stop. Raises FileChanged for a log that was cut."""
        if isinstance(self.lines, range):
            pieces = [(self.lines.start, self.lines.stop)] if self.lines else []
        else:
            pieces = [(line, line + 1) for line in self.lines]
        for first, last in pieces:
            at, end = self.log.start(first), self.log.start(last)
            while at < end and not stop():
                data = self.log.read(at, min(READ, end - at))
                if not data:
                    raise FileChanged("the log was cut while it was saved", "save it again")
                out(data)
                at += len(data)
            if stop():
                return
        if self.log.anew != self.anew:
            raise FileChanged("the log was written anew while it was saved", "save it again")
