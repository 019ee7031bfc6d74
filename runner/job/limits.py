"""What may end a job from within: a budget or a call that is at its end, a stage that makes no progress."""

import time
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from runner.diagnosis.advice import CanResume
from runner.model import pricing
from runner.model.pricing import TimeRange
from runner.model.run import Run
from runner.model.stages import StageName
from runner.model.status import Outcome, OutcomeKind, Status
from runner.monitoring import unsaved
from runner.nanochat.shapes import ModelShape
from runner.planning import budget, legs
from runner.text import units

RESUME = "nanochat-tui resume RUN goes on from there"
MAKE_ROOM = "see to the volume (nanochat-tui volume du says what could go), then nanochat-tui resume RUN"


def _call_began(status: Status) -> float:
    """When this call would have begun if no time had passed between its containers: nothing runs then."""
    return status.started_at - status.containers.leg_before_s


class Limit(NamedTuple):
    """What comes to its end, in how many seconds, and the outcome of a run that stops for it."""

    of: str
    left_s: float
    stop: Callable[[Status, str], Outcome]

    @property
    def lasts(self) -> str:
        return f"the {self.of} lasts {units.duration(max(0.0, self.left_s))} besides closing down"


class LimitMonitor:
    """Looks at a run's status and says when to stop, and why. `say` is told what a person should know."""

    def __init__(
        self,
        run: Run,
        size: ModelShape,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        call_limit_s: float | None = None,
    ) -> None:
        self._run, self._say, self._clock, self._limit_s = run, say, clock, call_limit_s
        self.checkpoint_bytes = size.model_bytes + size.optimizer_bytes
        self._fresh = False
        self._paced = False

    def spent(self, status: Status) -> Decimal:
        """Dollars over all containers, up to this moment."""
        return status.money.earlier_cost_usd + pricing.dollars(
            max(0.0, self._clock() - status.started_at), status.money.usd_per_hour
        )

    def seconds_left(self, status: Status) -> float | None:
        """Until the budget says that closing must begin; None without a budget, or where nothing is paid."""
        cap = self._run.spec.budget_usd
        if cap is None:
            return None
        return budget.seconds_left(
            cap,
            self.spent(status),
            status.money.usd_per_hour,
            containers=len(status.containers.log_offsets),
            publish_s=self._publish_s(status),
        )

    def call_seconds_left(self, status: Status) -> float | None:
        """Seconds until this call must begin to close, so that the next one goes on; None where calls have no limit."""
        if self._limit_s is None:
            return None
        return legs.seconds_left(self._limit_s, _call_began(status), self._clock(), self._publish_s(status))

    def keeping_s(self, status: Status) -> float:
        """How long bringing checkpoints to the volume may take once it must stop."""
        left = [s for s in (self.seconds_left(status), self.call_seconds_left(status)) if s is not None]
        return max(1.0, min(left, default=0.0)) + self._publish_s(status) + budget.CLOSING_S / 3

    def _publish_s(self, status: Status) -> float:
        return budget.publish_seconds(self.checkpoint_bytes, status.pace.publish_s)

    def on_checkpoint_saved(self) -> None:
        """Note that a checkpoint was kept: the best moment to stop, if the next would come too late."""
        self._fresh = True

    def stop_reason(self, status: Status) -> Outcome | None:
        """Called often, while a stage runs: why it must stop now, if it must."""
        self._warn(status)
        may_leave = self._may_leave(status)
        for end in self._ends(status):
            if end.left_s <= 0:
                return end.stop(status, "the rest is for closing")
            needs = self._until_kept(status) if may_leave else None
            if needs is not None and budget.better_here(end.left_s, needs):
                return end.stop(status, f"the next checkpoint is {units.duration(needs)} away, {end.lasts}")
        return self._stalled(status) or self._unsaved(status)

    def reason_not_to_begin(self, status: Status, stage: StageName, seconds: TimeRange) -> Outcome | None:
        """Called before a stage: why it had better not begin, or not in this call, if so.

        Of money it must have what the stage takes at the least, of time what it takes at the most: the next call costs
        no more. Of a call that has hardly begun there is no better one.
        """
        money, call = self.seconds_left(status), self.call_seconds_left(status)
        if money is not None and money < seconds.low:
            takes = f"takes at least {units.duration(seconds.low)}" if seconds.low else "cannot begin"
            return self._spent(status, f"{stage} {takes}, {Limit('money', money, self._spent).lasts}")
        if call is not None and call < seconds.high and not self._young(status):
            takes = f"may take {units.duration(seconds.high)}"
            return self._over(status, f"{stage} {takes}, {Limit('call', call, self._over).lasts}")
        return None

    def _ends(self, status: Status) -> list[Limit]:
        """What comes to its end: the money first, then the call."""
        money, call = self.seconds_left(status), self.call_seconds_left(status)
        found = [Limit("money", money, self._spent)] if money is not None else []
        return [*found, Limit("call", call, self._over)] if call is not None else found

    def _young(self, status: Status, at: float | None = None) -> bool:
        """Whether so little of this call was gone, at a time or now, that another one would have no more room."""
        used = (self._clock() if at is None else at) - _call_began(status)
        return self._limit_s is None or used <= legs.WORTH * self._limit_s

    def leg_without_progress(self, status: Status) -> str:
        """What to do with a stage that the end of a call stopped with nothing kept, though it had nearly all of it.

        Empty where it was given less: it may well fare better in the next call.
        """
        began = next((s.started_at for s in status.work.stages if s.name == status.work.stage), None)
        if began is None or not self._young(status, began):
            return ""
        stage, every = status.work.stage, status.training.save_every
        if stage is not StageName.BASE:
            again = "--task sft --from RUN --load-optimizer 0" if stage is StageName.SFT else "--task eval --from RUN"
            return f"{stage} fits into no call: nanochat-tui launch {again} with more --gpus"
        fewer = f" of less than {every:,}" if every else ""
        return f"no checkpoint fits into a call: nanochat-tui launch --task base --from RUN with a --save-every{fewer}"

    def _may_leave(self, status: Status) -> bool:
        """Whether nothing would be lost now: something was just kept, or the pace is known and nothing was."""
        fresh, self._fresh = self._fresh, False
        paced, self._paced = self._paced, status.work.stage is StageName.BASE and status.pace.best_pace_s is not None
        return fresh or (self._paced and not paced)

    def _until_kept(self, status: Status) -> float | None:
        """Seconds until base training keeps its next checkpoint."""
        base, pace_s = status.training, status.pace.pace_s
        step, total = base.step, base.total_steps
        if status.work.stage is not StageName.BASE or not pace_s or step is None or not total:
            return None
        every = base.save_every or total
        goal = min(total, (step // every + 1) * every)
        seconds = (goal - step) * pace_s
        for kind, often in (("val", base.val_every), ("core", base.core_every), ("save", every)):
            known = status.pace.pause_totals.get(kind)
            if known and known.count and often:
                seconds += (goal // often - step // often) * known.seconds / known.count
        return seconds

    def _warn(self, status: Status) -> None:
        cap = self._run.spec.budget_usd
        if cap is None:
            return
        due = budget.share(cap, self.spent(status))
        if due > status.money.budget_told:
            status.money.budget_told = due
            self._say(f"[BUDGET] {due}% of {units.money(cap)} is spent")

    def _spent(self, status: Status, why: str) -> Outcome:
        cap = self._run.spec.budget_usd
        return Outcome(
            OutcomeKind.BUDGET,
            f"{units.money(self.spent(status))} of {units.money(cap)} is spent, {why}",
            "nanochat-tui resume RUN --budget USD goes on with more",
            stage=status.work.stage,
        )

    def _over(self, status: Status, why: str) -> Outcome:
        limit = units.duration(self._limit_s or 0.0)
        return Outcome(OutcomeKind.TIME_LIMIT, f"one call may take {limit}; {why}", RESUME, stage=status.work.stage)

    def _unsaved(self, status: Status) -> Outcome | None:
        found, now = status.work.unsaved, self._clock()
        if found is None or not unsaved.too_long(status, now):
            return None
        what = f"nothing could be saved for {units.duration(now - found.since)}: {found.reason}"
        return Outcome(OutcomeKind.UNSAVED, what, MAKE_ROOM, stage=status.work.stage, resume=CanResume.CHANGED)

    def _stalled(self, status: Status) -> Outcome | None:
        limit = self._run.spec.stop_if_stalled_s
        silent = self._clock() - (status.work.progress_at or status.started_at)
        if limit is None or silent <= limit:
            return None
        doing = f" while {status.work.phase}" if status.work.phase else ""
        return Outcome(
            OutcomeKind.STALLED,
            f"no progress for {units.duration(silent)}{doing}",
            RESUME,
            stage=status.work.stage,
        )
