"""`watch`: a run's log as it comes, how it stands in a line below it, and how it ended."""

import argparse
import sys
import time
from typing import TYPE_CHECKING

from runner.exit_codes import Exit
from runner.logs.log_file import LogFile
from runner.model.run import Run
from runner.model.states import State
from runner.monitoring import health
from runner.monitoring.notifications import Notification, NotificationKind, Notifier, terminal_sequence
from tui.cli import logs
from tui.cli.json_records import record
from tui.cli.parser import Parser, add_every
from tui.presentation import console, run_format
from tui.presentation.live_line import live_line

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet

# The end of a run that is watched here is printed anyway.
TOLD_HERE = (NotificationKind.STALLED, NotificationKind.PREEMPTED, NotificationKind.BUDGET, NotificationKind.UNSAVED)


def options(name: str, sub: Parser) -> None:
    """Add what the command takes."""
    add_every(sub)


def watch(fleet: "Fleet", args: argparse.Namespace) -> int:
    """Follow a run to its end; the exit code says how it ended."""
    return follow_to_end(fleet, fleet.registry.find(args.run), args)


def follow_to_end(fleet: "Fleet", run_: Run, args: argparse.Namespace, *, skip: int = 0) -> int:
    """Print what comes until the run has ended; the exit code says how."""
    if args.every is not None and not args.json:
        from tui.cli.aloud import say_to_end

        return say_to_end(fleet, run_, args)
    echo = logs.Printer(LogFile(fleet.log_file(run_)), skip, [])
    line = console.StatusLine(wanted=sys.stdout.isatty())
    unsignalled, others = False, fleet.registry.all()
    teller = Notifier(fleet.registry, lambda: fleet.settings, lambda notice: _tell(fleet, notice))
    try:
        for current in logs.follow(fleet, run_, (lambda ended: None) if args.json else echo):
            run_, now = current, fleet.time_for(current)
            like = health.silences(run_, others)
            if run_.live and run_.state is not State.STOPPING:
                sign = health.health(run_, now, like)
                no_signal = sign.status is health.HealthStatus.NO_SIGNAL
                if no_signal and not unsignalled:
                    console.message(f"nanochat-tui: {run_.tag} {sign.status}: {sign.why}")
                unsignalled = no_signal
            teller.check([run_], time.time(), others, fleet.time_for)
            if run_.live:
                line.put(live_line(run_, now, line.width, like))
        line.clear()
        teller.close()
        for problem in teller.problems:
            console.message(f"nanochat-tui: {problem}")
    except KeyboardInterrupt:
        teller.close(0.0)
        if sys.stderr.isatty() and not line.clear():
            # The terminal has written ^C where the cursor was.
            console.message("")
        console.message(f"{run_.tag} goes on; nanochat-tui watch {run_.tag} comes back to it")
        raise
    if args.json:
        console.as_json(record(fleet, run_))
    else:
        console.write(run_format.final_line(run_))
    if run_.outcome and run_.outcome.advice:
        console.message(f"nanochat-tui: {run_.outcome.advice}")
    return Exit.OK if run_.state is State.DONE else Exit.FAILED


def _tell(fleet: "Fleet", notice: Notification) -> None:
    """A notice of a run that is watched here: its end is printed anyway."""
    if notice.kind in TOLD_HERE:
        console.message(f"nanochat-tui: {notice.text}")
    if fleet.settings.bell and console.obeys(sys.stderr):
        console.make_way()
        sys.stderr.write(terminal_sequence(notice))
        sys.stderr.flush()


COMMANDS = {"watch": watch}
