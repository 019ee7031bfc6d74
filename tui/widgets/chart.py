"""A small line chart in braille: every column shows the lowest and highest of its points, so no spike is lost."""

import math
from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

# Bit of each dot of a braille cell, by row from the top, left then right column.
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def braille(points: Sequence[float], width: int, height: int) -> list[str]:
    """Rows of braille cells for the finite `points`, the lowest at the bottom, the highest at the top."""
    values = [p for p in points if math.isfinite(p)]
    cells = [[0] * max(0, width) for _ in range(height)]
    if not values or width < 1 or height < 1:
        return [" " * max(0, width)] * height
    low, high = min(values), max(values)
    scale = (height * 4 - 1) / (high - low) if high > low else 0.0
    previous: int | None = None
    for x in range(width * 2):
        column = _column(values, x, width * 2)
        top, bottom = (round((high - v) * scale) for v in (max(column), min(column)))
        if previous is not None:
            top, bottom = min(top, max(previous, 0)), max(bottom, min(previous, height * 4 - 1))
            if bottom - top > 1 and len(column) == 1:
                top, bottom = (top + 1, bottom) if previous == top else (top, bottom - 1)
        for y in range(top, bottom + 1):
            cells[y // 4][x // 2] |= DOTS[y % 4][x % 2]
        previous = round((high - column[-1]) * scale)
    return ["".join(chr(0x2800 + bits) if bits else " " for bits in row) for row in cells]


def _column(values: Sequence[float], x: int, columns: int) -> Sequence[float]:
    """The points behind dot column `x`; between two points that are further apart, one in line with them."""
    if len(values) >= columns:
        first = x * len(values) // columns
        return values[first : max((x + 1) * len(values) // columns, first + 1)]
    at = x * (len(values) - 1) / max(1, columns - 1)
    before = int(at)
    after = min(before + 1, len(values) - 1)
    return (values[before] + (values[after] - values[before]) * (at - before),)


class Chart(Widget):
    """Draws one series with its highest and lowest value at the left."""

    DEFAULT_CSS = "Chart { height: 4; color: $accent; }"

    def __init__(self, name: str, *, id: str) -> None:
        super().__init__(id=id)
        self._label = name
        self._points: Sequence[float] = ()
        self._rows: list[str] = []

    def show(self, points: Sequence[float]) -> None:
        self._points = points
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        left = 8
        self._rows = braille(self._points, max(0, self.size.width - left), self.size.height)
        finite = [p for p in self._points if math.isfinite(p)]
        marks = [""] * self.size.height
        if finite and marks:
            marks[0], marks[-1] = f"{max(finite):.3f}", f"{min(finite):.3f}"
            if len(marks) > 2:
                marks[1] = self._label
        self._rows = [f"{mark:>{left - 1}} {row}" for mark, row in zip(marks, self._rows, strict=True)]
        self.refresh()

    def render_line(self, y: int) -> Strip:
        if y >= len(self._rows):
            return Strip.blank(self.size.width, self.rich_style)
        row = self._rows[y]
        muted = self.rich_style + Style(dim=True)
        return Strip([Segment(row[:8], muted), Segment(row[8:], self.rich_style)]).adjust_cell_length(
            self.size.width, self.rich_style
        )
