"""The rows of a log that are on screen, drawn straight from the file; one row a line, or as many as it needs."""

from bisect import bisect_right
from pathlib import Path
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from runner.logs.log_file import LogFile
from runner.logs.scans import LogScans
from runner.logs.search import Scan
from runner.logs.timestamps import LogTimes
from tui.widgets.log_rows import LogRows, RowStyle


class LogScroll(ScrollView):
    """Draws the lines that filter and window leave, and nothing that is not on screen."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "log--stage",
        "log--ours",
        "log--beat",
        "log--again",
        "log--error",
        "log--eval",
        "log--hit",
        "log--here",
        "log--mark",
    }

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._log: LogFile | None = None
        self.scans: LogScans | None = None
        self._times = LogTimes(Path())
        # The line that a search, a click or a jump has led to.
        self.here: int | None = None
        self.marks: set[int] = set()
        # What is shown until the lines are counted.
        self._tail: list[str] = []
        # Rows from the last one of the tail to the end, when somebody scrolled up before the index was there.
        self._above = 0
        self._left = 0
        self.stamps = 0
        self.wrap = False
        self._rows = LogRows(self._tone)
        # Rows of the log that are on screen, and where each begins on it, when lines are wrapped.
        self._laid: list[int] = []
        self._laid_for: tuple[object, ...] = ()
        # How lines look and their style, while many are drawn.
        self._now: tuple[RowStyle, Style] | None = None

    @property
    def lines(self) -> int:
        """Lines of the whole log."""
        return len(self._log) if self._log else 0

    @property
    def filter(self) -> Scan | None:
        return self.scans.filter if self.scans else None

    @property
    def search(self) -> Scan | None:
        return self.scans.search if self.scans else None

    @property
    def rows(self) -> int:
        """Lines that the filter leaves."""
        return self.scans.rows if self.scans else 0

    def _line_of(self, row: int) -> int:
        return self.scans.line_of(row) if self.scans else row

    def _row_of(self, line: int) -> int:
        return self.scans.row_of(line) if self.scans else line

    def _tone(self, kind: str) -> Style:
        return self.get_component_rich_style(f"log--{kind}") if kind else self.rich_style

    @property
    def _look(self) -> RowStyle:
        wanted = self.search.wanted if self.search else None
        width, height = self.scrollable_content_region.width - 1, max(1, self.size.height)
        return RowStyle(width, height, self._left, wanted, self.stamps, self.wrap, self.app.theme)

    def _rows_of(self, row: int, look: RowStyle | None = None) -> list[Strip]:
        if self._log is None:
            return []
        line, look = self._line_of(row), look or self._look
        return self._rows.of(self._log, self._times, line, look, here=line == self.here, mark=line in self.marks)

    def _measure(self) -> None:
        """How far there is to scroll: a row a line, and where lines are wrapped no further than the end needs."""
        rows = self.rows
        if self.wrap and rows:
            room, first = self.size.height, rows
            while first > 0 and (room := room - len(self._rows_of(first - 1))) >= 0:
                first -= 1
            rows = min(first, rows - 1) + self.size.height
        self.virtual_size = Size(1, rows)

    def on_resize(self) -> None:
        self._measure()

    @property
    def _on_screen(self) -> int:
        """How many rows of the log the screen holds, the last one perhaps in part."""
        return self._place(self.size.height - 1)[0] - round(self.scroll_y) + 1 if self.wrap else self.size.height

    def _place(self, y: int) -> tuple[int, int]:
        """The row of the log at a row of the screen, and which piece of it."""
        first = round(self.scroll_y)
        if not self.wrap:
            return first + y, 0
        key = (first, self.rows, self._log and self._log.size, self._look)
        if key != self._laid_for:
            self._laid_for, self._laid, used = key, [], 0
            for row in range(first, self.rows):
                self._laid.append(used)
                used += len(self._rows_of(row))
                if used >= self.size.height:
                    break
            else:
                self._laid.append(used)
        at = bisect_right(self._laid, y) - 1
        return (first + at, y - self._laid[at]) if at >= 0 else (self.rows, 0)

    def render_lines(self, crop: Region) -> list[Strip]:
        # Asked once for all lines: both are put together from all that is around the log.
        self._now = self._look, self.rich_style
        try:
            return super().render_lines(crop)
        finally:
            self._now = None

    def render_line(self, y: int) -> Strip:
        look, base = self._now or (self._look, self.rich_style)
        if self._tail:
            row = len(self._tail) - self._above - self.size.height + y
            text = self._tail[row] if row >= 0 else ""
            return self._rows.plain(text, look.width + 1)
        row, piece = self._place(y)
        rows = self._rows_of(row, look) if row < self.rows else []
        if piece >= len(rows):
            return Strip.blank(look.width + 1, base)
        kind = self._map(y)
        edge = Segment("▐", self._tone(kind)) if kind else Segment(" ", base)
        return Strip([*rows[piece], edge])

    def _map(self, y: int) -> str:
        """What the right edge shows of that part of the whole log: error, stage, or nothing."""
        share = self.rows / max(1, self.size.height)
        if share <= 1 or self.filter or self.scans is None:
            return ""
        first = self.scans.first
        return self.scans.landmark(first + int(y * share), first + int((y + 1) * share))
