"""The best checkpoint is the one at whose step val bpb was measured lowest, on the way that was not given up."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.nanochat.layout import CheckpointKind
from runner.volumes.best import best_of, measured, prunable, with_measures
from runner.volumes.checkpoint_verdicts import Checkpoint, Verdict
from tests.conftest import Cli, wait_until
from tests.gate import Gate
from tests.test_series import event
from tui.presentation import run_format


def saved(
    step: int, bpb: float | None, kind: CheckpointKind = CheckpointKind.BASE, verdict: Verdict = Verdict.COMPLETE
) -> Checkpoint:
    return Checkpoint("r", kind, step, 1, 1, bpb, verdict, "", f"{kind}_checkpoints", (f"model_{step:06d}.pt",), 0.0)


def at(*points: tuple[int, float]) -> list[bytes]:
    return [event(1.0, "val_bpb", step=step, bpb=bpb).encode() for step, bpb in points]


def carried(every: int, last: int, *points: tuple[int, float]) -> list[Checkpoint]:
    """What nanochat saves: each meta file with the val bpb that was measured last."""
    known = dict(points)
    return [saved(s, known[max(p for p in known if p <= s)]) for s in range(every, last + 1, every)]


POINTS = (0, 6.0), (20, 1.2), (40, 0.9), (60, 1.0), (80, 1.1), (100, 1.2)


def test_pruning_keeps_the_step_that_was_measured_best_and_not_one_that_carries_its_value() -> None:
    found = with_measures(carried(10, 100, *POINTS), measured(at(*POINTS)))
    assert {c.step for c in found} - {c.step for c in prunable(found)} == {40, 100}
    assert [run_format.measured(c) for c in found[3:5]] == ["0.9000", "0.9000 @40"]


def test_where_nothing_of_it_is_known_the_earliest_that_carries_the_best_value_stays() -> None:
    found = carried(10, 100, *POINTS)
    assert {c.step for c in found} - {c.step for c in prunable(found)} == {40, 100}
    assert run_format.measured(found[0]) == "last 6.0000"


def test_of_equal_measures_the_earliest_is_the_best() -> None:
    points = (20, 0.9), (40, 0.9), (60, 0.9)
    assert set(best_of(with_measures(carried(20, 60, *points), measured(at(*points))))) == {20}


def test_where_meta_files_and_events_do_not_agree_both_bests_stay() -> None:
    found = with_measures([saved(20, 0.9), saved(40, 0.8), saved(60, 1.0)], measured(at((20, 0.5), (40, 0.8))))
    assert set(best_of(found)) == {20, 40}


def test_a_measure_of_a_way_that_was_given_up_is_none() -> None:
    lines = [*at((20, 0.9), (40, 0.5)), event(2, "goes_on", "", step=30).encode(), *at((60, 0.8))]
    assert measured(lines) == {"base": {20: 0.9, 60: 0.8}, "sft": {}}
    again = [*at((20, 0.9), (40, 0.5), (20, 0.7))]
    assert measured(again)[CheckpointKind.BASE] == {20: 0.7}
    tuned = [event(3, "val_bpb", "sft", step=5, bpb=0.3).encode()]
    assert measured([*lines, *tuned])[CheckpointKind.SFT] == {5: 0.3}
    assert measured([*lines, *tuned, event(4, "stage", "sft", state="running").encode()])[CheckpointKind.SFT] == {}


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0.5, 0.7, 0.9, None, math.inf])), max_size=8),
    st.dictionaries(st.integers(0, 90), st.sampled_from([0.5, 0.7, 0.9]), max_size=8),
)
def test_what_was_measured_best_is_never_expendable(
    metas: list[tuple[int, float | None]], points: dict[int, float]
) -> None:
    whole = {step * 10: saved(step * 10, bpb) for step, bpb in metas}
    found = with_measures([*whole.values()], {CheckpointKind.BASE: points})
    gone = {c.step for c in prunable(found)}
    here = {step: points[step] for step in whole if step in points}
    if here:
        assert min(s for s in here if here[s] == min(here.values())) not in gone
    if whole:
        assert max(whole) not in gone


@pytest.mark.parametrize("line", [b"", b"[]", b'{"kind":"val_bpb"', b'{"kind":"val_bpb","stage":"base","step":"x"}'])
def test_damaged_events_tell_of_no_measure(line: bytes) -> None:
    assert measured([line]) == {"base": {}, "sft": {}}


def test_a_run_that_went_back_tells_the_numbers_of_the_step_that_it_went_back_to(cli: Cli, gate: Gate) -> None:
    asked = ("--task", "base", "--iterations", "200", "--save-every", "25", "--eval-every", "40", "--fault", "crash@90")
    cli("launch", "--tag", "b", "--step-ms", "0", "--watch", *asked, code=1)
    events = [json.loads(line) for line in (cli.run_dir("b") / "events.jsonl").read_text().splitlines()]
    val = {e["step"]: e["bpb"] for e in events if e["kind"] == "val_bpb"}
    assert cli.run("b")["val_bpb"] == val[80]
    gate.hold(50)
    cli("resume", "b", "--step", "50")
    gate.reached(50)
    wait_until(lambda: cli.run("b")["state"] == "running")
    there = cli.run("b")
    assert (there["step"], there["val_bpb"]) == (50, val[40])
    cli("cancel", "b")
    gate.open()
    assert {c["step"]: c["measured_at"] for c in cli.json("checkpoints", "b")} == {25: 0, 50: 40}
