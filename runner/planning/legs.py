"""How training goes through several calls where a backend limits each: the legs of an attempt. Pure."""

import math
from collections.abc import Iterable

from msgspec import Struct

from runner.model.backend_name import BackendName
from runner.model.spec import RunSpec
from runner.planning import budget
from runner.text import units

# Seconds that Modal lets a call of the part that trains take, and one of the part that prepares.
TRAIN_TIMEOUT_S, PREPARE_TIMEOUT_S = 24 * 3600, 6 * 3600
# A stage that would not end in this call had better begin in the next, if so much of this one is gone.
WORTH = 0.25


class StageTime(Struct, frozen=True):
    """A stage's seconds, those until its first step, and those from one checkpoint to the next: 0 without any."""

    name: str
    seconds: float
    startup: float = 0.0
    between: float = 0.0

    @property
    def least(self) -> float:
        """What a call must have room for, so that something of the stage is kept."""
        return min(self.seconds, self.startup + self.between) if self.between else self.seconds


class Fit(Struct, frozen=True):
    """How many calls it takes, or why it fits into none and what to do; what of it a person should know."""

    calls: int = 1
    too_long: tuple[str, str] | None = None
    warnings: tuple[str, ...] = ()


def limit_s(spec: RunSpec, backend: str) -> int | None:
    """Seconds that one call of the part that trains may take; None where nobody limits that."""
    if backend != BackendName.MODAL:
        return None
    return max(1, int(spec.overrides.call_limit or TRAIN_TIMEOUT_S))


def room(limit: float, publish_s: float) -> float:
    """What of a call may be worked in: the rest is for closing, and for bringing one checkpoint to the volume."""
    return limit - budget.CLOSING_S - publish_s


def seconds_left(limit: float, since: float, now: float, publish_s: float) -> float:
    """How long a call that began at `since` may go on before it must begin to close."""
    return since + room(limit, publish_s) - now


def needed(pieces: Iterable[StageTime], inside: float) -> int:
    """How many calls the stages take, one after the other, with so much room in each."""
    calls, left = 1, inside
    for piece in pieces:
        if piece.seconds <= left:
            left -= piece.seconds
            continue
        if not piece.between or piece.least > inside:
            calls, left = calls + 1, max(0.0, inside - piece.seconds)
            continue
        rest = piece.seconds - piece.startup
        rest -= max(0.0, (left - piece.startup) // piece.between * piece.between)
        each = (inside - piece.startup) // piece.between * piece.between
        more = math.ceil(rest / each)
        calls, left = calls + more, inside - piece.startup - (rest - (more - 1) * each)
    return calls


def fit(
    quickest: list[StageTime],
    likely: list[StageTime],
    slowest: list[StageTime],
    *,
    limit: float | None,
    publish_s: float,
    save_every: int,
) -> Fit:
    """What a plan says of its calls. Only what is too long even at its quickest is certain not to fit."""
    if limit is None:
        return Fit()
    inside = room(limit, publish_s)
    if (too_long := _longest(quickest, inside)) is not None:
        what, _ = _why(too_long, limit, inside, save_every, "takes")
        slow = next(piece for piece in slowest if piece.name == too_long.name)
        return Fit(too_long=(what, _why(slow, limit, inside, save_every, "takes")[1]))
    calls, told = needed(likely, inside), []
    if calls > 1:
        each = f"at most {units.duration(limit)}, each from the last checkpoint of the one before"
        told.append(f"it takes about {calls} calls of {each}; they follow by themselves")
    if (doubtful := _longest(slowest, inside)) is not None:
        told.append(": ".join(_why(doubtful, limit, inside, save_every, "may take")))
    return Fit(calls, None, tuple(told))


def _longest(pieces: list[StageTime], inside: float) -> StageTime | None:
    return next((piece for piece in pieces if piece.least > inside), None)


def _why(piece: StageTime, limit: float, inside: float, save_every: int, takes: str) -> tuple[str, str]:
    most = f"a call {units.duration(limit)} at most"
    if not piece.between:
        return f"{piece.name} {takes} {units.duration(piece.seconds)}, {most}", "use more --gpus"
    every = max(1, int(save_every * max(0.0, inside - piece.startup) / piece.between))
    until = f"{units.duration(piece.least)} until its next checkpoint"
    return f"{piece.name} {takes} {until}, {most}", f"use --save-every {every} or less"
