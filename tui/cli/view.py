"""`view`: any nanochat log, on the screen or in a few lines."""

import argparse
import os
import sys

from runner.errors import UsageError
from tui.cli.parser import Parser


def options(name: str, sub: Parser) -> None:
    """Add what the command takes."""
    sub.add_argument("file", metavar="FILE")
    sub.add_argument("--summary", action="store_true", help="print what is in it: steps, scores, errors")


def view(args: argparse.Namespace) -> int:
    """Open a log, or print its summary; needs no data folder."""
    if args.summary or args.json:
        from tui.cli.summary import summary

        return summary(args)
    if not sys.stdout.isatty():
        raise UsageError("the view needs a terminal", "use view FILE --summary")
    needs_screen("use view FILE --summary")
    from tui.app import log_viewer

    return log_viewer.view(args.file)


def needs_screen(instead: str) -> None:
    """Raises UsageError where the terminal shows lines alone."""
    if os.environ.get("TERM") in ("dumb", "unknown"):
        raise UsageError(f"this terminal cannot show the app (TERM={os.environ['TERM']})", instead)
