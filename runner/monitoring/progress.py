"""How far a run is in the stage that it is in: steps of training, fine-tuning by its share of the data, tasks of an
evaluation. Pure."""

from msgspec import Struct

from runner.model.run import Run
from runner.model.stages import StageName
from runner.model.states import State

# Evaluations by the score that they end with, and of how many tasks that is made. nanochat does not print it.
SCORES = {StageName.BASE_EVAL: "CORE", StageName.CHAT_EVAL: "ChatCORE"}
TASKS = {
    "nanochat": {StageName.BASE_EVAL: 22, StageName.CHAT_EVAL: 5},
    "rehearsal": {StageName.BASE_EVAL: 2, StageName.CHAT_EVAL: 5},
}


class Progress(Struct, frozen=True):
    """`share` is 0 to 1; `counted` says it in steps or tasks; `loss` is that of the stage. None is not known yet."""

    stage: StageName
    share: float | None = None
    counted: str | None = None
    loss: float | None = None


def progress_of(run: Run) -> Progress:
    """The progress of the stage under way, or of the one in which a run ended; of a whole run when it is done."""
    status = run.status
    if status is None:
        return Progress(StageName.NONE)
    total, step = status.training.total_steps, status.training.step or 0
    if run.state is not State.DONE:
        if status.work.stage is StageName.SFT:
            percent, loss = status.work.stage_percent, status.work.stage_loss
            share = None if percent is None else percent / 100
            return Progress(StageName.SFT, share, None if percent is None else f"sft {percent:.0f}%", loss)
        if score := SCORES.get(status.work.stage):
            done = status.work.stage_step
            loss = status.training.loss if status.work.stage is StageName.BASE_EVAL else None
            if not done:
                # Samples and bpb come first, and it may be that no task follows.
                return Progress(status.work.stage, loss=loss)
            tasks = max(done, TASKS[run.spec.engine][status.work.stage])
            return Progress(status.work.stage, done / tasks, f"{score} {done}/{tasks}", loss)
    if total:
        share = 1.0 if run.state is State.DONE else min(1.0, step / total)
        return Progress(StageName.BASE, share, f"{step:,}/{total:,}", status.training.loss)
    return Progress(status.work.stage, 1.0 if run.state is State.DONE else None, None, status.training.loss)
