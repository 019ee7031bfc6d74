"""Flags of stages as they are typed: a field that completes their names, and a list of all to choose from."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.suggester import Suggester
from textual.widgets import Input, Static

from runner.nanochat.flag_list import ListedFlag, completed, fitting, with_flag
from runner.text import units
from runner.text.sanitize import sanitize_line
from tui.presentation.cells import Cell
from tui.widgets.consent import still
from tui.widgets.dialogs import Window
from tui.widgets.key_line import KeyLine
from tui.widgets.virtual_list import Column, VirtualList

COLUMNS = (
    Column("flag", 30, keep=0),
    Column("default", 11, keep=1),
    Column("takes", 18, keep=3),
    Column("is", 20, keep=2, grows=True),
)


class _Names(Suggester):
    """What the last word of the field is the beginning of."""

    def __init__(self, known: Callable[[], Sequence[ListedFlag]]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._known = known

    async def get_suggestion(self, value: str) -> str | None:
        return completed(value, self._known())


class FlagField(Input):
    """Words `stage.flag=value`; Tab, or → at its end, completes the name of a flag."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("tab", "complete", show=False)]

    def __init__(self, value: str, *, placeholder: str, id: str) -> None:
        super().__init__(
            value,
            placeholder=placeholder,
            id=id,
            compact=True,
            select_on_focus=False,
            suggester=_Names(lambda: self.flags),
        )
        self.flags: Sequence[ListedFlag] = ()

    def action_complete(self) -> None:
        """Complete the word before the cursor; to the next field where there is nothing to complete."""
        whole = completed(self.value, self.flags) if self.cursor_position == len(self.value) else self.value
        if whole == self.value:
            self.screen.focus_next()
        else:
            self.value, self.cursor_position = whole, len(whole)

    def put(self, word: str) -> None:
        """Have a flag in it, with the cursor behind its `=`."""
        value, cursor = with_flag(self.value, self.cursor_position, word)
        self.focus()
        self.value = value
        self.cursor_position = cursor


class FlagList(Window[str]):
    """All flags; what is typed leaves those that have it in their name or in what they are for."""

    CSS = """
    FlagList { align: center middle; }
    FlagList > Vertical { width: 100%; max-width: 150; height: 90%; padding: 0 1; background: $surface;
                          border-left: thick $accent; }
    FlagList #flag-title { text-style: bold; }
    FlagList #flag-about { height: 3; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close"),
        Binding("enter", "choose", "Choose"),
        Binding("down", "move(1)", show=False),
        Binding("up", "move(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
    ]

    def __init__(self, flags: Sequence[ListedFlag], title: str, letters: str, tone: Callable[[str], Style]) -> None:
        super().__init__()
        self._flags = {one.word: one for one in flags}
        self._title, self._letters, self._tone = title, letters, tone

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static("", markup=False, id="flag-title")
            yield still(Input(self._letters, placeholder="letters of a flag", id="flag-letters", compact=True))
            yield VirtualList(
                COLUMNS, self._cells, empty="no flag has that in its name", tones=self._tone, id="flag-list"
            )
            yield Static("", markup=False, id="flag-about")
            yield KeyLine()

    def on_mount(self) -> None:
        self._list.can_focus = False
        self._list.begin()
        self.query_one(Input).focus()
        self._show()

    @property
    def _list(self) -> VirtualList:
        return self.query_one(VirtualList)

    def _cells(self, word: str) -> list[Cell]:
        one = self._flags[word]
        about = f"{one.instead}: {one.help}" if one.instead else one.help
        name = sanitize_line(word.removesuffix("="))
        return [Cell(name, "accent"), *(Cell(sanitize_line(text)) for text in (one.default, one.takes, about))]

    def on_input_changed(self) -> None:
        self._list.begin()
        self._show()

    def _show(self) -> None:
        found = fitting(self._flags.values(), self.query_one(Input).value)
        self._list.show([one.word for one in found])
        count = units.pluralize(len(self._flags), "flag")
        shown = count if len(found) == len(self._flags) else f"{len(found)} of {count}"
        self.query_one("#flag-title", Static).update(sanitize_line(f"{self._title}: {shown}"))
        self._about()

    def on_virtual_list_moved(self) -> None:
        self._about()

    def _about(self) -> None:
        """All of what is said of the flag under the cursor."""
        one = self._flags.get(self._list.current)
        text = Text()
        if one:
            text.append(sanitize_line(one.word.removesuffix("=")), style="bold")
            text.append(f"  {sanitize_line(one.help)}")
            text.append(f"  {sanitize_line(one.takes)}" if one.takes else "")
            text.append(f"  default {sanitize_line(one.default)}" if one.default else "")
            text.append(f"  the same as {one.instead}" if one.instead else "", style=self._tone("warning"))
        self.query_one("#flag-about", Static).update(text)

    def action_move(self, by: int) -> None:
        self._list.action_move(by)

    def action_page(self, by: int) -> None:
        self._list.action_page(by)

    def on_input_submitted(self) -> None:
        self.action_choose()

    def on_virtual_list_chosen(self) -> None:
        self.action_choose()

    def action_choose(self) -> None:
        self.dismiss(self._list.current)

    def action_leave(self) -> None:
        self.dismiss("")
