"""Whether the tokenizer on the volume is the one that a model was trained with: to another its tokens mean nothing."""

import hashlib

from runner.diagnosis.advice import Resume
from runner.model.run import Run
from runner.model.spec import CONTINUING, RunSpec
from runner.model.status import Outcome, OutcomeKind, Status
from runner.nanochat import layout
from runner.volumes import holdings, run_records
from runner.volumes.folder import FolderVolume

PUT_BACK = "put back the one that the model was trained with, then resume; or launch a new run"


def without_tokenizer(volume: FolderVolume, spec: RunSpec) -> Outcome | None:
    """Why a model that was trained cannot be gone on with: no other tokenizer is the one that it was trained with."""
    if spec.task not in CONTINUING:
        return None
    has = holdings.inventory(volume, spec.engine)
    if has.tokenizer:
        return None
    bad = next((path for path in has.damaged if path.startswith(layout.TOKENIZER)), "")
    what = f"{bad} is damaged" if bad else "the tokenizer is not on the volume"
    return Outcome(OutcomeKind.TOKENIZER, what, PUT_BACK, resume=Resume.CHANGED)


def other_tokenizer(volume: FolderVolume, run: Run, status: Status, *, fresh: bool) -> Outcome | None:
    """Why a model cannot be gone on with: its tokenizer was replaced, maybe by one of as many tokens.

    A `fresh` training takes the one that is there, which is put down for whoever goes on from it.
    """
    try:
        data = volume.read(f"{layout.TOKENIZER}/{layout.TOKENIZER_FILES[0]}")
    except OSError:
        # Whoever needs it says what is missing.
        return None
    now, known = hashlib.sha256(data).hexdigest()[:16], "" if fresh else status.training.tokenizer
    if not known and run.spec.source and (source := run_records.read_run(volume, run.spec.source)):
        told = run_records.read_status(volume, source)
        known = told.training.tokenizer if told else ""
    if known and known != now:
        what = f"the tokenizer on the volume ({now[:8]}) is another than the one of the model ({known[:8]})"
        return Outcome(OutcomeKind.ENVIRONMENT, what, PUT_BACK, status.work.stage, resume=Resume.CHANGED)
    status.training.tokenizer = now
    return None
