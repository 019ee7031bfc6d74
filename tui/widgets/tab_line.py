"""The line at the head of every screen, with the screens as tabs; a click on one opens it."""

from collections.abc import Callable
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from tui.presentation.tabs import Standing, TabPiece, arranged


class TabLine(Widget):
    """Drawn from what is true of all runs; `current` is the mode whose tab is lit."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"tabs--current", "tabs--other"}
    DEFAULT_CSS = """
    TabLine { dock: top; height: 1; background: $surface; }
    TabLine > .tabs--current { background: $cursor; color: $foreground; text-style: bold; }
    TabLine > .tabs--other { color: $foreground; }
    """
    ALLOW_SELECT = False

    def __init__(self, current: str, tones: Callable[[str], Style]) -> None:
        super().__init__()
        self._current, self._tones = current, tones
        self._standing = Standing()

    def put(self, now: Standing) -> None:
        if now != self._standing:
            self._standing = now
            self.refresh()

    @property
    def _pieces(self) -> list[TabPiece]:
        return arranged(self._current, self._standing, self.size.width)

    def render_line(self, y: int) -> Strip:
        lit, other = self.get_component_rich_style("tabs--current"), self.get_component_rich_style("tabs--other")
        segments, at = [], 0
        for piece in self._pieces:
            style = lit if piece.mode == self._current else other
            style = style + self._tones(piece.tone) if piece.tone else style
            segments += [Segment(" " * (piece.at - at), self.rich_style), Segment(piece.text, style)]
            at = piece.at + cell_len(piece.text)
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    async def on_click(self, event: events.Click) -> None:
        for piece in self._pieces:
            if piece.mode and piece.at <= event.x < piece.at + cell_len(piece.text):
                await self.app.run_action(f"show('{piece.mode}')")
