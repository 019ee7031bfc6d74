"""`logs` and `view --summary`: a run's log, or any log, for people and for pipes."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import CredentialsError, Unreachable, UsageError
from runner.exit_codes import Exit
from runner.fleet.following import NewLines, looks
from runner.logs.log_file import LogFile
from runner.logs.prefixed import PrefixFinder
from runner.logs.search import Query, Scan, lines_in, parse_query
from runner.logs.timestamps import LogTimes, parse_time
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.nanochat import layout
from tui.cli.parser import Parser
from tui.presentation import console

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet

POLL_S = 0.25
# So much of a line is looked at and printed on a terminal, as a terminal would show it; and in a pipe, as it is.
LONGEST, LONGEST_IN_PIPE = 1 << 20, 256 << 20


def options(name: str, sub: Parser) -> None:
    """Add what the command takes."""
    sub.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")
    sub.add_argument("-n", "--lines", type=int, default=None, metavar="N", help="only the last N lines")
    sub.add_argument("--grep", metavar="TEXT", help="only lines with a text, ~regex, or !without")
    sub.add_argument("--invert", action="store_true", help="with --grep: only lines without it")
    sub.add_argument("--since", metavar="WHEN", help="only lines since 10m, 2h ago, 14:05, yesterday, 2026-11-25")
    sub.add_argument("--timestamps", action="store_true", help="when each line came, before it")
    sub.add_argument("--level", metavar="LEVEL", help="only error, warning, stage or score lines")


def line_of(log: LogFile, number: int) -> bytes:
    """A line as it is printed, which is what the queries are of."""
    return log.raw(number, LONGEST) if sys.stdout.isatty() else log.bytes_of(number, LONGEST_IN_PIPE)


def log_of(fleet: "Fleet", run_: Run) -> LogFile:
    """A run's log as complete as it can be had now."""
    fleet.pull_log(run_)
    log = LogFile(fleet.log_file(run_))
    log.refresh()
    return log


def follow(fleet: "Fleet", run_: Run, shown: Callable[[bool], None]) -> Iterator[Run]:
    """Look at a run again and again until it has ended; `shown(ended)` prints, after each look, what came."""
    told = ""
    for now in looks(run_, fleet.poll_run, POLL_S):
        trouble = _pulled(fleet, now) or fleet.unreachable.get(now.id, "")
        if trouble and trouble != told:
            console.message(f"nanochat-tui: {trouble}")
        told = trouble
        shown(not now.live)
        console.flush()
        yield now


def _pulled(fleet: "Fleet", run_: Run) -> str:
    """Bring the log; what stands against it. A volume on this machine that is gone is the end, Modal comes back."""
    if run_.backend is BackendName.LOCAL:
        fleet.volume_of(run_).list("")
    try:
        fleet.pull_log(run_)
    except (Unreachable, CredentialsError) as error:
        if not run_.live:
            raise
        return str(error)
    return ""


class Printer:
    """Prints the lines of a log from one on that all queries are for; a line still being written waits for its end."""

    def __init__(self, log: LogFile, first: int, wanted: list[Query], times: LogTimes | None = None) -> None:
        self._log, self._new, self._wanted, self._times = log, NewLines(log, first), wanted, times

    def __call__(self, ended: bool) -> None:
        new = self._new.take(ended=ended)
        if self._times:
            self._times.refresh()
        for number in new:
            line = line_of(self._log, number)
            if all(lines_in(q, line) for q in self._wanted):
                text = line.decode("utf-8", "replace")
                console.write(self._stamp(number) + (self._log.cut(text) if self._log.cut else text))

    def _stamp(self, number: int) -> str:
        if self._times is None:
            return ""
        at = self._times.at(self._log.start(number))
        return time.strftime("%Y-%m-%d %H:%M:%S  ", time.localtime(at)) if at is not None else f"{'–':<21}"


def logs(fleet: "Fleet", args: argparse.Namespace) -> int:
    """`nanochat-tui logs RUN`: history first, then, with -f, what comes, until the run has ended."""
    _queries(args)
    found = fleet.poll_run(fleet.registry.find(args.run))
    fleet.volume_of(found).list("")
    log = log_of(fleet, found)
    printer: Callable[[bool], None]
    if args.json:
        printer = _events(fleet.log_file(found).with_name(layout.EVENTS_FILE), args.lines)
    else:
        finder = PrefixFinder(log)
        finder.advance()
        wanted = _queries(args, finder.prefixes.sources)
        times = finder.times or LogTimes(log.path.with_name(layout.TIMES_FILE))
        times.refresh()
        first = _first(log, wanted, args.lines)
        if args.since:
            since = times.offset_since(parse_time(args.since, time.time()))
            first = max(first, log.line_at(since) if since is not None else len(log))
        printer = Printer(log, first, wanted, times if args.timestamps else None)
    if not args.follow:
        printer(True)
        return Exit.OK
    for _ in follow(fleet, found, printer):
        pass
    return Exit.OK


def _queries(args: argparse.Namespace, before: Sequence[str] = ()) -> list[Query]:
    """What the flags ask of a line that has something `before` it. Raises UsageError."""
    if args.invert and not args.grep:
        raise UsageError("--invert is for --grep", "say which lines to leave out: --grep TEXT --invert")
    if args.json and (args.grep or args.level):
        raise UsageError("--json prints events, --grep and --level are of lines", "use one or the other")
    if (args.lines or 0) < 0:
        raise UsageError(f"--lines {args.lines}", "give 0 or more")
    wanted = args.grep or ""
    if args.invert:
        wanted = wanted[1:] if wanted.startswith("!") else f"!{wanted}"
    found = [parse_query(wanted)] if wanted else []
    return [*found, parse_query(f"level:{args.level}", before)] if args.level else found


def _first(log: LogFile, wanted: list[Query], lines: int | None) -> int:
    """The line to begin with, so that at most so many are printed of what is there."""
    if lines is None:
        return 0
    if not wanted:
        return max(0, len(log) - lines)
    scan = Scan(log, wanted[0])
    while scan.advance():
        pass
    scan.look_at_unfinished()
    numbers = [n for n in scan.lines() if all(lines_in(q, line_of(log, n)) for q in wanted[1:])]
    return numbers[-lines] if 0 < lines <= len(numbers) else 0 if lines else len(log)


def _events(path: Path, lines: int | None) -> Callable[[bool], None]:
    """Prints the events of a run as they stand in its record, one JSON object a line."""
    log = LogFile(path)
    log.refresh()
    state = {"next": max(0, log.whole - lines) if lines is not None else 0, "of": log.anew}

    def show(ended: bool) -> None:
        log.refresh()
        if state["of"] != log.anew:
            state["of"], state["next"] = log.anew, 0
        for number in range(state["next"], log.whole):
            start = log.start(number)
            console.write_json(log.read(start, log.start(number + 1) - start).decode("utf-8", "replace"))
        state["next"] = log.whole

    return show


COMMANDS = {"logs": logs}
