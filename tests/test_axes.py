"""Axes of charts: ticks are round and whole, ranges neither magnify noise nor lose a curve to its first steps."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.cells import cell_len

from runner.metrics.series import ColumnRange, Series
from tui.widgets import axes
from tui.widgets.ranges import LEAST, RATES, Fit, extremes, settled, shown_range, usual, widened

values = st.floats(-1e12, 1e12) | st.floats(-10, 10) | st.floats(-1e-9, 1e-9)
spans = st.floats(1e-6, 1e12)


def flat(*numbers: float) -> list[ColumnRange | None]:
    return [ColumnRange(n, n, n, n) for n in numbers]


@given(values, spans, st.integers(1, 30), st.booleans())
def test_ticks_lie_in_the_range_evenly_and_there_is_always_one(low: float, span: float, most: int, clock: bool) -> None:
    high = low + span
    assume(high - low > 1e-6 * max(abs(low), abs(high), 1e-6))
    found = axes.round_ticks(low, high, most, clock=clock)
    slack = (high - low) * 1e-6
    assert 1 <= len(found) <= most
    assert all(low - slack <= tick <= high + slack for tick in found)
    gaps = [b - a for a, b in pairwise(found)]
    assert all(gap > 0 and math.isclose(gap, gaps[0], rel_tol=1e-3) for gap in gaps)


@given(st.floats(0, 1e9), spans, st.integers(4, 20))
def test_ticks_are_numbers_that_people_count_in(low: float, span: float, most: int) -> None:
    high = low + span
    assume(high - low > 1e-3 * high)
    gaps = [b - a for a, b in pairwise(axes.round_ticks(low, high, most))]
    assert gaps and all(f"{gap:.0e}"[0] in "125" for gap in gaps)


def test_ticks_of_a_clock_are_those_of_a_clock() -> None:
    assert [one.text for one in axes.foot((0.0, 3 * 3600.0), 40, "time")] == ["0", "1h", "2h", "3h"]
    assert [one.text for one in axes.foot((0.0, 620.0), 40, "time")] == ["0", "2m", "4m", "6m", "8m", "10m"]
    assert [one.text for one in axes.foot((0.0, 3 * 86400.0), 60, "time")] == ["0", "1d", "2d", "3d"]


@pytest.mark.parametrize(
    ("low", "high", "unit", "expected"),
    [
        (700_000.0, 780_000.0, "", ["700K", "720K", "740K", "760K", "780K"]),
        (51.3, 56.7, "%", ["52%", "53%", "54%", "55%", "56%"]),
        (2.9, 5.3, "", ["3.0", "3.5", "4.0", "4.5", "5.0"]),
        (0.76, 0.79, "", ["0.76", "0.77", "0.78", "0.79"]),
        (0.0, 3e9, "", ["0", "1B", "2B", "3B"]),
        (1e-5, 4e-5, "", ["1e-05", "2e-05", "3e-05", "4e-05"]),
    ],
)
def test_values_are_written_in_units_that_people_say(low: float, high: float, unit: str, expected: list[str]) -> None:
    assert axes.value_labels(axes.round_ticks(low, high, 5), unit) == expected


@given(values, values, st.integers(1, 12))
def test_labels_of_values_tell_them_apart_and_are_near_them(low: float, high: float, most: int) -> None:
    low, high = widened(min(low, high), max(low, high), LEAST)
    ticks = axes.round_ticks(low, high, most)
    labels = axes.value_labels(ticks)
    assert len(set(labels)) == len(ticks)
    for label, tick in zip(labels, ticks, strict=True):
        scale = {"K": 1e3, "M": 1e6, "B": 1e9}.get(label[-1], 1.0)
        assert math.isclose(float(label.rstrip("KMB")) * scale, tick, rel_tol=1e-4, abs_tol=(high - low) / 100)
    assert all(len(label) <= 12 for label in labels)


@given(
    st.floats(0, 1e9),
    st.floats(1, 1e9),
    st.integers(2, 200),
    st.sampled_from(["step", "time", "tokens", "dollars"]),
)
def test_labels_of_places_are_whole_and_apart_at_any_width(begin: float, length: float, room: int, axis: str) -> None:
    span = (begin, begin + length)
    assume(span[1] - span[0] >= 1 and span[1] - span[0] > 1e-6 * span[1])
    found = axes.foot(span, room, axis)
    assert all(one.begin >= 0 and one.end <= room and 0 <= one.cell < room for one in found)
    assert all(a.end + axes.GAP <= b.begin for a, b in pairwise(found))
    # Where any number fits there is one.
    assert found or room < 12
    assert all(one.text and cell_len(one.text) == len(one.text) for one in found)


@given(st.floats(-3, 9), st.floats(0.01, 8), st.integers(2, 20))
def test_ticks_of_a_logarithmic_axis_lie_in_it(low: float, span: float, most: int) -> None:
    found = axes.log_ticks(low, low + span, most)
    assert 1 <= len(found) <= most
    assert all(low - 1e-6 <= math.log10(tick) <= low + span + 1e-6 for tick in found)


@given(st.floats(1, 1e9), st.lists(st.floats(0.9999, 1.0001), min_size=1, max_size=40))
def test_noise_of_a_rate_never_fills_its_chart(speed: float, noise: list[float]) -> None:
    columns = flat(*(speed * one for one in noise))
    shown = shown_range([(columns, True)], RATES["tok/s"])
    assert shown.high - shown.low >= speed * 0.099
    assert all(column and shown.low <= column.low <= column.high <= shown.high for column in columns)


@pytest.mark.parametrize("value", [1.0, -3.0, 71.2, 742_000.0, 1e300])
def test_a_value_that_never_changes_is_in_the_middle(value: float) -> None:
    shown = shown_range([(flat(value, value, value), True)])
    assert shown.low < value < shown.high
    assert math.isclose((shown.low + shown.high) / 2, value, rel_tol=1e-9)


@pytest.mark.parametrize("value", [0.0, 1e-300])
def test_a_curve_that_stays_at_nothing_has_no_axis_below_it(value: float) -> None:
    assert shown_range([(flat(value, value, value), True)]) == (0.0, 1.0, None, None)


def test_a_first_step_that_compiles_and_one_that_was_held_up_do_not_squash_a_rate_and_are_told() -> None:
    columns = flat(10_922.0, *([1_750_000.0, 1_760_000.0] * 40), 1_080_000.0, *([1_755_000.0] * 40))
    shown = shown_range([(columns, True)], RATES["tok/s"], usual)
    assert 1_600_000 < shown.low < 1_750_000 and 1_760_000 <= shown.high < 1_900_000
    assert shown.notes == ("", "↓ down to 10.9K")


@given(st.floats(20, 1e6), st.integers(30, 200))
def test_outliers_of_the_first_steps_do_not_squash_the_rest(outlier: float, count: int) -> None:
    columns = flat(outlier, outlier / 2, *(3 - n / count for n in range(count)))
    shown = shown_range([(columns, True)], fit=settled)
    assert 2 - 0.2 < shown.low <= 2.001 + 1 / count and 2.7 < shown.high < 3.3
    assert shown.above == outlier and shown.below is None
    # The whole is there for who asks for it, and what begins before the view is no first step.
    assert shown_range([(columns, True)]).high == outlier
    assert shown_range([(columns, False)], fit=settled).high == outlier


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=100), st.sampled_from([extremes, settled, usual]))
def test_of_what_is_not_left_out_and_said_nothing_is_missing(numbers: list[float], fit: Fit) -> None:
    shown = shown_range([(flat(*numbers), True)], fit=fit)
    assert shown.low < shown.high
    assert shown.above == max(numbers) if shown.above is not None else shown.high >= max(numbers)
    assert shown.below == min(numbers) if shown.below is not None else shown.low <= min(numbers)


def test_a_spike_later_on_is_never_left_out() -> None:
    columns = flat(9.0, 5.0, *([3.0] * 50), 40.0, *([3.0] * 50))
    assert shown_range([(columns, True)], fit=settled).high == 40.0


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=200), st.integers(1, 50), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_smoothed_curve_stays_within_its_values(numbers: list[float], count: int, factor: float) -> None:
    from runner.metrics.smoothing import smoothed_at, smoothed_columns

    series = Series()
    for step, number in enumerate(numbers):
        series.add(step, step, number)
    columns = smoothed_columns(series, series.steps, 0.0, max(1.0, len(numbers) - 1.0), count, factor)
    low, high = min(numbers) - 1e-9, max(numbers) + 1e-9
    assert all(low <= column.low <= column.high <= high for column in columns if column)
    assert [bool(c) for c in columns] == [
        bool(c) for c in series.columns(series.steps, 0.0, max(1.0, len(numbers) - 1.0), count)
    ]
    total = weight = 0.0
    for number in numbers:
        total, weight = factor * total + (1 - factor) * number, factor * weight + (1 - factor)
    assert math.isclose(smoothed_at(series, len(numbers) - 1, factor), total / weight, abs_tol=0.5)
