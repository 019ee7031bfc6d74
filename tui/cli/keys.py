"""`keys`: every key of the app by its id."""

import argparse
from typing import TYPE_CHECKING

from runner.exit_codes import Exit
from runner.system import read_only
from tui.cli.parser import Parser
from tui.presentation import console

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet


def options(name: str, sub: Parser) -> None:
    """It takes nothing of its own."""


def _keys(fleet: "Fleet", args: argparse.Namespace) -> int:
    from tui.presentation.key_choice import chosen
    from tui.presentation.keymap import rows

    found = chosen(fleet.settings.keys_preset, fleet.settings.keys)
    for problem in found.told:
        fleet.say(problem)
    if args.json:
        console.as_json(
            [
                {"id": row.id, "keys": list(found.keys[row.id]), "from": found.origins[row.id], "does": row.help}
                for row in rows(looking=read_only.is_set())
            ]
        )
        return Exit.OK
    table = [(row.id, found.label(row.id), found.origins[row.id], row.help) for row in rows(looking=read_only.is_set())]
    console.table(("id", "keys", "from", "does"), table, right=frozenset(), plain=args.plain)
    return Exit.OK


COMMANDS = {"keys": _keys}
