"""A chart of one metric, of one run or of several: whole, zoomed, by step, time, tokens or dollars."""

import math
from collections.abc import Callable
from itertools import groupby

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from runner.metrics.series import MarkKind
from tui.widgets import axes, legend
from tui.widgets.chart_layout import LEFT, Drawn, laid_out
from tui.widgets.curves import Line, look
from tui.widgets.pictured import Pictured
from tui.widgets.plot_window import FACTORS, curve_tone
from tui.widgets.plot_window import Layer as Layer
from tui.widgets.plot_window import PlotWindow as PlotWindow
from tui.widgets.ranges import FALLING, RISING

# From these heights on there are rows beside the curve: numbers below it, what happened, more of a heading.
FOOT, MARK_ROW, TALL = 4, 10, 14
MOST_HEADING = 3
# A heading ends before that of the chart at its right begins.
GAP = 2
WHEEL = 0.8
CURSOR, FAINT, STRONG = Style(bold=True, dim=False), Style(dim=True), Style(bold=True)
MARKS = {MarkKind.VAL: "▲", MarkKind.SAVE: "◆", MarkKind.PREEMPTION: "↻"}
MEANINGS = {MarkKind.VAL: "val", MarkKind.SAVE: "save", MarkKind.PREEMPTION: "preemption"}


class Plot(Pictured):
    """Draws its layers as `view` says; the heading holds the last values, or those under the cursor."""

    DEFAULT_CSS = """
    Plot { height: 6; }
    Plot:focus { background: $surface; }
    """

    class Clicked(Message):
        """A place of the axis was pointed at."""

        def __init__(self, at: float) -> None:
            super().__init__()
            self.at = at

    class Moved(Message):
        """The mouse changed what is shown, or which values are told."""

    def __init__(self, title: str, tones: Callable[[str], Style], view: PlotWindow, *, id: str) -> None:
        super().__init__(id=id)
        self._metric = self._title = title
        self._tones, self.view = tones, view
        self.curves: list[Layer] = []
        self._rows: list[Strip] | None = None
        self._rows_of = Size()
        self._drawn: tuple[object, Drawn] | None = None
        self._base = Style()
        self._nothing = ""
        # Where the button of the mouse went down, and whether the mouse has moved since.
        self._held: int | None = None
        self._dragged = False

    def show(self, layers: list[Layer], title: str = "", *, coming: bool = False) -> None:
        """Other curves, or the same ones grown; under another title, where one is given. `coming`: not read yet."""
        self._nothing = "reading …" if coming else "no values yet"
        self.curves = [one for one in layers if len(one.series)]
        self._title = title or self._title
        self._drawn = None
        self.redraw()

    def redraw(self) -> None:
        self._rows = None
        self.refresh()

    def notify_style_update(self) -> None:
        # Another theme, or chosen among others.
        super().notify_style_update()
        self._rows = None

    def render_line(self, y: int) -> Strip:
        # It may be drawn in another size before it is told of that.
        if self._rows is None or self._rows_of != self.size:
            self._rows, self._rows_of = self._draw(), self.size
        return self._rows[y] if y < len(self._rows) else Strip.blank(self.size.width, self.rich_style)

    def _heights(self) -> tuple[int, int, int, int]:
        """Rows of heading, curve, marks and foot."""
        height = self.size.height
        foot = int(height >= FOOT)
        marks = int(height >= MARK_ROW and any(layer.marks for layer in self.curves))
        names = [layer.name for layer in self.curves]
        most = MOST_HEADING if height >= TALL else 1
        heading = legend.rows_wanted(self._title, names, self.size.width - GAP, most)
        return heading, max(0, height - heading - foot - marks), marks, foot

    def _draw(self) -> list[Strip]:
        width, base = self.size.width, self.rich_style
        # Asked once: it is put together from all styles above it.
        self._base = base
        heading, body, marks, foot = self._heights()
        if not self.curves:
            indent = max(0, min(LEFT, width - len(self._nothing)))
            said = Strip([Segment(f"{'':{indent}}{self._nothing}", base + FAINT)])
            rows = [*self._heading(self._what(width, body), heading), *[Strip.blank(width, base)] * (body // 2), said]
            rows += [Strip.blank(width, base)] * (self.size.height - len(rows))
            return [row.adjust_cell_length(width, base) for row in rows[: self.size.height]]
        drawn = self._what(width, body)
        cursor = self._cursor_cell(drawn)
        rows = self._heading(drawn, heading)
        rows += [Strip.blank(width, base)] * (heading - len(rows))
        rows += self._body(drawn, body, cursor, heading)
        rows += [self._marks(drawn)] * marks
        rows += [self._foot(drawn, cursor, with_marks=not marks)] * foot
        return [row.adjust_cell_length(width, base) for row in rows]

    def _what(self, width: int, body: int) -> Drawn:
        """Lines and numbers at this size; the same as before where nothing else is to be seen."""
        view = self.view
        key = (width, body, view.axis, view.begin, view.end, view.log, view.smoothing, view.raw, view.whole_range)
        if self._drawn and self._drawn[0] == key:
            return self._drawn[1]
        found = laid_out(self.curves, view, self._metric, width, body)
        self._drawn = key, found
        return found

    def _cursor_cell(self, drawn: Drawn) -> int | None:
        at, span = self.view.at, drawn.span
        if at is None or not span[0] <= at <= span[1]:
            return None
        return axes.cell_of(at, span, drawn.canvas.width)

    def _style(self, line: Line) -> Style:
        style = self._base + curve_tone(self._tones, line.number)
        return style + FAINT if line.raw else style

    def _gutter(self, drawn: Drawn, text: str) -> Segment:
        return Segment(f"{text:>{drawn.left - 1}} " if drawn.left else "", self._base + FAINT)

    def _body(self, drawn: Drawn, body: int, cursor: int | None, heading: int) -> list[Strip]:
        """The rows of the curve, with the faint lines of the grid and the cursor behind it."""
        looks = [self._style(line) for line in drawn.lines]
        if picture := self.picture(drawn, body, self._base, looks, (drawn.left, heading)):
            gutters = [self._gutter(drawn, drawn.rows.get(y, "")) for y in range(body)]
            return [Strip([left, *self.picture_row(picture, y, self._base, cursor)]) for y, left in enumerate(gutters)]
        grid = {}
        for crossing, fill in ((False, " "), (True, "┈")):
            cells = [fill] * drawn.canvas.width
            for label in drawn.foot:
                cells[label.cell] = "┊"
            if cursor is not None:
                cells[cursor] = "│"
            grid[crossing] = "".join(cells)
        styles = [*looks, self._base + FAINT]
        behind = [grid[y in drawn.rows] for y in range(body)]
        for note, y in zip(drawn.shown.notes, (0, body - 1), strict=True) if body > 1 else ():
            begin = drawn.canvas.width - cell_len(note) - 1
            # Only where no curve cuts it.
            if note and begin > 0 and drawn.canvas.is_free(y, begin):
                behind[y] = f"{behind[y][:begin]} {note}"
        return [self._row(drawn, y, behind[y], styles, cursor) for y in range(body)]

    def _row(self, drawn: Drawn, y: int, behind: str, styles: list[Style], cursor: int | None) -> Strip:
        canvas = drawn.canvas
        text, owners = canvas.text(y, behind), canvas.owners[y]
        segments, at = [self._gutter(drawn, drawn.rows.get(y, ""))], 0
        for owner, cells in groupby(owners):
            end, style = at + sum(1 for _ in cells), styles[owner]
            if cursor is not None and at <= cursor < end:
                segments += [Segment(text[at:cursor], style), Segment(text[cursor], style + CURSOR)]
                at = cursor + 1
            segments.append(Segment(text[at:end], style))
            at = end
        return Strip(segments)

    def _heading(self, drawn: Drawn, rows: int) -> list[Strip]:
        """What it shows, and of each curve the value under the cursor, else its last."""
        told = [line for line in drawn.lines if line.told]
        found = self._entries(drawn, told, rows)
        ranked = self._metric in (*FALLING, *RISING)
        if ranked and any(piece.of == legend.MORE for row in found for piece in row):
            # Where not all have room the best are told.
            told.sort(key=lambda line: self._rank(line.value(self.view.axis, self.view.at)[0]))
            found = self._entries(drawn, told, rows)
        return [Strip([Segment(piece.text, self._piece_style(piece, told)) for piece in row]) for row in found]

    def _rank(self, value: float) -> float:
        """Lower for what is better."""
        if not math.isfinite(value):
            return math.inf
        return value if self._metric in FALLING else -value

    def _entries(self, drawn: Drawn, told: list[Line], rows: int) -> list[list[legend.HeadingPiece]]:
        view, where = self.view, ""
        entries = []
        for line in told:
            value, place = line.value(view.axis, view.at)
            where = where or ("" if place is None else f"at {axes.place(place, view.axis)}")
            mark = look(line, drawn.several)[0] if len(told) > 1 else ""
            entries.append(legend.CurveEntry(line.layer.name, axes.value(value), mark))
        missed = sum(layer.series.not_finite for layer in self.curves)
        title = self._title + (" (log)" if view.log else "")
        # Over a picture there is no room for it.
        cut = drawn.shown.notes if self._sent else ()
        notes = [note for note in (where, *cut, self._slider(drawn), self._meanings(drawn)) if note]
        width = self.size.width - GAP
        return legend.heading(title, entries, notes, f"{missed:,} not finite" if missed else "", width, rows)

    def _slider(self, drawn: Drawn) -> str:
        """How much is smoothed, where something is that a key has set."""
        factor = self.view.smoothing
        if factor is None or all(line.layer.measured for line in drawn.lines):
            return ""
        return legend.slider(factor, FACTORS)

    def _piece_style(self, piece: legend.HeadingPiece, told: list[Line]) -> Style:
        if piece.of >= 0:
            return self._style(told[piece.of])
        styles = {legend.TITLE: STRONG, legend.MISSED: self._tones("error"), legend.NOTE: FAINT}
        return self._base + styles.get(piece.of, Style())

    def _marked(self, drawn: Drawn) -> dict[int, str]:
        """By cell, what happened there: saves, evaluations, preemptions."""
        cells: dict[int, str] = {}
        layer = next((one for one in self.curves if one.marks), None)
        for mark in layer.marks if layer else ():
            by_step = self.view.axis in ("step", "tokens")
            at = (mark.step if by_step else mark.seconds) * (layer.axis(self.view.axis)[1] if layer else 1.0)
            if drawn.span[0] <= at <= drawn.span[1]:
                cell = axes.cell_of(at, drawn.span, drawn.canvas.width)
                if cells.get(cell) != MARKS[MarkKind.PREEMPTION]:
                    cells[cell] = MARKS[mark.what]
        return cells

    def _meanings(self, drawn: Drawn) -> str:
        """What the signs on the axis stand for."""
        signs = set(self._marked(drawn).values())
        return "  ".join(f"{sign} {MEANINGS[what]}" for what, sign in MARKS.items() if sign in signs)

    def _marks(self, drawn: Drawn) -> Strip:
        marked = self._marked(drawn)
        text = "".join(marked.get(x, "┈") for x in range(drawn.canvas.width))
        return Strip([self._gutter(drawn, ""), Segment(text, self._base + FAINT)])

    def _foot(self, drawn: Drawn, cursor: int | None, *, with_marks: bool) -> Strip:
        """The numbers of the axis; the place of the cursor before all, and what happened where nothing is written."""
        room, faint = drawn.canvas.width, self._base + FAINT
        cells = [" "] * room
        for cell, sign in self._marked(drawn).items() if with_marks else ():
            cells[cell] = sign
        written = list(drawn.foot)
        at = self.view.at
        place = None if cursor is None or at is None else axes.around(cursor, axes.place(at, self.view.axis), room)
        if place and place.end > room:
            place = None
        if place:
            written = [one for one in written if one.end < place.begin or one.begin > place.end]
        for one in written:
            cells[max(0, one.begin - 1) : one.end + 1] = [*" " * (one.begin - max(0, one.begin - 1)), *one.text, " "]
        text = "".join(cells[:room])
        axis = self.view.axis if drawn.left > len(self.view.axis) else ""
        if not place:
            return Strip([self._gutter(drawn, axis), Segment(text, faint)])
        strong = self._base + STRONG
        parts = (text[: place.begin], faint), (place.text, strong), (text[place.end :], faint)
        return Strip([self._gutter(drawn, axis), *(Segment(*part) for part in parts)])

    def _place(self, x: int) -> float | None:
        """The place of the axis under a column of the widget; None beside the curve."""
        if self._drawn is None:
            return None
        drawn = self._drawn[1]
        share = (x - drawn.left + 0.5) / drawn.canvas.width
        return drawn.span[0] + share * (drawn.span[1] - drawn.span[0]) if 0 <= share <= 1 else None

    def _moved(self) -> None:
        self.redraw()
        self.post_message(self.Moved())

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1 and self._place(event.x) is not None:
            self._held, self._dragged = event.x, False
            self.capture_mouse()

    def on_mouse_up(self) -> None:
        if self._held is not None:
            self._held = None
            self.release_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """The values under the mouse; with its button down what is shown goes along."""
        if self._held is None or self._drawn is None:
            at = self._place(event.x)
            if at != self.view.hover:
                self.view.hover = at
                self._moved()
            return
        drawn = self._drawn[1]
        if by := self._held - event.x:
            self._held, self._dragged = event.x, True
            share = by / drawn.canvas.width * (drawn.span[1] - drawn.span[0])
            self.view.pan(share, self.view.whole(self.curves))
            self._moved()

    def on_leave(self) -> None:
        if self.view.hover is not None and self._held is None:
            self.view.hover = None
            self._moved()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._wheel(event, WHEEL)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        # What is whole cannot be made wider: the list of charts scrolls.
        if self.view.begin is not None:
            event.stop()
            self._wheel(event, 1 / WHEEL)

    def _wheel(self, event: events.MouseEvent, by: float) -> None:
        self.view.zoom(by, self.view.whole(self.curves), self._place(event.x))
        self._moved()

    def on_click(self, event: events.Click) -> None:
        if self._dragged:
            self._dragged = False
        elif event.chain > 1:
            self.view.show_all()
            self._moved()
        elif (at := self._place(event.x)) is not None:
            self.view.cursor = at
            self.redraw()
            self.post_message(self.Clicked(at))
