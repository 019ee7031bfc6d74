"""The end of a container: its last word put down and committed, or its work handed over to the next call."""

import contextlib
import copy
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from runner.errors import NanochatError
from runner.job.commits import Commits
from runner.job.environment import JobEnvironment
from runner.job.journal import Journal
from runner.job.outcome import PUT_RIGHT, print_outcome
from runner.job.restarts import close_container
from runner.job.stop import Stop
from runner.model.run import Run
from runner.model.stages import Phase, StageName
from runner.model.states import State
from runner.model.status import Outcome, OutcomeKind, StageState
from runner.volumes import run_records
from runner.volumes.folder import FolderVolume

# So long it is tried to commit what the next call begins with, where nothing presses.
COMMIT_FOR_S, COMMIT_AGAIN_S = 300.0, 5.0


class Ending:
    """Closes the books of one container."""

    def __init__(
        self,
        volume: FolderVolume,
        run: Run,
        work: Path,
        site: JobEnvironment,
        journal: Journal,
        commits: Commits,
        stop: Stop,
        clock: Callable[[], float],
    ) -> None:
        self._volume, self._run, self._work, self._site, self._journal = volume, run, work, site, journal
        self._commits, self._stop, self._clock = commits, stop, clock

    def end(self, outcome: Outcome) -> None:
        """Put down how the attempt ended, or that its container was told to go."""
        status, now = self._journal.status, self._clock()
        # Somebody cancelled it, if it was not this container that was told to go.
        gone = self._site.state_when_stopped if self._stop.told else State.CANCELLED
        ends = {OutcomeKind.DONE: State.DONE, OutcomeKind.CANCELLED: gone, OutcomeKind.BUDGET: State.OUT_OF_BUDGET}
        outcome = msgspec.structs.replace(outcome, advice=outcome.advice.replace("RUN", self._run.id))
        status.state = ends.get(outcome.kind, State.FAILED)
        for stage in status.work.stages:
            if stage.state is StageState.RUNNING:
                stage.state, stage.ended_at = StageState.FAILED, now
        if outcome.kind is OutcomeKind.DONE:
            shutil.rmtree(self._work / "base", ignore_errors=True)
        if status.state is State.PREEMPTED:
            status.containers.preemptions += 1
            close_container(status, now)
            self._journal.say(f"[PREEMPTED] {outcome.message}; the same call starts again")
        else:
            status.outcome, status.ended_at = outcome, now
            more = f" — {outcome.advice.replace(self._run.id, self._run.tag)}" if outcome.advice else ""
            self._journal.say(f"[{status.state.value.upper()}] {outcome.message}{more}")
        self._journal.event({**msgspec.to_builtins(outcome), "kind": "outcome", "outcome": outcome.kind})
        self._close()

    def spawn_leg(self, leg: int, line: str) -> Outcome | None:
        """Let a leg begin; None when it was asked for, else why it was not.

        From then on its call writes these files: everything must be committed before, and nothing after.
        """
        status, now = self._journal.status, self._clock()
        self._journal.say(line)
        self._journal.event({"kind": "outcome", "outcome": "next call" if leg > 1 else "prepared"})
        was = copy.deepcopy(status)
        status.state, status.work.stage, status.work.phase = State.QUEUED, StageName.NONE, Phase.NONE
        close_container(status, now)
        problem = self._close()
        within = self._stop.closing_s()
        until = time.monotonic() + (COMMIT_FOR_S if within is None else within)
        while problem and time.monotonic() < until and not self._stop.told:
            time.sleep(COMMIT_AGAIN_S)
            problem = self._commits.commit_last(until - time.monotonic())
        outcome = Outcome(OutcomeKind.VOLUME, problem[:300], PUT_RIGHT) if problem else self._ask_for(leg)
        if outcome:
            self._journal.reopen(was)
        return outcome

    def _ask_for(self, leg: int) -> Outcome | None:
        """Ask for the call of a leg, unless somebody has cancelled the run, or this container is to go."""
        # Where it cannot be looked at anew, the next call finds the mark: it looks before it begins.
        with contextlib.suppress(OSError):
            self._site.reload()
        if self._stop.told or run_records.cancelled_attempt(self._volume, self._run) >= self._run.attempt:
            return Outcome(OutcomeKind.CANCELLED, "cancelled before the next call was asked for")
        try:
            self._site.spawn_leg(msgspec.structs.replace(self._run, status=self._journal.status), leg)
        except NanochatError as error:
            return Outcome(OutcomeKind.LAUNCH, error.what[:300], error.hint or PUT_RIGHT)
        return None

    def _close(self) -> str:
        """Put down and commit the last word, and tell it; what went wrong, in a line."""
        self._journal.close()
        problem = self._commits.commit_last(self._stop.closing_s())
        # Whoever hears the last word finds on the volume what it speaks of.
        self._site.send_heartbeat(self._journal.status, last=True)
        if problem := self._journal.status_problem or problem:
            print_outcome(Outcome(OutcomeKind.DISK, f"how it ended could not be written down: {problem}", PUT_RIGHT))
        return problem
