"""`demo`: a data folder full of runs to look around in, and the app on it."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from runner.errors import UsageError
from runner.exit_codes import Exit
from runner.paths import VARIABLE
from runner.system import read_only
from tui.cli.parser import Parser
from tui.presentation import console


def options(name: str, sub: Parser) -> None:
    """Add what the command takes."""
    sub.add_argument("--home", default="", metavar="DIR", help="folder to make it in, new or empty; it stays")
    sub.add_argument("--no-open", action="store_true", help="make it and say how to look at it")


def demo(args: argparse.Namespace, open_app: Callable[[Path], int]) -> int:
    """Make the demo and open the app on it; without --home all of it is gone when the app is left."""
    from runner.demo import home as demo_home
    from runner.system import client_log

    console.prepare(plain=args.plain)
    read_only.refuse("make a demo")
    if args.volume:
        raise UsageError("a demo has volumes of its own", "leave --volume out", field="volume")
    if not args.no_open and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("the app needs a terminal", "nanochat-tui demo --no-open makes the demo alone")
    home = demo_home.new_home(args.home)
    # From here on the person's own data folder is out of sight, also for what is started.
    os.environ[VARIABLE] = str(home)
    stays = False
    try:
        client_log.begin(home, debug=args.debug)
        console.message("nanochat-tui: making runs to look around in …")
        demo_home.fill(home)
        stays = args.no_open or bool(args.home)
        if args.no_open:
            _say_how(home, args)
            return int(Exit.OK)
        return open_app(home)
    finally:
        if not stays:
            demo_home.leave(home)


def _say_how(home: Path, args: argparse.Namespace) -> None:
    if args.json:
        console.as_json({"home": str(home)})
        return
    at = f"{VARIABLE}={shlex.quote(str(home))} nanochat-tui"
    console.write(at)
    console.message("that opens the app on it; any command works there:")
    console.message(f"  {at} ls")
    console.message(f"  {at} compare d12-lr-0.01 d12-lr-0.02 d12-lr-0.04 d12-lr-0.08")
    console.message(f"rm -r {shlex.quote(str(home))} removes it")
