"""Small windows over a screen: a question before something is stopped or destroyed, a page of text, the help."""

import time
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from rich.table import Table
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.command import CommandList, CommandPalette
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Markdown, Static

from runner import units
from runner.terminal import safe
from tui.keys import KEYS, MOVES, moves, shown
from tui.toasts import Told

T = TypeVar("T")


class Window(ModalScreen[T]):
    """A window that is closed once: keys and clicks that come while it goes do not close what is below it."""

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        return super().dismiss(result) if self.app.screen is self else AwaitComplete()


class Palette(CommandPalette):
    """Textual's palette of commands, closed once as a Window is; its keys wait until its list is laid out."""

    def _action_command_list(self, action: str) -> None:
        if self.query_one(CommandList).size:
            super()._action_command_list(action)

    def dismiss(self, result: None = None) -> AwaitComplete:
        return super().dismiss(result) if self.app.screen is self else AwaitComplete()


class Confirm(Window[bool]):
    """Names the thing, the amount and what cannot be undone; the safe answer has the focus."""

    CSS = """
    Confirm { align: center middle; }
    Confirm > Vertical { width: 72; max-width: 90%; height: auto; background: $surface; padding: 1 2;
                         border-left: thick $warning; }
    Confirm .title { text-style: bold; }
    Confirm .body { margin: 1 0; }
    Confirm .command { color: $text-muted; margin-bottom: 1; }
    Confirm Horizontal { height: auto; }
    Confirm Button { margin-right: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", show=False),
        Binding("n,escape", "answer(False)", show=False),
        Binding("left,right", "app.focus_next", show=False),
    ]

    def __init__(
        self, title: str, lines: list[str], command: str, yes: str, no: str, *, word: str = "", waits: bool = False
    ) -> None:
        """With `word` yes is only taken once that word was typed: for what is large and gone for good.

        One that `waits` takes no yes before `put` has said what is at stake.
        """
        super().__init__()
        self._title, self._body, self._command, self._yes, self._no = title, lines, command, yes, no
        self._word, self._waits = word, waits

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(safe(self._title), markup=False, classes="title")
            yield Static("", markup=False, classes="body")
            yield Static("", markup=False, classes="command")
            yield Static("", markup=False, id="asked")
            yield _still(Input(id="word", compact=True, disabled=not self._word))
            with Horizontal():
                yield Button(Text(f"{self._no} (n)"), id="no", variant="primary")
                yield Button(Text(f"{self._yes} (y)"), id="yes", variant="error")

    def on_mount(self) -> None:
        self._show()

    def put(self, lines: list[str], word: str = "", command: str = "") -> None:
        """Say what is at stake, now that it is known."""
        self._waits, self._body, self._word, self._command = False, lines, word, command or self._command
        self._show()

    def fail(self, line: str) -> None:
        """What is at stake cannot be said, so that there is nothing to say yes to."""
        self._body = [line]
        self._show()

    def _show(self) -> None:
        if not self.query(".body"):
            # Not composed yet, or closed by now.
            return
        self.query_one(".body", Static).update("\n".join(map(safe, self._body)))
        self.query_one(".command", Static).update(f"$ {safe(self._command)}")
        asked, field = self.query_one("#asked", Static), self.query_one(Input)
        asked.update(f"Type {safe(self._word)} to do it:")
        asked.display = field.display = bool(self._word)
        field.disabled = not self._word
        if self._word:
            field.focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_answer(event.button.id == "yes")

    def on_input_submitted(self) -> None:
        self.action_answer(True)

    def action_answer(self, yes: bool) -> None:
        if yes and self._waits:
            return
        if yes and self._word and self.query_one(Input).value.strip() != self._word:
            self.query_one(Input).focus()
            return
        self.dismiss(yes)


def _still(field: Input) -> Input:
    """A field whose cursor does not blink: nothing is drawn while nobody types."""
    field.cursor_blink = False
    return field


class Ask(Window[str]):
    """Asks for a line of text; an empty answer is none."""

    CSS = """
    Ask { align: center middle; }
    Ask > Vertical { width: 72; max-width: 90%; height: auto; background: $surface; padding: 1 2;
                     border-left: thick $accent; }
    Ask .title { text-style: bold; margin-bottom: 1; }
    Ask .command { color: $text-muted; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def __init__(self, title: str, value: str, command: str) -> None:
        super().__init__()
        self._title, self._value, self._command = title, value, command

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(safe(self._title), markup=False, classes="title")
            yield _still(Input(self._value, compact=True))
            yield Static(f"$ {safe(self._command)}", markup=False, classes="command")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        self.dismiss("")


class Page(Window[None]):
    """A page of text or Markdown to read and close."""

    CSS = """
    Page { align: center middle; }
    Page > VerticalScroll { width: 90%; height: 90%; background: $surface; padding: 1 2; border-left: thick $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "dismiss", "Close"),
        *moves(down="scroll(1)", up="scroll(-1)"),
    ]

    def __init__(self, text: str | Table, *, markdown: bool = False) -> None:
        super().__init__()
        self._text, self._markdown = text, markdown

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            if self._markdown and isinstance(self._text, str):
                yield Markdown(self._text, open_links=False)
            else:
                yield Static(self._text, markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def on_click(self, event: events.Click) -> None:
        if event.widget is self:
            self.dismiss()


def messages_page(told: Sequence[Told]) -> Page:
    """What the app has told lately, the newest on top."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    now = time.time()
    for one in reversed(told):
        table.add_row(Text(units.moment(one.at, now), style="dim"), Text(one.text))
    if not told:
        table.add_row("", Text("Nothing was told yet."))
    return Page(table)


def help_page(first: tuple[str, ...] = ()) -> Page:
    """Every key, made from the key table, those of the screens named `first` on top."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    names = {
        "": "everywhere",
        "runs": "Runs",
        "watch": "Watch",
        "log": "Log",
        "metrics": "Curves",
        "compare": "Compare",
        "cost": "Cost",
        "view": "nanochat-tui view",
        "launch": "New run",
        "volume": "Volume",
        "checkpoints": "Checkpoints",
        "sizes": "Sizes",
        "files": "Volume, Checkpoints, Sizes",
    }
    for screen, title in sorted(names.items(), key=lambda n: n[0] not in first):
        table.add_row(Text(title, style="bold underline"), "")
        for key in KEYS:
            if key.screen == screen:
                table.add_row(Text(shown(key.keys), style="bold"), Text(key.help))
        table.add_row("", "")
    table.add_row(Text("lists and log", style="bold underline"), "")
    for name, keys in MOVES.items():
        table.add_row(Text(shown(keys), style="bold"), Text(name.replace("_", " ")))
    table.add_row("", "")
    table.add_row("", Text("Runs go on when the app is closed. Every action is also a command: nanochat-tui --help"))
    return Page(table)
