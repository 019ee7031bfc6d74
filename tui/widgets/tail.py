"""The last lines of a log, as many as there is room for."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.cells import set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

TONES = {"error": "error", "stage": "accent", "eval": "success"}


class Tail(Widget):
    """Lines of text that is harmless already, the newest at the bottom."""

    DEFAULT_CSS = "Tail { height: 1fr; }"
    ALLOW_SELECT: ClassVar[bool] = False

    def __init__(self, tones: Callable[[str], Style], *, id: str) -> None:
        super().__init__(id=id)
        self._tones = tones
        self._lines: Sequence[str] = ()

    def show(self, lines: Sequence[str]) -> None:
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        at = len(self._lines) - min(height, len(self._lines)) + y
        if at >= len(self._lines) or width < 2:
            return Strip.blank(width, self.rich_style)
        from tui.widgets.log_lines import line_kind

        text = self._lines[at]
        style = self.rich_style + self._tones(TONES.get(line_kind(text), "dim"))
        return Strip([Segment(set_cell_size(text, width), style)]).adjust_cell_length(width, self.rich_style)
