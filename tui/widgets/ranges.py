"""Between which values a chart draws: never so few that noise fills it, never so many that a curve is flat. Pure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from runner.metrics.series import ColumnRange
from tui.widgets.axes import value

# A range spans at least this share of its value. What tells how fast or how full something is hardly ever changes by
# less than a tenth for a reason; what is learned does.
RATES = {"tok/s": 0.1, "MFU": 0.1, "GPU GB": 0.1, "GPU %": 0.1}
LEAST = 1e-3
# Curves that begin far from where they stay.
FALLING = ("loss", "SFT loss", "val bpb")
# Curves of which more is better; of most others nobody can say.
RISING = ("CORE", "tok/s", "MFU")
UNITS = {"MFU": "%", "GPU %": "%"}
# The first columns of a curve do not count when what comes after them would get less than this share of the chart.
FIRST, SHARE = 1 / 10, 1 / 2
# Of the columns of a rate so many do not count below and above: a first step that compiles, steps that were held up.
RARE = 1 / 20
# Above and below a range that leaves something out.
MARGIN = 0.05
# What is nearer to 0 is 0: the distance of two such values is no number any more.
TINY = 1e-280


Fit = Callable[[Sequence[ColumnRange | None]], tuple[float, float] | None]


class Shown(NamedTuple):
    """The range of values that is drawn; `above` and `below` are the extremes beyond it, None where there are none."""

    low: float
    high: float
    above: float | None = None
    below: float | None = None

    @property
    def notes(self) -> tuple[str, str]:
        """What is said of what is left out above and below."""
        above = "" if self.above is None else f"↑ up to {value(self.above)}"
        return above, "" if self.below is None else f"↓ down to {value(self.below)}"


def widened(low: float, high: float, least: float) -> tuple[float, float]:
    """The range, at least so wide a share of its value; a value that never changes is in its middle."""
    largest = max(abs(low), abs(high))
    if largest < TINY:
        # No curve of a training goes below 0.
        return 0.0, 1.0
    wanted = largest * least
    if high - low >= wanted and high > low:
        return low, high
    middle, half = low + (high - low) / 2, wanted / 2
    return middle - half, middle + half


def extremes(columns: Sequence[ColumnRange | None]) -> tuple[float, float] | None:
    """The lowest and highest of what is drawn of a curve."""
    lows = [column.low for column in columns if column]
    return (min(lows), max(column.high for column in columns if column)) if lows else None


def settled(columns: Sequence[ColumnRange | None]) -> tuple[float, float] | None:
    """The extremes of a curve without its first columns: those of the first tenth of its way, at least one."""
    known = [nth for nth, column in enumerate(columns) if column]
    if len(known) < 4:
        return extremes(columns)
    end = known[0] + max(1, int((known[-1] - known[0]) * FIRST))
    return extremes([column if nth > end else None for nth, column in enumerate(columns)])


def usual(columns: Sequence[ColumnRange | None]) -> tuple[float, float] | None:
    """The extremes of a rate without what is rare, with so much around them that noise is a third of the chart."""
    found = sorted(column.first for column in columns if column)
    rare = int(len(found) * RARE)
    if not rare:
        return extremes(columns)
    low, high = found[rare], found[-1 - rare]
    return max(min(0.0, low), low - (high - low)), high + (high - low)


# What of a curve decides its range.
FIT: dict[str, Fit] = {
    **dict.fromkeys(FALLING, settled),
    **dict.fromkeys(RATES, usual),
}


def shown_range(
    curves: Sequence[tuple[Sequence[ColumnRange | None], bool]],
    least: float = LEAST,
    fit: Fit = extremes,
) -> Shown:
    """The range for curves, each with whether it begins in view; what `fit` leaves out is left out, if it is far.

    How a curve began, which `settled` leaves out, is only left out where it begins in view.
    """
    whole = [found for columns, _ in curves if (found := extremes(columns))]
    if not whole:
        return Shown(0.0, 0.0)
    low, high = min(one[0] for one in whole), max(one[1] for one in whole)
    rest = [
        found
        for columns, begins in curves
        if (found := extremes(columns) if fit is settled and not begins else fit(columns))
    ]
    inner = widened(min(one[0] for one in rest), max(one[1] for one in rest), least)
    if inner[1] - inner[0] >= (high - low) * SHARE:
        return Shown(*widened(low, high, least))
    margin = (inner[1] - inner[0]) * MARGIN
    above, below = high > inner[1] + margin, low < inner[0] - margin
    return Shown(
        inner[0] - margin if below else min(low, inner[0]),
        inner[1] + margin if above else max(high, inner[1]),
        high if above else None,
        low if below else None,
    )
