"""What a container inherits from the one before it, and leaves to the next: status, cost, and how often they died."""

from decimal import Decimal

import msgspec

from runner.diagnosis.alarms import alarm
from runner.errors import NanochatError
from runner.job.environment import JobEnvironment
from runner.job.history import History
from runner.model import paid
from runner.model.run import Run
from runner.model.stages import Part
from runner.model.states import State
from runner.model.status import Containers, Money, Outcome, OutcomeKind, Pace, StageState, StageStatus, Status, Training
from runner.nanochat import layout
from runner.nanochat.layout import CheckpointKind
from runner.volumes import checkpoint_verdicts, run_records
from runner.volumes.checkpoint_verdicts import Checkpoint
from runner.volumes.folder import FolderVolume

MAX_RESTARTS_WITHOUT_PROGRESS = 3
DIED_IN = (State.PREPARING, State.RUNNING, State.STOPPING)


def newest_status(saved: Status | None, told: Status | None) -> Status | None:
    """Of two statuses of one run, the later one."""
    if saved and told and (told.attempt, told.updated_at) > (saved.attempt, saved.updated_at):
        return told
    return saved or told


def initial_status(run: Run, earlier: Status | None, site: JobEnvironment, part: Part | None, now: float) -> Status:
    """The status at the start of a container: what the earlier ones reached and cost, and how often they died."""
    here = Containers(calls=[site.call_id], leg=site.leg, device=site.device())
    money = Money(usd_per_hour=site.usd_per_hour(run, part))
    status = Status(run.attempt, State.PREPARING, site.call_id, now, now, money=money, containers=here)
    new = site.interval_begun(run, part, now)
    money.paid = [new]
    if earlier is None:
        return status
    base, pace, before = earlier.training, earlier.pace, earlier.containers
    status.first_started_at = earlier.first_started_at or earlier.started_at
    money.spent_before_s, money.earlier_cost_usd = earlier.spent_s, earlier.spent_usd
    money.paid = paid.with_interval(earlier.rows(earlier.spent_usd), new)
    money.budget_told = earlier.money.budget_told
    status.training = Training(
        step=base.step,
        total_steps=base.total_steps,
        loss=base.loss,
        val_bpb=base.val_bpb,
        core=base.core,
        chatcore=base.chatcore,
        sft_bpb=base.sft_bpb,
        tokenizer=base.tokenizer,
    )
    status.pace = Pace(
        train_s=pace.train_s,
        train_steps=pace.train_steps,
        max_silence_s=pace.max_silence_s,
        pause_totals=pace.pause_totals,
        publish_s=pace.publish_s,
    )
    status.work.unknown_lines = earlier.work.unknown_lines
    here.log_offsets, here.preemptions = before.log_offsets, before.preemptions
    if earlier.call_id == site.call_id:
        here.leg_before_s = before.leg_before_s + earlier.spent_s - earlier.money.spent_before_s
    if earlier.attempt == run.attempt:
        here.calls = list(dict.fromkeys([*before.calls, site.call_id]))
        status.work.warnings = earlier.work.warnings
        # By what the earlier one told of itself, before this one can die: a death in its first second must count.
        reached = (_done(earlier.work.stages), base.saved_step or 0)
        got_on = reached > before.progress
        here.progress, here.restarts_without_progress = (
            (reached, 0) if got_on else (before.progress, before.restarts_without_progress)
        )
        if earlier.call_id == site.call_id and earlier.state in DIED_IN:
            # The same call again, though its container never said goodbye.
            if earlier.state is State.STOPPING or (site.stop_requested_at(run) or 0.0) >= earlier.started_at:
                here.preemptions += 1
            elif not got_on:
                here.restarts_without_progress += 1
    return status


def at_step(status: Status, past: History) -> None:
    """Leave in a status what holds at the step that training has gone back to: the numbers known there."""
    status.training.loss = past.loss[max(past.loss)] if past.loss else None
    status.training.val_bpb = past.val[max(past.val)] if past.val else None
    status.training.core = past.core[max(past.core)] if past.core else None
    status.training.chatcore = status.training.sft_bpb = None
    status.work.warnings = [said for said in status.work.warnings if alarm(said) != "nan"]


def _done(stages: list[StageStatus]) -> int:
    return sum(stage.state is StageState.DONE for stage in stages)


def never_began(volume: FolderVolume, run: Run, call_id: str, outcome: Outcome, now: float) -> bool:
    """Put down that a job could not even begin, keeping what earlier attempts have said; whether that was possible."""
    earlier = run_records.read_status(volume, run)
    status = earlier or Status(run.attempt, State.FAILED, call_id, started_at=now, updated_at=now)
    status.attempt, status.state, status.call_id, status.outcome = run.attempt, State.FAILED, call_id, outcome
    status.updated_at = status.ended_at = now
    try:
        volume.write(f"{run.path}/{layout.STATUS_FILE}", msgspec.json.encode(status))
    except (OSError, NanochatError):
        return False
    return True


def close_container(status: Status, now: float) -> None:
    """Put down what this container took: none is running, and none costs, until the next begins."""
    status.updated_at, status.container_seconds = now, max(0.0, now - status.started_at)
    status.containers.leg_before_s += status.container_seconds
    status.money.spent_before_s, status.money.earlier_cost_usd = status.spent_s, status.spent_usd
    status.started_at, status.money.usd_per_hour, status.container_seconds = now, Decimal(0), 0.0


def archive_later_checkpoints(volume: FolderVolume, run: Run, attempt: int) -> list[Checkpoint] | None:
    """Move what was saved after the step that this attempt goes back to out of the way, once; None when it is done.

    It stays in the run's folder, as do the tables of evaluations. The meta file goes first: what is half moved counts
    for nothing.
    """
    done = layout.aside_mark(run.path, attempt)
    place = done.rpartition("/")[0]
    if run.resume_step is None or volume.path(done).exists():
        return None
    saved = checkpoint_verdicts.scan(volume, run.id, run.path, run.spec.model, None)
    later = [c for c in saved if c.kind is not CheckpointKind.BASE or c.step > run.resume_step]
    for one in later:
        folder = one.path.removeprefix(f"{run.path}/")
        for name in sorted(one.files, key=lambda n: not layout.is_meta(n)):
            volume.rename(f"{one.path}/{name}", f"{place}/{folder}/{name}")
    tables = volume.path(f"{run.path}/{layout.RESULTS}")
    for table in sorted(tables.glob("*.csv")):
        volume.rename(f"{run.path}/{layout.RESULTS}/{table.name}", f"{place}/{layout.RESULTS}/{table.name}")
    volume.write(done, b"")
    return later


def crash_loop(status: Status, found: list[Checkpoint], finished: list[StageStatus]) -> Outcome | None:
    """A container that dies is started again by the cloud, for ever: this ends it when nothing comes of it."""
    newest_one = checkpoint_verdicts.newest_complete(found)
    now = (_done(finished), newest_one.step if newest_one else 0)
    if now > status.containers.progress:
        status.containers.progress, status.containers.restarts_without_progress = now, 0
    if status.containers.restarts_without_progress < MAX_RESTARTS_WITHOUT_PROGRESS:
        return None
    return Outcome(
        OutcomeKind.CRASH_LOOP,
        f"the container died {status.containers.restarts_without_progress} times without a new checkpoint",
        "see the log: nanochat-tui logs RUN; then resume",
        stage=status.work.stage,
    )
