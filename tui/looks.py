"""How a run is shown everywhere: glyph, word and tone of its state, its hardware, its progress."""

from decimal import Decimal

from runner import cost, health, units
from runner.health import Word
from runner.plan import Plan
from runner.progress import progress_of
from runner.run import Run, StageState, StageStatus, State
from tui.cells import Cell

STATES = {
    State.LAUNCHING: ("◌", "warning"),
    State.QUEUED: ("◌", "warning"),
    State.PREPARING: ("◌", "warning"),
    State.RUNNING: ("▶", "success"),
    State.PREEMPTED: ("↻", "warning"),
    State.STOPPING: ("◼", "warning"),
    State.DONE: ("✓", "success"),
    State.FAILED: ("✗", "error"),
    State.CANCELLED: ("■", "dim"),
    State.OUT_OF_BUDGET: ("$", "warning"),
    State.INTERRUPTED: ("↯", "warning"),
    State.DELETING: ("◼", "dim"),
    State.UNKNOWN: ("?", "warning"),
}
STAGES = {
    StageState.WAITING: ("·", "dim"),
    StageState.RUNNING: ("▶", "success"),
    StageState.DONE: ("✓", "success"),
    StageState.SKIPPED: ("✓", "dim"),
    StageState.FAILED: ("✗", "error"),
    StageState.STOPPED: ("■", "warning"),
}
HEALTH = {
    Word.OK: ("♥", "success"),
    Word.QUIET: ("♥", "warning"),
    Word.SLOW: ("♥", "warning"),
    Word.STALLED: ("!", "error"),
    Word.NO_SIGNAL: ("?", "error"),
}
OUTCOMES = {
    "oom": "out of memory",
    "killed": "killed",
    "data": "data missing",
    "disk": "volume full",
    "crash loop": "crash loop",
    "timeout": "timed out",
    "stalled": "stalled",
}


def state(run: Run) -> Cell:
    glyph, tone = STATES[run.state]
    word = health.phase(run)
    if word in ("starting", "compiling") and run.status and run.status.stage not in ("", "base"):
        word += f" {run.status.stage}"
    if run.state is State.FAILED and run.outcome:
        word = OUTCOMES.get(run.outcome.kind, word)
    return Cell(f"{glyph} {word}", tone)


def hardware(run: Run) -> str:
    """`8×H100` in the cloud; on this machine what really computes."""
    if run.spec.engine == "nanochat":
        return "cpu" if run.backend == "local" else f"{run.spec.gpus}×{run.spec.gpu}"
    return f"{run.spec.gpus} rank{'s' if run.spec.gpus > 1 else ''}"


def plan_notes(planned: Plan) -> list[tuple[str, str]]:
    """What a plan says besides its stages: where it begins, how often it saves, how long it takes and why."""
    found = [("start", planned.resume.reason)]
    if planned.total_steps:
        saves, lost = planned.saves, cost.dollars(planned.saves.seconds, planned.usd_per_hour)
        each = f"checkpoint every {saves.steps:,} steps ({units.duration(saves.seconds)}"
        each += f", {saves.share:.1%} of the time)" if saves.share >= 0.0005 else ")"
        risk = f"; a preemption loses at most that, {units.money(lost)}" if planned.usd_per_hour else ""
        found.append(("save", each + risk))
        found.append(("speed", planned.speed))
    if planned.limit_s:
        more = "what takes longer goes on in the next by itself"
        found.append(("limit", f"a call takes {units.duration(planned.limit_s)} at most; {more}"))
    money = f"{units.money_span(planned.usd)} ({planned.prices})" if planned.usd_per_hour else planned.prices
    found.append(("likely", f"{units.span(planned.seconds)}, {money}"))
    return found


def progress(run: Run, width: int) -> str:
    """The bar of the stage under way."""
    done = progress_of(run).share
    return f"{units.bar(done, width)} {done:4.0%}" if done is not None else "·" * width + "    –"


def steps(run: Run) -> str:
    """`7,461/10,510`, `sft 38%`, `CORE 5/22`."""
    return progress_of(run).counted or units.UNKNOWN


def loss(run: Run) -> str:
    """The loss of the stage under way."""
    return units.decimals(progress_of(run).loss, 3)


def stages(run: Run, now: float, *, brief: bool = False) -> list[Cell]:
    """`prepare ✓ 4m`, one cell a stage; `brief` leaves out the times of stages that are over."""
    return [_stage(run, stage, now, brief) for stage in (run.status.stages if run.status else [])]


def _stage(run: Run, stage: StageStatus, now: float, brief: bool) -> Cell:
    glyph, tone = STAGES[stage.state]
    words = f"{stage.name} {glyph}"
    if stage.state is StageState.SKIPPED:
        return Cell(words if brief else f"{words} kept", tone)
    running = stage.state is StageState.RUNNING
    if running and (found := progress_of(run)).stage == stage.name and found.share is not None:
        words += f" {found.share:.0%}"
    end = stage.ended_at or (run.status.at(now) if run.status and run.live and running else None)
    if end and stage.started_at and (running or not brief):
        words += f" {units.duration(end - stage.started_at)}"
    return Cell(words, tone)


def said(value: object, digits: int = 4) -> str:
    """A value of a comparison, as people read it."""
    if value is None:
        return units.UNKNOWN
    if isinstance(value, Decimal):
        return f"${value:,.2f}"
    if isinstance(value, float):
        return f"{value:,.{digits}f}" if abs(value) < 100 or digits < 4 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
