"""What a job makes and cannot save: how that is said, and how long it may go on. Pure."""

from runner.model.status import Status, Unsaved

# What is trained without being saved is paid for in vain: so many checkpoints may wait, so long may nothing be saved.
MOST_CHECKPOINTS, LONGEST_S = 2, 900.0
# Trouble that passes is no reason to stop, however often a short run saves.
LEAST_S = 30.0


def unsaved(before: Unsaved | None, problem: str, checkpoints: int, now: float) -> Unsaved | None:
    """What is known after a look: `problem` is what stands in the way now, `checkpoints` how many wait for it."""
    return Unsaved(problem[:200], before.since if before else now, checkpoints) if problem else None


def unsaved_text(status: Status | None) -> str:
    """`not saved since step 20 (the volume is full)`; empty where all is saved."""
    if status is None or (found := status.work.unsaved) is None:
        return ""
    step = status.training.saved_step
    return f"not saved since step {step:,} ({found.reason})" if step else f"nothing is saved yet ({found.reason})"


def too_long(status: Status, now: float) -> bool:
    """Whether to go on would only cost; `now` by the job's clock."""
    found = status.work.unsaved
    if found is None:
        return False
    lasts = now - found.since
    return lasts > LONGEST_S or (found.checkpoints >= MOST_CHECKPOINTS and lasts > LEAST_S)
