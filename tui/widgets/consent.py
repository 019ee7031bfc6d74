"""Questions before something is started, stopped, written or destroyed; nothing that was typed ahead answers one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Checkbox, Input, Static

from runner.errors import UsageError
from runner.system.given_path import given_path
from runner.text.sanitize import sanitize_line
from tui.presentation.key_names import label
from tui.widgets.dialogs import Window

if TYPE_CHECKING:
    from tui.context import TerminalContext

T = TypeVar("T")

# Nobody reads a question and answers it in less than this; words that are typed in one go have no pause as long.
QUIET_S = 0.25
# Whoever gave an answer too early may think that it was taken: so long no other key answers.
AGAIN_S = 2.0
# Keys that read on, or go to another part of a question.
MOVES_ONLY = frozenset({"up", "down", "left", "right", "pageup", "pagedown", "tab", "shift+tab"})
TOO_SOON = "{} came before this could be read: once more"
# A name that is longer, or that not every keyboard can write, is not asked for.
TYPEABLE = 40
INSTEAD = "delete"


class Question(Window[T]):
    """A window whose answer counts only when it was given after the window could be read.

    That is when it has been on the terminal for a quarter of a second, in which nothing came that would have been one.
    """

    DEFAULT_CSS = """
    Question { align: center middle; }
    Question > Vertical { width: 72; max-width: 90%; height: auto; background: $surface; padding: 1 2;
                          border-left: thick $warning; }
    Question VerticalScroll { height: auto; scrollbar-size-vertical: 1; }
    Question .title { text-style: bold; }
    Question .command { color: $text-muted; }
    Question #soon { color: $text-warning; display: none; }
    Question.-low > Vertical { padding: 0 1; max-width: 100%; }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (50, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (16, "-high")]

    def __init__(self) -> None:
        super().__init__()
        self._readable_at = math.inf
        self._turn = 0
        # The first key of those that came too early, and until when no other answers.
        self._dropped: str | None = None
        self._again_until = 0.0

    @property
    def readable(self) -> bool:
        """Whether any answer that is given now counts."""
        return time.monotonic() >= max(self._readable_at, self._again_until)

    def on_screen_resume(self) -> None:
        self.ask_anew()

    def on_screen_suspend(self) -> None:
        self._readable_at = math.inf

    def ask_anew(self) -> None:
        """What is asked has changed, or is seen again: it has to be read first."""
        self._turn += 1
        self._readable_at = math.inf
        self.call_after_refresh(self._drawn, self._turn)

    def _drawn(self, turn: int) -> None:
        def on_the_terminal() -> None:
            if turn == self._turn:
                self._readable_at = time.monotonic() + QUIET_S

        cast("TerminalContext", self.app).when_drawn(on_the_terminal)

    def is_answer(self, event: events.InputEvent | events.Paste) -> bool:
        """Whether an event might answer."""
        raise NotImplementedError

    def takes(self, event: events.InputEvent | events.Paste) -> bool:
        """Whether an event is for this window: an answer is, if it was given when the window could be read.

        What was not begins the quarter of a second anew; for some seconds then no other key answers, but the safe one.
        """
        if not self.is_answer(event):
            return True
        key = event.key if isinstance(event, events.Key) else ""
        is_other = self._dropped is not None and key != self._dropped and event.time < self._again_until
        is_other = is_other and not self.declines(event)
        if event.time >= self._readable_at and not is_other:
            self._dropped, self._again_until = None, 0.0
            self._say_soon()
            return True
        now = time.monotonic()
        if not is_other:
            self._readable_at = max(self._readable_at, now + QUIET_S)
        if not is_other and not self.declines(event):
            self._dropped, self._again_until = key, now + AGAIN_S
        self._say_soon()
        return False

    def declines(self, event: events.InputEvent | events.Paste) -> bool:
        """Whether it is the safe answer."""
        return isinstance(event, events.Key) and event.key == "escape"

    def _say_soon(self) -> None:
        for hint in self.query("#soon").results(Static):
            hint.display = time.monotonic() < max(self._again_until, self._readable_at)
            hint.update(TOO_SOON.format(label(self._dropped) if self._dropped else "that"))


def still(field: Input) -> Input:
    """A field whose cursor does not blink: nothing is drawn while nobody types."""
    field.cursor_blink = False
    return field


class Tick(Checkbox):
    """A box that also shows without colours whether it is ticked."""

    BUTTON_INNER = " "

    def watch_value(self) -> None:
        self.BUTTON_INNER = "X" if self.value else " "
        super().watch_value()


class Confirm(Question[bool]):
    """Names the thing, the amount and what cannot be undone; the safe answer has the focus."""

    CSS = """
    Confirm .body { margin: 1 0; }
    Confirm .command { margin-bottom: 1; }
    Confirm Horizontal { height: auto; }
    Confirm Button { margin-right: 2; }
    Confirm Checkbox { background: $surface; }
    Confirm.-low .body, Confirm.-low .command { margin: 0; }
    Confirm.-low Button { height: 1; min-width: 4; border: none; }
    Confirm.-narrow Horizontal { layout: vertical; }
    """
    AUTO_FOCUS = "#no"
    # Lines of it beside those that say what is at stake: high, low; more where a word is to be typed.
    AROUND, WORD = (8, 3), 2
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", show=False),
        Binding("n,escape", "answer(False)", show=False),
        Binding("left,right", "app.focus_next", show=False),
        Binding("down", "read(1)", show=False),
        Binding("up", "read(-1)", show=False),
        Binding("ctrl+g", "instead", show=False, priority=True),
    ]

    def __init__(
        self,
        title: str,
        lines: list[str],
        command: str,
        yes: str,
        no: str,
        *,
        word: str = "",
        waits: bool = False,
        instead: str = "",
        other_command: str = "",
        other_yes: str = "",
    ) -> None:
        """With `word` yes is only taken once that word was typed: for what is gone for good.

        One that `waits` takes no yes before `put` has said what is at stake. `instead` may be ticked: another way to
        do it, which then is in `instead`: `--now` of the command line, or another command, and another word for yes.
        """
        super().__init__()
        self._instead, self.instead = instead, False
        self._title, self._body, self._command, self._yes, self._no = title, lines, command, yes, no
        self._otherwise, self._other_command, self._other_yes = lines, other_command, other_yes
        self._word, self._waits = word, waits

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(sanitize_line(self._title), markup=False, classes="title")
            with VerticalScroll(can_focus=False):
                yield Static("", markup=False, classes="body")
                yield Static("", markup=False, classes="command")
            yield Tick(Text(f"{self._instead} (Ctrl-G)"), id="instead", compact=True)
            yield Static("", markup=False, id="asked")
            yield still(Input(id="word", compact=True, disabled=not self._word))
            yield Static("", markup=False, id="soon")
            with Horizontal():
                yield Button(Text(f"{self._no} ({'Esc' if self._word else 'n'})"), id="no", variant="primary")
                yield Button(Text(f"{self._yes} ({'Enter' if self._word else 'y'})"), id="yes", variant="error")

    def on_mount(self) -> None:
        tick = self.query_one(Tick)
        tick.display, tick.disabled = bool(self._instead), not self._instead
        self._show()

    def on_checkbox_changed(self, event: Checkbox.Changed) -> None:
        self.instead = event.value
        self._show()

    def action_instead(self) -> None:
        if self._instead:
            self.query_one(Tick).toggle()

    def on_resize(self) -> None:
        """What is at stake scrolls where there is no room for it: the way to answer is always seen."""
        more = "" if self.has_class("-narrow") else " to do it"
        self.query_one("#asked", Static).update(f"Type {sanitize_line(self._word)}{more}:")
        around = (
            self.AROUND[self.has_class("-low")]
            + self.WORD * bool(self._word)
            + bool(self._instead)
            + self.has_class("-narrow")
        )
        self.query_one(VerticalScroll).styles.max_height = max(1, self.size.height - around)

    def put(
        self, lines: list[str], command: str = "", *, otherwise: list[str] | None = None, other_command: str = ""
    ) -> None:
        """Say what is at stake, now that it is known; `otherwise` while `instead` is ticked."""
        self._waits, self._body, self._command = False, lines, command or self._command
        self._other_command = other_command or self._other_command
        self._otherwise = lines if otherwise is None else otherwise
        self._show()

    def fail(self, line: str) -> None:
        """What is at stake cannot be said, so that there is nothing to say yes to."""
        self._body = self._otherwise = [line]
        self._show()

    def _show(self) -> None:
        if not self.query(".body"):
            # Not composed yet, or closed by now.
            return
        self.query_one(".body", Static).update(
            "\n".join(map(sanitize_line, self._otherwise if self.instead else self._body))
        )
        command = (self._other_command or f"{self._command} --now") if self.instead else self._command
        self.query_one(".command", Static).update(f"$ {sanitize_line(command)}")
        yes = (self._other_yes if self.instead else "") or self._yes
        self.query_one("#yes", Button).label = Text(f"{yes} ({'Enter' if self._word else 'y'})")
        asked, field = self.query_one("#asked", Static), self.query_one(Input)
        asked.display = field.display = bool(self._word)
        if self._word:
            field.focus()
        self.ask_anew()

    def is_answer(self, event: events.InputEvent | events.Paste) -> bool:
        if isinstance(event, events.Key) and event.key in MOVES_ONLY:
            return False
        return not isinstance(event, events.MouseEvent) or isinstance(event, events.MouseDown | events.MouseUp)

    def takes(self, event: events.InputEvent | events.Paste) -> bool:
        # Whoever pastes may not know what.
        return not isinstance(event, events.Paste) and super().takes(event)

    def declines(self, event: events.InputEvent | events.Paste) -> bool:
        if isinstance(event, events.MouseEvent):
            return self.query_one("#no").region.contains(event.screen_x, event.screen_y)
        return super().declines(event) or (isinstance(event, events.Key) and event.key == "n" and not self._word)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_answer(event.button.id == "yes")

    def on_input_submitted(self) -> None:
        self.action_answer(True)

    def action_read(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_answer(self, yes: bool) -> None:
        if yes and self._waits:
            return
        if yes and self._word and self.query_one(Input).value.strip() != self._word:
            self.query_one(Input).focus()
            return
        self.dismiss(yes)


class AskPath(Question[str]):
    """Asks for a path of this machine, and answers with a whole one; an empty answer is none."""

    CSS = """
    AskPath > Vertical { border-left: thick $accent; }
    AskPath .title { margin-bottom: 1; }
    AskPath .command { margin-top: 1; }
    AskPath #goes-to, AskPath #keys { color: $text-muted; }
    AskPath.-low #keys { display: none; }
    AskPath.-low .title, AskPath.-low .command { margin: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def __init__(
        self, title: str, value: str, command: str | Callable[[str], str], *, lines: Sequence[str] = (), below: str = ""
    ) -> None:
        """A `command` may be made of what is typed; `below` is the place in that folder where everything goes."""
        super().__init__()
        self._title, self._value, self._command = title, value, command
        self._lines, self._below = lines, below

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(sanitize_line(self._title), markup=False, classes="title")
            yield Static("", markup=False, id="about")
            yield still(Input(self._value, compact=True))
            yield Static("", markup=False, id="soon")
            yield Static("", markup=False, id="goes-to")
            yield Static("", markup=False, classes="command")
            yield Static("Enter does it, Esc does not", markup=False, id="keys")

    def on_mount(self) -> None:
        self.put(self._lines)
        self._show_typed(self._value)

    def put(self, lines: Sequence[str]) -> None:
        """Say what it is about, which nobody has to wait for."""
        self._lines = lines
        if self.is_attached and self.query("#about"):
            about = self.query_one("#about", Static)
            about.display = bool(lines)
            about.update("\n".join(map(sanitize_line, lines)))

    def on_input_changed(self, event: Input.Changed) -> None:
        self._show_typed(event.value)

    def _show_typed(self, typed: str) -> None:
        command = self._command if isinstance(self._command, str) else self._command(typed)
        self.query_one(".command", Static).update(f"$ {sanitize_line(command)}")
        goes_to = self.query_one("#goes-to", Static)
        goes_to.display = bool(self._below)
        goes_to.update(sanitize_line(f"into {typed.rstrip('/')}/{self._below}/"))

    def is_answer(self, event: events.InputEvent | events.Paste) -> bool:
        return isinstance(event, events.Key) and event.key == "enter"

    def answer_of(self, text: str) -> str:
        """What was typed, as it is answered with. Raises UsageError for what cannot be."""
        return str(given_path(text))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        try:
            self.dismiss(self.answer_of(text) if text else "")
        except UsageError as error:
            self.notify(sanitize_line(str(error)), severity="error", markup=False)

    def action_leave(self) -> None:
        self.dismiss("")


class AskName(AskPath):
    """Asks for a name, which `checked` answers with or raises UsageError for; an empty answer is none."""

    def __init__(self, title: str, value: str, command: str, checked: Callable[[str], str]) -> None:
        super().__init__(title, value, command)
        self._checked = checked

    def answer_of(self, text: str) -> str:
        return self._checked(text)


def word_for(name: str) -> str:
    """What has to be typed before something of that name is destroyed."""
    typeable = name.isascii() and name.isprintable() and 0 < len(name) <= TYPEABLE and name == name.strip()
    return name if typeable else INSTEAD
