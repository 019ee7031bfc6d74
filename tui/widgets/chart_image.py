"""The curves of a chart as a picture; its numbers and names stay text. Needs Pillow, the extra `images`."""

import importlib.util
import io
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from tui.presentation import terminal_images
from tui.presentation.terminal_images import Protocol
from tui.widgets.braille import drawn_columns
from tui.widgets.chart_layout import Drawn, columns_of
from tui.widgets.curves import Line, look
from tui.widgets.plot_window import PlotWindow

Colour = tuple[int, int, int]
# Drawn so many times as large, then made smaller: smooth edges.
FINER = 2
GRID, RAW = 0.18, 0.45
SIXEL_COLOURS = 64
# A dot of braille is two of these wide on most terminals.
DASH_UNIT = 5


class ImageRequest(Struct, frozen=True):
    """What a picture is to show: what is drawn, in cells and pixels, in which colours."""

    drawn: Drawn
    view: PlotWindow
    rows: int
    cell: tuple[int, int]
    back: Colour
    ink: Colour
    colours: Sequence[Colour]


def can_draw() -> bool:
    """Whether Pillow is installed; it is not loaded to know that."""
    return importlib.util.find_spec("PIL") is not None


def encoded(asked: ImageRequest, protocol: Protocol, number: int) -> str:
    """What the terminal is sent for a picture. Takes a few hundredths of a second; for a thread."""
    image = draw(asked)
    columns = asked.drawn.canvas.width
    if protocol is Protocol.SIXEL:
        few = image.quantize(SIXEL_COLOURS, dither=0)
        flat = few.getpalette() or []
        palette = [(flat[at], flat[at + 1], flat[at + 2]) for at in range(0, len(flat) - 2, 3)]
        return terminal_images.sixel(few.width, few.height, palette, few.tobytes())
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=4)
    if protocol is Protocol.KITTY:
        return terminal_images.kitty(data.getvalue(), number, columns, asked.rows)
    return terminal_images.iterm2(data.getvalue(), columns, asked.rows)


def draw(asked: ImageRequest) -> Any:
    """The grid and the curves, without a letter, as an image of Pillow's."""
    from PIL import Image, ImageDraw

    drawn = asked.drawn
    width, height = drawn.canvas.width * asked.cell[0], asked.rows * asked.cell[1]
    image = Image.new("RGB", (width * FINER, height * FINER), asked.back)
    pen = ImageDraw.Draw(image)
    grid = _between(asked.back, asked.ink, GRID)
    for label in drawn.foot:
        x = (label.cell + 0.5) * asked.cell[0] * FINER
        pen.line([(x, 0), (x, height * FINER)], fill=grid, width=FINER)
    for tick in drawn.ticks:
        y = (drawn.shown.high - tick) / (drawn.shown.high - drawn.shown.low) * height * FINER
        pen.line([(0, y), (width * FINER, y)], fill=grid, width=FINER)
    for line, colour in zip(drawn.lines, asked.colours, strict=True):
        shade = _between(asked.back, colour, RAW) if line.raw else colour
        _curve(pen, asked, line, shade, (width, height), look(line, drawn.several)[1])
    return image.resize((width, height), Image.Resampling.BOX)


def _curve(
    pen: Any, asked: ImageRequest, line: Line, colour: Colour, size: tuple[int, int], dash: Sequence[int]
) -> None:
    """One curve by the column of pixels: a stroke over what a column has, joined to the one before."""
    low, high = asked.drawn.shown.low, asked.drawn.shown.high
    columns = columns_of(line, asked.view, asked.drawn.span, size[0])
    ink = drawn_columns([many * DASH_UNIT for many in dash], size[0])
    # In the middle of the dots that stand for the lowest and the highest.
    scale = size[1] * FINER / (high - low) if high > low else 0.0
    thick = FINER if line.raw else 2 * FINER

    def at(x: int, value: float) -> tuple[float, float]:
        # What is far outside is outside as well.
        return (x + 0.5) * FINER, max(-9999.0, min(99999.0, (high - value) * scale))

    before: tuple[int, float] | None = None
    for x, column in enumerate(columns):
        if column is None:
            continue
        if ink[x]:
            if before:
                pen.line([at(*before), at(x, column.first)], fill=colour, width=thick)
            if column.high > column.low:
                pen.line([at(x, column.high), at(x, column.low)], fill=colour, width=thick)
        before = x, column.last


def _between(back: Colour, ink: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(back, ink, strict=True))
    return red, green, blue
