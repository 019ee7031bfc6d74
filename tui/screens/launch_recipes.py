"""Recipes in the form of a new run: one is read into the fields, chosen from a list, or made of what they hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from textual.widgets import Input

from runner.errors import NanochatError, UsageError
from runner.model.spec import RunSpec
from runner.recipes import recipe_text, shelf
from runner.recipes.recipe import trusts
from runner.text.sanitize import sanitize_line
from tui.background import background
from tui.screens.base import NanochatScreen
from tui.screens.launch_form import DEFAULTS
from tui.screens.launch_recipe import Loaded, loaded, to_keep
from tui.widgets.consent import AskName
from tui.widgets.recipe_list import Listed, RecipeList


class Keeping(NamedTuple):
    """What is to be kept as a recipe: the spec with code and time as they were typed.

    `packed` is whether that code is kept by its content, as a recipe has named it.
    """

    spec: RunSpec
    backend: str
    code: str
    stalled: str
    packed: bool


class RecipeScreen(NanochatScreen):
    """What the form does with recipes; it has a field `recipe`."""

    def __init__(self) -> None:
        super().__init__()
        # What the form begins with: what is set, else what is built in.
        self._first: Mapping[str, str] = DEFAULTS
        self._loaded: Loaded | None = None
        # What is wrong with the words that are in the field.
        self._problem: NanochatError | None = None
        self._tried = ""
        # Whether a list or a question is over the form, which is as it was when that closes.
        self._choosing = False

    def put_values(self, values: Mapping[str, str]) -> None:
        """Fill the form in."""
        raise NotImplementedError

    def asked(self) -> Keeping | None:
        """What the plan that is shown is of; None while there is none."""
        raise NotImplementedError

    def _replan(self) -> None:
        raise NotImplementedError

    @property
    def _named(self) -> str:
        return self.query_one("#recipe", Input).value.strip()

    @property
    def recipe_unread(self) -> bool:
        """Whether a recipe is named that is not in the fields; what no name is any more is forgotten."""
        if not self._named:
            self.forget_recipe()
            return False
        if self._named != self._tried:
            self._problem = None
        return self._loaded is None or self._loaded.words != self._named

    def forget_recipe(self) -> None:
        self._loaded = self._problem = None
        self._tried = ""

    def settle_recipe(self) -> None:
        """The name is whole: now it is read, once."""
        if self.recipe_unread and self._named != self._tried:
            self._begin_reading()

    def _begin_reading(self) -> None:
        self._tried, self._problem = self._named, None
        self._read_recipe(self._named, dict(self._first))

    def _not_read(self, error: NanochatError) -> None:
        self._problem = error
        self._replan()

    @background(group="recipe", doing="reading the recipe", exclusive=True, failed=_not_read)
    def _read_recipe(self, words: str, first: Mapping[str, str]) -> None:
        recipe, kept = shelf.find(words, self.nanochat.fleet.home)
        trusted = trusts(recipe) if kept is None or kept.own else ()
        self.app.call_from_thread(self._put_recipe, loaded(words, recipe, first, trusted))

    def _put_recipe(self, found: Loaded) -> None:
        if self._named == found.words:
            self._loaded = found
            self.put_values(found.values)

    def action_recipes(self) -> None:
        """All recipes, to choose the one that the form is filled in with."""
        self._list_recipes()

    @background(group="recipes", doing="reading the recipes", exclusive=True)
    def _list_recipes(self) -> None:
        home = self.nanochat.fleet.home
        self.app.call_from_thread(self._show_recipes, [_listed(one, home) for one in shelf.kept(home)])

    def _show_recipes(self, listed: list[Listed]) -> None:
        if self.is_current:
            self._choosing = True
            self.app.push_screen(RecipeList(listed, self._named, self.nanochat.tone), self._chosen)

    def _chosen(self, name: str | None) -> None:
        if name:
            self.query_one("#recipe", Input).value = name
            self._begin_reading()

    def action_save(self) -> None:
        """Keep what the plan shows as a recipe."""
        asked = self.asked()
        if asked is None:
            self.notify("nothing is kept: there is no plan yet, or a value is wrong", severity="error", markup=False)
            return
        self._ask_name(asked, "")

    def _ask_name(self, asked: Keeping, name: str) -> None:
        self._choosing = True
        self.app.push_screen(
            AskName(
                "Keep it as a recipe, under which name?",
                name,
                "nanochat-tui launch --recipe NAME",
                recipe_text.checked_name,
            ),
            lambda named: self._save_recipe(asked, named) if named else None,
        )

    @background(group="save-recipe", doing="saving the recipe", finish=True)
    def _save_recipe(self, asked: Keeping, name: str) -> None:
        code = asked.code
        if code and Path(code).is_dir():
            # It is that folder from wherever it is launched again.
            code = str(Path(code).absolute())
        try:
            recipe = to_keep(asked.spec, asked.backend, code, asked.stalled, packed=asked.packed)
            shelf.save(recipe, name, self.nanochat.fleet.home)
        except UsageError as error:
            self.app.call_from_thread(self._taken, asked, name, error)
        else:
            self.app.call_from_thread(self._saved, name)

    def _taken(self, asked: Keeping, name: str, error: NanochatError) -> None:
        self.say(error)
        if self.is_current:
            self._ask_name(asked, name)

    def _saved(self, name: str) -> None:
        self.notify(f"saved as {name}: nanochat-tui launch --recipe {name}", markup=False, timeout=8)


def _listed(one: shelf.KeptRecipe, home: Path) -> Listed:
    """A recipe as the list shows it: its description, or what is wrong with it."""
    try:
        recipe, _ = shelf.find(one.name, home)
    except UsageError as error:
        return Listed(one.name, one.own, sanitize_line(str(error)), is_wrong=True)
    about = recipe.description or f"{recipe.task or 'test'} of {recipe.model or 'd12'}"
    return Listed(one.name, one.own, sanitize_line(about))
