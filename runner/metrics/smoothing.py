"""A curve smoothed by any factor, asked by the column: how smooth is for who looks at it to say. Pure."""

import math
from array import array
from collections.abc import Iterator

from runner.metrics.series import ColumnRange, Series

# What points before count together when no more are looked at, and the most that are.
NEGLIGIBLE, MOST = 1e-3, 1 << 14


def reach(factor: float) -> int:
    """So many points before one still count."""
    return min(MOST, math.ceil(math.log(NEGLIGIBLE) / math.log(factor))) if factor > 0 else 1


def smoothed_at(series: Series, number: int, factor: float) -> float:
    """The exponential moving average at a point, by its number: those before it count `factor` less each."""
    total = weight = 0.0
    for value in series.values[max(0, number + 1 - reach(factor)) : number + 1]:
        total, weight = factor * total + (1 - factor) * value, factor * weight + (1 - factor)
    return total / weight if weight else 0.0


def smoothed_columns(
    series: Series, axis: "array[float]", begin: float, end: float, count: int, factor: float
) -> list[ColumnRange | None]:
    """A stretch of the smoothed curve in columns: the points of a column count by their mean, as many as they are."""
    found: list[ColumnRange | None] = []
    total = weight = 0.0
    before: float | None = None
    for first, last in series.bounds(axis, begin, end, count):
        if last <= first:
            found.append(None)
            continue
        if before is None:
            for some in _pieces(max(0, first - reach(factor)), first):
                total, weight = _taken(series, some, factor, total, weight)
        total, weight = _taken(series, slice(first, last), factor, total, weight)
        now = total / weight
        was = now if before is None else before
        found.append(ColumnRange(was, min(was, now), max(was, now), now))
        before = now
    return found


def _pieces(first: int, last: int) -> Iterator[slice]:
    """What comes before the stretch, in at most sixteen pieces."""
    size = max(1, -(-(last - first) // 16))
    for at in range(first, last, size):
        yield slice(at, min(at + size, last))


def _taken(series: Series, some: slice, factor: float, total: float, weight: float) -> tuple[float, float]:
    values = series.values[some]
    kept = factor ** len(values)
    return kept * total + (1 - kept) * (sum(values) / len(values)), kept * weight + (1 - kept)
