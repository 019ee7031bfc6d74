"""`watch RUN --every 1m`: a run in whole sentences, for ears; nothing that changes once it is written."""

import argparse
import time
from typing import TYPE_CHECKING

from runner.exit_codes import Exit
from runner.fleet.following import looks
from runner.model.run import Run
from runner.model.states import State
from runner.monitoring import health
from runner.monitoring.notifications import Notifier
from tui.presentation import console, spoken
from tui.presentation.narration import Narrator

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet

POLL_S = 0.25


def say_to_end(fleet: "Fleet", run_: Run, args: argparse.Namespace) -> int:
    """Say what happens until the run has ended, and how it stands every so often; the exit code says how it ended."""
    narrator, others, told = Narrator(args.every), fleet.registry.all(), ""
    # What is told here is told beyond, too: by the webhook and the command that are set.
    teller = Notifier(fleet.registry, lambda: fleet.settings, lambda notice: None)
    try:
        for current in looks(run_, fleet.poll_run, POLL_S):
            run_, now = current, fleet.time_for(current)
            if (problem := fleet.unreachable.get(run_.id, "")) and problem != told:
                console.write(spoken.sentence(f"trouble: {spoken.text(problem)}"))
            told = problem
            for said in narrator.hear(run_, now, health.silences(run_, others)):
                console.write(said)
            console.flush()
            teller.check([run_], time.time(), others, fleet.time_for)
    except KeyboardInterrupt:
        teller.close(0.0)
        back = f"nanochat-tui watch {run_.tag} --every {args.every:g}s"
        console.message(spoken.sentence(f"the run goes on; to come back to it, type {back}"))
        raise
    teller.close()
    return Exit.OK if run_.state is State.DONE else Exit.FAILED
