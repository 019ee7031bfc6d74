"""What the app and the view of a log have in common: their looks, and keys that come faster than the screen."""

import time
from collections import deque
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.app import App
from textual.dom import DOMNode
from textual.screen import Screen

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
        self._given_to: list[DOMNode] = []
        self._given_on: Screen[object] | None = None
        self._waiting = 0.0

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
        """Act upon the oldest key that waits, once nothing is left to do for the one before."""
        if self._waiting or not self._ahead:
            return
        if not (self._is_open and all(node.message_queue_size == 0 for node in self._given_to)):
            wait = self._waiting = time.monotonic() + PATIENCE_S
            # Once up for the key itself, which comes back here, and once for what its widget then has to say.
            self._through([*self._given_to, *self._given_to], wait)
            self.set_timer(PATIENCE_S, lambda: self._rest(wait))
            return
        event = self._ahead.popleft()
        self._given_to, self._given_on = (self.focused or self.screen).ancestors_with_self, self.screen
        await super().on_event(event)
        if self._ahead:
            self.call_later(self._take)

    @property
    def _is_open(self) -> bool:
        """Whether a screen that the last key has opened can be given keys."""
        screen = self.screen
        return screen is self._given_on or (screen.is_mounted and bool(screen.focused or not screen.focus_chain))

    def _through(self, nodes: list[DOMNode], wait: float) -> None:
        """Rest when each of these, which hand on to the next what comes of a key, has got that far."""
        for number, node in enumerate(nodes):
            if node.call_later(self._through, nodes[number + 1 :], wait):
                return
        if self.screen is self._given_on or time.monotonic() > wait:
            self._rest(wait)
        elif self._is_open:
            # It may yet choose where its focus is.
            self._given_on = self.screen
            self._through([self.screen, self], wait)
        else:
            self.set_timer(SETTLE_S, lambda: self._through([], wait))

    def _rest(self, wait: float) -> None:
        if wait == self._waiting:
            self._waiting, self._given_to, self._given_on = 0.0, [], self.screen
            self.call_later(self._take)


def exit_code(app: TerminalApp) -> int:
    """Run an app to its end; what the shell is told, which is not 0 when it crashed."""
    said = app.run()
    return said if said is not None else app.return_code or 0
