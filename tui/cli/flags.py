"""`flags`: every flag that `--set` takes, of upstream or of somebody's own code."""

import argparse
from typing import TYPE_CHECKING

from runner.errors import UsageError
from runner.exit_codes import Exit
from runner.model.overrides import closest_name
from runner.model.stage_flags import STAGES
from tui.cli.parser import Parser
from tui.presentation import console

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet


def options(name: str, sub: Parser) -> None:
    """Add what the command takes."""
    sub.add_argument("stage", metavar="STAGE", nargs="?", default="", help=f"only of this one of {', '.join(STAGES)}")
    sub.add_argument(
        "--code", default=None, metavar="SOURCE", help="of this code, as launch takes it (default: as set)"
    )
    sub.add_argument("--include-secrets", action="store_true", help="pack files also that look like secrets")


def _flags(fleet: "Fleet", args: argparse.Namespace) -> int:
    from runner.nanochat.flag_list import listed

    if args.stage and args.stage not in STAGES:
        raise UsageError(f"unknown stage {args.stage[:40]!r}", closest_name(args.stage, STAGES), field="stage")
    words = args.code if args.code is not None else fleet.settings.code
    code = fleet.code(words, include_secrets=args.include_secrets) if words or args.code is not None else None
    facts = fleet.code_facts(code)
    if args.stage and args.stage not in facts.scripts:
        raise UsageError(
            f"this code has no script for {args.stage}", f"it has {', '.join(facts.scripts)}", field="stage"
        )
    found = listed(facts, [args.stage] if args.stage else STAGES)
    if args.json:
        console.as_json(
            [
                {
                    "stage": one.stage,
                    "flag": one.name,
                    "default": one.default,
                    "takes": one.takes,
                    "help": one.help,
                    "option": one.instead or None,
                }
                for one in found
            ]
        )
        return Exit.OK
    rows = [(f"{one.stage}.{one.name}", one.default, one.takes, one.instead, one.help) for one in found]
    head = ("flag", "default", "takes", "same as", "is")
    console.table(head, rows, right=frozenset(), plain=args.plain, optional=("takes", "same as"))
    return Exit.OK


COMMANDS = {"flags": _flags}
