"""Which charts are shown: a list with a mark before each, changed in place and kept when it is closed."""

from collections.abc import Mapping
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import SelectionList
from textual.widgets.selection_list import Selection

from tui.presentation.bindings import moves
from tui.widgets.dialogs import Window


class Marks(SelectionList[str]):
    """The list, with the keys of the other lists."""

    BINDINGS: ClassVar[list[BindingType]] = moves(down="cursor_down", up="cursor_up", top="first", bottom="last")


class MetricList(Window[frozenset[str]]):
    """Space marks a chart or takes the mark back; closed by Enter, Escape or the key that opened it."""

    CSS = """
    MetricList { align: center middle; }
    MetricList Marks { width: 44; height: auto; max-height: 90%; padding: 0 1; border: none;
                       background: $surface; border-left: thick $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,S", "close", "Close"),
        Binding("enter", "close", priority=True),
    ]

    def __init__(self, charts: Mapping[str, bool]) -> None:
        super().__init__()
        self._charts = charts

    def compose(self) -> ComposeResult:
        yield Marks(*(Selection(Text(name), name, shown) for name, shown in self._charts.items()))

    def action_close(self) -> None:
        """With the charts that are marked."""
        self.dismiss(frozenset(self.query_one(Marks).selected))
