"""Recipes by name: those that come with the package, and a person's own in the data folder, which go before them."""

import os
import stat
from pathlib import Path

import msgspec
from msgspec import Struct

from runner.errors import UsageError
from runner.model.overrides import closest_name
from runner.recipes import recipe_text
from runner.recipes.recipe import Recipe
from runner.recipes.recipe_text import MOST_BYTES, NAME
from runner.system import atomic, read_only
from runner.system.given_path import given_path
from runner.text.filenames import path_for_terminal

FOLDER, ENDING = "recipes", ".toml"
SHIPPED = Path(__file__).with_name("shipped")


class KeptRecipe(Struct, frozen=True):
    """A recipe's file by the name of it; `own` is the person's, which `hides` one of that name in the package."""

    name: str
    path: Path
    own: bool
    hides: bool = False


def kept(home: Path) -> tuple[KeptRecipe, ...]:
    """Every recipe that can be named, by name. What is no name in the folder is passed over."""
    shipped, own = _in(SHIPPED), _in(home / FOLDER)
    found = {name: KeptRecipe(name, path, own=False) for name, path in shipped.items()}
    found |= {name: KeptRecipe(name, path, own=True, hides=name in shipped) for name, path in own.items()}
    return tuple(found[name] for name in sorted(found))


def _in(folder: Path) -> dict[str, Path]:
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    named = {path.name.removesuffix(ENDING): path for path in paths if path.name.endswith(ENDING)}
    return {name: path for name, path in named.items() if NAME.fullmatch(name)}


def named(name: str, home: Path) -> KeptRecipe:
    """The recipe of that name. Raises UsageError naming the nearest."""
    all_ = {one.name: one for one in kept(home)}
    if name not in all_:
        raise UsageError(f"unknown recipe {path_for_terminal(name)[:60]}", closest_name(name, [*all_]), field="recipe")
    return all_[name]


def is_file(text: str) -> bool:
    """Whether what was given for a recipe is a path, not a name."""
    return "/" in text or text.startswith("~") or text.endswith(ENDING)


def find(text: str, home: Path) -> tuple[Recipe, KeptRecipe | None]:
    """The recipe of a name or a path, and its place where it was named. Raises UsageError."""
    if is_file(text):
        return from_file(given_path(text, field="recipe")), None
    found = named(text, home)
    recipe = from_file(found.path)
    return _called(recipe, found.name), found


def _called(recipe: Recipe, name: str) -> Recipe:
    return msgspec.structs.replace(recipe, recipe=name)


def from_file(path: Path) -> Recipe:
    """The recipe that a file says. Raises UsageError for what is none, or cannot be read."""
    return recipe_text.read(text_of(path), path_for_terminal(path.name))


def text_of(path: Path) -> str:
    """The text of a recipe's file: no more of it than a recipe has. Raises UsageError."""
    shown = path_for_terminal(str(path))
    try:
        # A pipe or a device that somebody has put there is not waited for.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"{shown} is no file", "give a file of TOML", field="recipe")
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        hint = "nanochat-tui recipes lists those that can be named"
        raise UsageError(f"{shown} cannot be read ({error.strerror})", hint, field="recipe") from error
    if len(data) > MOST_BYTES:
        raise UsageError(f"{shown} is longer than {MOST_BYTES // 1024} KiB", "a recipe is a short file", field="recipe")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{shown}: line {line} is not UTF-8", "save it as UTF-8", field="recipe") from error


def check_free(name: str, home: Path) -> Path:
    """Where a recipe of that name would be kept. Raises UsageError where the person has one already."""
    read_only.refuse("keep a recipe")
    path = home / FOLDER / (recipe_text.checked_name(name) + ENDING)
    if path.exists():
        raise UsageError(
            f"there is a recipe {name} already", f"take another name, or remove {path_for_terminal(str(path))}"
        )
    return path


def save(recipe: Recipe, name: str, home: Path) -> Path:
    """Keep a recipe under a name. Raises UsageError where there is one."""
    path = check_free(name, home)
    with atomic.replacing(path, over=False) as file:
        file.write(recipe_text.write(recipe).encode("utf-8", "replace"))
    return path
