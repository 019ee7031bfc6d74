"""A part of a screen with a title in its border, which is lit while the focus is in it, and can be dragged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, cast

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.containers import Container
from textual.geometry import Region

from runner.text.sanitize import sanitize_line
from tui.presentation.cells import Cell
from tui.presentation.flow import flow

if TYPE_CHECKING:
    from textual.widget import Widget

    from tui.context import TerminalContext

# What a border takes at either end of its title: corner, line and gap, or line and gap.
CORNERED, PLAIN = 3, 2
GAP = "  "
# What neither side of a border that is dragged gets less than.
LEAST_ROWS, LEAST_CELLS = 4, 20
BOLD = Style(bold=True)


class Panel(Container):
    """Says what it is at the left of its upper border, and how that is at the right; all around where there is room."""

    DEFAULT_CSS = """
    Panel { height: 1fr; border: round $foreground 35%; border-title-color: $foreground 35%; padding: 0 1 0 0; }
    Panel:focus-within { border: round $accent; border-title-color: $text-accent; }
    .-tiny Panel, .-narrow Panel, .-flat Panel, .-low Panel {
        border: none; border-top: solid $foreground 35%; padding: 0;
    }
    .-tiny Panel:focus-within, .-narrow Panel:focus-within, .-flat Panel:focus-within, .-low Panel:focus-within {
        border: none; border-top: solid $accent;
    }
    """

    def __init__(self, *children: Widget, id: str) -> None:
        super().__init__(*children, id=id)
        self._title: tuple[Cell, ...] = ()
        self._state: tuple[Cell, ...] = ()
        self._dragging = self._titling = False
        # The sibling whose size was dragged, and which rule of its style that is.
        self._sized: tuple[Widget, str] | None = None
        self.dragged = False

    def put(self, title: Sequence[Cell | str], state: Sequence[Cell | str] = ()) -> None:
        """Name it, and say how it is; what does not fit goes, of the state first."""
        said = _plain(title), _plain(state)
        if said != (self._title, self._state):
            self._title, self._state = said
            self._put_border()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        if self.is_mounted:
            # The theme may be another one.
            self._put_border()

    def on_resize(self) -> None:
        self._put_border()
        if self._sized and not self._dragging and self._divides() != self._sized:
            self._let_go(*self._sized)

    def _divides(self) -> tuple[Widget, str] | None:
        """What lies before this panel, and whether dragging the border between them changes its height or width."""
        siblings = [one for one in self.parent.children if one.display] if self.parent else []
        at = siblings.index(self) if self in siblings else 0
        if not at:
            return None
        before = siblings[at - 1]
        return before, "height" if before.region.bottom <= self.region.y else "width"

    def _let_go(self, sized: Widget, rule: str) -> None:
        """The layout is another one: sizes are its own again."""
        self._sized = None
        for name in (rule, f"max_{rule}", f"min_{rule}"):
            sized.styles.clear_rule(name)
        if isinstance(sized, Panel):
            sized.dragged = False

    def on_mouse_down(self, event: events.MouseDown) -> None:
        found = self._divides()
        # Where on the screen: what comes up from a widget within has its place in that.
        at_top, at_left = event.screen_y == self.region.y, event.screen_x == self.region.x
        if found and (at_top if found[1] == "height" else at_left):
            self._dragging, self._sized = True, found
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if not self._dragging or self._sized is None:
            return
        before, rule = self._sized
        least, here = (LEAST_ROWS, event.screen_y) if rule == "height" else (LEAST_CELLS, event.screen_x)
        begin = before.region.y if rule == "height" else before.region.x
        end = self.region.bottom if rule == "height" else self.region.right
        size = int(min(max(here - begin, least), end - begin - least))
        for name in (rule, f"max_{rule}", f"min_{rule}"):
            setattr(before.styles, name, size)
        if isinstance(before, Panel):
            before.dragged = True
        setattr(self.styles, rule, "1fr")

    def on_mouse_up(self) -> None:
        if self._dragging:
            self._dragging = False
            self.release_mouse()

    def _put_border(self) -> None:
        app = cast("TerminalContext", self.app)
        cornered = bool(self.styles.border_left[0])
        room = self.outer_size.width - 2 * (CORNERED if cornered else PLAIN)
        if room <= 0 or not self._title:
            return
        title = _fitted(self._title, room)
        left = room - _width(title) - 2
        state = _fitted(self._state, left) if left > 4 else []
        gap = "" if cornered else " "
        text = Text(gap, no_wrap=True)
        for cell in title:
            text.append(cell.text, style=app.tone(cell.tone or "text") + BOLD)
        if state:
            text.append(f" {'─' * (room - _width(title) - _width(state) - 2)} ")
            for cell in state:
                text.append(cell.text, style=app.tone(cell.tone or "text"))
        text.append(gap)
        self._titling = True
        self.border_title = text
        self._titling = False

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """A title that changes, as it may every second, draws its line alone, and not all that is in the border."""
        if self._titling and not regions:
            edge = self.content_offset
            regions = (Region(-edge.x, -edge.y, self.outer_size.width, 1),)
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)


def _plain(cells: Sequence[Cell | str]) -> tuple[Cell, ...]:
    return tuple(Cell(sanitize_line(c)) if isinstance(c, str) else Cell(sanitize_line(c.text), c.tone) for c in cells)


def _fitted(cells: Sequence[Cell], width: int) -> list[Cell]:
    return flow(list(cells), width, gap=GAP, most=1)[0] if cells and width > 0 else []


def _width(cells: Sequence[Cell]) -> int:
    return sum(cell_len(cell.text) for cell in cells)
