"""Last heartbeat, phase and pace -> one word for how a run is, why, and what comes next. Pure."""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

from runner.model.pricing import chip
from runner.model.run import Run
from runner.model.stages import Phase, StageName
from runner.model.states import State
from runner.model.status import Status
from runner.monitoring import unsaved
from runner.text import units

SIGNAL_LOST_S = 30.0
# How long each phase may say nothing before it is told as stalled, where this run and its like have shown no more.
QUIET_S = {
    Phase.PREPARING: 300.0,
    Phase.STARTING: 240.0,
    Phase.COMPILING: 600.0,
    Phase.TRAINING: 90.0,
    Phase.EVALUATING: 600.0,
    Phase.SAVING: 300.0,
    Phase.FINE_TUNING: 600.0,
    Phase.FINISHING: 240.0,
}
# A silence so many times the longest that this phase has shown is no usual one.
STALL_FACTOR, LEAST_S = 6.0, 60.0
# A pace so many times slower than its best is told.
SLOW_FACTOR = 1.3


class HealthStatus(StrEnum):
    """How a live run is, in a word."""

    OK = "ok"
    QUIET = "quiet"
    SLOW = "slow"
    UNSAVED = "not saved"
    STALLED = "stalled"
    NO_SIGNAL = "no signal"


class Health(Struct, frozen=True):
    """A word, and why in a few more; `silent_s` is the age of the last progress."""

    status: HealthStatus
    why: str
    silent_s: float | None = None


class Upcoming(Struct, frozen=True):
    """What is expected: `what` at a step, in so many seconds of training; None while no pace is known."""

    what: str
    step: int
    seconds: float | None


def phase(run: Run) -> str:
    """What a run is doing, in the words of the field."""
    status = run.status
    working = run.state in (State.RUNNING, State.PREPARING)
    return status.work.phase if working and status and status.work.phase else run.state.value


def patience(status: Status, like: Mapping[str, float] | None = None) -> float:
    """Seconds without progress that are usual in the phase that a run is in. `like`: silences of runs alike."""
    doing = status.work.phase
    if doing is Phase.TRAINING and status.pace.slowest_dt_s is not None:
        return max(LEAST_S, STALL_FACTOR * status.pace.slowest_dt_s)
    shown = max(status.pace.max_silence_s.get(doing, 0.0), (like or {}).get(doing, 0.0))
    if doing in (Phase.STARTING, Phase.COMPILING):
        # Each happens once: what was longest so far is no measure of it, only a sign that it may take longer.
        return max(QUIET_S[doing], 2 * shown)
    usual = QUIET_S.get(doing, LEAST_S)
    return max(LEAST_S, min(usual, STALL_FACTOR * shown)) if shown > usual / 60 else usual


def silences(run: Run, runs: Iterable[Run]) -> dict[str, float]:
    """The longest silences, by phase, of the runs that are like one: same engine, size and hardware."""
    return silences_of(runs)(run)


def silences_of(runs: Iterable[Run]) -> Callable[[Run], dict[str, float]]:
    """The same for each of many runs, all looked through once."""

    def kind(of: Run) -> tuple[object, ...]:
        return of.spec.engine, of.spec.depth, chip(of.spec.gpu), of.spec.gpus, of.backend

    # By kind and phase the two longest, each of another run: one of them is not of the run that is asked for.
    longest: dict[tuple[object, ...], dict[str, list[tuple[float, str]]]] = {}
    for one in runs:
        for doing, seconds in one.status.pace.max_silence_s.items() if one.status else ():
            known = longest.setdefault(kind(one), {}).setdefault(doing, [])
            known.append((seconds, one.id))
            known.sort(reverse=True)
            del known[2:]

    def of(run: Run) -> dict[str, float]:
        others = {
            doing: [seconds for seconds, whose in known if whose != run.id]
            for doing, known in longest.get(kind(run), {}).items()
        }
        return {doing: max(seconds) for doing, seconds in others.items() if seconds}

    return of


def health(run: Run, now: float, like: Mapping[str, float] | None = None) -> Health:
    """How a live run is. A heartbeat proves that the job lives; only what the stage says counts as progress."""
    status = run.status
    if status is None or run.state is State.LAUNCHING:
        return Health(HealthStatus.QUIET, "waiting for the job to start")
    if run.state in (State.QUEUED, State.PREEMPTED):
        waited = units.duration(max(0.0, now - status.updated_at))
        why = f"in the queue for {waited}" if run.state is State.QUEUED else f"its machine was taken {waited} ago"
        return Health(HealthStatus.QUIET, f"{why}; costs nothing until it starts")
    if now - status.updated_at > SIGNAL_LOST_S:
        return Health(HealthStatus.NO_SIGNAL, f"last known {units.duration(now - status.updated_at)} ago")
    silent = max(0.0, status.at(now) - (status.work.progress_at or status.started_at))
    allowed = patience(status, like)
    usual = (status.pace.pace_s or status.pace.dt_s or 0.0) * 2 + 5.0 if status.work.phase is Phase.TRAINING else 10.0
    if silent > allowed:
        why = f"no progress for {units.duration(silent)}, usual up to {units.duration(allowed)}"
        return Health(HealthStatus.STALLED, why, silent)
    if lost := unsaved.unsaved_text(status):
        return Health(HealthStatus.UNSAVED, lost, silent)
    pace, best = status.pace.pace_s or 0.0, status.pace.best_pace_s
    if status.work.phase is Phase.TRAINING and best and pace > SLOW_FACTOR * best:
        return Health(HealthStatus.SLOW, f"{pace:.2f}s a step, was {best:.2f}s", silent)
    if silent <= usual:
        return Health(HealthStatus.OK, f"last progress {silent:.0f}s ago", silent)
    return Health(
        HealthStatus.QUIET, f"nothing for {units.duration(silent)}, usual up to {units.duration(allowed)}", silent
    )


def upcoming(status: Status) -> list[Upcoming]:
    """What base training will do next besides steps, the soonest first: val bpb, CORE, save, its end."""
    step, total = status.training.step, status.training.total_steps
    if step is None or not total or status.work.stage is not StageName.BASE or step >= total:
        return []
    found: dict[int, list[str]] = {total: ["end"]}
    for what, every in (
        ("val", status.training.val_every),
        ("CORE", status.training.core_every),
        ("save", status.training.save_every or 0),
    ):
        if every:
            found.setdefault(min(total, (step // every + 1) * every), []).append(what)
    pace = status.pace.pace_s or status.pace.dt_s
    return [
        Upcoming(" and ".join(names), at, (at - step) * pace if pace else None) for at, names in sorted(found.items())
    ]
