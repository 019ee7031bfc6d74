"""`serve`: the app in a browser, for this machine alone or, with a token, for others."""

import argparse
import importlib.util
import os
import secrets
import shlex
import sys

from runner.errors import UsageError
from runner.paths import data_dir
from runner.system import read_only
from tui.cli import serve_guard
from tui.cli.parser import Parser
from tui.presentation import console

TOKEN = "NANOCHAT_TUI_SERVE_TOKEN"
EXTRA = "textual-serve>=1.1.3,<2"


def options(name: str, sub: Parser) -> None:
    """Add what the command takes."""
    sub.add_argument("--port", type=int, default=8000, metavar="N", help="where it listens (8000; 0: one that is free)")
    host = "localhost, which this machine alone reaches; any other needs a token"
    sub.add_argument("--host", default="localhost", metavar="H", help=host)
    sub.add_argument("--token", action="store_true", help=f"ask for a token, made up and printed, or that in {TOKEN}")


def serve(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C. Raises UsageError where others could reach it without a token."""
    token = os.environ.pop(TOKEN, "").strip()
    if token and len(token) < serve_guard.SHORTEST:
        raise UsageError(f"{TOKEN} is short enough to be guessed", f"give it {serve_guard.SHORTEST} characters or more")
    if not 0 <= args.port <= 65535:
        raise UsageError(f"there is no port {args.port}", "give --port from 1 to 65535, or 0 for one that is free")
    if not (serve_guard.is_loopback(args.host) or args.token or token):
        raise UsageError(
            f"others reach {args.host[:60]}, and it would do what they say", f"add --token, or set {TOKEN}"
        )
    if importlib.util.find_spec("textual_serve") is None:
        install = f"{shlex.quote(sys.executable)} -m pip install '{EXTRA}'"
        raise UsageError("serve needs textual-serve", install)
    if args.token and not token:
        token = secrets.token_urlsafe(24)
    # Whatever stands against the app is told here, and not to a browser.
    data_dir()
    from tui.cli import serve_http

    return serve_http.run(args.host, args.port, token, _app(args), _say)


def _app(args: argparse.Namespace) -> list[str]:
    """The command line of the app for one browser."""
    words = [sys.executable, "-m", "tui.cli"]
    for name, value in (("--volume", args.volume), ("--env", args.env)):
        words += [name, value] if value else []
    words += ["--read-only"] if read_only.is_set() else []
    return [*words, *(["--debug"] if args.debug else [])]


def _say(address: str, with_token: bool) -> None:
    console.write(address)
    looks = ", which can change nothing," if read_only.is_set() else ""
    whose = "whoever has this address" if with_token else "anybody on this machine"
    console.message(f"nanochat-tui: the app{looks} is there for {whose}; Ctrl-C ends it, runs go on")
