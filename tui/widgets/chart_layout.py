"""What a chart draws at a size: its lines on a canvas, between which values, with which numbers at its sides. Pure."""

import math
from collections.abc import Sequence

from msgspec import Struct
from rich.cells import cell_len

from runner.metrics.series import ColumnRange
from tui.widgets import axes
from tui.widgets.braille import Canvas
from tui.widgets.curves import Line, lines, look
from tui.widgets.plot_window import Layer, PlotWindow
from tui.widgets.ranges import FIT, LEAST, RATES, UNITS, Shown, extremes, shown_range

LEFT = 8
# Narrower charts give their numbers no more than they need.
NARROW = 24


class Drawn(Struct):
    """What does not change while a cursor moves: lines, what they are drawn between, the canvas, and the numbers.

    `left` is the width of the gutter; `ticks` are the places of the numbers in it, on the scale that is drawn.
    """

    lines: list[Line]
    span: tuple[float, float]
    shown: Shown
    canvas: Canvas
    left: int
    rows: dict[int, str]
    ticks: list[float]
    foot: list[axes.Label]

    @property
    def several(self) -> bool:
        """Whether curves are to be told apart."""
        return sum(not line.raw for line in self.lines) > 1


def logged(column: ColumnRange | None) -> ColumnRange | None:
    """A column on a logarithmic scale; None where nothing of it is positive."""
    if column is None or column.high <= 0:
        return None
    return ColumnRange(*(math.log10(max(v, 1e-12)) for v in column))


def columns_of(line: Line, view: PlotWindow, span: tuple[float, float], count: int) -> list[ColumnRange | None]:
    """A line by the column, on the scale that is drawn."""
    found = line.columns(view.axis, span, count)
    return [logged(column) for column in found] if view.log else found


def laid_out(curves: Sequence[Layer], view: PlotWindow, metric: str, width: int, body: int) -> Drawn:
    """Everything for so many cells; the gutter is as wide as its numbers, and in charts below each other the same."""
    found, needed = _beside(curves, view, metric, width, body, LEFT)
    if needed != LEFT:
        found, again = _beside(curves, view, metric, width, body, needed)
        if again > needed:
            found.rows = {y: label for y, label in found.rows.items() if cell_len(label) < needed}
    return found


def _beside(
    curves: Sequence[Layer], view: PlotWindow, metric: str, width: int, body: int, left: int
) -> tuple[Drawn, int]:
    """Everything beside a gutter, and how wide the gutter is to be."""
    span, room = view.span(curves), max(2, width - left)
    found = lines(curves, view)
    columns = [columns_of(line, view, span, room * 2) for line in found]
    begins = [line.begins(view.axis, span) for line in found]
    fit = extremes if view.whole_range or view.log else FIT.get(metric, extremes)
    shown = shown_range(list(zip(columns, begins, strict=True)), 0.0 if view.log else RATES.get(metric, LEAST), fit)
    drawn = Drawn(found, span, shown, Canvas(room, body), left, {}, [], axes.foot(span, room, view.axis))
    if shown.high > shown.low:
        for number, (line, one) in enumerate(zip(found, columns, strict=True)):
            drawn.canvas.line(one, shown.low, shown.high, number, look(line, drawn.several)[1])
    _number(drawn, view, metric, body)
    widest = max((cell_len(label) for label in drawn.rows.values()), default=0) + 1
    needed = widest if width < NARROW else max(LEFT, widest)
    if needed > width // 2:
        drawn.rows, needed = {}, 0
    return drawn, needed


def _number(drawn: Drawn, view: PlotWindow, metric: str, body: int) -> None:
    """The numbers beside the rows of the curve."""
    shown = drawn.shown
    if not body or not shown.high > shown.low:
        drawn.rows = {body // 2: "–"} if body else {}
        return
    if view.log:
        values = axes.log_ticks(shown.low, shown.high, axes.most_ticks(body))
        drawn.ticks = [math.log10(value) for value in values]
    else:
        values = drawn.ticks = axes.round_ticks(shown.low, shown.high, axes.most_ticks(body))
    labels = axes.value_labels(values, UNITS.get(metric, ""))
    ticks = [axes.Tick(at, label) for at, label in zip(drawn.ticks, labels, strict=True)]
    drawn.rows = axes.value_rows(ticks, shown.low, shown.high, body)
