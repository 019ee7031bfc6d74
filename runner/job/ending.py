"""The end of a container: its last word put down and committed, or its work handed over to the next call."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from runner.errors import NanochatError
from runner.job.commits import Commits
from runner.job.journal import Journal
from runner.job.outcome import PUT_RIGHT, last_word
from runner.job.site import Site
from runner.job.stop import Stop
from runner.job.succession import leave
from runner.run import Outcome, Run, StageState, State

# The outcomes after which the run goes on in another call.
HANDED_OVER = ("prepared", "time limit")


class Ending:
    """Closes the books of one container."""

    def __init__(
        self,
        run: Run,
        work: Path,
        site: Site,
        journal: Journal,
        commits: Commits,
        stop: Stop,
        clock: Callable[[], float],
    ) -> None:
        self._run, self._work, self._site, self._journal = run, work, site, journal
        self._commits, self._stop, self._clock = commits, stop, clock

    def end(self, outcome: Outcome) -> None:
        """Put down how the attempt ended, or that its container was told to go."""
        status, now = self._journal.status, self._clock()
        ends = {"done": State.DONE, "cancelled": self._site.stopped_means, "budget": State.OUT_OF_BUDGET}
        outcome = msgspec.structs.replace(outcome, advice=outcome.advice.replace("RUN", self._run.id))
        status.state = ends.get(outcome.kind, State.FAILED)
        for stage in status.stages:
            if stage.state is StageState.RUNNING:
                stage.state, stage.ended_at = StageState.FAILED, now
        if outcome.kind == "done":
            shutil.rmtree(self._work / "base", ignore_errors=True)
        if status.state is State.PREEMPTED:
            status.preemptions += 1
            leave(status, now)
            self._journal.say(f"[PREEMPTED] {outcome.message}; the same call starts again")
        else:
            status.outcome, status.ended_at = outcome, now
            more = f" — {outcome.advice}" if outcome.advice else ""
            self._journal.say(f"[{status.state.value.upper()}] {outcome.message}{more}")
        self._journal.event({**msgspec.to_builtins(outcome), "kind": "outcome", "outcome": outcome.kind})
        self._close()

    def hand_over(self, line: str) -> Outcome | None:
        """Let the next call begin; None when it was asked for, else why it was not.

        From then on that call writes these files: everything must be committed before, and nothing after.
        """
        status, now = self._journal.status, self._clock()
        self._journal.say(line)
        was = msgspec.structs.replace(status)
        status.state, status.stage, status.doing = State.QUEUED, "", ""
        leave(status, now)
        self._close()
        try:
            self._site.hand_over(msgspec.structs.replace(self._run, status=status))
        except NanochatError as error:
            self._journal.reopen(was)
            return Outcome("launch", error.what[:300], error.do or "put that right, then resume")
        return None

    def _close(self) -> None:
        self._journal.close()
        problem = self._commits.last(self._stop.closing_s())
        # Whoever hears the last word finds on the volume what it speaks of.
        self._site.beat(self._journal.status, last=True)
        if problem := self._journal.status_problem or problem:
            last_word(Outcome("disk", f"how it ended could not be written down: {problem}", PUT_RIGHT))
