"""A chart of one metric, of one run or of several: whole, zoomed, by step, time, tokens or dollars."""

import math
from array import array
from collections.abc import Callable, Sequence
from itertools import groupby

from msgspec import Struct
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from runner.metrics.series import ColumnRange, Mark, MarkKind, Series
from runner.text import units
from tui.widgets.braille import Canvas

LEFT = 8
AXES = ("step", "time", "tokens", "dollars")
TONES = ("accent", "warning", "success", "error", "secondary", "")
# Pieces of a heading that belong to no curve.
PLAIN, MISSED = -1, -2
MARKS = {MarkKind.SAVE: "◆", MarkKind.VAL: "▲", MarkKind.PREEMPTION: "↻"}


class Layer(Struct, frozen=True):
    """One curve: whose it is, its points, and what a step is in tokens and a second in dollars.

    The name is "" where the chart is called by the curve.
    """

    name: str
    series: Series
    marks: Sequence[Mark] = ()
    tokens_per_step: float = 0.0
    usd_per_s: float = 0.0

    def axis(self, name: str) -> tuple["array[float]", float]:
        """The places of the points on an axis: raw, and what to multiply them by."""
        if name in ("step", "tokens"):
            return self.series.steps, self.tokens_per_step if name == "tokens" else 1.0
        return self.series.seconds, self.usd_per_s if name == "dollars" else 1.0


class PlotWindow(Struct):
    """What of the curves is shown, the same in every chart of a screen. `begin` and `end` are None for everything."""

    axis: str = "step"
    begin: float | None = None
    end: float | None = None
    cursor: float | None = None
    log: bool = False

    def span(self, layers: Sequence[Layer]) -> tuple[float, float]:
        """The stretch of the axis that is drawn."""
        ends = [(axis[0] * by, axis[-1] * by) for axis, by in (one.axis(self.axis) for one in layers) if len(axis)]
        whole = (min(e[0] for e in ends), max(e[1] for e in ends)) if ends else (0.0, 1.0)
        begin = whole[0] if self.begin is None else self.begin
        end = whole[1] if self.end is None else self.end
        return (begin, end) if end > begin else (begin, begin + 1.0)

    def zoom(self, by: float, whole: tuple[float, float]) -> None:
        """Show less (`by` under 1) or more, around the cursor or the middle, never more than there is."""
        begin = whole[0] if self.begin is None else self.begin
        end = whole[1] if self.end is None else self.end
        around = self.cursor if self.cursor is not None and begin <= self.cursor <= end else (begin + end) / 2
        begin, end = around - (around - begin) * by, around + (end - around) * by
        if by < 1 and end - begin <= 1e-9 * max(1.0, abs(whole[0]), abs(whole[1])):
            return
        if begin <= whole[0] and end >= whole[1]:
            self.begin = self.end = None
        else:
            self.begin, self.end = max(whole[0], begin), min(whole[1], end)

    def move(self, by: float, whole: tuple[float, float]) -> None:
        """Move the cursor by a share of what is shown; at the edge what is shown moves along."""
        begin = whole[0] if self.begin is None else self.begin
        end = whole[1] if self.end is None else self.end
        width = end - begin
        at = (self.cursor if self.cursor is not None else end) + by * width
        self.cursor = min(max(at, whole[0]), whole[1])
        if self.begin is not None and self.cursor < begin:
            self.begin, self.end = self.cursor, self.cursor + width
        elif self.end is not None and self.cursor > end:
            self.begin, self.end = self.cursor - width, self.cursor


def axis_value(value: float) -> str:
    """A value at an axis, in at most seven characters."""
    size = abs(value)
    if size >= 10_000:
        return units.count(value)
    return f"{value:.0f}" if size >= 1000 else f"{value:.4g}" if size >= 0.001 or value == 0 else f"{value:.1e}"


def heading_pieces(values: Sequence[tuple[str, str]], where: str, missed: str, room: int) -> list[tuple[str, int]]:
    """The last values of curves, by name, in a heading: pieces, each with the number of its curve, or PLAIN or MISSED.

    A number is never cut: where room is short the place goes first, then the names of runs, then the last curves.
    """
    every = list(enumerate(values))
    trials = [(every, True, where), (every, True, "")]
    if values and values[0][0]:
        trials.append((every, False, ""))
    trials += [(every[:count], False, "") for count in range(len(every) - 1, -1, -1)]
    for shown, named, at in trials:
        pieces: list[tuple[str, int]] = []
        for curve, (name, value) in shown:
            pieces += [(" · ", PLAIN)] if pieces else []
            pieces.append((f"{name} {value}" if named and name else value, curve))
        if len(shown) < len(every) and shown and len(every) > 2:
            pieces.append((f" +{len(every) - len(shown)}", PLAIN))
        pieces += [(f"  {at}", PLAIN)] if at else []
        pieces += [(f"  {missed}" if pieces else missed, MISSED)] if missed else []
        if sum(cell_len(text) for text, _ in pieces) <= room:
            return pieces
    return []


def axis_label(value: float, axis: str) -> str:
    """A place on the horizontal axis, as people say it."""
    if axis == "time":
        return units.duration(value)
    if axis == "dollars":
        return f"${value:,.2f}"
    return units.count(value) if axis == "tokens" else f"{value:,.0f}"


def logged(column: ColumnRange | None) -> ColumnRange | None:
    """A column on a logarithmic scale; None where nothing of it is positive."""
    if column is None or column.high <= 0:
        return None
    return ColumnRange(*(math.log10(max(v, 1e-12)) for v in column))


class Plot(Widget):
    """Draws its layers as `view` says; the title holds the last value, or the one under the cursor."""

    DEFAULT_CSS = """
    Plot { height: 6; }
    Plot:focus { background: $surface; }
    """

    class Clicked(Message):
        """A place of the axis was pointed at."""

        def __init__(self, at: float) -> None:
            super().__init__()
            self.at = at

    def __init__(self, title: str, tones: Callable[[str], Style], view: PlotWindow, *, id: str) -> None:
        super().__init__(id=id)
        self._title, self._tones, self.view = title, tones, view
        self.curves: list[Layer] = []
        self._rows: list[Strip] | None = None

    def show(self, layers: list[Layer], title: str = "") -> None:
        """Other curves, or the same ones grown; under another title, where one is given."""
        self.curves = [one for one in layers if len(one.series)]
        self._title = title or self._title
        self.redraw()

    def redraw(self) -> None:
        self._rows = None
        self.refresh()

    def on_resize(self) -> None:
        self._rows = None

    def notify_style_update(self) -> None:
        # The theme may be another one.
        self._rows = None
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        if self._rows is None:
            self._rows = self._draw()
        return self._rows[y] if y < len(self._rows) else Strip.blank(self.size.width, self.rich_style)

    def _draw(self) -> list[Strip]:
        width, height = self.size.width, self.size.height
        base = self.rich_style
        body = max(1, height - (2 if height >= 5 else 1))
        room = max(2, width - LEFT)
        span = self.view.span(self.curves)
        rows = [self._heading(span).adjust_cell_length(width, base)]
        canvas, low, high = self._paint(room, body, span)
        labels = {0: axis_value(high), body - 1: axis_value(low)} if self.curves else {body // 2: "–"}
        cursor = self._cursor_cell(span, room)
        drawn = (self._row(canvas, y, labels.get(y, ""), cursor) for y in range(body))
        rows.extend(row.adjust_cell_length(width, base) for row in drawn)
        if height >= 5:
            rows.append(self._foot(span, room).adjust_cell_length(width, base))
        return rows

    def _paint(self, room: int, body: int, span: tuple[float, float]) -> tuple[Canvas, float, float]:
        canvas, drawn = Canvas(room, body), []
        low, high = math.inf, -math.inf
        for layer in self.curves:
            axis, by = layer.axis(self.view.axis)
            if not by:
                continue
            columns = layer.series.columns(axis, span[0] / by, span[1] / by, room * 2)
            shown = [logged(c) for c in columns] if self.view.log else columns
            drawn.append(shown)
            low = min(low, min((c.low for c in shown if c), default=math.inf))
            high = max(high, max((c.high for c in shown if c), default=-math.inf))
        if low > high:
            return canvas, 0.0, 0.0
        for curve, shown in enumerate(drawn):
            canvas.line(shown, low, high, curve)
        return (canvas, 10**low, 10**high) if self.view.log else (canvas, low, high)

    def _cursor_cell(self, span: tuple[float, float], room: int) -> int | None:
        if self.view.cursor is None or not span[0] <= self.view.cursor <= span[1]:
            return None
        return min(room - 1, int((self.view.cursor - span[0]) / (span[1] - span[0]) * room))

    def _tone(self, curve: int) -> Style:
        return self.rich_style + self._tones(TONES[curve % len(TONES)])

    def _row(self, canvas: Canvas, y: int, label: str, cursor: int | None) -> Strip:
        text, owners = canvas.text(y), canvas.owners[y]
        segments = [Segment(f"{label:>{LEFT - 1}} ", self.rich_style + Style(dim=True))]
        for (owner, here), cells in groupby(range(len(text)), key=lambda x: (owners[x], x == cursor)):
            at = list(cells)
            piece = text[at[0] : at[-1] + 1]
            if here:
                segments.append(Segment(piece if piece.strip() else "┊", self._tone(max(owner, 0)) + Style(bold=True)))
            else:
                segments.append(Segment(piece, self._tone(owner) if owner >= 0 else self.rich_style))
        return Strip(segments)

    def _heading(self, span: tuple[float, float]) -> Strip:
        """What it shows, and of each curve the value under the cursor, else its last."""
        name, values, where = self._title + (" (log)" if self.view.log else ""), [], ""
        for layer in self.curves:
            axis, by = layer.axis(self.view.axis)
            point = layer.series.at(axis, self.view.cursor / by) if self.view.cursor is not None and by else None
            values.append((layer.name, axis_value(point[1] if point else layer.series.values[-1])))
            if point and not where:
                where = f"at {axis_label(point[0] * by, self.view.axis)}"
        missed = sum(layer.series.not_finite for layer in self.curves)
        segments = [Segment(f"{name:>{LEFT - 1}} ", self.rich_style + Style(bold=True))]
        room = self.size.width - max(LEFT, cell_len(name) + 1)
        for text, curve in heading_pieces(values, where, f"{missed:,} not finite" if missed else "", room):
            tone = self._tones("error") if curve == MISSED else Style()
            segments.append(Segment(text, self._tone(curve) if curve >= 0 else self.rich_style + tone))
        return Strip(segments)

    def _foot(self, span: tuple[float, float], room: int) -> Strip:
        """The ends of the axis, and between them what happened: saves, evaluations, preemptions."""
        cells = [" "] * room
        layer = self.curves[0] if self.curves else None
        for mark in layer.marks if layer else ():
            by_step = self.view.axis in ("step", "tokens")
            at = (mark.step if by_step else mark.seconds) * (layer.axis(self.view.axis)[1] if layer else 1.0)
            if span[0] <= at <= span[1]:
                x = min(room - 1, int((at - span[0]) / (span[1] - span[0]) * room))
                cells[x] = MARKS[mark.what] if cells[x] != MARKS[MarkKind.PREEMPTION] else cells[x]
        first, last = axis_label(span[0], self.view.axis), axis_label(span[1], self.view.axis)
        if len(first) + len(last) + 2 <= room:
            cells[: len(first) + 1] = [*first, " "]
            cells[room - len(last) - 1 :] = [" ", *last]
        return Strip([Segment(f"{self.view.axis:>{LEFT - 1}} " + "".join(cells), self.rich_style + Style(dim=True))])

    def on_click(self, event: events.Click) -> None:
        span, room = self.view.span(self.curves), max(2, self.size.width - LEFT)
        if event.x >= LEFT:
            self.post_message(self.Clicked(span[0] + (event.x - LEFT + 0.5) / room * (span[1] - span[0])))
