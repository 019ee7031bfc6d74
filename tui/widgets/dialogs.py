"""Small windows over a screen: a page of text, what was told, the commands by name."""

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
from textual.containers import VerticalScroll
from textual.reactive import reactive
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static

from runner.text import units
from tui.presentation.bindings import moves
from tui.widgets.toasts import Toast

T = TypeVar("T")


class Window(ModalScreen[T]):
    """A window that is closed once: keys and clicks that come while it goes do not close what is below it."""

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        return super().dismiss(result) if self.app.screen is self else AwaitComplete()


class Choices(OptionList):
    """Where another line is chosen, that and the one before are drawn, and not the whole list."""

    highlighted: reactive[int | None] = reactive(None, repaint=False)

    def _watch_highlighted(self, before: int | None, highlighted: int | None) -> None:
        for number in (before, highlighted):
            if number is not None and number in self._index_to_line:
                self.refresh_lines(self._index_to_line[number], self._heights[number])


class CommandChoices(CommandList, Choices, can_focus=False):
    """The commands of the palette."""


class Palette(CommandPalette):
    """Textual's palette of commands, closed once as a Window is; its keys wait until its list is laid out."""

    def compose(self) -> ComposeResult:
        for widget in super().compose():
            yield CommandChoices() if type(widget) is CommandList else widget

    def on_mount(self) -> None:
        # Textual gives the colours of another theme to all screens but its own windows.
        self.app.theme_changed_signal.subscribe(self, lambda _: self.app.stylesheet.update(self))

    def _action_command_list(self, action: str) -> None:
        if self.query_one(CommandList).size:
            super()._action_command_list(action)

    def dismiss(self, result: None = None) -> AwaitComplete:
        return super().dismiss(result) if self.app.screen is self else AwaitComplete()


class TextPage(Window[None]):
    """A page of text or Markdown to read and close."""

    CSS = """
    TextPage { align: center middle; }
    TextPage > VerticalScroll { width: 90%; height: 90%; padding: 1 2;
                                background: $surface; border-left: thick $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "dismiss", "Close"),
        *moves(
            among="text",
            down="scroll(1)",
            up="scroll(-1)",
            page_down="screens(1)",
            page_up="screens(-1)",
            half_down="screens(0.5)",
            half_up="screens(-0.5)",
            top="to(0)",
            bottom="to(1)",
        ),
    ]

    def __init__(self, text: str | Table, *, markdown: bool = False) -> None:
        super().__init__()
        self._text, self._markdown = text, markdown

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            if self._markdown and isinstance(self._text, str):
                from textual.widgets import Markdown

                yield Markdown(self._text, open_links=False)
            else:
                yield Static(self._text, markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_screens(self, by: float) -> None:
        self.action_scroll(round(by * self.query_one(VerticalScroll).size.height))

    def action_to(self, end: int) -> None:
        page = self.query_one(VerticalScroll)
        page.scroll_to(y=end * page.max_scroll_y, animate=False)

    def on_click(self, event: events.Click) -> None:
        if event.widget is self:
            self.dismiss()


def messages_page(told: Sequence[Toast]) -> TextPage:
    """What the app has told lately, the newest on top."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    now = time.time()
    for one in reversed(told):
        table.add_row(Text(units.moment(one.at, now), style="dim"), Text(one.text))
    if not told:
        table.add_row("", Text("No messages yet."))
    return TextPage(table)
