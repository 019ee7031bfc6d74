"""A live run's status -> what it has cost, how long it will go on, and what it will have cost in the end. Pure."""

from decimal import Decimal
from functools import lru_cache

from msgspec import Struct

from runner.errors import UsageError
from runner.model import pricing
from runner.model.backend_name import BackendName
from runner.model.pricing import MoneyRange, TimeRange
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.model.stages import StageName, part_of
from runner.model.states import State
from runner.model.status import StageState, StageStatus, Status

# A meter goes on by itself for so long after the last heartbeat; then it is better to know less.
METER_RUNS_S = 30.0
# The middle of the last steps is good to so much; rare slow ones are on top of it.
PACE_DOUBT = (0.98, 1.05)
_COSTS = (State.PREPARING, State.RUNNING, State.STOPPING)


class Projection(Struct, frozen=True):
    """Seconds left, and dollars at the end: low, likely, high."""

    left: TimeRange
    usd: MoneyRange


def spent_usd(run: Run, now: float | None = None) -> Decimal:
    """Dollars that a run has cost, over all attempts, as of its last heartbeat or, while it runs, of `now`."""
    status = run.status
    if status is None:
        return Decimal(0)
    spent = status.spent_usd
    if now is not None and run.state in _COSTS:
        spent += pricing.dollars(min(max(0.0, now - status.updated_at), METER_RUNS_S), status.money.usd_per_hour)
    return spent


def is_free(run: Run) -> bool:
    """Whether nothing is or was paid for a run: on this machine, unless a price of it is set."""
    return run.backend is BackendName.LOCAL and not run.prices.local and not spent_usd(run)


def project(run: Run, now: float) -> Projection | None:
    """What is still to come of a live run; None for one that has ended."""
    if not run.live:
        return None
    estimated = run.estimate.stages if run.estimate else {}
    status = run.status
    stages = (
        status.work.stages if status and status.work.stages else [StageStatus(StageName(name)) for name in estimated]
    )
    left, usd = pricing.ZERO, MoneyRange.exactly(spent_usd(run, now))
    for stage in stages:
        if stage.state is StageState.RUNNING and status:
            seconds = _current(run, status, stage, estimated.get(stage.name, pricing.ZERO), now)
        elif stage.state is StageState.WAITING:
            seconds = estimated.get(stage.name, pricing.ZERO)
        else:
            continue
        left = left + seconds
        usd = usd + MoneyRange.of(seconds, _rate(run, stage.name))
    return Projection(left, usd)


def _rate(run: Run, stage: StageName) -> Decimal:
    spec = run.spec
    return pricing.hourly_rate(
        run.backend,
        pricing.resources_for(part_of(spec.task, stage), spec.engine, gpu=spec.gpu, gpus=spec.gpus),
        run.prices,
    )


def _current(run: Run, status: Status, stage: StageStatus, estimated: TimeRange, now: float) -> TimeRange:
    """Seconds left of the stage that runs."""
    gone = max(0.0, status.at(now) - (stage.started_at or status.at(now)))
    base = status.training
    if stage.name is StageName.BASE and base.step is not None and base.total_steps and status.pace.pace_s:
        return _base(run, status, status.pace.pace_s)
    expected = TimeRange(
        *(max(0.05 * total, total - gone) for total in (estimated.low, estimated.likely, estimated.high))
    )
    done = (status.work.stage_percent or 0.0) / 100
    if not 0.02 < done <= 1:
        return expected
    # What it has taken counts the more, the more of it is done: its beginning was slower than the rest will be.
    measured = pricing.range_around(gone * (1 - done) / done, 0.9, 1.1)
    return measured.times(done) + expected.times(1 - done)


def _base(run: Run, status: Status, pace_s: float) -> TimeRange:
    """Seconds left of base training: steps at their pace, and what they will wait for."""
    step, total = status.training.step or 0, status.training.total_steps or 0
    steps = (total - step) * pace_s
    left = TimeRange(steps * PACE_DOUBT[0], steps, steps * PACE_DOUBT[1])
    planned = _pauses(run.spec, run.backend)
    for kind, every in (
        ("val", status.training.val_every),
        ("core", status.training.core_every),
        ("save", status.training.save_every or 0),
    ):
        if every:
            known = status.pace.pause_totals.get(kind)
            measured = pricing.range_around(known.seconds / known.count, 0.9, 1.1) if known and known.count else None
            each = measured or planned.get(kind, pricing.ZERO)
            left = left + each.times(total // every - step // every + (total % every > 0))
    return left


@lru_cache(maxsize=256)
def _pauses(spec: RunSpec, backend: str) -> dict[str, TimeRange]:
    from runner.planning import defaults, estimate

    try:
        s = defaults.resolve_spec(spec, backend)
    except UsageError:
        # Another version has launched it, which allowed what this one refuses.
        return {}
    return estimate.pauses(estimate.shape_of(spec.depth, s.values), s)
