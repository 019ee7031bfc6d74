"""The stages that fill a volume for all of its runs: one run at a time, and again while something does not arrive."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runner.job.environment import LOOK_S, JobEnvironment
from runner.job.journal import Journal
from runner.job.outcome import cancelled_outcome
from runner.job.stop import Stop
from runner.model.stages import Phase, StageName
from runner.model.status import Outcome, OutcomeKind
from runner.nanochat.command_lines import Argv
from runner.planning.plan import Plan
from runner.planning.plan_stages import Stage
from runner.text import units

# What may well be there in a few minutes.
SHORT = ("data", "network")


class SharedStages:
    """`clear` puts what is damaged out of the way and says so, `look` plans anew with what is on the volume, `run` runs
    the command lines of a stage, `keep` brings to the volume what these left on the work disk, `tick` is called while
    it waits, `commit` makes what came visible to the other runs.
    """

    def __init__(
        self,
        site: JobEnvironment,
        lock: Path,
        journal: Journal,
        stop: Stop,
        *,
        clear: Callable[[], list[str]],
        keep: Callable[[], None],
        look: Callable[[], Plan],
        run: Callable[[StageName, Sequence[Argv]], Outcome | None],
        tick: Callable[[], None],
        commit: Callable[[], None],
    ) -> None:
        self._site, self._lock, self._journal, self._stop = site, lock, journal, stop
        self._clear, self._keep = clear, keep
        self._look, self._run, self._tick, self._commit = look, run, tick, commit

    def run(self, name: StageName) -> Outcome | None:
        """Do a stage; what stands in the way when that has been tried often enough."""
        for more in range(self._site.tries - 1, -1, -1):
            outcome = self._alone(name)
            if outcome is None or outcome.kind not in SHORT or not more:
                return outcome
            if not self._wait(name, outcome, more):
                return cancelled_outcome(self._journal.status)
        return None

    def _alone(self, name: StageName) -> Outcome | None:
        with self._site.exclusive_lock(self._lock, self._waiting) as mine:
            if not mine:
                return cancelled_outcome(self._journal.status)
            try:
                self._site.reload()
            except OSError as error:
                self._journal.say(f"[VOLUME] {error}")
            now = self._stage(name)
            if now.skip:
                self._journal.say(f"[STAGE] {name} was done by another run: {now.skip}")
                return None
            for line in self._clear():
                self._journal.say(line)
            outcome = self._run(name, now.commands)
            # What came to the work disk belongs to all.
            self._keep()
            if outcome is None and name == StageName.PREPARE and not (left := self._stage(name)).skip:
                # An exit code of 0 says nothing of a download.
                what = f"{left.note or 'the dataset'} did not arrive"
                outcome = Outcome(OutcomeKind.DATA, what, "check the network, then resume: what arrived is kept", name)
            # Before the lock is given back: whoever gets it looks at the volume.
            self._commit()
            return outcome

    def _stage(self, name: StageName) -> Stage:
        return next(stage for stage in self._look().stages if stage.name == name)

    def _waiting(self) -> bool:
        self._tick()
        return not self._stop.told

    def _wait(self, name: StageName, outcome: Outcome, more: int) -> bool:
        """Wait for a better moment; False when it was told to stop."""
        again = f"tried again in {units.duration(self._site.try_again_s)}, {more} time{'s' if more > 1 else ''} more"
        self._journal.say(f"[STAGE] {name}: {outcome.message}; what arrived is kept, and it is {again}")
        status, until = self._journal.status, time.monotonic() + self._site.try_again_s
        status.work.phase = Phase.WAITING
        while time.monotonic() < until:
            # It is meant to wait: no watcher is to take that for a stall.
            status.work.progress_at = self._journal.now()
            if not self._waiting():
                return False
            time.sleep(LOOK_S)
        self._journal.begin_stage()
        return True
