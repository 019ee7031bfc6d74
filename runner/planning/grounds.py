"""What a launch or a resume stands on: checkpoints, the tokenizer, the number of GPUs. Raises UsageError where not."""

from runner.errors import UsageError
from runner.model.run import Run
from runner.model.spec import CONTINUING, RunSpec
from runner.nanochat import layout
from runner.nanochat.layout import CheckpointKind
from runner.planning.plan import make_plan
from runner.planning.plan_stages import starting_point
from runner.volumes import holdings, run_records
from runner.volumes.base import Volume
from runner.volumes.checkpoint_verdicts import Checkpoint, Verdict


def check_source(volume: Volume, source: Run, spec: RunSpec) -> None:
    """See that what a run is to continue is there."""
    found = run_records.source_checkpoints(volume, spec)
    kinds = layout.CHECKPOINT_DIRS if spec.task == "eval" else (CheckpointKind.BASE,)
    if not any(starting_point(spec, found, kind) for kind in kinds):
        at = f" at step {spec.source_step:,}" if spec.source_step is not None else ""
        raise UsageError(
            f"{source.tag} has no whole {' or '.join(kinds)} checkpoint{at}",
            f"nanochat-tui checkpoints {source.tag} shows what it has",
            field="from",
        )
    if spec.task in CONTINUING and not holdings.inventory(volume, spec.engine, runs=(source.path,)).tokenizer:
        raise UsageError(f"the tokenizer of {source.tag} is not on {volume.location}", "put it back", field="from")


def check_tokenizer(volume: Volume, source: Run) -> None:
    """See that the tokenizer that a run is to take is there."""
    has = holdings.inventory(volume, source.spec.engine, runs=(source.path,))
    if not (has.tokenizer_of_run and has.tokenizer):
        is_ = f"{source.tag} is {source.state} and has no tokenizer yet"
        what = is_ if not has.tokenizer_of_run else f"the tokenizer of {source.tag} is damaged"
        raise UsageError(what, f"nanochat-tui show {source.tag}", field="from")


def check_step(run: Run, found: list[Checkpoint], step: int) -> None:
    """See that a run can go back to a step."""
    whole = [c.step for c in found if c.kind is CheckpointKind.BASE and c.verdict is Verdict.COMPLETE]
    if step not in whole:
        known = ", ".join(f"{s:,}" for s in whole[-8:]) or "none yet"
        raise UsageError(f"{run.tag} has no complete checkpoint at step {step:,}", f"it has {known}", field="step")


def check_gpus(volume: Volume, run: Run, wanted: RunSpec) -> None:
    """See that a run can go on as it is wanted now, on its own checkpoints."""
    status = run.status
    make_plan(
        wanted,
        layout.Inventory(),
        backend=run.backend,
        checkpoints=run_records.checkpoints_for(volume, run),
        finished=status.work.stages if status else [],
        trained_steps=status.training.total_steps if status else None,
        attempt=run.attempt + 1,
    )


def went_back(volume: Volume, run: Run) -> bool:
    """Whether this attempt has begun to go back to the step that a person chose for it."""
    try:
        volume.stat(layout.aside_mark(run.path, run.attempt))
    except FileNotFoundError:
        return False
    return True
