"""What every screen shares: the tabs above, the keys below, styled text that is never markup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.dom import DOMNode
from textual.reactive import Reactive
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input

from runner.errors import NanochatError
from runner.model.run import Run
from runner.text.sanitize import sanitize_line
from tui.presentation import run_summary
from tui.presentation.cells import Cell
from tui.presentation.keymap import Key
from tui.presentation.tabs import Standing
from tui.screens.cleared import Cleared, ClearedState
from tui.widgets.key_line import KeyLine
from tui.widgets.line import Line
from tui.widgets.tab_line import TabLine

if TYPE_CHECKING:
    from tui.context import AppContext


class NanochatScreen(Screen[None]):
    """A screen of the app, told of every fresh look at the runs while it is on top."""

    CSS_PATH: ClassVar[str | Path | None] = None
    # The sections of the key table that work here, its own first.
    SECTIONS: ClassVar[tuple[str, ...]] = ()
    _drawn_in = ""
    # The mode whose tab is lit.
    TAB: ClassVar[str] = ""

    # Textual draws all of a screen anew when the focus moves; who had it and who has it draw themselves.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    def __init__(self) -> None:
        super().__init__()
        self.cleared = Cleared()
        self._clocks: list[Timer] = []
        self._keys = KeyLine()

    def compose(self) -> ComposeResult:
        yield TabLine(self.TAB, self.nanochat.tone)
        yield Line(id="trouble")
        yield from self.body()
        yield self._keys

    def body(self) -> ComposeResult:
        """What is between the tabs and the keys."""
        raise NotImplementedError

    @property
    def nanochat(self) -> AppContext:
        return cast("AppContext", self.app)

    @property
    def is_there(self) -> bool:
        """Whether there is something to show it in: not before the screen is composed, nor while the app closes."""
        return self.is_mounted and bool(self.children)

    def every(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something again and again while the screen is on top, or only what asks something is over it."""
        self._clocks.append(self.set_interval(seconds, act))

    def on_screen_suspend(self) -> None:
        if self not in self.app.screen_stack:
            for clock in self._clocks:
                clock.pause()
            self._let_blink(False)

    def _let_blink(self, blinks: bool) -> None:
        if isinstance(self.focused, Input):
            self.focused.cursor_blink = blinks

    def _update_focus_styles(self, focused: Widget | None = None, blurred: Widget | None = None) -> None:
        """As Textual does, but for what both are within, which has the focus in it before and after."""
        within = [{*one.ancestors_with_self} if one else set() for one in (focused, blurred)]
        changed = set[DOMNode]()
        for one, stays in ((focused, within[1]), (blurred, within[0])):
            for node in reversed(one.ancestors_with_self if one else []):
                if node not in stays and node._has_focus_within:
                    changed.update(node.walk_children(with_self=True))
                    break
        if changed:
            self.app.stylesheet.update_nodes(changed, animate=True)

    def show_standing(self, now: Standing, trouble: list[Cell]) -> None:
        """What is true of all runs, and what keeps it from being known."""
        if self.is_there:
            self.query_one(TabLine).put(now)
            line = self.query_one("#trouble", Line)
            line.display = bool(trouble)
            line.put(trouble)

    def show_runs(self, runs: list[Run]) -> None:
        """Runs were looked at; called on the UI thread, also when the screen comes back to the top."""

    def run_in_hand(self) -> Run | None:
        """The run that the screen shows or has the cursor on, where it is about one."""
        return None

    def mute_keys(self, runs: Sequence[Run]) -> None:
        """Of keys that are about runs, those are muted that would do nothing with these."""
        self._keys.mute(frozenset(f"{self.SECTIONS[0]}.{action}" for action in run_summary.of_no_use(runs)))

    def begin_at(self, run: Run) -> None:
        """One comes here from a screen with this run in hand."""

    async def act(self, key: Key) -> None:
        """Do what a key of one of its sections does."""
        await self.run_action(key.action)

    def action_back(self) -> None:
        self.nanochat.go_back()

    def bring_back(self, kept: ClearedState) -> None:
        """Have marks or a filter as they were, on a screen that has put them away."""

    def notify_style_update(self) -> None:
        super().notify_style_update()
        before, self._drawn_in = self._drawn_in, self.app.theme
        if before != self._drawn_in and self.is_there:
            self.call_later(self.draw_anew)

    def draw_anew(self) -> None:
        """The theme is another one: what was drawn in its tones has the old ones."""
        self.show_standing(*self.nanochat.standing())
        self.show_runs(self.nanochat.runs)

    def on_screen_resume(self) -> None:
        for clock in self._clocks:
            clock.resume()
        self._let_blink(True)
        self.show_standing(*self.nanochat.standing())
        self.show_runs(self.nanochat.runs)

    def say(self, error: NanochatError) -> None:
        """Show an error as a toast that is plain text."""
        self.notify(sanitize_line(str(error)), severity="error", markup=False, timeout=8)
