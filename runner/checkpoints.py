"""A checkpoint's files -> is it complete, on how many GPUs can it be resumed, and why not."""

import math
from enum import StrEnum

from msgspec import Struct

from runner import units
from runner.backends.base import Entry, Volume
from runner.foreign import json_object
from runner.nanochat import layout

_TAIL = 65_557
META_BYTES = 1 << 20
_END_OF_ZIP = b"PK\x05\x06"


class Verdict(StrEnum):
    COMPLETE = "complete"
    WEIGHTS_ONLY = "weights only"
    INCOMPLETE = "incomplete"
    TRUNCATED = "truncated"


class Checkpoint(Struct, frozen=True):
    """One saved step of one run. `path` is its folder on the volume, `ranks` the optimizer shards it has.

    `val_bpb` is what its meta file has: the last that was measured, maybe long before. `measured` is what the run's
    events tell, `measured_at` the step at which that was; None where they tell nothing.
    """

    run: str
    kind: str
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


def zip_is_whole(tail: bytes, size: int) -> bool:
    """Does a file of `size` bytes that ends with `tail` have its zip directory? A cut `torch.save` has none."""
    at = tail.rfind(_END_OF_ZIP)
    if at < 0 or len(tail) - at < 22:
        return False
    directory_size = int.from_bytes(tail[at + 12 : at + 16], "little")
    directory_at = int.from_bytes(tail[at + 16 : at + 20], "little")
    if 0xFFFFFFFF in (directory_size, directory_at):
        return True
    return directory_at + directory_size <= size - (len(tail) - at)


def _reason(names: set[str], step: int, ranks: set[int], gpus: int | None) -> tuple[Verdict, str] | None:
    """The verdict as far as names tell it; None when every expected file is there."""
    if f"model_{step:06d}.pt" not in names:
        return Verdict.INCOMPLETE, "no model file"
    if f"meta_{step:06d}.json" not in names:
        return Verdict.INCOMPLETE, "no meta file"
    if not ranks:
        return Verdict.WEIGHTS_ONLY, "no optimizer: cannot be resumed"
    wanted = gpus if gpus is not None else max(ranks) + 1
    missing = sorted(set(range(wanted)) - ranks)
    if missing:
        return Verdict.INCOMPLETE, f"optimizer of rank {', '.join(map(str, missing))} of {wanted} is missing"
    if len(ranks) > wanted:
        return Verdict.INCOMPLETE, f"{units.counted(len(ranks), 'optimizer shard')} for {units.counted(wanted, 'GPU')}"
    return None


def judge(volume: Volume, run: str, kind: str, folder: str, entries: list[Entry], gpus: int | None) -> Checkpoint:
    """One step's files -> Checkpoint; reads only the end of each file and the meta JSON, never a pickle."""
    parts = {e: p for e in entries if (p := layout.checkpoint_part(e.name))}
    step = next(p[1] for p in parts.values())
    ranks = {p[2] for p in parts.values() if p[2] is not None}
    found = _reason({e.name for e in parts}, step, ranks, gpus)
    val_bpb: object = None
    for entry in sorted(parts, key=lambda e: e.name):
        if entry.name.endswith(".json"):
            data = _read(volume, entry.path, 0, META_BYTES)
            meta = json_object(data or b"")
            if data is None:
                found = (Verdict.INCOMPLETE, f"{entry.name} cannot be read")
            elif meta is None:
                found = (Verdict.TRUNCATED, f"{entry.name} is not whole")
            else:
                val_bpb = meta.get("val_bpb")
                if meta.get("step") != step:
                    found = (Verdict.INCOMPLETE, f"{entry.name} is of another step")
        elif (data := _read(volume, entry.path, -_TAIL, None)) is None:
            found = (Verdict.INCOMPLETE, f"{entry.name} cannot be read")
        elif not zip_is_whole(data, entry.bytes):
            found = (Verdict.TRUNCATED, f"{entry.name} is truncated")
    verdict, reason = found or (Verdict.COMPLETE, f"resumable on {units.counted(len(ranks), 'GPU')}")
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


def _read(volume: Volume, path: str, offset: int, length: int | None) -> bytes | None:
    """Bytes of a file; None when it cannot be read, which is then the verdict's reason."""
    try:
        return volume.read(path, offset, length)
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


def scan_folder(volume: Volume, run: str, kind: str, folder: str, gpus: int | None) -> list[Checkpoint]:
    """Every step saved in one folder, oldest first."""
    steps = _steps(volume, folder)
    return [judge(volume, run, kind, folder, steps[step], gpus) for step in sorted(steps)]


def of_file(volume: Volume, path: str, gpus: int | None) -> Checkpoint | None:
    """The checkpoint that a file is a part of, judged by all that its folder holds now; None when it is no part."""
    folder, _, name = path.rpartition("/")
    part = layout.checkpoint_part(name)
    entries = _steps(volume, folder).get(part[1]) if part else None
    return judge(volume, "", "", folder, entries, gpus) if entries else None


def scan(volume: Volume, run: str, path: str, model: str, gpus: int | None) -> list[Checkpoint]:
    """Every checkpoint of a run, whose folder is at `path` of its volume: base first, then sft, oldest first."""
    return [
        found
        for kind, directory in layout.CHECKPOINT_DIRS.items()
        for found in scan_folder(volume, run, kind, f"{path}/{directory}/{model}", gpus)
    ]


def newest_complete(found: list[Checkpoint], kind: str = "base", *, weights_only: bool = False) -> Checkpoint | None:
    """The one to go on from; with `weights_only` also one that has lost its optimizer."""
    good = (Verdict.COMPLETE, Verdict.WEIGHTS_ONLY) if weights_only else (Verdict.COMPLETE,)
    return max((c for c in found if c.kind == kind and c.verdict in good), key=lambda c: c.step, default=None)
