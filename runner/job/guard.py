"""What may end a job from within: a budget that is spent, a stage that makes no progress."""

import time
from collections.abc import Callable
from decimal import Decimal

from runner import budget, cost, units
from runner.nanochat.shapes import Shape
from runner.run import Outcome, Run, Status


class Guard:
    """Looks at a run's status and says when to stop, and why. `say` is told what a person should know."""

    def __init__(
        self, run: Run, size: Shape, say: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._run, self._say, self._clock = run, say, clock
        self._checkpoint_bytes = size.model_bytes + size.optimizer_bytes
        self._fresh = False
        self._paced = False

    def spent(self, status: Status) -> Decimal:
        """Dollars over all containers, up to this moment."""
        return status.paid_usd + cost.dollars(max(0.0, self._clock() - status.started_at), status.usd_per_hour)

    def seconds_left(self, status: Status) -> float | None:
        """Until the budget says that closing must begin; None without a budget, or where nothing is paid."""
        cap = self._run.spec.budget_usd
        if cap is None:
            return None
        return budget.seconds_left(
            cap,
            self.spent(status),
            status.usd_per_hour,
            containers=len(status.log_bases),
            publish_s=self._publish_s(status),
        )

    def keeping_s(self, status: Status) -> float:
        """How long bringing checkpoints to the volume may take once it must stop."""
        left = self.seconds_left(status)
        return max(1.0, left or 0.0) + self._publish_s(status) + budget.CLOSING_S / 3

    def _publish_s(self, status: Status) -> float:
        return budget.publish_seconds(self._checkpoint_bytes, status.publish_s)

    def kept(self) -> None:
        """A checkpoint was kept: there is no better moment to stop, if the next would come too late."""
        self._fresh = True

    def verdict(self, status: Status) -> Outcome | None:
        """Called often, while a stage runs: why it must stop now, if it must."""
        self._warn(status)
        left = self.seconds_left(status)
        if left is not None and left <= 0:
            return self._spent(status, "the rest pays for closing")
        if left is not None and self._may_leave(status):
            needs = self._until_kept(status)
            if needs is not None and budget.better_here(left, needs):
                lasts = f"the money lasts {units.duration(left)} besides closing down"
                when = f"the next checkpoint is {units.duration(needs)} away, {lasts}"
                return self._spent(status, when)
        return self._stalled(status)

    def fits(self, status: Status, stage: str, least_s: float) -> Outcome | None:
        """Called before a stage that takes at least so long: why it had better not begin, if so."""
        left = self.seconds_left(status)
        if left is None or left >= least_s:
            return None
        lasts = f"the money lasts {units.duration(max(0.0, left))} besides closing down"
        takes = f"takes at least {units.duration(least_s)}" if least_s else "cannot begin"
        return self._spent(status, f"{stage} {takes}, {lasts}")

    def _may_leave(self, status: Status) -> bool:
        """Whether nothing would be lost now: something was just kept, or the pace is known and nothing was."""
        fresh, self._fresh = self._fresh, False
        paced, self._paced = self._paced, status.stage == "base" and status.best_pace_s is not None
        return fresh or (self._paced and not paced)

    def _until_kept(self, status: Status) -> float | None:
        """Seconds until base training keeps its next checkpoint."""
        if status.stage != "base" or not status.pace_s or status.step is None or not status.total_steps:
            return None
        every, step, total = status.save_every or status.total_steps, status.step, status.total_steps
        goal = min(total, (step // every + 1) * every)
        seconds = (goal - step) * status.pace_s
        for kind, often in (("val", status.val_every), ("core", status.core_every), ("save", every)):
            known = status.pauses.get(kind)
            if known and known.count and often:
                seconds += (goal // often - step // often) * known.seconds / known.count
        return seconds

    def _warn(self, status: Status) -> None:
        cap = self._run.spec.budget_usd
        if cap is None:
            return
        due = budget.share(cap, self.spent(status))
        if due > status.budget_told:
            status.budget_told = due
            self._say(f"[BUDGET] {due}% of {units.money(cap)} is spent")

    def _spent(self, status: Status, why: str) -> Outcome:
        cap = self._run.spec.budget_usd
        return Outcome(
            "budget",
            f"{units.money(self.spent(status))} of {units.money(cap)} is spent, {why}",
            "resume RUN --budget USD goes on with more",
            stage=status.stage,
        )

    def _stalled(self, status: Status) -> Outcome | None:
        limit = self._run.spec.stop_if_stalled_s
        silent = self._clock() - (status.progress_at or status.started_at)
        if limit is None or silent <= limit:
            return None
        doing = f" while {status.doing}" if status.doing else ""
        return Outcome(
            "stalled",
            f"no progress for {units.duration(silent)}{doing}",
            "resume RUN goes on from there",
            stage=status.stage,
        )
