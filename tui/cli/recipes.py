"""`recipes`: launches by name, those of the package and one's own."""

import argparse
from typing import TYPE_CHECKING, Any

from runner.errors import NanochatError
from runner.exit_codes import Exit
from tui.cli.parser import Parser
from tui.presentation import console

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet
    from runner.recipes.recipe import Recipe
    from runner.recipes.shelf import KeptRecipe


def options(name: str, sub: Parser) -> None:
    """Add what the command takes."""
    sub.add_argument("name", nargs="?", default="", metavar="NAME", help="show what this one says")


def _recipes(fleet: "Fleet", args: argparse.Namespace) -> int:
    from runner.recipes import shelf

    if args.name:
        return _show(fleet, args)
    rows = [_row(fleet, one) for one in shelf.kept(fleet.home)]
    if args.json:
        console.as_json(rows)
        return Exit.OK
    shown = [(row["name"], row["time"] or "–", row["money"] or "–", row["from"], row["description"]) for row in rows]
    console.table(("recipe", "time", "likely", "from", "what"), shown, right=frozenset(), plain=args.plain)
    return Exit.OK


def _row(fleet: "Fleet", one: "KeptRecipe") -> dict[str, Any]:
    """A recipe with what it would take now; of one that cannot be planned, why."""
    from runner.recipes import shelf
    from runner.text import units

    whence = "own, before the one of that name that is built in" if one.hides else "own" if one.own else "built in"
    row = {"name": one.name, "from": whence, "path": str(one.path), "time": "", "money": "", "problem": None}
    row |= {"description": "", "seconds": None, "usd": None}
    try:
        recipe, _ = shelf.find(one.name, fleet.home)
        row["description"] = recipe.description or f"{recipe.task or 'test'} of {recipe.model or 'd12'}"
        if planned := _planned(fleet, recipe):
            row |= {"seconds": planned.seconds, "usd": planned.usd, "time": units.duration_range(planned.seconds)}
            row["money"] = units.money(planned.usd.likely) if planned.usd_per_hour else "free"
    except NanochatError as error:
        row["problem"] = str(error)
        row["description"] = f"{row['description']} (no plan: {error.what})".strip()
    return row


def _planned(fleet: "Fleet", recipe: "Recipe") -> Any:
    """What a recipe would take; None where its code would have to be fetched for that."""
    from runner.fleet.asking import asked_for
    from runner.planning.usual import OFF

    if recipe.code not in (None, OFF):
        return None
    spec, backend, _ = asked_for(fleet, recipe)
    return fleet.plan(spec, backend)


def _show(fleet: "Fleet", args: argparse.Namespace) -> int:
    """The file of a recipe, as it is, once it has been understood."""
    from runner.recipes import recipe_text, shelf
    from runner.system.given_path import given_path

    path = given_path(args.name) if shelf.is_file(args.name) else shelf.named(args.name, fleet.home).path
    recipe = shelf.from_file(path)
    if args.json:
        console.as_json({"name": args.name, "path": str(path), "recipe": recipe_text.as_builtins(recipe)})
        return Exit.OK
    for line in shelf.text_of(path).splitlines():
        console.write(line)
    return Exit.OK


COMMANDS = {"recipes": _recipes}
