"""A part of a screen with a title in its border, which is lit while the focus is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from rich.cells import cell_len
from rich.text import Text
from textual.containers import Container

from runner.text.sanitize import sanitize_line
from tui.presentation.cells import Cell
from tui.presentation.flow import flow

if TYPE_CHECKING:
    from textual.widget import Widget

    from tui.context import TerminalContext

# What a border with corners takes at either end of its title, and one without: corner, line and gap.
CORNERED, PLAIN = 3, 1
GAP = "  "


class Panel(Container):
    """Says what it is at the left of its upper border, and how that is at the right; all around where there is room."""

    DEFAULT_CSS = """
    Panel { height: 1fr; border: round $panel-lighten-1; border-title-color: $panel-lighten-1; padding: 0 1 0 0; }
    Panel:focus-within { border: round $accent; border-title-color: $accent; }
    .-tiny Panel, .-narrow Panel, .-flat Panel, .-low Panel {
        border: none; border-top: solid $panel-lighten-1; padding: 0;
    }
    .-tiny Panel:focus-within, .-narrow Panel:focus-within, .-flat Panel:focus-within, .-low Panel:focus-within {
        border: none; border-top: solid $accent;
    }
    """

    def __init__(self, *children: Widget, id: str) -> None:
        super().__init__(*children, id=id)
        self._title: tuple[Cell, ...] = ()
        self._state: tuple[Cell, ...] = ()

    def put(self, title: Sequence[Cell | str], state: Sequence[Cell | str] = ()) -> None:
        """Name it, and say how it is; what does not fit goes, of the state first."""
        said = _plain(title), _plain(state)
        if said != (self._title, self._state):
            self._title, self._state = said
            self._put_border()

    def on_resize(self) -> None:
        self._put_border()

    def _put_border(self) -> None:
        app = cast("TerminalContext", self.app)
        room = self.outer_size.width - 2 * (CORNERED if self.styles.border_left[0] else PLAIN)
        if room <= 0 or not self._title:
            return
        title = _fitted(self._title, room)
        left = room - _width(title) - 2
        state = _fitted(self._state, left) if left > 4 else []
        text = Text(no_wrap=True)
        for cell in title:
            text.append(cell.text, style=app.tone(cell.tone) if cell.tone else "bold")
        if state:
            text.append(f" {'─' * (room - _width(title) - _width(state) - 2)} ")
            for cell in state:
                text.append(cell.text, style=app.tone(cell.tone))
        self.border_title = text


def _plain(cells: Sequence[Cell | str]) -> tuple[Cell, ...]:
    return tuple(Cell(sanitize_line(c)) if isinstance(c, str) else Cell(sanitize_line(c.text), c.tone) for c in cells)


def _fitted(cells: Sequence[Cell], width: int) -> list[Cell]:
    return flow(list(cells), width, gap=GAP, most=1)[0] if cells and width > 0 else []


def _width(cells: Sequence[Cell]) -> int:
    return sum(cell_len(cell.text) for cell in cells)
