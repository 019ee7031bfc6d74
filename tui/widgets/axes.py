"""Round ticks of an axis, what is written at them, and where. Pure."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.cells import cell_len

from runner.text import units

# What one tick of a clock may be, in seconds: people count in these up to a day.
CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
DAY = 86400
# Between two labels of the horizontal axis, in cells: in a wide chart more, as lines at all of them would be a fence.
GAP, WIDE_GAP, WIDE = 2, 6, 44
# Beyond these a number of steps is told by its thousands or millions.
WHOLE = 100_000


class Tick(NamedTuple):
    """A place on an axis and what is written there."""

    at: float
    label: str


class Label(NamedTuple):
    """What is written in a row: its first cell, its text, and the cell that it stands for."""

    begin: int
    text: str
    cell: int

    @property
    def end(self) -> int:
        """The cell behind it."""
        return self.begin + cell_len(self.text)


def round_steps(span: float, *, clock: bool = False) -> Iterator[float]:
    """Distances between ticks that people count in, from finer than a hundredth of `span` to more than it."""
    if clock and span > 10:
        yield from (float(one) for one in CLOCK if span / 200 <= one)
        span /= DAY
        yield from (one * DAY for one in round_steps(max(span, 1.0)) if one >= 1)
        return
    power = math.floor(math.log10(span)) - 2
    while True:
        for digit in (1, 2, 5):
            # By division where it is less than one: 3 / 10 is the 0.3 that people write, 3 * 0.1 is not.
            step = digit * 10.0**power if power >= 0 else digit / 10.0**-power
            yield step
            if step > span:
                return
        power += 1


def multiples(low: float, high: float, step: float) -> list[float]:
    """The multiples of a step from low to high; none where there would be more than a few hundred."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first > 400:
        return []
    back = round(1 / step) if step < 1 else 0
    return [nth / back if back else nth * step for nth in range(first, last + 1)]


def round_ticks(low: float, high: float, most: int, *, clock: bool = False) -> list[float]:
    """Round values from low to high, as many as may be, but at least one and not more than `most`."""
    if not (math.isfinite(high - low) and high > low) or most < 1:
        return [low] if most > 0 and math.isfinite(low) else []
    finer: list[float] = []
    for step in round_steps(high - low, clock=clock):
        found = multiples(low, high, step)
        if 0 < len(found) <= most:
            return found
        if found:
            finer = found
        elif finer:
            break
    # No round distance has so few: the one in the middle of the finer ones says enough.
    return [min(finer, key=lambda value: abs(value - (low + high) / 2))] if finer else [(low + high) / 2]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values between two decimal logarithms, on a logarithmic scale: by 1, 2, 5, by decades, or evenly."""
    first, last = math.floor(low), math.ceil(high)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        if last - first > 40:
            break
        every = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
        found = [value for value in every if low - 1e-9 <= math.log10(value) <= high + 1e-9]
        if 2 <= len(found) <= most:
            return found
    for every_nth in (1, 2, 5, 10, 20, 50, 100):
        found = [10.0**power for power in range(math.ceil(low), math.floor(high) + 1) if power % every_nth == 0]
        if 2 <= len(found) <= most:
            return found
    return round_ticks(10.0**low, 10.0**high, most)


def value_labels(values: Sequence[float], unit: str = "") -> list[str]:
    """What is written at ticks: all in the same thousands, with as many digits as tell them apart."""
    largest = max(map(abs, values), default=0.0)
    if largest and not 1e-3 <= largest < 1e12:
        return _told_apart(values, lambda value, digits: f"{value:.{digits}e}" if value else "0", unit)
    units_said = ((1e9, 1e9, "B"), (1e6, 1e6, "M"), (1e4, 1e3, "K"), (0.0, 1.0, ""))
    scale, letter = next((scale, letter) for least, scale, letter in units_said if largest >= least)
    return _told_apart(values, lambda value, digits: f"{value / scale:.{digits}f}{letter if value else ''}", unit)


def _told_apart(values: Sequence[float], written: Callable[[float, int], str], unit: str) -> list[str]:
    """As few digits as tell every value as it is, or, where that takes too many, as tell them apart."""
    for digits in range(13):
        found = [written(value, digits) for value in values]
        apart = len(set(found)) == len(set(values))
        if apart and all(_near(text, written(value, 15), values) for text, value in zip(found, values, strict=True)):
            break
    return [text + unit for text in found]


def _near(text: str, exact: str, values: Sequence[float]) -> bool:
    """Whether a label says its value, up to a twentieth of the least distance between two of them."""
    ordered = sorted(set(values))
    said, meant = (float(one.rstrip("KMB")) for one in (text, exact))
    # One that is alone says itself to the thousandth.
    size = meant / 50 if len(ordered) < 2 else min(b - a for a, b in pairwise(ordered))
    unit = {"K": 1e3, "M": 1e6, "B": 1e9}.get(exact[-1:], 1.0)
    return abs(said - meant) * unit <= abs(size) / 20


def value(number: float) -> str:
    """A value of a curve, in at most seven characters."""
    size = abs(number)
    if size >= 10_000:
        return units.count(number)
    return f"{number:.0f}" if size >= 1000 else f"{number:.4g}" if size >= 0.001 or number == 0 else f"{number:.1e}"


def place(at: float, axis: str) -> str:
    """A place on the horizontal axis, as people say it."""
    if axis == "time":
        return units.duration(at)
    if axis == "dollars":
        return f"${at:,.2f}"
    return units.count(at) if axis == "tokens" else f"{at:,.0f}"


def place_labels(places: Sequence[float], axis: str) -> list[str]:
    """What is written at ticks of the horizontal axis."""
    if axis == "time":
        return [_clock(at, places) for at in places]
    if axis == "dollars":
        cents = any(at % 1 for at in places)
        return [f"${at:,.2f}" if cents else f"${at:,.0f}" for at in places]
    if axis == "step" and max(map(abs, places), default=0.0) < WHOLE and all(at == round(at) for at in places):
        return [f"{at:,.0f}" for at in places]
    return value_labels(places)


def _clock(at: float, places: Sequence[float]) -> str:
    if at == 0:
        return "0"
    if all(one % 3600 == 0 for one in places):
        days, hours = divmod(round(at / 3600), 24)
        return f"{days}d{hours:02}h" if days and hours else f"{days}d" if days else f"{hours}h"
    if all(one % 60 == 0 for one in places):
        hours, minutes = divmod(round(at / 60), 60)
        return f"{hours}h{minutes:02}" if hours else f"{minutes}m"
    return units.duration(at)


def cell_of(at: float, span: tuple[float, float], room: int) -> int:
    """The cell of a row that a place falls into."""
    return max(0, min(room - 1, int((at - span[0]) / (span[1] - span[0]) * room)))


def foot(span: tuple[float, float], room: int, axis: str) -> list[Label]:
    """Labels of the horizontal axis, each around its cell and whole, as many as stand apart; one where one fits."""
    best: list[Label] = []
    gap = WIDE_GAP if room >= WIDE else GAP
    for step in round_steps(span[1] - span[0], clock=axis == "time"):
        if axis == "step" and step < 1:
            continue
        places = multiples(*span, step)
        if not 0 < len(places) <= room:
            continue
        labels = place_labels(places, axis)
        found = [around(cell_of(at, span, room), text, room) for at, text in zip(places, labels, strict=True)]
        apart = all(a.end + gap <= b.begin for a, b in pairwise(found))
        if apart and all(cell_len(one.text) <= room for one in found):
            return found
        best = [found[0]]
    if not best:
        text = place(span[0], axis)
        best = [Label(0, text, 0)]
    return best if cell_len(best[0].text) <= room else []


def around(cell: int, text: str, room: int) -> Label:
    """A text around a cell, as far as the row goes."""
    return Label(max(0, min(room - cell_len(text), cell - cell_len(text) // 2)), text, cell)


def value_rows(ticks: Sequence[Tick], low: float, high: float, rows: int) -> dict[int, str]:
    """Which row of cells each tick is in; of several in one, the first."""
    found: dict[int, str] = {}
    for tick in ticks:
        share = (high - tick.at) / (high - low) if high > low else 0.5
        found.setdefault(max(0, min(rows - 1, round(share * (rows * 4 - 1)) // 4)), tick.label)
    return found


def most_ticks(rows: int) -> int:
    """So many values are written beside so many rows."""
    return max(1, rows - 1) if rows <= 4 else min(9, (rows + 1) // 2)
