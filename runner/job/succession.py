"""What a container inherits from the one before it, and leaves to the next: status, cost, and how often they died."""

from decimal import Decimal

import msgspec

from runner import checkpoints, survey
from runner.alarms import alarm
from runner.backends.folder import FolderVolume
from runner.checkpoints import Checkpoint
from runner.errors import NanochatError
from runner.job.history import History
from runner.job.site import Site
from runner.nanochat import layout
from runner.run import Outcome, OutcomeKind, Run, StageState, StageStatus, State, Status

MAX_FRUITLESS = 3
DIED_IN = (State.PREPARING, State.RUNNING, State.STOPPING)


def newest(saved: Status | None, told: Status | None) -> Status | None:
    """Of two statuses of one run, the later one."""
    if saved and told and (told.attempt, told.updated_at) > (saved.attempt, saved.updated_at):
        return told
    return saved or told


def begun(run: Run, earlier: Status | None, site: Site, part: str, now: float) -> Status:
    """The status at the start of a container: what the earlier ones reached and cost, and how often they died."""
    status = Status(attempt=run.attempt, state=State.PREPARING, call_id=site.call_id, started_at=now, updated_at=now)
    status.usd_per_hour, status.device, status.calls = site.usd_per_hour(run, part), site.device(), [site.call_id]
    status.leg = site.leg
    if earlier is None:
        return status
    status.first_started_at = earlier.first_started_at or earlier.started_at
    status.spent_before_s, status.paid_usd = earlier.spent_s, earlier.spent_usd
    status.step, status.total_steps, status.loss = earlier.step, earlier.total_steps, earlier.loss
    status.val_bpb, status.core, status.chatcore = earlier.val_bpb, earlier.core, earlier.chatcore
    status.sft_bpb = earlier.sft_bpb
    status.log_bases, status.preemptions = earlier.log_bases, earlier.preemptions
    status.train_s, status.train_steps = earlier.train_s, earlier.train_steps
    status.unknown_lines = earlier.unknown_lines
    status.quiet_s, status.pauses, status.publish_s = earlier.quiet_s, earlier.pauses, earlier.publish_s
    status.budget_told = earlier.budget_told
    if earlier.call_id == site.call_id:
        status.leg_before_s = earlier.leg_before_s + earlier.spent_s - earlier.spent_before_s
    if earlier.attempt == run.attempt:
        status.calls = list(dict.fromkeys([*earlier.calls, site.call_id]))
        status.warnings = earlier.warnings
        # By what the earlier one told of itself, before this one can die: a death in its first second must count.
        reached = (_done(earlier.stages), earlier.saved_step or 0)
        got_on = reached > earlier.progress
        status.progress, status.fruitless = (reached, 0) if got_on else (earlier.progress, earlier.fruitless)
        if earlier.call_id == site.call_id and earlier.state in DIED_IN:
            # The same call again, though its container never said goodbye.
            if earlier.state is State.STOPPING or (site.told_to_stop(run) or 0.0) >= earlier.started_at:
                status.preemptions += 1
            elif not got_on:
                status.fruitless += 1
    return status


def at_step(status: Status, past: History) -> None:
    """Leave in a status what holds at the step that training has gone back to: the numbers known there."""
    status.loss = past.loss[max(past.loss)] if past.loss else None
    status.val_bpb = past.val[max(past.val)] if past.val else None
    status.core = past.core[max(past.core)] if past.core else None
    status.chatcore = status.sft_bpb = None
    status.warnings = [said for said in status.warnings if alarm(said) != "nan"]


def _done(stages: list[StageStatus]) -> int:
    return sum(stage.state is StageState.DONE for stage in stages)


def never_began(volume: FolderVolume, run: Run, call_id: str, outcome: Outcome, now: float) -> bool:
    """Put down that a job could not even begin, keeping what earlier attempts have said; whether that was possible."""
    earlier = survey.read_status(volume, run)
    status = earlier or Status(run.attempt, State.FAILED, call_id, started_at=now, updated_at=now)
    status.attempt, status.state, status.call_id, status.outcome = run.attempt, State.FAILED, call_id, outcome
    status.updated_at = status.ended_at = now
    try:
        volume.write(f"{run.path}/{layout.STATUS_FILE}", msgspec.json.encode(status))
    except (OSError, NanochatError):
        return False
    return True


def leave(status: Status, now: float) -> None:
    """Put down what this container took: none is running, and none costs, until the next begins."""
    status.updated_at, status.here_s = now, max(0.0, now - status.started_at)
    status.leg_before_s += status.here_s
    status.spent_before_s, status.paid_usd = status.spent_s, status.spent_usd
    status.started_at, status.usd_per_hour, status.here_s = now, Decimal(0), 0.0


def put_aside(volume: FolderVolume, run: Run, attempt: int) -> list[Checkpoint] | None:
    """Move what was saved after the step that this attempt goes back to out of the way, once; None when it is done.

    It stays in the run's folder. The meta file goes first: what is half moved counts for nothing.
    """
    done = layout.aside_mark(run.path, attempt)
    place = done.rpartition("/")[0]
    if run.back_to is None or volume.path(done).exists():
        return None
    saved = checkpoints.scan(volume, run.id, run.path, run.spec.model, None)
    later = [c for c in saved if c.kind != "base" or c.step > run.back_to]
    for one in later:
        folder = one.path.removeprefix(f"{run.path}/")
        for name in sorted(one.files, key=lambda n: not n.startswith("meta_")):
            volume.rename(f"{one.path}/{name}", f"{place}/{folder}/{name}")
    volume.write(done, b"")
    return later


def crash_loop(status: Status, found: list[Checkpoint], finished: list[StageStatus]) -> Outcome | None:
    """A container that dies is started again by the cloud, for ever: this ends it when nothing comes of it."""
    newest_one = checkpoints.newest_complete(found)
    now = (_done(finished), newest_one.step if newest_one else 0)
    if now > status.progress:
        status.progress, status.fruitless = now, 0
    if status.fruitless < MAX_FRUITLESS:
        return None
    return Outcome(
        OutcomeKind.CRASH_LOOP,
        f"the container died {status.fruitless} times without a new checkpoint",
        "see the log: nanochat-tui logs RUN; then resume",
        stage=status.stage,
    )
