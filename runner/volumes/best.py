"""Which checkpoint of a run is its best: by what was measured at its own step, not by what it carries along. Pure."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from runner.nanochat.going_back import KINDS, begins, goes_back_to
from runner.nanochat.layout import CheckpointKind
from runner.text.untrusted import json_object, to_float
from runner.volumes.checkpoint_verdicts import Checkpoint, Verdict

_LINES = tuple(f'"kind":"{kind}"'.encode() for kind in KINDS if kind != "step")
Measured = Mapping[CheckpointKind, Mapping[int, float]]


def measured(lines: Iterable[bytes]) -> Measured:
    """The events of a run -> by kind of checkpoint, val bpb by the step at which it was measured."""
    base, sft = dict[int, float](), dict[int, float]()
    for line in lines:
        event = json_object(line) if any(kind in line for kind in _LINES) else None
        if event is None:
            continue
        if (step := goes_back_to(event, math.inf)) is not None:
            base = {at: bpb for at, bpb in base.items() if at <= step}
            # A later base model is fine-tuned anew.
            sft = {} if event["kind"] in ("goes_on", "resumed") else sft
        if begins(event, "sft"):
            sft = {}
        at, bpb = event.get("step"), to_float(event.get("bpb"))
        if event.get("kind") == "val_bpb" and isinstance(at, int) and math.isfinite(bpb):
            (base if event.get("stage") == "base" else sft)[at] = bpb
    return {CheckpointKind.BASE: base, CheckpointKind.SFT: sft}


def with_measures(found: Sequence[Checkpoint], known: Measured) -> list[Checkpoint]:
    """Checkpoints, each with the last step up to its own at which val bpb was measured, and what it was there."""

    def one(checkpoint: Checkpoint) -> Checkpoint:
        steps = [at for at in known.get(checkpoint.kind, {}) if at <= checkpoint.step]
        if not steps:
            return checkpoint
        at = max(steps)
        return msgspec.structs.replace(checkpoint, measured_at=at, measured=known[checkpoint.kind][at])

    return [one(checkpoint) for checkpoint in found]


def best_of(whole: Sequence[Checkpoint]) -> list[int]:
    """Steps that are the best of one kind, the earliest of equals, what is surest first; more than one where what is
    known does not agree."""
    here = [c for c in whole if c.measured_at == c.step]
    ways = (
        [(c.measured, c.step) for c in here if c.measured is not None],
        [(c.val_bpb, c.step) for c in here if c.val_bpb is not None],
        # What was carried along was measured before: of equals the earliest is nearest to where that was.
        [(c.val_bpb, c.step) for c in whole if c.val_bpb is not None],
    )
    return list(dict.fromkeys(min(way)[1] for way in ways if way))


def stands_out(found: Iterable[Checkpoint]) -> set[tuple[CheckpointKind, int]]:
    """The best complete checkpoint of each kind of one run, by its step."""
    by_kind: dict[CheckpointKind, list[Checkpoint]] = {}
    for one in found:
        if one.verdict is Verdict.COMPLETE:
            by_kind.setdefault(one.kind, []).append(one)
    return {(kind, step) for kind, whole in by_kind.items() for step in best_of(whole)[:1]}


def prunable(found: list[Checkpoint], needed: Collection[int] = ()) -> list[Checkpoint]:
    """What a run saved besides the best and the last complete one of each kind; what is newer than that one stays.

    `needed` are steps of the base model that other runs go on from.
    """
    gone = []
    for kind in {c.kind for c in found}:
        whole = [c for c in found if c.kind is kind and c.verdict is Verdict.COMPLETE]
        if not whole:
            continue
        last = max(whole, key=lambda c: c.step)
        kept = set(best_of(whole)) | set(needed if kind is CheckpointKind.BASE else ())
        gone += [c for c in found if c.kind is kind and c.step < last.step and c.step not in kept]
    return sorted(gone, key=lambda c: (c.run, c.kind, c.step))
