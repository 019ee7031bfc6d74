"""The numbers of a run as curves, whole, at any size: read from its events as they grow, asked by the column. No UI."""

import math
import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from runner.nanochat import flops
from runner.nanochat.going_back import KINDS, begins, goes_back_to
from runner.system.same_file import FileIdentity
from runner.text.untrusted import json_object, leading_count, to_float

FAN = 16
READ_BYTES = 4 << 20
# So many points are kept of one curve, and so many marks; beyond, every other one is left out.
MOST, MOST_MARKS = 1 << 19, 1 << 14
EMA = 0.9
# What is beyond these is no value, step or moment of a training, and would break what is drawn.
LARGEST, FURTHEST, LATEST = 1e300, 1e15, 1e11
SFT = "SFT loss"
METRICS = {
    "loss": "loss",
    "loss EMA": "loss, smoothed",
    "val bpb": "val bpb",
    "CORE": "CORE",
    "tok/s": "tokens a second",
    "MFU": "MFU, per cent",
    "MFU printed": "MFU as nanochat prints it, which leaves out the layers in FP8",
    "lr": "learning-rate multiplier",
    "GPU GB": "GPU memory, GB",
    "GPU %": "GPU load, per cent",
    SFT: "fine-tuning loss",
}
# At a step, before it is trained.
MEASURED = {"val bpb", "CORE"}


class ColumnRange(NamedTuple):
    """What a series has in one column of a drawing: first, lowest, highest and last value."""

    first: float
    low: float
    high: float
    last: float


class Series:
    """One curve: values by step and by seconds of container time, with the lowest and highest of every sixteen,
    256, … points, so that any stretch of it is summed up at once. Values that are not finite are counted and left out.
    """

    def __init__(self) -> None:
        self.steps, self.seconds, self.values = array("d"), array("d"), array("d")
        self._lows: list[array[float]] = []
        self._highs: list[array[float]] = []
        self.not_finite = 0
        # How often every other point was left out, and how often anything was changed.
        self.halved = self.changes = 0

    def __len__(self) -> int:
        return len(self.values)

    def add(self, step: float, seconds: float, value: float) -> None:
        """The next point. A step that was there already takes its place: what came after it was lost."""
        self.changes += 1
        if not abs(value) < LARGEST:
            self.not_finite += 1
            return
        if not abs(step) < FURTHEST:
            return
        if self.steps and step <= self.steps[-1]:
            self._cut(bisect_left(self.steps, step))
        if len(self.values) >= MOST:
            self._halve()
        # Two machines may not agree on the time; what comes later is never drawn before.
        self._append(step, max(seconds, self.seconds[-1]) if self.seconds else seconds, value)

    def give_up(self, step: float, *, measured: bool = False) -> None:
        """Training goes on from a step: leave out what comes after it, and at it, unless it was `measured` there."""
        kept = (bisect_right if measured else bisect_left)(self.steps, step)
        if kept < len(self.steps):
            self.changes += 1
            self._cut(kept)

    def copy(self) -> "Series":
        """The same curve, which stays as it is when this one grows."""
        made = Series()
        made.steps, made.seconds, made.values = self.steps[:], self.seconds[:], self.values[:]
        made._lows, made._highs = [low[:] for low in self._lows], [high[:] for high in self._highs]
        made.not_finite, made.halved, made.changes = self.not_finite, self.halved, self.changes
        return made

    def _append(self, step: float, seconds: float, value: float) -> None:
        number = len(self.values)
        self.steps.append(step)
        self.seconds.append(seconds)
        self.values.append(value)
        level = 0
        while True:
            number //= FAN
            if level == len(self._lows):
                if len(self.values) <= FAN ** (level + 1):
                    return
                self._lows.append(array("d"))
                self._highs.append(array("d"))
                self._fill(level)
                level += 1
                continue
            lows, highs = self._lows[level], self._highs[level]
            if number == len(lows):
                lows.append(value)
                highs.append(value)
            else:
                lows[number], highs[number] = min(lows[number], value), max(highs[number], value)
            level += 1

    def _fill(self, level: int) -> None:
        below = (self.values, self.values) if level == 0 else (self._lows[level - 1], self._highs[level - 1])
        for at in range(0, len(below[0]), FAN):
            self._lows[level].append(min(below[0][at : at + FAN]))
            self._highs[level].append(max(below[1][at : at + FAN]))

    def _cut(self, count: int) -> None:
        self._rebuild(slice(count))

    def _halve(self) -> None:
        self._rebuild(slice(None, None, 2))
        self.halved += 1

    def _rebuild(self, kept: slice) -> None:
        points = list(zip(self.steps[kept], self.seconds[kept], self.values[kept], strict=True))
        missed, self._lows, self._highs = self.not_finite, [], []
        self.steps, self.seconds, self.values = array("d"), array("d"), array("d")
        for point in points:
            self._append(*point)
        self.not_finite = missed

    def extent(self, first: int, last: int) -> tuple[float, float]:
        """Lowest and highest of the points from `first` to before `last`, which must not be none."""
        low, high = math.inf, -math.inf
        level, lows, highs = 0, self.values, self.values
        while first < last:
            if level == len(self._lows):
                return min(low, min(lows[first:last])), max(high, max(highs[first:last]))
            # What does not fill a block of the next level, at both ends.
            up, down = -(-first // FAN), last // FAN
            if up >= down:
                return min(low, min(lows[first:last])), max(high, max(highs[first:last]))
            for begin, end in ((first, up * FAN), (down * FAN, last)):
                if begin < end:
                    low, high = min(low, min(lows[begin:end])), max(high, max(highs[begin:end]))
            first, last = up, down
            lows, highs = self._lows[level], self._highs[level]
            level += 1
        return low, high

    def bounds(self, axis: "array[float]", begin: float, end: float, count: int) -> Iterator[tuple[int, int]]:
        """The stretch of the axis in so many columns: the number of the first point of each, and of the next one's."""
        step = (end - begin) / count
        first = bisect_left(axis, begin)
        for nth in range(1, count):
            last = bisect_left(axis, begin + step * nth, first)
            yield first, last
            first = last
        yield first, bisect_right(axis, end, first)

    def columns(self, axis: "array[float]", begin: float, end: float, count: int) -> list[ColumnRange | None]:
        """The stretch of the axis from `begin` to `end` in so many columns; None where no point falls in one."""
        values, extent = self.values, self.extent
        return [
            ColumnRange(values[first], *extent(first, last), values[last - 1]) if last > first else None
            for first, last in self.bounds(axis, begin, end, count)
        ]

    def nearest(self, axis: "array[float]", x: float) -> int | None:
        """The number of the point nearest to `x`; None where there is none."""
        if not self.values:
            return None
        after = min(bisect_left(axis, x), len(axis) - 1)
        before = max(0, after - 1)
        return before if abs(axis[before] - x) <= abs(axis[after] - x) else after

    def at(self, axis: "array[float]", x: float) -> tuple[float, float] | None:
        """The point nearest to `x`: its place on the axis and its value."""
        nearest = self.nearest(axis, x)
        return None if nearest is None else (axis[nearest], self.values[nearest])


class MarkKind(StrEnum):
    """What is marked on a curve."""

    SAVE = "save"
    VAL = "val"
    PREEMPTION = "preemption"


class Mark(NamedTuple):
    """Something that happened, at a step and a second of container time."""

    what: MarkKind
    step: float
    seconds: float


class Curves(Struct, frozen=True):
    """Every curve of one run, and what happened on the way, as of one moment: nothing changes them any more.

    `tokens_per_step` is what an optimizer step of base training takes by its own log; 0 where that does not say.
    """

    series: Mapping[str, Series]
    marks: Sequence[Mark]
    tokens_per_step: int = 0


NONE = Curves({name: Series() for name in METRICS}, ())


class CurvesReader:
    """Reads the curves of a run from its events as these grow. It is one thread's; `curves` is for others."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._given: dict[str, Series] = {}
        self._identity = (0, 0)
        self._begin()

    def _begin(self) -> None:
        self.series = {name: Series() for name in METRICS}
        self.marks: list[Mark] = []
        self._known = FileIdentity()
        self._counted = flops.FlopsCorrection()
        self._began = self._before_s = self._last_t = self._step = self._ema = self._ema_weight = 0.0
        self._trained = 0.0
        self._tokens_per_step = 0
        self._given.clear()

    def curves(self) -> Curves:
        """What was read so far, for whoever draws it; what has not changed since it was given before is not copied."""
        for name, series in self.series.items():
            known = self._given.get(name)
            if known is None or known.changes != series.changes:
                self._given[name] = series.copy()
        return Curves(dict(self._given), tuple(self.marks), self._tokens_per_step)

    def read(self) -> bool:
        """Take in new events, at most a few MB; whether there were any. Events that were written anew are read anew."""
        try:
            with self.path.open("rb") as file:
                now = os.fstat(file.fileno())
                identity, began = (now.st_dev, now.st_ino), self._known.size > 0
                same = identity == self._identity and self._known.is_still(lambda at, n: os.pread(file.fileno(), n, at))
                if anew := began and not same:
                    self._begin()
                self._identity = identity
                file.seek(self._known.size)
                data = file.read(READ_BYTES)
        except FileNotFoundError:
            return False
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and len(data) == READ_BYTES:
            # No event is that long.
            whole = data
        self._known.took(self._known.size, whole)
        for event in _events(whole):
            self._take(event)
        return bool(whole) or anew

    def _mark(self, what: MarkKind, step: float, seconds: float) -> None:
        if len(self.marks) >= MOST_MARKS:
            del self.marks[::2]
        self.marks.append(Mark(what, step, seconds))

    def _go_back(self, step: float) -> None:
        """What was trained, measured and made after a step was given up."""
        for name, series in self.series.items():
            series.give_up(-1.0 if name == SFT else step, measured=name in MEASURED)
        # What a container took, it took; the rest did not happen on this way.
        self.marks = [
            mark._replace(step=min(mark.step, step))
            for mark in self.marks
            if mark.step <= step or mark.what is MarkKind.PREEMPTION
        ]
        self._step = step
        kept = self.series["loss EMA"].values
        self._ema_weight = 1 - EMA ** len(kept)
        self._ema = kept[-1] * self._ema_weight if kept else 0.0

    def _take(self, event: dict[str, Any]) -> None:
        t = to_float(event.get("t"))
        if not 0 <= t < LATEST:
            return
        kind, stage = event.get("kind"), event.get("stage")
        back_to = goes_back_to(event, self._trained)
        if back_to is not None:
            self._trained = back_to
            self._go_back(back_to)
        if begins(event, "sft"):
            self.series[SFT].give_up(-1.0)
        if kind == "container" or not self._began:
            if self._began:
                self._before_s += max(0.0, self._last_t - self._began)
                self._mark(MarkKind.PREEMPTION, self._step, self._before_s)
            self._began = t
        self._last_t = max(self._last_t, t)
        seconds = self._before_s + max(0.0, t - self._began)
        if kind == "step" and stage == "base":
            step = to_float(event.get("step"))
            if abs(step) < FURTHEST:
                self._step, self._trained = step, step + 1
            loss = to_float(event.get("loss"))
            self._put("loss", seconds, loss)
            if abs(loss) < LARGEST:
                self._ema, self._ema_weight = EMA * self._ema + (1 - EMA) * loss, EMA * self._ema_weight + (1 - EMA)
                self._put("loss EMA", seconds, self._ema / self._ema_weight)
            for name, key in (("tok/s", "tokens_per_s"), ("lr", "lrm")):
                self._put(name, seconds, to_float(event.get(key)))
            printed, factor = to_float(event.get("mfu")), self._counted.factor
            self._put("MFU", seconds, printed * factor)
            if factor != 1.0:
                self._put("MFU printed", seconds, printed)
        elif kind == "step" and stage == "sft":
            self.series[SFT].add(to_float(event.get("step")), seconds, to_float(event.get("loss")))
        elif kind == "val_bpb" and stage == "base":
            self.series["val bpb"].add(to_float(event.get("step")), seconds, to_float(event.get("bpb")))
            self._mark(MarkKind.VAL, self._step, seconds)
        elif kind == "core" and isinstance(event.get("step"), int):
            self.series["CORE"].add(to_float(event["step"]), seconds, to_float(event.get("core")))
        elif kind == "checkpoint" and event.get("of") == "base":
            if abs(step := to_float(event.get("step"))) < FURTHEST:
                self._mark(MarkKind.SAVE, step, seconds)
        elif kind == "fact":
            name, value = str(event.get("name")), str(event.get("value"))
            self._counted.take(name, value)
            if name == "total_batch" and stage == "base":
                self._tokens_per_step = leading_count(value)
        elif kind == "gpu":
            self._put("GPU GB", seconds, to_float(event.get("memory")) / 1e9)
            self._put("GPU %", seconds, to_float(event.get("load")))

    def _put(self, name: str, seconds: float, value: float) -> None:
        series = self.series[name]
        # A sample of the GPUs may come twice in a step.
        if not (name.startswith("GPU") and series.steps and series.steps[-1] == self._step):
            series.add(self._step, seconds, value)


_KINDS = tuple(f'"kind":"{kind}"'.encode() for kind in (*KINDS, "checkpoint", "gpu", "container", "fact"))


def _events(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        if any(kind in line for kind in _KINDS):
            event = json_object(line)
            if event:
                yield event
