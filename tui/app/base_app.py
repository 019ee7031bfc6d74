"""What the app and the view of a log have in common: their looks, and keys that come faster than the screen."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import CancelledError, wait
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rich.style import Style
from textual import events
from textual._callback import invoke
from textual.actions import ActionParseResult
from textual.app import App, ScreenStackError
from textual.command import CommandPalette, Provider
from textual.dom import DOMNode
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.filter import LineFilter, Monochrome, NoColor
from textual.keys import _character_to_key
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widgets import Input
from textual.widgets._toast import ToastHolder

from runner.exit_codes import Exit
from runner.settings import Settings
from runner.system import read_only
from runner.system.client_log import FILE, LOG
from runner.text.sanitize import sanitize_line
from runner.text.secrets import redact
from tui.app import clipboard
from tui.app.driver import TerminalDriver
from tui.app.layouts import latin
from tui.app.palette import Commands
from tui.app.stylesheet import KeptStylesheet
from tui.app.theming import ThemePalette, Themes
from tui.background import MOMENT_S, Left, Threads, as_ours, background
from tui.presentation.app_style import CSS, WIDE, Muted, tone_style
from tui.presentation.bindings import key_overrides
from tui.presentation.key_choice import Chosen, chosen, only_looking, summary
from tui.presentation.keymap import CHANGING, KEYS, Key
from tui.presentation.themes import completed
from tui.widgets.consent import Question
from tui.widgets.dialogs import Palette, TextPage, messages_page
from tui.widgets.help_page import HelpPage
from tui.widgets.key_line import KeyLine
from tui.widgets.toasts import Toast, Toasts

if TYPE_CHECKING:
    from tui.widgets.log_view import LogView

T = TypeVar("T")

# How long a key may keep the next ones waiting, in turns of the loop too, as a second of a busy machine has but a few;
# and how often a screen that opens is looked at.
PATIENCE_S, PATIENCE_TURNS, SETTLE_S = 1.0, 50, 0.01
TOO_FAST = "too many keys at once: those that waited were dropped"


class TerminalApp(App[int]):
    """An app in the colours of nanochat-tui."""

    CSS: ClassVar[str] = CSS
    # From so many cells and rows on there is room for frames, for two panels beside each other, for one more below.
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (100, "-broad"), (WIDE, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (18, "-low"), (30, "-high"), (40, "-tall")]
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {Commands}

    def __init__(self) -> None:
        super().__init__()
        self.looks = Themes(self)
        self.keys: Chosen = chosen()
        self.commands: Mapping[str, str] = {}
        self.stylesheet = KeptStylesheet(variables=self.get_css_variables())
        self.toasts, self._toasting = Toasts(), False
        self._ahead: deque[events.Key | events.Paste] = deque()
        self._given_to: list[DOMNode] = []
        self._given_on: Screen[object] | None = None
        self._waiting, self._waits = 0, 0
        # Keys and events of the mouse that the terminal sent and that are done with.
        self.acted_upon = 0
        # When a key was pressed last.
        self.key_at = 0.0
        # What threads do that come to their end also when the app is left, and what they have to say by then.
        self.left = threading.Event()
        self.signalled = self.is_alone = False
        self.unfinished: dict[int, str] = {}
        self.told_late: list[str] = []

    def get_driver_class(self) -> type[Driver]:
        ordinary = super().get_driver_class()
        return TerminalDriver if ordinary is LinuxDriver else ordinary

    @property
    def driver(self) -> Driver | None:
        """What draws, while the app runs."""
        return self._driver

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop while the app runs."""
        return self._loop

    def leave(self, code: int = 0) -> None:
        """Leave at once, and in order."""
        self.exit(code)

    def vanished(self) -> None:
        """The terminal is gone."""
        self.is_alone = True
        self.leave(128 + signal.SIGHUP)

    def drawn_over(self) -> None:
        """Others had the terminal: all is drawn anew."""
        self.refresh(layout=True)
        self.looks.ask()
        if isinstance(self.screen, Question):
            self.screen.ask_anew()

    def on_load(self) -> None:
        asyncio.get_running_loop().set_default_executor(Threads())

    def action_command_palette(self) -> None:
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(Palette(id="--command-palette"))

    def copy_to_clipboard(self, text: str) -> None:
        self.copy(text)

    def copy(self, text: str, what: str = "") -> None:
        """Give the terminal a text for its clipboard, and say of `what` was copied no more than is known."""
        self._clipboard = text
        self._copy(text, what)

    @background(group="copy", doing="copying", finish=True)
    def _copy(self, text: str, what: str) -> None:
        if clipboard.in_tmux(os.environ) and clipboard.to_tmux(text):
            said = "copied {} to tmux's buffer"
        else:
            self.call_from_thread(self._send, clipboard.sequence(text, os.environ))
            said = "sent {} to the terminal, whose clipboard it is"
        if what:
            self.notify(said.format(what))

    def _send(self, sequence: str) -> None:
        if self._driver:
            self._driver.write(sequence)

    def clear_selection(self) -> None:
        # Where tasks begin at once (Python 3.12 and later) a field of the first screen is there before its screen is.
        with contextlib.suppress(ScreenStackError):
            super().clear_selection()

    def search_themes(self) -> None:
        self.push_screen(ThemePalette())

    def get_css_variables(self) -> dict[str, str]:
        self.theme_variables = completed(self.current_theme, super().get_css_variables())
        self._muted = Muted(self.theme_variables)
        return self.theme_variables

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Those of the theme; Textual would choose for NO_COLOR by the first theme alone."""
        greys = NoColor() if self.native_ansi_color else Monochrome()
        filters = [greys if isinstance(one, NoColor | Monochrome) else one for one in super().get_line_filters()]
        return filters if self.native_ansi_color else [self._muted, *filters]

    def background_told(self, dark: bool) -> None:
        """The terminal has answered that it is dark, or light."""
        self.looks.told(dark)

    def exit(self, *args: Any, **kwargs: Any) -> None:
        self.left.set()
        super().exit(*args, **kwargs)

    async def _shutdown(self) -> None:
        self.left.set()
        self.workers.cancel_all()
        await super()._shutdown()

    def call_from_thread(self, callback: Callable[..., T | Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Run something on the UI thread and wait for it. Raises Left when the app is left before it is run."""
        loop, call = self._loop, functools.partial(callback, *args, **kwargs)

        async def called() -> T:
            with self._context():
                result: T = await invoke(call)
                return result

        if loop is None or loop.is_closed() or self.left.is_set():
            raise Left
        future = asyncio.run_coroutine_threadsafe(called(), loop)
        while not wait([future], MOMENT_S).done:
            if loop.is_closed():
                raise Left
        try:
            return future.result()
        except CancelledError as error:
            raise Left from error

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
        kind: str = "",
    ) -> None:
        """Tell something in the one line that there is for it, plain whatever is in it; `kind` where it is news."""
        self.toasts.add(Toast(time.time(), sanitize_line(message), severity, kind))
        if not self._toasting:
            self._toasting = True
            self.call_later(self._toast, timeout)

    def _toast(self, timeout: float | None) -> None:
        """All that came together as one."""
        self._toasting = False
        self.clear_notifications()
        if line := self.toasts.line(self.key("app.messages")):
            super().notify(line, severity=self.toasts.severity, timeout=timeout, markup=False)

    def _refresh_notifications(self) -> None:
        super()._refresh_notifications()
        # After what Textual has left to be done next: there is no room to leave before the line is there.
        self.call_later(self._leave_room)

    def _leave_room(self) -> None:
        for line in self.screen.query(KeyLine) if self.screen_stack else ():
            line.leave_room()

    def clear_notifications(self) -> None:
        super().clear_notifications()
        # Textual leaves the holder of a toast that is cleared, which keeps its row.
        for screen in self.screen_stack:
            screen.query(ToastHolder).remove()

    def action_messages(self) -> None:
        """What was told lately, the newest on top, each in full."""
        if not isinstance(self.screen, TextPage):
            self.push_screen(messages_page(self.toasts.all))

    def _handle_exception(self, error: Exception) -> None:
        LOG.error("the app ended", exc_info=error)
        super()._handle_exception(error)
        if not self.is_headless:
            # Textual would draw pages of traceback with the values in them over the shell.
            self._exit_renderables.clear()
            said = redact(f"{type(error).__name__}: {error}")[:200]
            self.told_late.append(
                f"unexpected error: {said}; details in {FILE}; nanochat-tui doctor --bundle makes a report"
            )
            self._return_code = Exit.FAULT

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """What a key or a click asks for. What it fails at is told in one line, and the app goes on."""
        try:
            return await super().run_action(action, default_namespace, namespaces)
        except Exception as error:
            LOG.debug("%s", action, exc_info=True)
            if not self.left.is_set():
                self.notify(str(as_ours(error, "what that key does")), severity="error", timeout=8)
            return True

    def sections(self, screen: Screen[object]) -> tuple[str, ...]:
        """The sections of the key table that work on a screen, its own first."""
        return ()

    def sections_elsewhere(self, screen: Screen[object]) -> tuple[str, ...]:
        """Those of other screens."""
        return ()

    async def act(self, screen: Screen[object], key: Key) -> None:
        """Do what a key of the table does on a screen."""
        await self.run_action(key.action)

    def act_later(self, screen: Screen[object], key: Key) -> None:
        """The same, once what is open over it is closed."""
        self.call_later(self.act, screen, key)

    def action_help(self) -> None:
        """Every key; what is chosen there is done on the screen below."""
        below = self.screen
        chosen = {key.id: key for key in KEYS}

        def act(id: str | None) -> None:
            if id in chosen:
                self.act_later(below, chosen[id])

        self.push_screen(HelpPage(self.sections(below), self.keys, self.tone, looking=read_only.is_set()), act)

    @property
    def hidden(self) -> frozenset[str]:
        """Actions of the table, by id, that this app has not."""
        return CHANGING if read_only.is_set() else frozenset()

    def apply_keys(self, settings: Settings) -> None:
        """The keys that a person has set; what of them is not obeyed is told."""
        found = chosen(settings.keys_preset, settings.keys)
        self.keys = only_looking(found) if read_only.is_set() else found
        self.set_keymap(key_overrides(self.keys))
        if said := summary(self.keys):
            self.notify(said, severity="warning", timeout=15)

    def on_log_view_display_changed(self, message: LogView.DisplayChanged) -> None:
        self.keep(*message.settings)

    @background(group="settings", doing="keeping the settings", finish=True)
    def keep(self, *chosen: tuple[str, str]) -> None:
        """Remember what a person has chosen."""
        # Who only looks has chosen it for as long as the app is open.
        for name, value in () if read_only.is_set() else chosen:
            self.put_setting(name, value)

    def put_setting(self, name: str, value: str) -> None:
        """Remember what a person has chosen; in a thread."""
        raise NotImplementedError

    def key(self, id: str, *, last: bool = False) -> str:
        """A key of an action as people write it."""
        return (self.keys.label(id).split() or ["–"])[-1 if last else 0]

    def tone(self, name: str) -> Style:
        """A tone of the theme as a style; with NO_COLOR Textual takes the colours out again."""
        return tone_style(self.theme_variables, name) if name else Style()

    async def on_event(self, event: events.Event) -> None:
        """Keys one after the other: each is meant for what is there once the one before it has done its work.

        Textual hands all that came at once to what has the focus now, though the first of them may open a prompt.
        """
        if isinstance(event, events.InputEvent) and self.left.is_set():
            # The screens that it is meant for go, or are gone.
            return
        if isinstance(event, events.MouseEvent) and not event.is_forwarded:
            self.acted_upon += 1
            if self._too_soon(event):
                return
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            if isinstance(event, events.Key):
                self._see()
            self._ahead.append(event)
            await self._take()
        else:
            await super().on_event(event)

    def _see(self) -> None:
        """Whoever presses a key has seen what was told; the key does its work all the same."""
        self.key_at = time.monotonic()
        self.toasts.seen()
        if self._notifications:
            self.clear_notifications()

    def too_fast(self) -> None:
        """More keys come than can be acted upon: those that wait are dropped as well."""
        self.acted_upon += sum(isinstance(event, events.Key) for event in self._ahead)
        self._ahead.clear()
        self.bell()
        self.notify(TOO_FAST, severity="warning")

    async def _take(self) -> None:
        """Act upon the oldest key that waits, once nothing is left to do for the one before."""
        if self._waiting or not self._ahead or self.left.is_set():
            return
        if not (self._is_open and all(node.message_queue_size == 0 for node in self._given_to)):
            self._waits += 1
            wait = self._waiting = self._waits
            # Once up for the key itself, which comes back here, and once for what its widget then has to say.
            self._through([*self._given_to, *self._given_to], wait)
            self._lose_patience(wait, PATIENCE_TURNS)
            return
        event = self._meant(self._ahead.popleft())
        self.acted_upon += isinstance(event, events.Key)
        if not self._too_soon(event):
            self._given_to, self._given_on = (self.focused or self.screen).ancestors_with_self, self.screen
            await super().on_event(event)
        if self._ahead:
            self.call_later(self._take)

    def _meant(self, event: events.Key | events.Paste) -> events.Key | events.Paste:
        """A letter of another layout as the Latin one on its key, but where text is typed."""
        letter = event.character if isinstance(event, events.Key) else None
        if not letter or isinstance(self.focused, Input) or (place := latin(letter)) == letter:
            return event
        meant = events.Key(_character_to_key(place), place)
        meant.time = event.time
        return meant

    def _too_soon(self, event: events.InputEvent | events.Paste) -> bool:
        """Whether an event would answer a question that could not be read when it was sent."""
        return isinstance(self.screen, Question) and not self.screen.takes(event)

    def when_drawn(self, then: Callable[[], None]) -> None:
        """Call `then`, from whatever thread, once all that was drawn so far is on the terminal."""
        if isinstance(self._driver, TerminalDriver):
            self._driver.when_drawn(then)
        else:
            then()

    @property
    def _is_open(self) -> bool:
        """Whether a screen that the last key has opened can be given keys."""
        screen = self.screen
        return screen is self._given_on or (screen.is_mounted and bool(screen.focused or not screen.focus_chain))

    def _lose_patience(self, wait: int, turns: int) -> None:
        """Rest after so many turns of the loop, whatever the key still does."""
        if wait == self._waiting and not self.left.is_set():
            then = functools.partial(self._lose_patience, wait, turns - 1) if turns else lambda: self._rest(wait)
            self.set_timer(PATIENCE_S / PATIENCE_TURNS, then)

    def _through(self, nodes: list[DOMNode], wait: int) -> None:
        """Rest when each of these, which hand on to the next what comes of a key, has got that far."""
        if wait != self._waiting or self.left.is_set():
            return
        for number, node in enumerate(nodes):
            if node.call_later(self._through, nodes[number + 1 :], wait):
                return
        if self.screen is self._given_on:
            self._rest(wait)
        elif self._is_open:
            # It may yet choose where its focus is.
            self._given_on = self.screen
            self._through([self.screen, self], wait)
        else:
            self.set_timer(SETTLE_S, lambda: self._through([], wait))

    def _rest(self, wait: int) -> None:
        if wait == self._waiting and not self.left.is_set():
            self._waiting, self._given_to, self._given_on = 0, [], self.screen
            self.call_later(self._take)
