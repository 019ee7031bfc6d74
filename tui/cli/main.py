"""The command line: `nanochat-tui` opens the app, its subcommands do the same without it."""

import argparse
import contextlib
import io
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NoReturn

from runner import __version__
from runner.errors import EXIT_MEANING, Exit, NanochatError

COMMANDS = (
    "plan", "launch", "ls", "show", "logs", "view", "watch", "cancel", "resume", "rm", "cost", "compare", "checkpoints",
    "volume", "settings", "doctor",
)  # fmt: skip
# Other tools' words: those that can do no harm are taken for ours, the others are answered with ours.
ALIASES = {"list": "ls", "ps": "ls", "log": "logs", "config": "settings", "info": "show", "costs": "cost"}
MEANT = {
    **dict.fromkeys(("stop", "kill", "abort"), "cancel"),
    **dict.fromkeys(("start", "run", "train"), "launch"),
    **dict.fromkeys(("delete", "remove"), "rm"),
    **dict.fromkeys(("attach", "follow", "tail"), "watch"),
    **dict.fromkeys(("continue", "restart"), "resume"),
    **dict.fromkeys(("download", "get"), "volume get"),
    **dict.fromkeys(("upload", "put"), "volume put"),
    **dict.fromkeys(("estimate", "price"), "plan"),
    "status": "ls, or show RUN",
    "files": "volume ls",
    "diff": "compare",
    "check": "doctor",
    "ui": "nanochat-tui alone, which opens the app",
}
RUN_HELP = "id, tag, unique prefix of either (not where something is deleted or ended), or 'last'"


class Parser(argparse.ArgumentParser):
    """Errors are one line with what to do, as everywhere."""

    def error(self, message: str) -> NoReturn:
        from runner.errors import UsageError

        do = f"{self.prog} --help"
        choice = re.fullmatch(r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice:
            known = re.findall(r"[\w-]+", choice[3])
            raise UsageError(f"unknown {choice[1]} {choice[2][:40]!r}", f"{_nearest(choice[2], known)} ({do})")
        unknown = re.fullmatch(r"unrecognized arguments: (--[\w-]+)\b.*", message)
        if unknown and (near := _nearest(unknown[1], [*self.options()])).startswith("did you mean"):
            do = f"{near} ({do})"
        raise UsageError(message[:200], do)

    def options(self) -> Iterator[str]:
        """The long options of a command and of all below it."""
        for action in self._actions:
            yield from (name for name in action.option_strings if name.startswith("--"))
            for below in action.choices.values() if isinstance(action.choices, dict) else ():
                yield from below.options() if isinstance(below, Parser) else ()


def _nearest(word: str, known: Sequence[str]) -> str:
    from runner.model.spec import closest_name

    return closest_name(word, list(known))


def parser(chosen: str = "") -> Parser:
    """The parser; flags of overrides are added only for the subcommand that takes them."""
    top = Parser(
        prog="nanochat-tui",
        description="Launch, watch, stop, resume and take home nanochat training runs. No subcommand opens the app.",
        epilog=_exit_codes(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"nanochat-tui {__version__}")
    top.add_argument(
        "--volume", default="", metavar="DIR", help="folder that serves as the volume of the local backend"
    )
    top.add_argument("--debug", action="store_true", help="write more into nanochat-tui.log in the data folder")
    subcommands = top.add_subparsers(dest="command", metavar="COMMAND")

    common = Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON")
    common.add_argument("--plain", action="store_true", help="no colours, no live rewriting of lines")
    common.add_argument("--volume", default=argparse.SUPPRESS, metavar="DIR", help=argparse.SUPPRESS)
    common.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)

    def add(name: str, help_: str, *, run: str = "") -> Parser:
        sub = subcommands.add_parser(name, parents=[common], help=help_, description=help_, allow_abbrev=False)
        if run:
            sub.add_argument("run", metavar="RUN", nargs=None if run == "1" else run, help=RUN_HELP)
        return sub

    for name, help_ in (
        ("plan", "show what a launch would do, how long it takes and what it costs"),
        ("launch", "start a run; it goes on without this terminal"),
    ):
        _spec_flags(add(name, help_), launch=name == "launch", overrides=chosen == name)
    add("ls", "list all runs").add_argument("--backend", choices=("local", "modal"), help="only runs of this backend")
    add("show", "everything about one run", run="1")
    logs = add("logs", "print a run's log", run="1")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")
    logs.add_argument("-n", "--lines", type=int, default=None, metavar="N", help="only the last N lines")
    logs.add_argument("--grep", metavar="TEXT", help="only lines with a text, ~regex, or !without")
    logs.add_argument("--invert", action="store_true", help="with --grep: only lines without it")
    logs.add_argument("--since", metavar="WHEN", help="only lines since 10m, 2h ago, 14:05, yesterday, 2026-11-25")
    logs.add_argument("--timestamps", action="store_true", help="when each line came, before it")
    logs.add_argument("--level", metavar="LEVEL", help="only error, warning, stage or score lines")
    view = add("view", "read any nanochat log: a file, or - for standard input")
    view.add_argument("file", metavar="FILE")
    view.add_argument("--summary", action="store_true", help="print what is in it: steps, scores, errors")
    add("watch", "follow a run to its end; exit code 0 if it is done, 1 if not", run="1")
    cancel = add("cancel", "stop runs now, keeping what is saved", run="+")
    cancel.add_argument("--no-wait", action="store_true", help="do not wait for the end")
    resume = add("resume", "go on with a run from its newest complete checkpoint", run="1")
    resume.add_argument("--gpus", type=int, default=None, metavar="N", help="other GPUs, before there is a checkpoint")
    resume.add_argument("--budget", default=None, metavar="USD", help="a new budget, of which what is spent is a part")
    resume.add_argument("-y", "--yes", action="store_true", help="also where settings say to ask first")
    resume.add_argument("--step", type=int, default=None, metavar="N", help="go back to this checkpoint")
    resume.add_argument("--watch", action="store_true", help="follow it to its end")
    rm = add("rm", "delete runs with their logs and checkpoints", run="+")
    rm.add_argument("-y", "--yes", action="store_true", help="do not ask")
    rm.add_argument("--forget", action="store_true", help="remove the record also when the volume is gone")
    add("cost", "what runs have cost and will cost, by run, day, month and model")
    compare = add("compare", "several runs side by side: final numbers, and settings that differ", run="+")
    compare.add_argument("--csv", metavar="FILE", help="write every point of their curves to a new file")
    compare.add_argument("--svg", metavar="FILE", help="write their loss and val bpb as a picture")
    _checkpoint_flags(add("checkpoints", "list checkpoints and what each is good for", run="?"))
    volume = add("volume", "files of a volume: ls, tree, du, cat, get, put, rm, mv")
    if chosen == "volume":
        _volume_flags(volume, common)
    setting = add("settings", "what is set for all runs on this machine; NAME VALUE changes it")
    setting.add_argument("name", nargs="?", metavar="NAME")
    setting.add_argument("value", nargs="?", metavar="VALUE", help="the new value, or `default`")
    doctor = add("doctor", "check this machine, the engines and the backends; exit code 1 if something stops a launch")
    doctor.add_argument("--backend", choices=("local", "modal"), help="what a launch there needs")
    doctor.add_argument("--engine", choices=("rehearsal", "nanochat"), help="what a launch with it needs")
    doctor.add_argument("--bundle", nargs="?", const="", metavar="FILE", help="write what a report of a fault needs")
    doctor.add_argument("--run", default="", metavar="RUN", help="with --bundle: also the end of the log of this run")
    return top


def _exit_codes() -> str:
    import textwrap

    return textwrap.fill("exit codes: " + ", ".join(f"{int(code)} {said}" for code, said in EXIT_MEANING.items()), 100)


def _checkpoint_flags(sub: Parser) -> None:
    sub.add_argument("--prune", action="store_true", help="delete all but the best and the last, after asking")
    sub.add_argument("-y", "--yes", action="store_true", help="with --prune: do not ask")


def _volume_flags(volume: Parser, common: Parser) -> None:
    volume.epilog = "PATH is relative to the volume; RUN:PATH is in the folder of a run, wherever it is"
    actions = volume.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, help_: str, *, path: str | None = "?") -> Parser:
        sub = actions.add_parser(name, parents=[common], help=help_, description=help_, allow_abbrev=False)
        sub.add_argument("--backend", choices=("local", "modal"), default="local", help="whose volume (default local)")
        sub.add_argument("--engine", choices=("rehearsal", "nanochat"), help="the volume of this engine")
        if path is not None:
            sub.add_argument("path", metavar="PATH", nargs=path or None, default="")
        return sub

    sort = ("name", "size", "time")
    add("ls", "what is in a folder").add_argument("--sort", choices=sort, default="name", help="name, size or time")
    add("tree", "a folder with all that is below it").add_argument("--depth", type=int, metavar="N", help="so deep")
    add("du", "how much each folder takes, and what could go")
    add("cat", "a file, on standard output", path="")
    get = add("get", "bring a file, a folder or a whole run (RUN:) home; goes on where it was cut", path="")
    get.add_argument("to", metavar="FOLDER", nargs="?", default=".", help="into this folder (default: here)")
    put = add("put", "bring a file or folder of this machine to the volume", path=None)
    put.add_argument("file", metavar="FILE")
    put.add_argument("to", metavar="PATH", nargs="?", default="")
    rm = add("rm", "delete files and folders, after saying what depends on them", path="+")
    rm.add_argument("-r", "--recursive", action="store_true", help="folders, too")
    rm.add_argument("-y", "--yes", action="store_true", help="do not ask")
    mv = add("mv", "give a file or folder another place on the volume", path="")
    mv.add_argument("to", metavar="TO")
    for sub, what in (
        (get, "replace files that are here"),
        (put, "replace files that are there"),
        (rm, "also what a live run uses"),
        (mv, "also what a live run uses, and over what is there"),
    ):
        sub.add_argument("-f", "--force", action="store_true", help=what)


def _spec_flags(sub: Parser, *, launch: bool, overrides: bool) -> None:
    tasks = "test (10 steps, the default), speedrun (everything), or one stage: base, sft, eval"
    sub.add_argument("--task", default="test", metavar="TASK", help=tasks)
    sub.add_argument("--from", dest="source", metavar="RUN", help="base, sft, eval: the run to go on from")
    sub.add_argument("--step", type=int, default=None, metavar="N", help="with --from: this step, else the newest")
    sub.add_argument("--model", default=None, metavar="dN", help="d12, d26, d32 or any even depth (default d12)")
    sub.add_argument("--gpus", type=int, default=None, metavar="N", help="1, 2, 4 or 8 (default 1 for test, else 8)")
    sub.add_argument("--gpu", default=None, metavar="KIND", help="GPU kind (default H100)")
    sub.add_argument(
        "--engine",
        default=None,
        metavar="ENGINE",
        help="rehearsal or nanochat (default: nanochat on Modal, a free rehearsal on this machine)",
    )
    sub.add_argument("--backend", default=None, metavar="BACKEND", help="local (default) or modal")
    sub.add_argument(
        "--budget", default=None, metavar="USD", help="most dollars over all attempts; the job stops before"
    )
    sub.add_argument("--stop-if-stalled", default=None, metavar="TIME", help="end it after 20m, 1h without progress")
    if launch:
        sub.add_argument("--tag", default="", help="name of the run (default: made up)")
        sub.add_argument("--force-restart", action="store_true", help="start anew under a tag that is taken")
        sub.add_argument("--watch", action="store_true", help="follow the run to its end")
        sub.add_argument("-y", "--yes", action="store_true", help="launch it also where settings say to ask first")
    if overrides:
        from runner.model.spec import flag, override_help

        group = sub.add_argument_group("overrides")
        for name, (help_, switch) in override_help().items():
            if switch:
                group.add_argument(flag(name), action=argparse.BooleanOptionalAction, default=None, help=help_)
            else:
                action = "append" if name == "fault" else "store"
                group.add_argument(flag(name), action=action, default=None, metavar="X", help=help_)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    _have_streams()
    _know_the_terminal()
    try:
        time.time()
    except OverflowError:
        # Nothing of Python that tells time works on: no log, no limit of a wait, no certificate.
        sys.stderr.write("nanochat-tui: this machine's clock shows a year after 2261: set it\n")
        return int(Exit.UNREACHABLE)
    return _main(list(sys.argv[1:] if argv is None else argv))


def _main(words: list[str]) -> int:
    from runner.system.client_log import FILE, LOG

    try:
        args = _parsed(words)
        _begin_log(args, words)
        if args.command is None:
            return _open_app(args)
        if args.command == "view" and not (args.summary or args.json):
            return _open_view(args)
        if args.command == "view":
            from tui.cli.summary import summary

            code = summary(args)
        else:
            from tui.cli import runs

            code = int(runs.dispatch(args))
        sys.stdout.flush()
        return code
    except NanochatError as error:
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
        from tui.presentation.console import message

        LOG.exception("the command ended")
        where = f" ({error.filename})" if error.filename else ""
        message(f"nanochat-tui: {error.strerror or error}{where}: check that the disk has room and is yours")
        with contextlib.suppress(OSError):
            sys.stdout.close()
        return int(Exit.UNREACHABLE)
    except Exception as error:
        from runner.text.secrets import redact
        from tui.presentation.console import message

        LOG.exception("the command ended")
        said = redact(f"{type(error).__name__}: {error}")[:200]
        message(
            f"nanochat-tui: unexpected error: {said}; details in {FILE}; nanochat-tui doctor --bundle makes a report"
        )
        return int(Exit.FAULT)


def _parsed(words: list[str]) -> argparse.Namespace:
    """What was asked for. Raises UsageError for a command that there is none of."""
    command = _subcommand(words)
    if command in ALIASES:
        words[words.index(command)] = ALIASES[command]
        command = ALIASES[command]
    if command == "help":
        words = [*(w for w in words if w != "help"), "--help"]
        command = _subcommand(words)
    if command == "version":
        words = ["--version"]
    elif command and command not in COMMANDS:
        from runner.errors import UsageError

        hint = f"did you mean {MEANT[command]}?" if command in MEANT else _nearest(command, COMMANDS)
        raise UsageError(f"unknown command {command[:40]!r}", f"{hint} (nanochat-tui --help lists all)")
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

    if args.command == "view":
        # What reads a file of anybody's needs no folder of ours.
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


def _subcommand(words: Sequence[str]) -> str:
    """The first word that is no option and no option's value."""
    after_volume = False
    for word in words:
        if not word.startswith("-") and not after_volume:
            return word
        after_volume = word == "--volume"
    return ""


def _needs_screen(instead: str) -> None:
    """Raises UsageError where the terminal shows lines alone."""
    if os.environ.get("TERM") in ("dumb", "unknown"):
        from runner.errors import UsageError

        raise UsageError(f"this terminal cannot show the app (TERM={os.environ['TERM']})", instead)


def _open_view(args: argparse.Namespace) -> int:
    if not sys.stdout.isatty():
        from runner.errors import UsageError

        raise UsageError("the view needs a terminal", "use view FILE --summary")
    _needs_screen("use view FILE --summary")
    from tui.app.log_viewer import view

    return view(args.file)


def _open_app(args: argparse.Namespace) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        from runner.errors import UsageError

        raise UsageError("the app needs a terminal", "use a subcommand; nanochat-tui --help lists them")
    _needs_screen("use a subcommand; nanochat-tui --help lists them")
    from runner.paths import data_dir

    where = data_dir()
    from tui.app.app import run_app

    return run_app(where, volume=args.volume)
