"""A checkpoint's files -> is it complete, on how many GPUs can it be resumed, and why not."""

import functools
import math
import os
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from msgspec import Struct

from runner.nanochat import layout
from runner.nanochat.layout import CheckpointKind
from runner.system.side_by_side import side_by_side
from runner.text import units
from runner.text.untrusted import json_object
from runner.volumes import archives
from runner.volumes.base import Entry, Volume
from runner.volumes.unreadable import why_not

META_BYTES = 1 << 20
# So many headers of a file are looked at where each is a question to a network: the first, the last, some between.
FAR_HEADERS = 4


class Verdict(StrEnum):
    """What a checkpoint is good for."""

    COMPLETE = "complete"
    WEIGHTS_ONLY = "weights only"
    NOT_FINITE = "not finite"
    INCOMPLETE = "incomplete"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"


KEPT = (Verdict.COMPLETE, Verdict.NOT_FINITE)


class Checkpoint(Struct, frozen=True):
    """One saved step of one run. `path` is its folder on the volume, `ranks` the optimizer shards it has.

    `val_bpb` is what its meta file has: the last that was measured, maybe long before. `measured` is what the run's
    events tell, `measured_at` the step at which that was; None where they tell nothing.
    """

    run: str
    kind: CheckpointKind
    step: int
    bytes: int
    ranks: int
    val_bpb: float | None
    verdict: Verdict
    reason: str
    path: str
    files: tuple[str, ...]
    saved_at: float
    measured_at: int | None = None
    measured: float | None = None

    @property
    def paths(self) -> list[str]:
        """Its files, by their paths on the volume."""
        return [f"{self.path}/{name}" for name in self.files]


def _reason(names: set[str], step: int, ranks: set[int], gpus: int | None) -> tuple[Verdict, str] | None:
    """The verdict as far as names tell it; None when every expected file is there."""
    if layout.model_file(step) not in names:
        return Verdict.INCOMPLETE, "no model file"
    if layout.meta_file(step) not in names:
        return Verdict.INCOMPLETE, "no meta file"
    if not ranks:
        return Verdict.WEIGHTS_ONLY, "no optimizer: cannot be resumed"
    wanted = gpus if gpus is not None else max(ranks) + 1
    missing = sorted(set(range(wanted)) - ranks)
    if missing:
        return Verdict.INCOMPLETE, f"optimizer of rank {', '.join(map(str, missing))} of {wanted} is missing"
    if len(ranks) > wanted:
        return (
            Verdict.INCOMPLETE,
            f"{units.pluralize(len(ranks), 'optimizer shard')} for {units.pluralize(wanted, 'GPU')}",
        )
    return None


def judge(
    volume: Volume, run: str, kind: CheckpointKind, folder: str, entries: list[Entry], gpus: int | None
) -> Checkpoint:
    """One step's files -> Checkpoint; reads the directory and headers of each archive and the JSON, never a pickle."""
    parts = {e: p for e in entries if (p := layout.checkpoint_part(e.name))}
    step = next(p[1] for p in parts.values())
    ranks = {p[2] for p in parts.values() if p[2] is not None}
    found = _reason({e.name for e in parts}, step, ranks, gpus)
    val_bpb: object = None
    for entry in sorted(parts, key=lambda e: e.name):
        if not entry.name.endswith(".json"):
            found = _archive(volume, entry) or found
            continue
        data = _read(volume, entry.path)
        if parts[entry][0] == layout.UNREADABLE:
            why = why_not(data or b"", parts)
            found = (Verdict.DAMAGED, why) if why else found
            continue
        meta = json_object(data or b"")
        if data is None:
            found = (Verdict.INCOMPLETE, f"{entry.name} cannot be read")
        elif meta is None:
            found = (Verdict.TRUNCATED, f"{entry.name} is not whole")
        else:
            val_bpb = meta.get("val_bpb")
            lost = _lost(meta)
            if meta.get("step") != step:
                found = (Verdict.INCOMPLETE, f"{entry.name} is of another step")
            elif lost and (found is None or found[0] is Verdict.WEIGHTS_ONLY):
                found = (Verdict.NOT_FINITE, f"{lost}: nothing goes on from it by itself")
    verdict, reason = found or (Verdict.COMPLETE, f"resumable on {units.pluralize(len(ranks), 'GPU')}")
    return Checkpoint(
        run=run,
        kind=kind,
        step=step,
        bytes=sum(e.bytes for e in parts),
        ranks=len(ranks),
        val_bpb=val_bpb if isinstance(val_bpb, float) and math.isfinite(val_bpb) else None,
        verdict=verdict,
        reason=reason,
        path=folder,
        files=tuple(sorted(e.name for e in parts)),
        saved_at=max(e.mtime for e in parts),
    )


def _lost(meta: dict[str, Any]) -> str:
    """What of the numbers that were saved with a model is nan or infinite; empty while it learns."""
    loop = meta.get("loop_state")
    numbers = (
        ("val bpb", meta.get("val_bpb")),
        ("loss", loop.get("smooth_train_loss") if isinstance(loop, dict) else None),
    )
    return next((f"its {n} is {v}" for n, v in numbers if isinstance(v, float) and not math.isfinite(v)), "")


def _archive(volume: Volume, entry: Entry) -> tuple[Verdict, str] | None:
    """What is wrong with a file of `torch.save`; None when its directory and its headers are there."""
    try:
        here = volume.local_path(entry.path)
        if here is None:
            return _headers(entry, functools.partial(volume.read, entry.path), near=False)
        with here.open("rb") as file:
            return _headers(entry, lambda at, length: os.pread(file.fileno(), length, at), near=True)
    except OSError:
        return Verdict.INCOMPLETE, f"{entry.name} cannot be read"


def _headers(entry: Entry, read: Callable[[int, int], bytes], *, near: bool) -> tuple[Verdict, str] | None:
    try:
        places = archives.headers(read, entry.bytes)
    except archives.Damaged as error:
        cut = str(error) == archives.CUT
        return (Verdict.TRUNCATED, f"{entry.name} is truncated") if cut else (Verdict.DAMAGED, f"{entry.name}: {error}")
    if not near:
        last = len(places) - 1
        places = sorted({places[last * n // (FAR_HEADERS - 1)] for n in range(FAR_HEADERS)})
    size = len(archives.HEADER)
    found = [read(at, size) for at in places] if near else side_by_side(lambda at: read(at, size), places)
    gone = next((at for at, head in zip(places, found, strict=True) if head != archives.HEADER), None)
    return None if gone is None else (Verdict.DAMAGED, f"{entry.name} is damaged at byte {gone:,}")


def _read(volume: Volume, path: str) -> bytes | None:
    """A JSON file; None when it cannot be read, which is then the verdict's reason."""
    try:
        return volume.read(path, 0, META_BYTES)
    except OSError:
        return None


def _steps(volume: Volume, folder: str) -> dict[int, list[Entry]]:
    """The parts of each step saved in a folder; an absent folder holds none."""
    try:
        entries = volume.list(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    steps: dict[int, list[Entry]] = {}
    for entry in entries:
        part = layout.checkpoint_part(entry.name)
        if part and not entry.is_dir:
            steps.setdefault(part[1], []).append(entry)
    return steps


def scan_folder(volume: Volume, run: str, kind: CheckpointKind, folder: str, gpus: int | None) -> list[Checkpoint]:
    """Every step saved in one folder, oldest first."""
    steps = _steps(volume, folder)
    return [judge(volume, run, kind, folder, steps[step], gpus) for step in sorted(steps)]


def of_file(volume: Volume, path: str, gpus: int | None) -> Checkpoint | None:
    """The checkpoint that a file is a part of, judged by all that its folder holds now; None when it is no part."""
    folder, _, name = path.rpartition("/")
    part = layout.checkpoint_part(name)
    entries = _steps(volume, folder).get(part[1]) if part else None
    tuned = layout.CHECKPOINT_DIRS[CheckpointKind.SFT] in folder.split("/")
    kind = CheckpointKind.SFT if tuned else CheckpointKind.BASE
    return judge(volume, "", kind, folder, entries, gpus) if entries else None


def scan(volume: Volume, run: str, path: str, model: str, gpus: int | None) -> list[Checkpoint]:
    """Every checkpoint of a run, whose folder is at `path` of its volume: base first, then sft, oldest first."""
    return [
        found
        for kind, directory in layout.CHECKPOINT_DIRS.items()
        for found in scan_folder(volume, run, kind, f"{path}/{directory}/{model}", gpus)
    ]


def newest_complete(
    found: list[Checkpoint], kind: CheckpointKind = CheckpointKind.BASE, *, weights_only: bool = False
) -> Checkpoint | None:
    """The one to go on from; with `weights_only` also one that has lost its optimizer."""
    good = (Verdict.COMPLETE, Verdict.WEIGHTS_ONLY) if weights_only else (Verdict.COMPLETE,)
    return max((c for c in found if c.kind is kind and c.verdict in good), key=lambda c: c.step, default=None)
