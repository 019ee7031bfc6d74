"""What a plan says of time and money agrees with what nanochat's own runs have taken."""

from typing import Any

import msgspec
import pytest

from runner.model.pricing import TimeRange
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import StageState, StageStatus
from runner.nanochat.layout import Inventory
from runner.planning import estimate
from runner.planning.defaults import resolve_spec
from runner.planning.plan import make_plan
from tests.statuses import a_status

HOUR = 3600.0
# What was run, and how long its training took alone: nanochat's `total_training_time` counts no start-up, no evaluation
# and no save. The older entries' models differed a little from today's; their number of tokens is set, not derived.
DOCUMENTED: list[tuple[str, dict[str, Any], float]] = [
    ("leaderboard 1: d24, bf16, ratio 12, half the batch", {"model": "d24", "overrides": {
        "data_ratio": 12, "total_batch_size": 524_288, "iterations": 16_704, "fp8": False}}, 10_949),
    ("leaderboard 2: d26, fp8, ratio 8.5, half the batch", {"model": "d26", "overrides": {
        "data_ratio": 8.5, "total_batch_size": 524_288, "iterations": 14_889}}, 10_493),
    ("leaderboard 3: d26, fp8, ratio 8.25", {"model": "d26", "overrides": {
        "data_ratio": 8.25, "iterations": 7_226}}, 9_922),
    ("leaderboard 4: d24, fp8, ratio 9.5", {"model": "d24", "overrides": {"data_ratio": 9.5}}, 2.02 * HOUR),
    ("leaderboard 5: d24, fp8, ratio 8.7", {"model": "d24", "overrides": {"data_ratio": 8.7}}, 1.80 * HOUR),
    ("leaderboard 6: d24, fp8, ratio 8", {"model": "d24", "overrides": {"data_ratio": 8}}, 99 * 60),
    ("README: d12 in about 5 minutes", {"model": "d12"}, 5 * 60),
    ("d12 on one H100, 2,205 steps", {"model": "d12", "gpus": 1, "overrides": {"iterations": 2205}}, 35.1 * 60),
    ("run1000.sh: d32, bf16, ratio 20, full attention", {"model": "d32", "overrides": {
        "data_ratio": 20, "total_batch_size": 524_288, "iterations": 71_680, "fp8": False, "window_pattern": "L"}},
        31.3 * HOUR),
    ("pull request 540: d24 on 8 A100 at 315K tok/s", {"model": "d24", "gpu": "A100-80GB"}, 8.76e9 / 315e3),
]  # fmt: skip


def spec(**given: Any) -> RunSpec:
    base = {"task": "speedrun", "model": "d12", "backend": "modal", "engine": "nanochat"}
    return RunSpec.create(**{**base, **given})


def training(wanted: RunSpec) -> TimeRange:
    s = resolve_spec(wanted, "modal")
    size = estimate.shape_of(wanted.depth, s.values)
    pace = estimate.speed(size, s)
    likely = size.iterations * pace.step_s
    return TimeRange(likely * pace.down, likely, likely * pace.up)


@pytest.mark.parametrize(("what", "given", "seconds"), DOCUMENTED, ids=[name for name, *_ in DOCUMENTED])
def test_a_documented_run_took_a_time_within_the_range(what: str, given: dict[str, Any], seconds: float) -> None:
    expected = training(spec(**given))
    assert expected.low <= seconds <= expected.high
    assert expected.high / expected.low < 1.35, "a range that holds everything says nothing"


@pytest.mark.parametrize(
    ("gpu", "depth", "fp8", "how"),
    [
        ("H100", 12, False, "documented"),
        ("H100", 14, False, "interpolated"),
        ("H200", 24, True, "documented"),
        ("H100", 34, True, "interpolated"),
        ("H100", 6, False, "assumed"),
        ("B200", 24, True, "assumed"),
        ("L4", 12, False, "assumed"),
    ],
)
def test_a_speed_says_how_it_is_known(gpu: str, depth: int, fp8: bool, how: str) -> None:
    assert estimate.measured_speed(gpu, depth, fp8=fp8).how == how


def test_full_attention_has_measured_speeds_of_its_own() -> None:
    assert [estimate.measured_speed(gpu, 12, full=True).how for gpu in ("H100", "H200")] == ["measured", "measured"]
    assert estimate.measured_speed("A100-80GB", 24, full=True) == estimate.measured_speed("A100-80GB", 24)


@pytest.mark.parametrize(
    ("depth", "batch", "tokens_per_s"), [(12, 524_288, 553_002), (26, 1_048_576, 96_326), (32, 2_097_152, 55_843)]
)
def test_the_pace_in_fp8_with_full_attention_is_the_measured_one(depth: int, batch: int, tokens_per_s: int) -> None:
    overrides = {"window_pattern": "L", "fp8": True, "total_batch_size": batch, "iterations": 100}
    expected = training(spec(model=f"d{depth}", gpus=1, overrides=overrides))
    assert expected.low <= 100 * batch / tokens_per_s <= expected.high
    assert expected.likely == pytest.approx(100 * batch / tokens_per_s, rel=0.02)


@pytest.mark.parametrize(
    ("stage", "given", "seconds"),
    [
        ("tokenizer", {"gpus": 2, "overrides": {"tokenizer_chars": 100_000_000}}, 14),
        ("chat_eval", {"gpus": 2, "overrides": {"eval_problems": 16}}, 150),
    ],
)
def test_a_stage_that_was_cut_short_is_expected_to_take_as_long_as_it_took(
    stage: str, given: dict[str, Any], seconds: float
) -> None:
    found = next(s.seconds for s in make_plan(spec(**given), Inventory(), backend="modal").stages if s.name == stage)
    assert found.likely == pytest.approx(seconds, rel=0.1)


@pytest.mark.parametrize(("depth", "fp8", "seconds"), [(12, False, 93), (26, True, 279), (32, True, 359)])
def test_the_first_step_is_expected_as_late_as_it_came(depth: int, fp8: bool, seconds: float) -> None:
    s = resolve_spec(spec(model=f"d{depth}", gpus=1, overrides={"fp8": fp8}), "modal")
    assert estimate.startup(estimate.shape_of(depth, s.values), s).likely == pytest.approx(seconds, rel=0.15)


def test_the_less_is_known_the_wider_the_range() -> None:
    known, guessed = (training(spec(model="d12", gpu=gpu, gpus=8)) for gpu in ("H100", "B200"))
    assert guessed.high / guessed.low > 2 * known.high / known.low


def test_the_plan_says_its_own_figures_and_why() -> None:
    found = make_plan(spec(model="d26"), Inventory(), backend="modal")
    assert "documented (nanochat leaderboard, entries 2 and 3)" in found.speed and "8 × H100" in found.speed
    assert 80 < found.usd.low < found.usd.likely < found.usd.high < 260


def run_that_took(step_s: float, wanted: RunSpec, **given: Any) -> Run:
    status = a_status(1, State.DONE, "", 0.0, 0.0, train_s=step_s * 100, train_steps=100)
    status.work.stages = [StageStatus(StageName.SFT, StageState.DONE, 1.0, 334.0)]
    values = {"id": "a", "tag": "mine", "spec": wanted, "backend": "modal", "volume": "v", "created_at": 0.0}
    return Run(**{**values, **given}, state=State.DONE, status=status)


def test_a_run_of_the_same_shape_corrects_the_estimate_and_is_named() -> None:
    wanted = spec(model="d24")
    usual = make_plan(wanted, Inventory(), backend="modal")
    mine = estimate.matching_past_run([run_that_took(1.5, wanted)], wanted, "modal")
    found = make_plan(wanted, Inventory(), backend="modal", own=mine)
    base, sft = (next(s for s in found.stages if s.name == name) for name in ("base", "sft"))
    assert found.speed.startswith("your run mine: 1.5 s a step") and found.seconds.likely > usual.seconds.likely
    assert base.seconds.likely > 1.5 * 8352 and sft.seconds.likely == 333.0


@pytest.mark.parametrize(
    "other",
    [{"gpus": 4}, {"gpu": "H200"}, {"model": "d22"}, {"overrides": {"window_pattern": "L"}}, {"engine": "rehearsal"}],
)
def test_a_run_of_another_shape_corrects_nothing(other: dict[str, Any]) -> None:
    wanted = spec(model="d24")
    assert estimate.matching_past_run([run_that_took(1.5, spec(**{"model": "d24", **other}))], wanted, "modal") is None
    assert estimate.matching_past_run([run_that_took(1.5, wanted, backend="local")], wanted, "modal") is None


def test_stage_times_are_taken_over_only_from_a_run_of_the_same_length() -> None:
    wanted = spec(model="d24", overrides={"iterations": 50})
    shorter = run_that_took(1.5, spec(model="d24", overrides={"iterations": 40}))
    mine = estimate.matching_past_run([shorter], wanted, "modal")
    assert mine and mine.stages == {}
    again = msgspec.structs.replace(shorter, spec=wanted, attempt=2)
    resumed = estimate.matching_past_run([again], wanted, "modal")
    assert resumed and resumed.stages == {}


def test_saving_costs_as_much_as_preemptions_are_expected_to_lose() -> None:
    s = resolve_spec(spec(model="d26"), "modal")
    size = estimate.shape_of(26, s.values)
    step_s = estimate.speed(size, s).step_s
    between = s.save_every * step_s
    saving = estimate.save_seconds(size, 8) / between
    losing = between / 2 / estimate.PREEMPTION_MTBF_S
    assert saving == pytest.approx(losing, rel=0.05)


def test_eager_mode_is_shown_to_be_slower() -> None:
    assert training(spec(overrides={"compile": False})).likely > 1.5 * training(spec()).likely
