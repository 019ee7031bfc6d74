"""Curves: nothing of a run is lost in them, at any size, however it was interrupted."""

import json
import math
from array import array
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.style import Style
from textual.geometry import Size

from runner.metrics import series
from runner.metrics.compare import thinned_note
from runner.metrics.series import CurvesReader, Series
from tests.test_run import run
from tui.widgets.plot import Layer, Plot, PlotWindow

floats = st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.inf)


def made(values: list[float]) -> Series:
    series = Series()
    for step, value in enumerate(values):
        series.add(step, step * 2.0, value)
    return series


@settings(deadline=None)
@given(st.lists(floats, max_size=700), st.integers(0, 700), st.integers(0, 700))
def test_lowest_and_highest_of_any_stretch_are_those_of_its_points(values: list[float], a: int, b: int) -> None:
    series = made(values)
    kept = [v for v in values if math.isfinite(v)]
    assert list(series.values) == kept and series.not_finite == len(values) - len(kept)
    first, last = sorted((min(a, len(kept)), min(b, len(kept))))
    if first < last:
        assert series.extent(first, last) == (min(kept[first:last]), max(kept[first:last]))


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(1, 90))
def test_columns_lose_no_spike(values: list[float], count: int) -> None:
    series = made(values)
    columns = [c for c in series.columns(series.steps, 0.0, max(1.0, len(values) - 1.0), count) if c]
    assert min(c.low for c in columns) == min(values) and max(c.high for c in columns) == max(values)
    assert columns[0].first == values[0] and columns[-1].last == values[-1]


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=300))
def test_a_step_that_comes_again_takes_back_what_came_after_it(steps: list[int]) -> None:
    series, expected = Series(), dict[int, float]()
    for number, step in enumerate(steps):
        series.add(step, number, float(number))
        expected = {s: v for s, v in expected.items() if s < step} | {step: float(number)}
    assert list(zip(series.steps, series.values, strict=True)) == sorted(expected.items())


def test_the_nearest_point_is_found() -> None:
    series = made([5.0, 6.0, 7.0])
    assert [series.at(series.steps, x) for x in (-1, 0.4, 1.6, 9)] == [(0, 5.0), (0, 5.0), (2, 7.0), (2, 7.0)]
    assert Series().at(array("d"), 1.0) is None


def event(t: float, kind: str, stage: str = "base", **more: object) -> str:
    return json.dumps({"t": t, "attempt": 1, "stage": stage, "kind": kind, **more}, separators=(",", ":")) + "\n"


def step(t: float, number: int, loss: float) -> str:
    return event(t, "step", step=number, loss=loss, lrm=1.0, tokens_per_s=1000, mfu=40.0)


def test_a_run_is_read_as_it_grows_and_over_a_preemption(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    found = CurvesReader(path)
    assert not found.read()
    first = event(100, "container") + step(110, 0, 4.0) + step(111, 1, 3.5) + event(112, "val_bpb", step=2, bpb=0.9)
    path.write_text(first + step(113, 2, 3.0)[:30])
    assert found.read() and list(found.series["loss"].values) == [4.0, 3.5]
    again = step(113, 2, 3.0) + event(114, "checkpoint", of="base", step=2) + event(1000, "container")
    path.write_text(
        first + again + step(1020, 2, 3.1) + event(1021, "gpu", memory=7 * 10**10, load=99.0) + "nonsense\n"
    )
    assert found.read()
    assert list(found.series["loss"].values) == [4.0, 3.5, 3.1]
    # Nothing is paid between two containers, and no time passes.
    assert list(found.series["loss"].seconds) == [10, 11, 34]
    assert [m.what for m in found.marks] == ["val", "save", "preemption"]
    assert list(found.series["GPU GB"].values) == [70.0] and list(found.series["val bpb"].values) == [0.9]
    assert not found.read()
    path.write_text(first)
    assert found.read() and len(found.series["loss"]) == 2 and [m.what for m in found.marks] == ["val"]


class Small(Plot):
    """A chart that needs no screen."""

    size = Size(60, 8)


ABSURD = [1e308, -1e308, "9" * 400, "-" + "9" * 400, "1e999", "NaN", "null", "[]", '"x"', "true"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["step", "val_bpb", "gpu", "checkpoint", "container", "core"]),
                  st.sampled_from([*ABSURD, 5, 7.5, -1]), st.sampled_from([*ABSURD, 1, 2.5]),
                  st.sampled_from([*ABSURD, 100, 101])),
        max_size=12,
    ),
    st.sampled_from(["step", "time", "tokens", "dollars"]),
    st.booleans(),
    st.sampled_from([None, 0.0, 5.0, 1e14]),
)  # fmt: skip
def test_no_number_in_the_events_breaks_a_drawing(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[str, object, object, object]], axis: str, log: bool,
    cursor: float | None,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("e") / "events.jsonl"
    lines = [
        f'{{"t":{t},"kind":"{kind}","stage":"base","of":"base","step":{step},"loss":{value},"bpb":{value},"core":{value}'
        f',"memory":{value},"load":{value}}}'
        for kind, step, value, t in made
    ]
    path.write_text("\n".join(lines) + "\n")
    found = CurvesReader(path)
    found.read()
    view = PlotWindow(axis, cursor=cursor, log=log)
    for name in found.series:
        plot = Small(name, lambda tone: Style(), view, id="p")
        plot.show([Layer(name, found.series[name], found.marks, 10.0, 0.1)])
        assert len(plot._draw()) == 8


def test_zooming_in_for_ever_can_be_taken_back() -> None:
    view = PlotWindow()
    for _ in range(200):
        view.zoom(0.5, (0.0, 400.0))
    assert view.begin is not None and view.end is not None and view.end > view.begin
    for _ in range(200):
        view.zoom(2.0, (0.0, 400.0))
    begin, end = view.begin, view.end
    assert begin is None and end is None


def many(first: int, last: int) -> str:
    return "".join(step(100.0 + n, n, 2.0 + n % 7) for n in range(first, last))


def test_what_is_drawn_stays_as_it_is_while_more_is_read_and_what_did_not_grow_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(many(0, 50) + event(150, "val_bpb", step=50, bpb=0.9) + many(50, 500))
    reader = CurvesReader(path)
    reader.read()
    before = reader.curves()
    drawn = [(n, s.columns(s.steps, 0, 999, 50), len(s)) for n, s in before.series.items()]
    with path.open("a") as file:
        # Resumed from step 100: points are taken back, levels built anew.
        file.write(event(1000, "container") + many(100, 900) + event(2000, "checkpoint", of="base", step=900))
    reader.read()
    assert [(n, s.columns(s.steps, 0, 999, 50), len(s)) for n, s in before.series.items()] == drawn
    assert [m.what for m in before.marks] == ["val"]
    after = reader.curves()
    assert len(after.series["loss"]) == 900 and [m.what for m in after.marks] == ["val", "preemption", "save"]
    assert after.series["val bpb"] is before.series["val bpb"]


@pytest.mark.parametrize(
    ("value", "tokens"), [("524,288 => gradient accumulation steps: 1", 524_288), ("", 0), ("many", 0), ("٣", 0)]
)
def test_tokens_of_a_step_are_those_of_the_log_of_base_training(tmp_path: Path, value: str, tokens: int) -> None:
    fact = {"t": 1.0, "kind": "fact", "name": "total_batch"}
    events = [{**fact, "stage": "base", "value": value}, {**fact, "stage": "sft", "value": "7 => no step of base"}]
    (path := tmp_path / "events.jsonl").write_text(
        "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events)
    )
    reader = CurvesReader(path)
    reader.read()
    assert reader.curves().tokens_per_step == tokens


@pytest.mark.parametrize("new", ["", many(0, 3), many(5, 400)], ids=["empty", "shorter", "longer"])
def test_events_that_were_written_anew_are_read_anew(tmp_path: Path, new: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(many(0, 100))
    reader = CurvesReader(path)
    assert reader.read()
    path.write_text(new)
    assert reader.read() and not reader.read()
    fresh = CurvesReader(path)
    fresh.read()
    assert list(reader.curves().series["loss"].steps) == list(fresh.curves().series["loss"].steps)


def test_a_line_of_events_without_end_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("x" * 3000 + "\n" + many(0, 9))
    with mock.patch.object(series, "READ_BYTES", 1000):
        reader = CurvesReader(path)
        while reader.read():
            pass
    assert len(reader.series["loss"]) == 9


def test_of_too_many_points_and_marks_every_other_one_is_kept_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(many(0, 900) + "".join(event(2000 + n, "val_bpb", step=900, bpb=0.9) for n in range(99)))
    with mock.patch.multiple(series, MOST=500, MOST_MARKS=10):
        reader = CurvesReader(path)
        reader.read()
    found = reader.curves()
    assert 250 <= len(found.series["loss"]) <= 650 and len(found.marks) <= 10
    assert found.series["loss"].steps[-1] == 899
    assert "r1: of loss at places one point in 4 is kept" in thinned_note([run(tag="r1")], [found])


WAY = (
    many(0, 40)
    + event(150, "val_bpb", step=40, bpb=0.9)
    + event(151, "core", step=40, core=0.1)
    + event(151, "checkpoint", of="base", step=40)
    + "".join(step(160.0 + n, n, 2.0) for n in range(40, 80))
    + event(300, "val_bpb", step=80, bpb=0.7)
    + event(301, "core", step=80, core=0.2)
    + event(301, "checkpoint", of="base", step=80)
    + "".join(step(302.0, n, 2.0) for n in range(80, 90))
    + event(310, "step", "sft", step=1, loss=1.0)
    + event(400, "container")
)


@pytest.mark.parametrize(
    "told",
    [
        event(401, "goes_on", "", step=40),
        event(401, "resumed", step=40),
        event(401, "val_bpb", step=40, bpb=0.9),
        step(401, 40, math.nan),
    ],
    ids=["the job says so", "nanochat says so", "it measures again", "it trains again, to nan"],
)
def test_no_curve_and_no_mark_goes_beyond_the_step_that_training_went_back_to(tmp_path: Path, told: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(WAY + told)
    reader = CurvesReader(path)
    reader.read()
    found = reader.curves()
    last = {name: series.steps[-1] for name, series in found.series.items() if len(series)}
    assert last.pop("loss") == last.pop("loss EMA") == 39 and max(last.values()) == 40 and "SFT loss" not in last
    assert max(mark.step for mark in found.marks) == 40
    assert [mark.what for mark in found.marks][:3] == ["val", "save", "preemption"]
    assert list(found.series["val bpb"].values) == [0.9]


def test_a_smoothed_curve_goes_on_from_the_step_that_training_went_back_to(tmp_path: Path) -> None:
    there, straight = tmp_path / "events.jsonl", tmp_path / "straight.jsonl"
    there.write_text(many(0, 200) + event(900, "goes_on", "", step=100) + many(100, 150))
    straight.write_text(many(0, 150))
    readers = [CurvesReader(there), CurvesReader(straight)]
    for reader in readers:
        reader.read()
    after, expected = (reader.series["loss EMA"].values for reader in readers)
    assert list(after) == pytest.approx(list(expected))


def test_a_fine_tuning_that_begins_anew_shows_nothing_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(WAY + event(401, "stage", "sft", state="running"))
    reader = CurvesReader(path)
    reader.read()
    assert len(reader.series["SFT loss"]) == 0 and len(reader.series["loss"]) == 90


back_and_forth = st.lists(
    st.tuples(st.sampled_from(["step", "val_bpb", "core", "resumed", "goes_on", "container"]), st.integers(0, 30)),
    max_size=80,
)


@given(back_and_forth)
def test_however_often_training_goes_back_no_point_is_of_a_way_that_was_given_up(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("e") / "events.jsonl"
    lines, way, val, trained = [], dict[int, float](), dict[int, float](), 0
    for number, (kind, at) in enumerate(made):
        lines.append(event(100.0 + number, kind, step=at, loss=float(number), bpb=float(number), core=0.1))
        if kind != "container" and (at < trained or (kind == "goes_on" and at <= trained)):
            trained = at
            way = {s: v for s, v in way.items() if s < at}
            val = {s: v for s, v in val.items() if s <= at}
        if kind == "step":
            way, trained = {s: v for s, v in way.items() if s < at} | {at: float(number)}, at + 1
        elif kind == "val_bpb":
            val = {s: v for s, v in val.items() if s < at} | {at: float(number)}
    path.write_text("".join(lines))
    reader = CurvesReader(path)
    reader.read()
    assert dict(zip(reader.series["loss"].steps, reader.series["loss"].values, strict=True)) == way
    assert dict(zip(reader.series["val bpb"].steps, reader.series["val bpb"].values, strict=True)) == val
    assert all(mark.step <= max(trained, *val, 0) for mark in reader.marks) if val else True
