"""A line of cells as wide as its room."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual.widgets import Static

from runner.text.sanitize import sanitize_line
from tui.presentation.cells import Cell
from tui.presentation.flow import flow

if TYPE_CHECKING:
    from tui.context import TerminalContext


class Line(Static):
    """A line of styled plain text, or a few where its cells may flow on."""

    DEFAULT_CSS = "Line { height: auto; width: 1fr; padding: 0 1; }"

    def __init__(self, *, id: str) -> None:
        super().__init__("", markup=False, id=id)
        self._cells: list[Cell] = []
        self._gap, self._most = "  ", 1
        self._shown = Text()

    def put(self, cells: Iterable[Cell | str], *, gap: str = "  ", most: int = 1) -> None:
        """Show cells side by side, in at most so many lines; what does not fit is cut, and a `…` says so."""
        self._cells = [
            Cell(sanitize_line(words), tone) for words, tone in (Cell(c) if isinstance(c, str) else c for c in cells)
        ]
        self._gap, self._most = gap, most
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        if self.is_mounted:
            # The theme may be another one.
            self._draw()

    def _draw(self) -> None:
        app = cast("TerminalContext", self.app)
        width = self.content_size.width or self.app.size.width - 2
        text = Text(no_wrap=True)
        for number, line in enumerate(flow(self._cells, width, gap=self._gap, most=self._most)):
            text.append("\n" if number else "")
            for words, tone in line:
                text.append(words, style=app.tone(tone))
        if text != self._shown or text.spans != self._shown.spans:
            grown = text.plain.count("\n") != self._shown.plain.count("\n")
            self._shown = text
            self.update(text, layout=grown)
