"""What every screen shares: one title line, keys from the table, styled text that is never markup."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual.screen import Screen

from runner.errors import NanochatError
from runner.model.run import Run
from runner.text.sanitize import sanitize_line
from tui.presentation.keymap import Key

if TYPE_CHECKING:
    from tui.context import AppContext


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
        self.notify(sanitize_line(str(error)), severity="error", markup=False, timeout=8)
