"""The tokenizer of a run, copied or trained for it alone: with another one the tokens of its model mean nothing."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

import msgspec

from runner.diagnosis.advice import CanResume
from runner.job.publish import link_to
from runner.model.run import Run
from runner.model.spec import CONTINUING, RunSpec
from runner.model.status import Outcome, OutcomeKind, Status
from runner.nanochat import layout
from runner.nanochat.layout import CheckpointKind
from runner.volumes import holdings, run_records, tokenizers
from runner.volumes.folder import FolderVolume

PUT_BACK = "put back the one that the model was trained with, then resume; or launch a new run"
# A model may have room for a few more tokens than its tokenizer has, to make its table even.
MOST_PADDING = 1024


def without_tokenizer(volume: FolderVolume, spec: RunSpec, path: str = "") -> Outcome | None:
    """Why a model that was trained cannot be gone on with: no other tokenizer is the one that it was trained with."""
    if spec.task not in CONTINUING:
        return None
    has = holdings.inventory(volume, spec.engine, runs=(path,) if path else ())
    if has.tokenizer:
        return None
    bad = next(filter(layout.is_tokenizer, has.damaged), "")
    what = f"{bad} is damaged" if bad else "the tokenizer is not on the volume"
    return Outcome(OutcomeKind.TOKENIZER, what, PUT_BACK, resume=CanResume.CHANGED)


class RunTokenizer:
    """The tokenizer of one run. `base` is what nanochat takes for its base folder, `asked` how one was asked for."""

    def __init__(self, volume: FolderVolume, run: Run, base: Path, status: Status) -> None:
        self._volume, self._run, self._status = volume, run, status
        self._engine, self._own = run.spec.engine, layout.tokenizer_of(run.path)
        self._link = base / layout.TOKENIZER
        self._checkpoints = base / layout.CHECKPOINT_DIRS[CheckpointKind.BASE] / run.spec.model

    def adopt(self) -> Outcome | None:
        """Copy the tokenizer of the run that this one goes on from, or takes it from; why that cannot be."""
        if tokenizers.read_record(self._volume, self._own):
            return None
        spec = self._run.spec
        for name in filter(None, (spec.source, spec.tokenizer_from)):
            source = run_records.read_run(self._volume, name)
            folder = layout.tokenizer_of(source.path) if source else ""
            record = tokenizers.read_record(self._volume, folder) if folder else None
            if record:
                if bad := tokenizers.unlike(self._volume, folder, record):
                    return self._refused(f"{bad} is not what {layout.TOKENIZER_RECORD} beside it says")
                tokenizers.copy(self._volume, folder, self._own, self._engine, record.asked)
            elif name == spec.tokenizer_from:
                return self._refused(f"the tokenizer of {source.tag if source else name} is not on the volume")
        return None

    def aim(self, *, own: bool, fresh: bool) -> None:
        """Let the tokenizer that is trained now come to the run's folder (`own`), else to the one that all share.

        For a `fresh` model what was put down of an earlier one counts no more.
        """
        if own:
            self._volume.path(self._own).mkdir(parents=True, exist_ok=True)
            if fresh:
                with contextlib.suppress(FileNotFoundError):
                    self._volume.remove(f"{self._own}/{layout.TOKENIZER_RECORD}")
        link_to(self._link, self._volume.path(self._own if own else layout.TOKENIZER))

    def trained(self, asked: tuple[str, ...], *, own: bool) -> None:
        """Put down of a shared tokenizer that was trained just now how it was asked for, for the runs that come."""
        if not own:
            with contextlib.suppress(FileNotFoundError):
                tokenizers.put_down(self._volume, layout.TOKENIZER, self._engine, asked)

    def settle(self, asked: tuple[str, ...], *, fresh: bool) -> Outcome | None:
        """Give the run its copy, and nanochat that copy; why the model cannot be gone on with.

        A `fresh` training takes the one that is there, which is put down for whoever goes on from it.
        """
        record = tokenizers.read_record(self._volume, self._own)
        if record and (bad := tokenizers.unlike(self._volume, self._own, record)):
            return self._refused(f"{bad} is not what {layout.TOKENIZER_RECORD} beside it says")
        # Where none was put down, one that was trained for this run alone lies where nanochat was told to write it.
        here = record or os.path.realpath(self._link) == os.path.realpath(self._volume.path(self._own))
        folder = self._own if here else layout.TOKENIZER
        try:
            data = self._volume.read(f"{folder}/{layout.TOKENIZER_FILES[0]}")
            tokens = tokenizers.vocabulary(self._volume, folder, self._engine)
        except OSError:
            # Whoever needs it says what is missing.
            return None
        now, known = hashlib.sha256(data).hexdigest()[:16], "" if fresh else self._known()
        if known and known != now:
            where = "of the run" if record else "on the volume"
            return self._refused(
                f"the tokenizer {where} ({now[:8]}) is another than the one of the model ({known[:8]})"
            )
        room = None if fresh else self._embedded()
        if room and tokens and not tokens <= room < tokens + MOST_PADDING:
            return self._refused(f"the tokenizer has {tokens:,} tokens, the model was trained with {room:,}")
        if not record:
            with contextlib.suppress(FileNotFoundError):
                if folder == self._own:
                    tokenizers.put_down(self._volume, self._own, self._engine, asked)
                else:
                    tokenizers.copy(self._volume, folder, self._own, self._engine, asked)
                record = tokenizers.read_record(self._volume, self._own)
        if record:
            link_to(self._link, self._volume.path(self._own))
        self._status.training.tokenizer = now
        return None

    def _known(self) -> str:
        """The beginning of the digest of the tokenizer that the model was trained with, as far as that was told."""
        source_id = self._run.spec.source
        known = self._status.training.tokenizer
        if not known and source_id and (source := run_records.read_run(self._volume, source_id)):
            told = run_records.read_status(self._volume, source)
            known = told.training.tokenizer if told else ""
        return known

    def _embedded(self) -> int | None:
        """How many tokens the model on the work disk knows, by its newest meta file; None where that does not tell."""
        newest = max(self._checkpoints.glob("meta_*.json"), default=None)
        try:
            meta = json.loads(newest.read_bytes()) if newest else {}
            tokens = meta["model_config"]["vocab_size"]
        except (OSError, ValueError, RecursionError, KeyError, TypeError):
            return None
        return tokens if isinstance(tokens, int) and tokens > 0 else None

    def _refused(self, what: str) -> Outcome:
        outcome = Outcome(OutcomeKind.ENVIRONMENT, what, PUT_BACK, resume=CanResume.CHANGED)
        return msgspec.structs.replace(outcome, stage=self._status.work.stage)
