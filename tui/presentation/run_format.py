"""How a run is shown everywhere: glyph, word and tone of its state, its hardware, its progress."""

from decimal import Decimal
from typing import TYPE_CHECKING

from runner.model.backend_name import BackendName
from runner.model.code import Code
from runner.model.run import Run
from runner.model.stages import Phase, StageName, needs_gpus
from runner.model.states import State
from runner.model.status import OutcomeKind, StageState, StageStatus
from runner.monitoring import health
from runner.monitoring.health import HealthStatus
from runner.monitoring.progress import progress_of
from runner.monitoring.projection import spent_usd
from runner.text import units
from runner.text.sanitize import sanitize_line
from tui.presentation.cells import Cell

if TYPE_CHECKING:
    from runner.volumes.checkpoint_verdicts import Checkpoint

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
    HealthStatus.OK: ("♥", "success"),
    HealthStatus.QUIET: ("♥", "warning"),
    HealthStatus.SLOW: ("♥", "warning"),
    HealthStatus.UNSAVED: ("!", "error"),
    HealthStatus.STALLED: ("!", "error"),
    HealthStatus.NO_SIGNAL: ("?", "error"),
}
OUTCOMES = {
    OutcomeKind.OOM: "out of memory",
    OutcomeKind.KILLED: "killed",
    OutcomeKind.DATA: "data missing",
    OutcomeKind.DISK: "volume full",
    OutcomeKind.CRASH_LOOP: "crash loop",
    OutcomeKind.TIMEOUT: "timed out",
    OutcomeKind.STALLED: "stalled",
    OutcomeKind.UNSAVED: "not saved",
    **{
        kind: kind.value
        for kind in (
            OutcomeKind.NCCL,
            OutcomeKind.NAN,
            OutcomeKind.TOKENIZER,
            OutcomeKind.CHECKPOINT,
            OutcomeKind.NETWORK,
            OutcomeKind.ENVIRONMENT,
        )
    },
}


def state(run: Run) -> Cell:
    """A run's state with its glyph and tone."""
    glyph, tone = STATES[run.state]
    word = health.phase(run)
    if word in (Phase.STARTING, Phase.COMPILING) and run.status and run.status.work.stage not in ("", StageName.BASE):
        word += f" {run.status.work.stage}"
    if run.state is State.FAILED and run.outcome:
        word = OUTCOMES.get(run.outcome.kind, word)
    return Cell(f"{glyph} {word}", tone)


def marked(run: Run) -> Cell:
    """The same with a mark, where the run has warnings that `show` prints."""
    found = state(run)
    return Cell(f"{found.text} !", found.tone) if run.status and run.status.work.warnings else found


def hardware(run: Run) -> str:
    """`8×H100` in the cloud; on this machine what really computes."""
    if run.spec.engine == "nanochat":
        device = run.status.containers.device if run.status else ""
        here_on_cpu = run.backend is BackendName.LOCAL and run.spec.gpu not in device
        on_cpu = here_on_cpu or not needs_gpus(run.spec.task)
        return "cpu" if on_cpu else f"{run.spec.gpus}×{run.spec.gpu}"
    return f"{run.spec.gpus} rank{'s' if run.spec.gpus > 1 else ''}"


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
    return [_stage(run, stage, now, brief) for stage in (run.status.work.stages if run.status else [])]


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


# Behind the val bpb of the best checkpoint of a run.
BEST = "★"


def measured(one: "Checkpoint") -> str:
    """A checkpoint's val bpb; where it was measured at an earlier step, which it was, as far as that is known."""
    value = one.val_bpb if one.val_bpb is not None else one.measured
    if value is None or one.measured_at == one.step:
        return units.decimals(value, 4)
    return f"{value:.4f} @{one.measured_at:,}" if one.measured_at is not None else f"last {value:.4f}"


def final_line(run_: Run) -> str:
    """How a run ended, in one line."""
    status, outcome = run_.status, run_.outcome
    took = units.duration(status.spent_s) if status else units.UNKNOWN
    what = f": {outcome.message}" if outcome and outcome.message else ""
    return f"{STATES[run_.state][0]} {run_.tag} {run_.state} in {took}, {units.money(spent_usd(run_))}{what}"


def code(of: Code) -> str:
    """Whose nanochat it is: the folder or repository, the commit, whether it had changes."""
    return sanitize_line(str(of))
