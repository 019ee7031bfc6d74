"""What becomes of a checkpoint that nothing can go on from: it is told, and the one before is taken."""

import msgspec

from runner.diagnosis.advice import CanResume
from runner.diagnosis.verdict import CHECKPOINT_UNREADABLE
from runner.job.outcome import with_resume_advice
from runner.model.run import Run
from runner.model.stages import STAGES, StageName
from runner.model.status import Outcome, OutcomeKind, Status
from runner.nanochat.layout import CheckpointKind
from runner.planning.plan_stages import starting_point
from runner.volumes import checkpoint_verdicts, run_records, unreadable
from runner.volumes.checkpoint_verdicts import Checkpoint, Verdict
from runner.volumes.folder import FolderVolume


def marked(volume: FolderVolume, run: Run, stage: StageName, outcome: Outcome) -> Outcome:
    """The outcome of a stage, with what a resume will go on from where the checkpoint it began with is unreadable."""
    if outcome.kind is not OutcomeKind.CHECKPOINT or CHECKPOINT_UNREADABLE not in outcome.message:
        return outcome

    def begins_with() -> Checkpoint | None:
        found = run_records.checkpoints_for(volume, run)
        return starting_point(
            run.spec, found, CheckpointKind.SFT if stage is StageName.CHAT_EVAL else CheckpointKind.BASE
        )

    one = begins_with()
    if one is None:
        return outcome
    unreadable.mark(volume, one.path, one.step, outcome.message)
    before = begins_with()
    do, resume = "launch a new run: it was the last", CanResume.NO
    if before:
        do, resume = f"nanochat-tui resume RUN goes on from step {before.step:,}, the one before", CanResume.YES
    return msgspec.structs.replace(outcome, message=f"step {one.step:,}: {outcome.message}", advice=do, resume=resume)


def last_missing(volume: FolderVolume, run: Run, status: Status) -> Outcome | None:
    """Why base training that came to its end has not left the checkpoint that the stages after it need."""
    found = run_records.own_checkpoints(volume, run)
    newest = checkpoint_verdicts.newest_complete(found)
    at = newest.step if newest else 0
    if at == status.training.total_steps:
        return None
    last = next((c for c in found if c.kind is CheckpointKind.BASE and c.step == status.training.total_steps), None)
    if last and last.verdict is Verdict.NOT_FINITE:
        # A loss that is nan is a warning where the person said no more; it ends what would build on it.
        needed = {StageName.BASE_EVAL, StageName.SFT} & set(STAGES[run.spec.task])
        what = f"the last checkpoint is not finite ({last.reason.partition(':')[0]})"
        return (
            with_resume_advice(
                Outcome(OutcomeKind.NAN, what, stage=StageName.BASE, resume=CanResume.CHANGED),
                status,
                0,
                run.spec,
            )
            if needed
            else None
        )
    what = f"the last checkpoint is not whole; step {at:,} is"
    return Outcome(OutcomeKind.CHECKPOINT, what, "resume repeats the steps since", resume=CanResume.YES)
