"""Small windows over a screen: a question before something is stopped or destroyed, a page of text, the help."""

from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Markdown, Static

from runner.terminal import safe
from tui.keys import KEYS, MOVES, moves, shown


class Confirm(ModalScreen[bool]):
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

    def __init__(self, title: str, lines: list[str], command: str, yes: str, no: str) -> None:
        super().__init__()
        self._title, self._body, self._command, self._yes, self._no = title, lines, command, yes, no

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(safe(self._title), markup=False, classes="title")
            yield Static("\n".join(map(safe, self._body)), markup=False, classes="body")
            yield Static(f"$ {safe(self._command)}", markup=False, classes="command")
            with Horizontal():
                yield Button(Text(f"{self._no} (n)"), id="no", variant="primary")
                yield Button(Text(f"{self._yes} (y)"), id="yes", variant="error")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


class Page(ModalScreen[None]):
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


def help_page() -> Page:
    """Every key, made from the key table."""
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
    }
    for screen, title in names.items():
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
