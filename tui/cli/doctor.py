"""`doctor`: what is missing on this machine, and the command that mends it."""

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runner.backends.base import Check
from runner.errors import NanochatError, UsageError
from runner.exit_codes import Exit
from runner.logs import cache
from runner.model.backend_name import BackendName
from runner.model.spec import ENGINES
from runner.paths import modal_command
from runner.text import units
from runner.volumes import holdings, run_records
from tui.app import clipboard
from tui.cli.parser import Parser
from tui.presentation import console

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet


def options(name: str, sub: Parser) -> None:
    """Add what the command takes."""
    sub.add_argument("--backend", choices=("local", "modal"), help="what a launch there needs")
    sub.add_argument("--engine", choices=("rehearsal", "nanochat"), help="what a launch with it needs")
    sub.add_argument("--bundle", nargs="?", const="", metavar="FILE", help="write what a report of a fault needs")
    sub.add_argument("--run", default="", metavar="RUN", help="with --bundle: also the end of the log of this run")


def doctor(fleet: "Fleet", args: argparse.Namespace) -> int:
    """Say how everything is; exit code 1 where something stops a launch, on the backend and engine that are named."""
    found = checks(fleet, args)
    if args.json:
        console.as_json(found)
    else:
        for line in lines(found, args):
            console.write(line)
    return Exit.FAILED if any(_is_wrong(check, args) for check in found) else Exit.OK


def checks(fleet: "Fleet", args: argparse.Namespace) -> list[Check]:
    """How everything is, on the backend that is named, or on both."""
    found = [
        *_here(fleet, getattr(args, "home_problem", None)),
        *(_local(fleet) if args.backend != BackendName.MODAL else []),
    ]
    if args.backend != BackendName.LOCAL:
        found += _modal(fleet)
    return found


def lines(found: list[Check], args: argparse.Namespace) -> list[str]:
    """Each check with its glyph, and what to do below it."""
    told = []
    for check in found:
        glyph = "✓" if check.ok else "✗" if _is_wrong(check, args) else "–"
        told.append(f"{glyph} {check.name:<22} {check.detail}")
        if not check.ok and check.hint:
            told.append(f"  {'':<22} {check.hint}")
    return told


def _is_wrong(check: Check, args: argparse.Namespace) -> bool:
    needed = {("modal token", args.backend == BackendName.MODAL), (f"engine {args.engine}", True)}
    return not check.ok and (not check.optional or (check.name, True) in needed)


def _modal(fleet: "Fleet") -> list[Check]:
    if fleet.is_demo:
        return []
    if not fleet.reaches_modal:
        return [_no_token()]
    try:
        return fleet.backend(BackendName.MODAL).check()
    except NanochatError as error:
        return [Check("modal", False, error.what, error.hint)]


def _no_token() -> Check:
    return Check("modal token", False, "none on this machine: runs here only", modal_command("setup"), optional=True)


def _here(fleet: "Fleet", problem: NanochatError | None) -> list[Check]:
    """What every launch needs."""
    kept, folder = cache.size(fleet.home / "logs"), fleet.home / "logs"
    return [
        Check("python", sys.version_info >= (3, 11), platform.python_version(), "use Python 3.11 or newer"),
        Check("home", False, problem.what, problem.hint) if problem else Check("home", True, str(fleet.home)),
        Check("logs of Modal", True, f"{units.size(kept)} of {fleet.settings.keep_logs_gb} GB in {folder}"),
        Check("registry", fleet.registry.set_aside is None, units.pluralize(len(fleet.registry.all()), "run")),
        *_notifications(),
    ]


def _notifications() -> list[Check]:
    """Whether tmux, where we are in it, hands notifications on to the terminal."""
    if not clipboard.in_tmux(os.environ):
        return []
    if clipboard.tmux_hands_on():
        return [Check("notifications", True, "tmux hands them on")]
    do = "tmux set -g allow-passthrough on (in ~/.tmux.conf without the word tmux)"
    return [Check("notifications", False, "the bell alone: tmux hands no others on", do, optional=True)]


def _local(fleet: "Fleet") -> list[Check]:
    """This machine as a place for runs: its disk, its engines, and the folders that serve as volumes."""
    locations = {engine: fleet.volume_location(BackendName.LOCAL, engine) for engine in ENGINES}
    return [*fleet.backend(BackendName.LOCAL).check(), *(_volume(fleet, *found) for found in locations.items())]


def _volume(fleet: "Fleet", engine: str, location: str) -> Check:
    name, folder = f"volume {engine}", Path(location)
    if not folder.exists():
        return Check(name, True, f"{location} is not there yet; the first launch makes it")
    if not folder.is_dir():
        return Check(name, False, f"{location} is no folder", "give another --volume")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Check(name, False, f"{location} cannot be written", "see that it is yours, or give another --volume")
    try:
        volume = fleet.backend(BackendName.LOCAL).volume(location)
        owner, damaged = run_records.engine_of(volume), holdings.inventory(volume, engine).damaged
    except UsageError as error:
        return Check(name, False, error.what, error.hint)
    except (NanochatError, OSError) as error:
        return Check(name, False, str(error), "see that it is yours, or give another --volume")
    if owner not in ("", engine):
        of = f"{location} holds data of the {owner} engine"
        return Check(name, False, of, "give another --volume for this one", optional=True)
    if damaged:
        bad = f"{', '.join(damaged[:3])}{' and more' if len(damaged) > 3 else ''} in {location} cannot be used"
        return Check(name, False, bad, "the next launch puts it aside and makes or fetches it anew", optional=True)
    runs = sum(r.volume == location for r in fleet.registry.all())
    return Check(name, True, f"{location}, {units.pluralize(runs, 'run')}")


COMMANDS = {"doctor": doctor}
