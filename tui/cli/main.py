"""The command line: `nanochat-tui` opens the app, its subcommands do the same without it."""

import argparse
import contextlib
import gc
import io
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from runner import __version__
from runner.errors import NanochatError
from runner.exit_codes import EXIT_MEANING, Exit
from tui.cli.commands import ALIASES, COMMANDS, COMPLETE, MEANT, also_called, command_lines, expanded, module_of
from tui.cli.parser import READ_ONLY, RUN_HELP, Parser, common, nearest
from tui.presentation import first_ink

VERSION = "--version"
# More objects than the command line makes before it begins its work.
LOADED = 50_000
# As `serve` starts the app: its terminal is a browser, at the other end of pipes.
BROWSER = "tui.app.browser_driver:BrowserDriver"


def parser(chosen: str = "") -> Parser:
    """The parser of the chosen command, whose file alone is loaded; with none that of all, by their names."""
    top = Parser(
        prog="nanochat-tui",
        description="Launch, watch, stop, resume and download nanochat training runs. No subcommand opens the app.",
        epilog=_exit_codes(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument(VERSION, action="version", version=f"nanochat-tui {__version__}")
    top.add_argument(
        "--volume", default="", metavar="DIR", help="folder that serves as the volume of the local backend"
    )
    top.add_argument("--env", default="", metavar="NAME", help="Modal's environment (default as set, else Modal's own)")
    top.add_argument("--read-only", action="store_true", help=READ_ONLY)
    top.add_argument("--debug", action="store_true", help="write more into nanochat-tui.log in the data folder")
    if chosen == VERSION:
        return top
    # Named here, as argparse would format half a page of help to find it out.
    subcommands, shared = top.add_subparsers(dest="command", metavar="COMMAND", prog=top.prog), [common()]
    for name, command in COMMANDS.items() if not chosen else [(chosen, COMMANDS[chosen])]:
        sub = subcommands.add_parser(
            name, parents=shared, help=_helped(name), description=command.help, allow_abbrev=False
        )
        if command.runs:
            sub.add_argument("run", metavar="RUN", nargs=None if command.runs == "1" else command.runs, help=RUN_HELP)
        if chosen:
            module_of(name).options(name, sub)
    return top


def _helped(name: str) -> str:
    """What a command is for, with its other names."""
    names = also_called(name)
    return f"{COMMANDS[name].help} (also {', '.join(names)})" if names else COMMANDS[name].help


def _exit_codes() -> str:
    said = [f"{int(code)} {meaning}" for code, meaning in EXIT_MEANING.items()]
    return f"exit codes: {', '.join(said[:5])},\n{', '.join(said[5:])}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    if argv is None:
        # What is loaded stays to the end: a search through it for garbage finds none, and takes a fifth of a command.
        gc.set_threshold(LOADED)
    _have_streams()
    _know_the_terminal()
    try:
        time.time()
    except OverflowError:
        # Nothing of Python that tells time works on: no log, no limit of a wait, no certificate.
        first_ink.withdraw()
        sys.stderr.write("nanochat-tui: this machine's clock shows a year after 2261: set it\n")
        return int(Exit.UNREACHABLE)
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == [COMPLETE]:
        from tui.cli.completion_answers import complete

        return complete(words[1:])
    code = _main(words)
    if argv is None:
        gc.freeze()
    return code


def _main(words: list[str]) -> int:
    try:
        args = parsed(words)
        _begin_log(args, words)
        if args.read_only:
            from runner.system import read_only

            read_only.begin()
        if args.env:
            # Where Modal's client looks for it, here and in what it starts.
            os.environ["MODAL_ENVIRONMENT"] = args.env
        if args.command is None:
            return _open_app(args)
        if args.command == "view":
            from tui.cli.view import view

            code = view(args)
        elif args.command == "serve":
            from tui.cli.serve import serve

            code = serve(args)
        elif args.command == "completion":
            from tui.cli.completion_scripts import completion

            code = completion(args)
        elif args.command == "demo":
            from tui.cli.demo import demo

            code = demo(args, _show_app)
        else:
            from tui.cli.dispatch import dispatch

            code = int(dispatch(args))
        sys.stdout.flush()
        return code
    except NanochatError as error:
        from runner.system.client_log import LOG
        from tui.presentation.console import message

        LOG.warning("%s: %s", type(error).__name__, error)
        LOG.debug("that was here", exc_info=True)
        message(f"nanochat-tui: {error}")
        return int(error.exit_code)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone, as in `| head`: nothing more to say, nor at the end of the process.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
        return int(Exit.OK)
    except OSError as error:
        from runner.system.client_log import LOG
        from tui.presentation.console import message

        LOG.exception("the command ended")
        where = f" ({error.filename})" if error.filename else ""
        message(f"nanochat-tui: {error.strerror or error}{where}: check that the disk has room and is yours")
        with contextlib.suppress(OSError):
            sys.stdout.close()
        return int(Exit.UNREACHABLE)
    except Exception as error:
        from runner.system.client_log import FILE, LOG
        from runner.text.secrets import redact
        from tui.presentation.console import message

        LOG.exception("the command ended")
        said = redact(f"{type(error).__name__}: {error}")[:200]
        message(
            f"nanochat-tui: unexpected error: {said}; details in {FILE}; nanochat-tui doctor --bundle makes a report"
        )
        return int(Exit.FAULT)


def parsed(words: list[str]) -> argparse.Namespace:
    """What was asked for. Raises UsageError for a command that there is none of."""
    command, words = expanded(words)
    if command == "help":
        command, words = expanded([*(w for w in words if w != "help"), "--help"])
    if command == "version":
        words, command = ["--version"], ""
    elif command and command not in COMMANDS:
        from runner.errors import UsageError

        near = nearest(command, [*COMMANDS, *ALIASES])
        meant = near if near.startswith("did you mean") else nearest(command, [*COMMANDS])
        hint = f"did you mean {MEANT[command]}?" if command in MEANT else meant
        raise UsageError(f"unknown command {command[:40]!r}", f"{hint} (nanochat-tui --help lists all)")
    before = words[: words.index(command)] if command else words
    if not {"-h", "--help", VERSION}.isdisjoint(before):
        command = VERSION if VERSION in before[:1] else ""
    try:
        return parser(command).parse_args(words)
    finally:
        # What --help printed: if nobody reads it, that is known here.
        sys.stdout.flush()


def _begin_log(args: argparse.Namespace, words: Sequence[str]) -> None:
    """Write down what is done, where there is a data folder; a setting may be a secret."""
    from runner.errors import NanochatError
    from runner.paths import data_dir
    from runner.system import client_log

    if args.command in ("view", "completion", "demo"):
        # What reads a file of anybody's, prints a script, or has a folder of its own, needs none of ours.
        return
    try:
        folder = data_dir()
    except NanochatError:
        # Whoever needs it says so; what only looks does without.
        return
    client_log.begin(folder, debug=args.debug)
    value = args.value if args.command == "settings" else None
    said = " ".join("…" if w == value else shlex.quote(w) for w in words)
    client_log.LOG.info("nanochat-tui %s: %s", __version__, said)


def _have_streams() -> None:
    """Where the shell has closed a stream, nothing is read from it and nothing is said."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, io.TextIOWrapper(io.BytesIO(), "utf-8"))


def _know_the_terminal() -> None:
    """What is exported of a terminal is older than the terminal itself; a NO_COLOR that is empty is none."""
    if any(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        os.environ.pop("COLUMNS", None)
        os.environ.pop("LINES", None)
    if not os.environ.get("NO_COLOR"):
        os.environ.pop("NO_COLOR", None)


def _open_app(args: argparse.Namespace) -> int:
    in_browser = os.environ.get("TEXTUAL_DRIVER") == BROWSER
    if not in_browser and not (sys.stdin.isatty() and sys.stdout.isatty()):
        from runner.errors import UsageError

        raise UsageError("the app needs a terminal", "use a subcommand; nanochat-tui --help lists them")
    from runner.paths import data_dir

    return _show_app(data_dir(), args.volume)


def _show_app(home: Path, volume: str = "") -> int:
    from tui.cli.view import needs_screen

    needs_screen("use a subcommand; nanochat-tui --help lists them")
    from tui.app.app import run_app

    return run_app(home, volume=volume, commands=command_lines())
