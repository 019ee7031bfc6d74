"""What stands on each row of the screen of a log: gutter, time, text in its colours, one row a line or wrapped."""

import time
from collections.abc import Callable
from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from runner.logs.log_file import LogFile
from runner.logs.search import Query, hit_spans
from runner.logs.timestamps import LogTimes
from runner.text import units
from runner.text.sanitize import parse_colours
from tui.widgets.log_lines import GLYPHS, line_kind, painted, wrapped

GUTTER = 2
STAMP = 9
MAX_DRAWN = 2000
STAMPS = ("off", "clock", "since start")


class RowStyle(NamedTuple):
    """How lines are shown: `width` cells, from character `left` on; rows are drawn anew when any of it changes."""

    width: int
    most: int
    left: int = 0
    wanted: Query | None = None
    stamps: int = 0
    wrap: bool = False
    theme: str = ""


class LogRows:
    """The rows of the lines that are on screen, kept while nothing about them changes."""

    def __init__(self, style: Callable[[str], Style]) -> None:
        self._style = style
        self._look: RowStyle | None = None
        self._drawn: dict[int, list[Strip]] = {}

    def clear(self) -> None:
        self._drawn.clear()

    def of(
        self, log: LogFile, times: LogTimes, line: int, look: RowStyle, *, here: bool = False, mark: bool = False
    ) -> list[Strip]:
        """The rows of one line, at least one and at most `look.most`."""
        if look != self._look or len(self._drawn) > MAX_DRAWN:
            self._look = look
            self.clear()
        if here or mark or line >= log.whole:
            return self._draw(log, times, line, look, here, mark)
        rows = self._drawn.get(line)
        if rows is None:
            rows = self._drawn[line] = self._draw(log, times, line, look, here, mark)
        return rows

    def plain(self, text: str, width: int) -> Strip:
        """A row of a log whose lines are not known yet."""
        base = self._style("")
        segments = [Segment(" " * GUTTER, base), *painted(text, base, [], 0, width - GUTTER)]
        return Strip(segments).adjust_cell_length(width, base)

    def _draw(self, log: LogFile, times: LogTimes, line: int, look: RowStyle, here: bool, mark: bool) -> list[Strip]:
        text, colours = parse_colours(log.text(line))
        kind = line_kind(text)
        style = self._style(kind)
        if here:
            style += self._style("here")
        paint = [(first, last, Style(color=colour or None, bold=bold)) for first, last, colour, bold in colours]
        if look.wanted:
            paint += [(first, last, self._style("hit")) for first, last in hit_spans(look.wanted, text)]
        glyph = Segment(f"{'●' if mark else GLYPHS.get(kind, ' ')} ", self._style("mark") if mark else style)
        stamp = Segment(_stamp(times, log.start(line), look.stamps), self._style("beat"))
        room = max(1, look.width - GUTTER - len(stamp.text))
        if not look.wrap:
            return [_row([glyph, stamp, *painted(text, style, paint, look.left, room)], look.width, style)]
        blank = Segment(" " * (GUTTER + len(stamp.text)), style)
        return [
            _row(
                [*([blank] if number else [glyph, stamp]), *painted(piece, style, paint, start, room)],
                look.width,
                style,
            )
            for number, (start, piece) in enumerate(wrapped(text, room, look.most))
        ]


def _row(segments: list[Segment], width: int, style: Style) -> Strip:
    return Strip(segments).adjust_cell_length(width, style)


def _stamp(times: LogTimes, offset: int, stamps: int) -> str:
    """When a line came, as wanted; blank where it is not known."""
    if not stamps:
        return ""
    at, first = times.at(offset), times.first
    if at is None or first is None:
        return " " * STAMP
    if stamps == 1:
        return time.strftime("%H:%M:%S ", time.localtime(at))
    return f"{units.duration(max(0.0, at - first)):>8} "
