"""The records of runs on a volume, read and written, and what one run has saved."""

from collections.abc import Callable, Collection
from typing import TypeVar

import msgspec

from runner.errors import UsageError
from runner.model import identifiers, stored
from runner.model.paid import Account, account_of
from runner.model.run import Run, decode_run, renewed
from runner.model.spec import RunSpec
from runner.model.status import Status, job_status_of
from runner.nanochat import layout
from runner.nanochat.layout import CheckpointKind
from runner.system.side_by_side import side_by_side
from runner.volumes import best, checkpoint_verdicts
from runner.volumes.base import Entry, Volume
from runner.volumes.best import Measured
from runner.volumes.checkpoint_verdicts import Checkpoint

MARKER = "volume.json"
RECORD_BYTES = 4 << 20
LATEST = 1e11
T = TypeVar("T")


def _list(volume: Volume, path: str) -> list[Entry]:
    try:
        return volume.list(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


def engine_of(volume: Volume) -> str:
    """The engine that a volume belongs to, empty for none yet. Raises UsageError when its mark is damaged."""
    try:
        return msgspec.json.decode(volume.read(MARKER), type=dict[str, str]).get("engine", "")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise UsageError(f"{MARKER} on {volume.location} is damaged", "remove it, or use another --volume") from error


def check_engine(volume: Volume, engine: str) -> None:
    """A volume belongs to one engine: made-up data must never be trained on for money. Marks a new volume."""
    owner = engine_of(volume)
    if not owner:
        volume.write(MARKER, msgspec.json.encode({"engine": engine}))
    elif owner != engine:
        raise UsageError(
            f"{volume.location} holds data of the {owner} engine", "use another --volume for this one", field="volume"
        )


def own_checkpoints(volume: Volume, run: Run) -> list[Checkpoint]:
    """A run's own checkpoints as they are on its volume now."""
    return checkpoint_verdicts.scan(volume, run.id, run.path, run.spec.model, run.spec.gpus)


def checkpoints_for(volume: Volume, run: Run) -> list[Checkpoint]:
    """A run's own checkpoints, and those of the run that it continues: only the step that was asked for, if one was."""
    return own_checkpoints(volume, run) + (source_checkpoints(volume, run.spec) if run.spec.source else [])


def source_checkpoints(volume: Volume, spec: RunSpec) -> list[Checkpoint]:
    """What the run that a spec continues has saved; its chat model is of use to an evaluation alone."""
    source = read_run(volume, spec.source)
    path = source.path if source else identifiers.run_dir(next(iter(_folders_of(volume, spec.source)), spec.source))
    found = checkpoint_verdicts.scan(volume, spec.source, path, spec.model, source.spec.gpus if source else None)
    if spec.task != "eval":
        found = [c for c in found if c.kind is CheckpointKind.BASE]
    return [c for c in found if c.kind is not CheckpointKind.BASE or spec.source_step in (None, c.step)]


def measured(volume: Volume, run: Run) -> Measured:
    """What a run's events tell of val bpb; of events that cannot be read nothing is known."""
    try:
        data = volume.read(f"{run.path}/{layout.EVENTS_FILE}")
    except OSError:
        return {}
    return best.measured(data.splitlines())


def _record(volume: Volume, path: str, read: Callable[[bytes], T]) -> T | None:
    """A record of a volume; None when it is missing, or damaged in whatever way."""
    try:
        return read(volume.read(path, 0, RECORD_BYTES))
    except (OSError, *stored.UNREADABLE):
        return None


def _folders_of(volume: Volume, run_id: str) -> list[str]:
    """Names of the folders that are a run's by their names: one, unless somebody has made a copy."""
    return [e.name for e in _list(volume, identifiers.RUNS) if e.is_dir and identifiers.is_folder_of(e.name, run_id)]


def recorded(volume: Volume, folder: str) -> Run | None:
    """The run that a folder is of, as its record tells it; None when that is missing, damaged or another run's."""
    run = _record(volume, f"{identifiers.run_dir(folder)}/{layout.RUN_FILE}", decode_run)
    return run if run and identifiers.is_folder_of(folder, run.id) and 0 <= run.created_at < LATEST else None


def _taken_from(run: Run, folder: str) -> Run:
    """A run with the name of the folder where it was found, whatever its record says."""
    return msgspec.structs.replace(run, folder="" if folder == run.id else folder)


def read_run(volume: Volume, run_id: str) -> Run | None:
    """A run's own record on its volume; None when it is missing or damaged. Of copies the one that was not moved."""
    named = [(recorded(volume, name), name) for name in _folders_of(volume, run_id)]
    found = [(run, name) for run, name in named if run and run.id == run_id]
    own = [pair for pair in found if pair[0].path == identifiers.run_dir(pair[1])]
    return next((_taken_from(*pair) for pair in own or found), None)


def write_run(volume: Volume, run: Run) -> None:
    """Put down on the volume what was asked for; the job reads it from there. What only others know of it stays."""
    path, asked = f"{run.path}/{layout.RUN_FILE}", msgspec.structs.replace(run, status=None)
    before = _record(volume, path, lambda data: (renewed(msgspec.json.decode(data)), decode_run(data)))
    record = msgspec.to_builtins(asked)
    if before:
        raw, known = before
        record = stored.merged(raw, msgspec.to_builtins(known), record)
    volume.write(path, msgspec.json.encode(record))


def status_of(data: bytes) -> Status | None:
    """A status as a job tells it, wherever it was read; None when it is no such thing, or of no possible time."""
    try:
        return _possible(job_status_of(data))
    except stored.UNREADABLE:
        return None


def read_status(volume: Volume, run: Run) -> Status | None:
    """The job's own word; None before it has written any, or when it is damaged."""
    return _possible(_record(volume, f"{run.path}/{layout.STATUS_FILE}", job_status_of))


def _possible(status: Status | None) -> Status | None:
    if status is None:
        return None
    times = (status.started_at, status.updated_at, status.first_started_at, status.ended_at, status.work.progress_at)
    return status if all(t is None or 0 <= t < LATEST for t in times) else None


def _number(data: bytes) -> int:
    return msgspec.json.decode(data, type=int)


def cancelled_attempt(volume: Volume, run: Run) -> int:
    """The attempt that somebody cancelled, 0 for none: a call that starts late must know."""
    return _record(volume, f"{run.path}/{layout.CANCEL_FILE}", _number) or 0


def mark_cancelled(volume: Volume, run: Run) -> None:
    """Leave a mark in the run's folder for a job that no signal reaches."""
    volume.write(f"{run.path}/{layout.CANCEL_FILE}", msgspec.json.encode(run.attempt))


def runs_on(volume: Volume, known: Collection[str] = ()) -> list[Run]:
    """Every run recorded on a volume but the `known` ids: what a registry is rebuilt from."""
    found: dict[str, Run] = {}
    new = [e for e in _list(volume, identifiers.RUNS) if e.is_dir and identifiers.id_of(e.name) not in known]
    records = side_by_side(lambda entry: recorded(volume, entry.name), new)
    for entry, run in zip(new, records, strict=True):
        if run and run.id not in known and (run.id not in found or run.path == identifiers.run_dir(entry.name)):
            found[run.id] = _taken_from(run, entry.name)
    return list(found.values())


def write_account(volume: Volume, account: Account) -> None:
    """Leave on a volume what a run has paid that is deleted from it."""
    if account.usd:
        volume.write(f"{layout.SPENT}/{account.id}.json", msgspec.json.encode(account))


def accounts_on(volume: Volume, known: Collection[str] = ()) -> list[Account]:
    """What deleted runs have paid, but for the `known` ids."""
    names = [e.name.removesuffix(".json") for e in _list(volume, layout.SPENT) if not e.is_dir]
    new = [name for name in names if name not in known]
    found = side_by_side(lambda name: _record(volume, f"{layout.SPENT}/{name}.json", account_of), new)
    return [account for name, account in zip(new, found, strict=True) if account and account.id == name]
