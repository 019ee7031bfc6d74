"""Files and runs that are deleted: on a volume of this machine into its trash, elsewhere for good; and brought back."""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from runner.errors import NanochatError, NoSuchRun, UsageError
from runner.fleet.core import Core
from runner.model.backend_name import BackendName
from runner.model.run import Run, decode_run
from runner.model.states import State
from runner.model.transitions import restored
from runner.volumes import deletion, trash
from runner.volumes.base import Volume
from runner.volumes.trash import Trashed


def remove(
    core: Core, volume: Volume, backend: str, paths: Iterable[str], *, now: bool = False, run: Run | None = None
) -> Trashed | None:
    """Delete paths of a volume; where they are kept, what to bring them back by.

    `run` is whose folder it is. `now` deletes for good. Raises UsageError for what the trash cannot take.
    """
    days = 0 if now else core.places.kept_days(backend)
    if not days:
        deletion.remove(volume, paths)
        return None
    trash.sweep(volume, core.clock())
    record = msgspec.to_builtins(run) if run else None
    gone = list(paths)
    weights = [deletion.weigh(volume, path) for path in gone if _is_folder(volume, path)]
    weight = (sum(w.files for w in weights), sum(w.bytes for w in weights))
    return trash.put(volume, gone, core.clock(), days, run=record, weight=weight)


def restore(core: Core, entry: Trashed, runs: Sequence[Run]) -> Run | None:
    """Bring back what was deleted, with the record of its run; the run, if it is one. `runs` are all of its volume.

    Raises UsageError where something is in its place, or a live run would find files that it did not write.
    """
    volume = core.places.backend(BackendName.LOCAL).volume(entry.location)
    if blockers := deletion.plan_deletion(entry.paths, (), runs).blockers:
        raise UsageError(blockers[0], "let that end, or cancel it first")
    run = _run_of(entry)
    if run:
        # A kill right after it leaves a run whose files are in the trash still: brought back again, they come.
        run = _on_record(core, run)
    try:
        trash.restore(volume, entry)
    except (NanochatError, OSError):
        if run and not Path(run.volume, run.path).exists():
            core.registry.remove(run.id)
        raise
    return run


def _run_of(entry: Trashed) -> Run | None:
    """The run as it was, on the volume where it is now: that may have been moved."""
    if entry.run is None:
        return None
    try:
        run = decode_run(msgspec.json.encode(entry.run))
    except (msgspec.MsgspecError, ValueError):
        return None
    same = run.path in entry.paths and run.backend is BackendName.LOCAL
    return restored(msgspec.structs.replace(run, volume=entry.location)) if same else None


def _on_record(core: Core, run: Run) -> Run:
    """Put it on record again. A tag that somebody else has by now stays theirs."""
    try:
        return core.registry.update(run.id, lambda now: run if now.state is State.DELETING else now)
    except NoSuchRun:
        try:
            return core.registry.add(run)
        except UsageError:
            core.say(f"the tag {run.tag} is taken by now: it is called {run.id}")
            return core.registry.add(msgspec.structs.replace(run, tag=run.id))


def in_folders(core: Core, folders: Iterable[str]) -> list[Trashed]:
    """What can be brought back on volumes of this machine, the newest first; what is due goes for good."""
    found: list[Trashed] = []
    for folder in folders:
        with contextlib.suppress(OSError, NanochatError):
            volume = core.places.backend(BackendName.LOCAL).volume(folder)
            trash.sweep(volume, core.clock())
            found += trash.entries(volume)
    return sorted(found, key=lambda e: -e.deleted_at)


def _is_folder(volume: Volume, path: str) -> bool:
    try:
        return volume.stat(path).is_dir
    except FileNotFoundError:
        return False
