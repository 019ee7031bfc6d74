"""A chart that may be a picture: made in a thread, sent once, braille until it is there and wherever it cannot be."""

import fcntl
import os
import struct
import sys
import termios
from collections.abc import Sequence
from itertools import count

from msgspec import Struct
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.background import background
from tui.presentation import terminal_images
from tui.presentation.terminal_images import Protocol
from tui.widgets import chart_image
from tui.widgets.chart_image import ImageRequest
from tui.widgets.chart_layout import Drawn
from tui.widgets.plot_window import PlotWindow

# Where a terminal does not say how large its cells are, and it scales what it is given.
CELL = (10, 20)
# Numbers of pictures: programs in other windows of the same terminal have their own, as it is kept by the process id.
NUMBERS = count((os.getpid() & 0x7FFF) << 8 | 1)


class Sent(Struct):
    """A picture that the terminal may show: of what, in how many cells, and, where it does not keep it, its bytes."""

    of: object
    size: tuple[int, int]
    data: str
    number: int


def cell_pixels() -> tuple[int, int] | None:
    """How many pixels a cell has; None where the terminal does not say."""
    for stream in filter(None, (sys.__stderr__, sys.__stdout__)):
        try:
            said = fcntl.ioctl(stream.fileno(), termios.TIOCGWINSZ, bytes(8))
        except (OSError, ValueError):
            continue
        lines, columns, width, height = struct.unpack("HHHH", said)
        if lines and columns and width and height:
            return min(40, width // columns), min(80, height // lines)
    return None


class Pictured(Widget):
    """A widget with curves that can be a picture; what stands around them is text."""

    view: PlotWindow

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._sent: Sent | None = None
        self._making: object = None
        self._placing = False
        # The first cell of the picture within the widget.
        self._corner = (0, 0)

    def redraw(self) -> None:
        """Draw all anew."""
        raise NotImplementedError

    def on_unmount(self) -> None:
        self._forget()

    def picture(
        self, drawn: Drawn, body: int, base: Style, styles: Sequence[Style], corner: tuple[int, int]
    ) -> Sent | None:
        """The picture of what is drawn, where one is wanted and there; the one before while it is made."""
        protocol = terminal_images.protocol(os.environ) if self.view.image else None
        if protocol is None or body < 2 or not drawn.lines or not self._is_free():
            self._forget()
            return None
        self._corner, size = corner, (drawn.canvas.width, body)
        if max(size) > len(terminal_images.DIACRITICS):
            return None
        back, ink = _colour(base.bgcolor, (0, 0, 0)), _colour(base.color, (200, 200, 200))
        colours = [_colour(style.color, ink) for style in styles]
        wanted = (id(drawn), back, ink, *colours)
        if self._sent and self._sent.of != wanted and self._sent.size != size:
            self._forget()
        if (self._sent is None or self._sent.of != wanted) and self._making != wanted:
            cell = cell_pixels() or (None if protocol is Protocol.SIXEL else CELL)
            if cell is None:
                return None
            self._making = wanted
            asked = ImageRequest(drawn, self.view.copy(), body, cell, back, ink, colours)
            self._make(asked, protocol, Sent(wanted, size, "", next(NUMBERS)))
        return self._sent

    @background(group="picture", doing="drawing the picture of a chart", exclusive=True)
    def _make(self, asked: ImageRequest, protocol: Protocol, sent: Sent) -> None:
        sent.data = chart_image.encoded(asked, protocol, sent.number)
        self.app.call_from_thread(self._made, protocol, sent)

    def _made(self, protocol: Protocol, sent: Sent) -> None:
        if self._making != sent.of or not self.is_attached or not self.view.image:
            return
        self._making = None
        self._forget()
        self._sent = sent
        if protocol is Protocol.KITTY:
            self._write(sent.data)
            sent.data = ""
        self.redraw()

    def _forget(self) -> None:
        """Take the picture back from a terminal that keeps it."""
        if self._sent and not self._sent.data:
            self._write(terminal_images.kitty_forget(self._sent.number))
        self._sent = None

    def _write(self, text: str) -> None:
        if (driver := self.app._driver) is not None and not self.app.is_headless:
            driver.write(text)

    def picture_row(self, sent: Sent, y: int, base: Style, cursor: int | None) -> list[Segment]:
        """The cells of a row of the picture: what a terminal puts it in the place of, or blanks that it is put over."""
        width = sent.size[0]
        if sent.data:
            return [Segment(" " * width, base)]
        style = base + Style(color=Color.from_rgb(*terminal_images.kitty_colour(sent.number)))
        if cursor is None:
            return [Segment(terminal_images.kitty_cells(y, 0, width), style)]
        return [
            Segment(terminal_images.kitty_cells(y, 0, cursor), style),
            Segment("│", base + Style(bold=True)),
            Segment(terminal_images.kitty_cells(y, cursor + 1, width), style),
        ]

    def render_lines(self, crop: Region) -> list[Strip]:
        found = super().render_lines(crop)
        if self._sent and self._sent.data and not self._placing:
            # What was written over it is under it again, once that is on the screen.
            self._placing = True
            self.call_after_refresh(self._place_picture)
        return found

    def _place_picture(self) -> None:
        self._placing = False
        if self._sent and self._sent.data and self._is_free():
            region = self.content_region
            column, line = region.x + self._corner[0], region.y + self._corner[1]
            self._write(terminal_images.placed(self._sent.data, column, line))

    def _is_free(self) -> bool:
        """Whether the widget is in view, all of it and alone: a picture would lie over what lies over it."""
        region = self.region
        if not self.is_attached or not self.screen.is_active or not self.screen.region.contains_region(region):
            return False
        corners = [(x, y) for y in range(region.y, region.bottom) for x in (region.x, region.right - 1)]
        return all(self.screen.get_widget_at(x, y)[0] is self for x, y in corners)


def _colour(color: Color | None, other: tuple[int, int, int]) -> tuple[int, int, int]:
    if color is None or color.is_default:
        return other
    red, green, blue = color.get_truecolor()
    return red, green, blue
