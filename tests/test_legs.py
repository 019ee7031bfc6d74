"""Training beyond the time that one call may take: how many calls, what fits into none, when a call is left."""

from typing import Any

import pytest

from runner.job.limits import LimitMonitor
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import StageStatus
from runner.nanochat.layout import Inventory
from runner.planning import legs
from runner.planning.estimate import shape_of
from runner.planning.legs import StageTime
from runner.planning.plan import Plan, make_plan
from tests.statuses import a_status
from tests.test_plan import spec
from tests.test_run import run

DAY = 86_400.0


def planned(**given: Any) -> Plan:
    return make_plan(spec(**given), Inventory(), backend="modal")


def test_a_training_of_more_than_a_day_says_how_many_calls_it_takes() -> None:
    long = planned(model="d26", gpus=1)
    assert long.calls == 2 and long.too_long is None
    assert any("about 2 calls of at most 1d00h" in w and "follow by themselves" in w for w in long.warnings)
    assert planned(model="d26", gpus=8).calls == 1
    assert make_plan(spec(backend="local", engine="rehearsal", gpus=1), Inventory(), backend="local").calls == 1


def test_what_fits_into_no_call_is_told_with_the_flag_that_makes_it_fit() -> None:
    never = planned(model="d26", gpus=1, overrides={"save_every": 100_000})
    assert never.too_long is not None
    what, do = never.too_long
    assert what.startswith("base takes") and "a call 1d00h at most" in what
    fits = planned(model="d26", gpus=1, overrides={"save_every": do.split()[2]})
    assert fits.too_long is None
    assert planned(model="d34", gpus=1, overrides={"save_every": 1}).too_long is None


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        ([StageTime("base", 90.0, 5.0, 10.0)], 1),
        ([StageTime("base", 205.0, 5.0, 10.0)], 3),
        ([StageTime("base", 95.0, 5.0, 10.0), StageTime("sft", 50.0)], 2),
        ([StageTime("base", 60.0, 5.0, 10.0), StageTime("sft", 50.0), StageTime("chat_eval", 50.0)], 2),
    ],
)
def test_calls_are_counted_in_whole_intervals_between_checkpoints(pieces: list[StageTime], calls: int) -> None:
    assert legs.needed(pieces, 100.0) == calls


class Call:
    """A guard with a clock, in a call that may take a day and began at 0."""

    def __init__(self, stage: str = "base", **given: Any) -> None:
        self.now = 0.0
        self.guard = LimitMonitor(run(), shape_of(12, run().spec.overrides), lambda line: None, lambda: self.now, DAY)
        values = {
            "stage": stage,
            "publish_s": 60.0,
            "stages": [StageStatus(StageName(stage), started_at=60.0)],
            **given,
        }
        self.status = a_status(1, State.RUNNING, "fc-2", 0.0, 0.0, **values)

    def verdict_at(self, now: float) -> str:
        self.now = now
        found = self.guard.stop_reason(self.status)
        return found.kind if found else ""


def test_a_call_is_left_right_after_the_last_checkpoint_that_fits() -> None:
    call = Call(step=1000, total_steps=100_000, save_every=1000, pace_s=10.0)
    call.guard.on_checkpoint_saved()
    assert call.verdict_at(DAY - 11_000) == ""
    assert call.verdict_at(DAY - 9_000) == "", "nothing was kept just now: the next checkpoint may yet be reached"
    call.guard.on_checkpoint_saved()
    assert call.verdict_at(DAY - 9_000) == "time limit"


def test_a_call_has_no_more_time_in_its_second_container_than_is_left_of_it_and_waiting_takes_none() -> None:
    fresh, second = Call(started_at=5 * DAY), Call(started_at=5 * DAY, leg_before_s=DAY / 2)
    assert fresh.verdict_at(6 * DAY - 76) == "" and fresh.verdict_at(6 * DAY - 74) == "time limit"
    assert second.verdict_at(5.5 * DAY - 76) == "" and second.verdict_at(5.5 * DAY - 74) == "time limit"


def test_only_a_stage_that_had_nearly_a_whole_call_and_kept_nothing_is_given_up() -> None:
    assert "--save-every" in Call(save_every=500).guard.leg_without_progress(Call(save_every=500).status)
    assert "--gpus" in Call("sft").guard.leg_without_progress(Call("sft").status)
    late = Call("sft")
    late.status.work.stages[0].started_at = DAY / 2
    assert late.guard.leg_without_progress(late.status) == ""
