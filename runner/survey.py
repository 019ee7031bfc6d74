"""A look at a volume: what any run can use, and what one run has saved."""

from collections.abc import Callable, Collection
from typing import TypeVar

import msgspec

from runner import checkpoints, stored
from runner.backends.base import Entry, Volume
from runner.checkpoints import Checkpoint
from runner.errors import UsageError
from runner.nanochat import layout
from runner.nanochat.layout import Inventory
from runner.run import Run, Status, job_status_of, run_of
from runner.spec import RunSpec

MARKER = "volume.json"
RECORD_BYTES = 4 << 20
LATEST = 1e11
T = TypeVar("T")


def _list(volume: Volume, path: str) -> list[Entry]:
    try:
        return volume.list(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


def inventory(volume: Volume) -> Inventory:
    """What the shared folders hold; a folder that is not there holds nothing."""
    data, tokenizer, bundle = (
        {e.name: e.bytes for e in _list(volume, folder) if not e.is_dir and e.bytes}
        for folder in (layout.DATA, layout.TOKENIZER, layout.EVAL_BUNDLE)
    )
    task_data, models = (
        [e.name for e in _list(volume, folder) if e.is_dir] for folder in (layout.TASK_DATA, f"{layout.HF_CACHE}/hub")
    )
    return layout.inventory(data, tokenizer, bundle, task_data, models)


def check_engine(volume: Volume, engine: str) -> None:
    """A volume belongs to one engine: made-up data must never be trained on for money. Marks a new volume."""
    try:
        owner = msgspec.json.decode(volume.read(MARKER), type=dict[str, str]).get("engine", engine)
    except FileNotFoundError:
        volume.write(MARKER, msgspec.json.encode({"engine": engine}))
        return
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise UsageError(f"{MARKER} on {volume.location} is damaged", "remove it, or use another --volume") from error
    if owner != engine:
        raise UsageError(
            f"{volume.location} holds data of the {owner} engine", "use another --volume for this one", field="volume"
        )


def checkpoints_for(volume: Volume, run: Run) -> list[Checkpoint]:
    """A run's own checkpoints, and those of the run that it continues: only the step that was asked for, if one was."""
    spec = run.spec
    found = checkpoints.scan(volume, run.id, spec.model, spec.gpus)
    return found + (source_checkpoints(volume, spec) if spec.source else [])


def source_checkpoints(volume: Volume, spec: RunSpec) -> list[Checkpoint]:
    """What the run that a spec continues has saved; its chat model is of use to an evaluation alone."""
    source = read_run(volume, spec.source)
    found = checkpoints.scan(volume, spec.source, spec.model, source.spec.gpus if source else None)
    if spec.task != "eval":
        found = [c for c in found if c.kind == "base"]
    return [c for c in found if c.kind != "base" or spec.source_step in (None, c.step)]


def _record(volume: Volume, path: str, read: Callable[[bytes], T]) -> T | None:
    """A record of a volume; None when it is missing, or damaged in whatever way."""
    try:
        return read(volume.read(path, 0, RECORD_BYTES))
    except (OSError, *stored.UNREADABLE):
        return None


def read_run(volume: Volume, run_id: str) -> Run | None:
    """A run's own record on its volume; None when it is missing or damaged."""
    run = _record(volume, f"{layout.run_dir(run_id)}/{layout.RUN_FILE}", run_of)
    return run if run and run.id == run_id and 0 <= run.created_at < LATEST else None


def write_run(volume: Volume, run: Run) -> None:
    """Put down on the volume what was asked for; the job reads it from there."""
    asked = msgspec.structs.replace(run, status=None)
    volume.write(f"{layout.run_dir(run.id)}/{layout.RUN_FILE}", msgspec.json.encode(asked))


def status_of(data: bytes) -> Status | None:
    """A status as a job tells it, wherever it was read; None when it is no such thing, or of no possible time."""
    try:
        return _possible(job_status_of(data))
    except stored.UNREADABLE:
        return None


def read_status(volume: Volume, run_id: str) -> Status | None:
    """The job's own word; None before it has written any, or when it is damaged."""
    return _possible(_record(volume, f"{layout.run_dir(run_id)}/{layout.STATUS_FILE}", job_status_of))


def _possible(status: Status | None) -> Status | None:
    if status is None:
        return None
    times = (status.started_at, status.updated_at, status.first_started_at, status.ended_at, status.progress_at)
    return status if all(t is None or 0 <= t < LATEST for t in times) else None


def _number(data: bytes) -> int:
    return msgspec.json.decode(data, type=int)


def cancelled_attempt(volume: Volume, run_id: str) -> int:
    """The attempt that somebody cancelled, 0 for none: a call that starts late must know."""
    return _record(volume, f"{layout.run_dir(run_id)}/{layout.CANCEL_FILE}", _number) or 0


def mark_cancelled(volume: Volume, run: Run) -> None:
    volume.write(f"{layout.run_dir(run.id)}/{layout.CANCEL_FILE}", msgspec.json.encode(run.attempt))


def runs_on(volume: Volume, known: Collection[str] = ()) -> list[Run]:
    """Every run recorded on a volume but the `known`: what a registry is rebuilt from."""
    found = []
    for entry in _list(volume, layout.RUNS):
        run = read_run(volume, entry.name) if entry.is_dir and entry.name not in known else None
        if run:
            found.append(run)
    return found
