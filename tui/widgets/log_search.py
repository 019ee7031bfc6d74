"""Search, filter and the lines that tell a failure, in a log that is on screen."""

import threading
from collections.abc import Sequence

from textual.message import Message
from textual.worker import get_current_worker

from runner.logs.search import Query, Scan, exact_query, next_hit, parse_query
from runner.model.status import Problem
from runner.text.sanitize import sanitize_line, strip_ansi
from tui.background import background
from tui.widgets.log_scroll import LogScroll


class LogSearch(LogScroll):
    """A LogScroll that can be searched and filtered. Finds hits in a thread; the view above it goes to them."""

    class Changed(Message):
        """There are more lines or hits, or following began or ended."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.following = True
        self._wake = threading.Event()
        # The search for the next hit that is under way.
        self._finding: object = None
        # Share of the log whose lines are counted.
        self.counted = 0.0
        # The lines that tell why what is logged ended.
        self.problems: Sequence[Problem] = ()

    def jump_to(self, line: int) -> None:
        """Bring a line on screen and make it the one that is acted on."""
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        """Whether a search is under way: everything else may wait."""
        return self._finding is not None or (self.search is not None and self.search.fraction_scanned < 0.99)

    @property
    def _top(self) -> int:
        """The first line on screen, or the one that was jumped to, while that is on screen."""
        first = round(self.scroll_y)
        if self.here is not None and first <= self._row_of(self.here) < first + self._on_screen:
            return self.here
        return self._line_of(first) if first < self.rows else max(0, self.lines - 1)

    @property
    def errors(self) -> int:
        return self.scans.errors.count if self.scans else 0

    def parse_query(self, said: str) -> Query:
        """What a person typed, for the log that is shown. Raises UsageError."""
        return self.scans.query(said) if self.scans else parse_query(said)

    def search_for(self, wanted: Query) -> None:
        """Search: mark what is found, count it, and go to the nearest from here on."""
        if self.scans:
            self.scans.search = Scan(self.scans.log, wanted)
            self._wake.set()
            self._find(self.scans.search, self._top - 1, forward=True)

    def set_filter(self, wanted: Query | None) -> None:
        """Filter: only the lines that are found; None shows all again."""
        if self.scans is None:
            return
        top = self._top
        self.scans.set_filter(wanted)
        self._wake.set()
        self._measure()
        if wanted is None and not self.following:
            self.jump_to(top)
        self.refresh()
        self.post_message(self.Changed())

    def action_clear(self) -> bool:
        """Take back the filter, else the search; whether there was one."""
        if self.filter:
            self.set_filter(None)
        elif self.scans and self.scans.search:
            self.scans.search = None
            self.refresh()
            self.post_message(self.Changed())
        else:
            return False
        return True

    def action_next(self, by: int) -> None:
        if self.search:
            self._find(self.search, self._top, forward=by > 0)

    def action_error(self, by: int) -> None:
        """The next of the lines that tell the failure; where none are told, the next that looks like one."""
        if self.scans is None:
            return
        if there := self._told_here():
            later = [line for line in there if line > self._top] if by > 0 else [n for n in there if n < self._top]
            around = there[0] if by > 0 else there[-1]
            self.jump_to((later[0] if by > 0 else later[-1]) if later else around)
        else:
            scan = Scan(self.scans.log, exact_query(self.problems[0].text)) if self.problems else self.scans.errors
            self._find(scan, self._top, forward=by > 0)

    def first_error(self) -> int | None:
        """The line to begin with, of a log that tells a failure."""
        there = self._told_here()
        return there[0] if there else self.scans.errors.line(0) if self.scans else None

    def _told_here(self) -> list[int]:
        """Those of the told lines that are where they were told to be: a log that was put together may have more."""
        log = self._log
        return [p.line - 1 for p in self.problems if log and p.text in strip_ansi(log.text(p.line - 1))]

    def _find(self, scan: Scan, line: int, *, forward: bool) -> None:
        """Go to the nearest hit, round the end if need be; from a finished scan at once, else in a thread."""
        if scan.fraction_scanned < 1.0:
            self._finding = turn = object()
            self._search_on(scan, line, forward, turn)
        else:
            hit, wrapped = scan.nearest(line, forward=forward)
            self._found(hit, scan, wrapped=wrapped)

    @background(group="find", doing="searching the log", exclusive=True)
    def _search_on(self, scan: Scan, line: int, forward: bool, turn: object) -> None:
        worker = get_current_worker()
        hit, wrapped = None, False
        try:
            for start in (line, -1 if forward else len(scan.log)):
                hit = next_hit(scan.log, scan.wanted, start, forward=forward, stop=lambda: worker.is_cancelled)
                if hit is not None or worker.is_cancelled:
                    break
                wrapped = True
        finally:
            self.app.call_from_thread(self._ended, turn)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._found, hit, scan, wrapped=wrapped)

    def _ended(self, turn: object) -> None:
        if self._finding is turn:
            self._finding = None

    def _found(self, line: int | None, scan: Scan, *, wrapped: bool) -> None:
        if scan.log is not self._log:
            return
        if line is None:
            where = "there" if self.counted == 1.0 else "in what is counted so far"
            self.notify(
                sanitize_line(f"{scan.wanted.said!r} is not {where}"), severity="warning", markup=False, timeout=3
            )
            return
        if wrapped:
            self.notify("round the end of the log", markup=False, timeout=2)
        self.jump_to(line)
