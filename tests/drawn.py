"""Which colours stand on which, as they are drawn."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from textual.app import App
from textual.scrollbar import ScrollBar

from tests.colour_vision import contrast


class Drawn(NamedTuple):
    """A piece of text in its colours, and whose it is."""

    text: str
    colour: str
    ground: str
    widget: str

    @property
    def contrast(self) -> float:
        return contrast(self.colour, self.ground)


def drawn(app: App[Any]) -> Iterator[Drawn]:
    """Every word and number on the top screen; not what only shows through a window, nor borders and scroll bars."""
    for widget, (region, _) in app.screen._compositor.visible_widgets.items():
        if widget is app.screen or isinstance(widget, ScrollBar):
            continue
        for strip in widget.render_lines(region.reset_offset):
            for text, style, _ in strip:
                if style and style.color and style.bgcolor and any(map(str.isalnum, text)):
                    one, other = (c.get_truecolor().hex for c in (style.color, style.bgcolor))
                    if style.reverse:
                        one, other = other, one
                    yield Drawn(text.strip(), one, other, widget.css_identifier)
