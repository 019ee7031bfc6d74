"""What every screen shares: one title line, keys from the table, styled text that is never markup."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from rich.style import Style
from rich.text import Text
from textual.color import Color
from textual.screen import Screen
from textual.widgets import Static

from runner.errors import NanochatError
from runner.run import Run
from runner.terminal import safe
from tui.cells import Cell
from tui.flow import flow
from tui.keys import Key

if TYPE_CHECKING:
    from tui.context import AppContext, TerminalContext


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
        self._cells = [Cell(safe(words), tone) for words, tone in (Cell(c) if isinstance(c, str) else c for c in cells)]
        self._gap, self._most = gap, most
        self._draw()

    def on_resize(self) -> None:
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


class NanochatScreen(Screen[None]):
    """A screen of the app, told of every fresh look at the runs while it is on top."""

    CSS_PATH: ClassVar[str | Path | None] = None
    # The sections of the key table that work here, its own first.
    SECTIONS: ClassVar[tuple[str, ...]] = ()

    @property
    def nanochat(self) -> AppContext:
        return cast("AppContext", self.app)

    @property
    def is_there(self) -> bool:
        """Whether there is something to show it in: not before the screen is composed, nor while the app closes."""
        return self.is_mounted and bool(self.children)

    def show_runs(self, runs: list[Run]) -> None:
        """Runs were looked at; called on the UI thread, also when the screen comes back to the top."""

    async def act(self, key: Key) -> None:
        """Do what a key of one of its sections does."""
        await self.run_action(key.action)

    def action_back(self) -> None:
        self.nanochat.go_back()

    def on_screen_resume(self) -> None:
        self.show_runs(self.nanochat.runs)

    def say(self, error: NanochatError) -> None:
        """Show an error as a toast that is plain text."""
        self.notify(safe(str(error)), severity="error", markup=False, timeout=8)


def tone_style(variables: dict[str, str], name: str) -> Style:
    """A tone of `Cell` in the colours of the theme."""
    names = {
        "dim": "text-muted",
        "success": "text-success",
        "warning": "text-warning",
        "error": "text-error",
        "secondary": "text-secondary",
    }
    key = {**names, "accent": "text-accent"}.get(name, "")
    if not key:
        return Style()
    if name == "dim":
        return Style(dim=True)
    try:
        return Style(color=Color.parse(variables[key]).rich_color)
    except (KeyError, ValueError):
        return Style()
