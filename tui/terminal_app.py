"""What the app and the view of a log have in common: their looks, and keys that come faster than the screen."""

import time
from collections import deque
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.app import App
from textual.dom import DOMNode

from tui.screens.base import tone_style
from tui.theme import CSS, THEME

# How long a key may keep the next ones waiting, and how often a screen that opens is looked at.
PATIENCE_S, SETTLE_S = 1.0, 0.01


class TerminalApp(App[int]):
    """An app in the colours of nanochat-tui."""

    CSS: ClassVar[str] = CSS

    def __init__(self) -> None:
        super().__init__()
        self.register_theme(THEME)
        self.theme = THEME.name
        self._ahead: deque[events.Key | events.Paste] = deque()
        self._under_way: events.Event | None = None

    def tone(self, name: str) -> Style:
        """A tone of the theme as a style; with NO_COLOR Textual takes the colours out again."""
        return tone_style(self.theme_variables, name) if name else Style()

    async def on_event(self, event: events.Event) -> None:
        """Keys one after the other: each is meant for what is there once the one before it has done its work.

        Textual hands all that came at once to what has the focus now, though the first of them may open a prompt.
        """
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            self._ahead.append(event)
            await self._take()
        else:
            await super().on_event(event)

    async def _take(self) -> None:
        """Act upon the oldest key that waits, unless another is under way."""
        if self._under_way or not self._ahead:
            return
        event = self._under_way = self._ahead.popleft()
        nodes = (self.focused or self.screen).ancestors_with_self
        await super().on_event(event)
        # Once up for the key itself, which comes back here, and once for what its widget then has to say.
        self._through([*nodes, *nodes], event)
        self.set_timer(PATIENCE_S, lambda: self._done(event))

    def _through(self, nodes: list[DOMNode], event: events.Event) -> None:
        """Be done when each of these, which hand on to the next what comes of a key, has got that far."""
        for number, node in enumerate(nodes):
            if node.call_later(self._through, nodes[number + 1 :], event):
                return
        self._settle(event, time.monotonic() + PATIENCE_S)

    def _settle(self, event: events.Event, until: float) -> None:
        """Wait for a screen that a key has opened."""
        screen = self.screen
        if time.monotonic() < until and not (screen.is_mounted and (screen.focused or not screen.focus_chain)):
            self.set_timer(SETTLE_S, lambda: self._settle(event, until))
        else:
            self._done(event)

    def _done(self, event: events.Event) -> None:
        if event is self._under_way:
            self._under_way = None
            self.call_later(self._take)


def exit_code(app: TerminalApp) -> int:
    """Run an app to its end; what the shell is told, which is not 0 when it crashed."""
    said = app.run()
    return said if said is not None else app.return_code or 0
