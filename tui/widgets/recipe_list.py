"""A list of recipes to choose one from."""

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from runner.text import units
from tui.presentation.cells import Cell
from tui.widgets.dialogs import Window
from tui.widgets.key_line import KeyLine
from tui.widgets.virtual_list import Column, VirtualList

COLUMNS = (
    Column("recipe", 22, keep=0),
    Column("from", 8, keep=2),
    Column("what", 20, keep=1, grows=True),
)


class Listed(NamedTuple):
    """A recipe: `own` is the person's, else it is built in; `about` is plain text, an error where it `is_wrong`."""

    name: str
    own: bool
    about: str
    is_wrong: bool = False


class RecipeList(Window[str]):
    """All recipes; Enter answers with the name of the one under the cursor, Esc with none."""

    CSS = """
    RecipeList { align: center middle; }
    RecipeList > Vertical { width: 100%; max-width: 130; height: 90%; padding: 0 1; background: $surface;
                            border-left: thick $accent; }
    RecipeList #recipe-title { text-style: bold; }
    RecipeList #recipe-about { height: 3; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close"),
        Binding("enter", "choose", "Choose"),
    ]

    def __init__(self, recipes: Sequence[Listed], current: str, tone: Callable[[str], Style]) -> None:
        super().__init__()
        self._recipes = {one.name: one for one in recipes}
        self._current, self._tone = current, tone

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(units.pluralize(len(self._recipes), "recipe"), markup=False, id="recipe-title")
            yield VirtualList(COLUMNS, self._cells, empty="no recipe", tones=self._tone, id="recipe-list")
            yield Static("", markup=False, id="recipe-about")
            yield KeyLine()

    def on_mount(self) -> None:
        self._list.begin()
        self._list.show([*self._recipes])
        if self._current in self._recipes:
            self._list.go_to(self._current)
        self._list.focus()
        self.on_virtual_list_moved()

    @property
    def _list(self) -> VirtualList:
        return self.query_one(VirtualList)

    def _cells(self, name: str) -> list[Cell]:
        one = self._recipes[name]
        return [
            Cell(name, "accent"),
            Cell("own" if one.own else "built in"),
            Cell(one.about, "error" if one.is_wrong else ""),
        ]

    def on_virtual_list_moved(self) -> None:
        """All of what is said of the recipe under the cursor."""
        one = self._recipes.get(self._list.current)
        self.query_one("#recipe-about", Static).update(Text(one.about if one else ""))

    def on_virtual_list_chosen(self) -> None:
        self.action_choose()

    def action_choose(self) -> None:
        self.dismiss(self._list.current)

    def action_leave(self) -> None:
        self.dismiss("")
