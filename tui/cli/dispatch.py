"""What every command needs: the data folder, the fleet, and words where one has to wait."""

import argparse
import contextlib
from collections.abc import Callable

from runner.fleet.fleet import Fleet
from runner.paths import data_dir, readable_data_dir
from runner.system import read_only, waiting
from tui.cli.changes import change
from tui.cli.commands import module_of
from tui.presentation import console

# What works also where the data folder takes nothing: to see what is running, and to end it.
STILL = frozenset({"ls", "show", "logs", "watch", "cancel", "cost"})


def dispatch(args: argparse.Namespace) -> int:
    """Do what a command does, over a fleet that is closed after it."""
    command: Callable[[Fleet, argparse.Namespace], int] = module_of(args.command).COMMANDS[args.command]
    console.prepare(plain=args.plain)
    if act := change(args):
        read_only.refuse(act)
    if args.command == "doctor" and args.bundle is not None:
        from tui.cli import report

        # It works also where what it reports on does not.
        with readable_data_dir() as (folder, _):
            return report.bundle(folder, args)
    keeps = args.command == "plan" and args.save_recipe
    looks_only = (args.command in ("plan", "doctor", "recipes") and not keeps) or (
        args.command == "settings" and not args.name
    )
    urgent = args.command in STILL
    with (
        readable_data_dir() if looks_only else contextlib.nullcontext((data_dir(to_write=not urgent), None)) as (
            folder,
            problem,
        )
    ):
        if problem and args.command != "doctor":
            console.message(f"nanochat-tui: {problem}; nothing that was kept there is known")
        fleet = Fleet(folder, volume=args.volume, say=_say, or_copy=urgent)
        with contextlib.closing(fleet), waiting.reporting(_say):
            args.home_problem = problem
            return command(fleet, args)


def _say(text: str) -> None:
    console.message(f"nanochat-tui: {text}")
