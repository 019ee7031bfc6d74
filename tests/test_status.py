"""The job's word in its parts: what earlier releases wrote is read, what newer ones add breaks nothing."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.model import stored
from runner.model.run import Run, decode_run, renewed
from runner.model.stages import Phase, StageName
from runner.model.states import State
from runner.model.status import STATUS_PARTS, OutcomeKind, Pause, StageState, Status, job_status_of
from runner.volumes import run_records
from runner.volumes.folder import FolderVolume
from tests.statuses import a_status
from tests.test_run import run

# As a release before the parts wrote it.
FLAT: dict[str, Any] = {
    "attempt": 2, "state": "failed", "call_id": "fc-9", "started_at": 100.0, "updated_at": 160.0, "ended_at": 150.0,
    "stages": [{"name": "base", "state": "failed", "started_at": 110.0, "ended_at": 150.0, "note": ""}],
    "stage": "base", "step": 70, "total_steps": 100, "loss": 2.5, "doing": "training", "quiet_s": {"training": 3.0},
    "pauses": {"val": {"count": 2, "seconds": 4.5}}, "saved_step": 60, "paid_usd": "1.25", "usd_per_hour": "31.60",
    "calls": ["fc-8", "fc-9"], "log_bases": [0, 512], "progress": [2, 60], "fruitless": 1, "warnings": ["slow"],
    "here_s": 50.0, "colour": "red", "outcome": {"kind": "oom", "message": "out of GPU memory"},
}  # fmt: skip


def flat(status: Status) -> dict[str, Any]:
    """A status as an earlier release would have written it."""
    raw: dict[str, Any] = msgspec.to_builtins(status)
    del raw["schema"]
    for part in STATUS_PARTS:
        raw |= raw.pop(part)
    return raw


def test_a_flat_status_of_an_earlier_release_is_read_with_all_that_it_says() -> None:
    told = job_status_of(json.dumps(FLAT).encode())
    assert (told.attempt, told.state, told.ended_at, told.container_seconds) == (2, State.FAILED, 150.0, 50.0)
    assert told.outcome and told.outcome.kind is OutcomeKind.OOM
    assert (told.work.stage, told.work.phase, told.work.warnings) == ("base", "training", ["slow"])
    assert told.work.stages[0].state is StageState.FAILED
    assert (told.training.step, told.training.saved_step, told.training.loss) == (70, 60, 2.5)
    assert (told.pace.max_silence_s, told.pace.pause_totals) == ({"training": 3.0}, {"val": Pause(2, 4.5)})
    assert (told.money.earlier_cost_usd, told.money.usd_per_hour) == (Decimal("1.25"), Decimal("31.60"))
    assert (told.containers.calls, told.containers.progress) == (["fc-8", "fc-9"], (2, 60))
    assert told.spent_usd == Decimal("1.6889")


def test_a_status_read_and_written_again_is_the_same_whichever_form_it_had() -> None:
    told = a_status(
        1, State.RUNNING, "c", 1.0, 2.0, step=5, earlier_cost_usd=Decimal("0.5"), calls=["c"], leg=3, device="H100"
    )
    assert job_status_of(msgspec.json.encode(told)) == told
    assert job_status_of(json.dumps(flat(told), default=str).encode()) == told


@given(st.dictionaries(st.sampled_from(sorted(FLAT)), st.none() | st.integers() | st.text() | st.lists(st.integers())))
def test_a_flat_status_with_odd_values_loses_those_alone(odd: dict[str, Any]) -> None:
    must = {"attempt", "call_id", "started_at", "updated_at"}
    try:
        told = job_status_of(json.dumps({**FLAT, **odd}).encode())
    except stored.UNREADABLE:
        assert must & odd.keys()
    else:
        assert odd.keys() & {"saved_step"} or told.training.saved_step == 60


def test_a_damaged_part_is_left_out_and_the_rest_of_the_status_stays() -> None:
    raw = msgspec.to_builtins(a_status(1, State.RUNNING, "c", 1.0, 2.0, step=5, phase="training"))
    told = job_status_of(json.dumps({**raw, "money": 7, "work": {**raw["work"], "doing": []}}, default=str).encode())
    assert (told.state, told.training.step, told.work.phase, told.money.earlier_cost_usd) == (
        State.RUNNING,
        5,
        "",
        Decimal(0),
    )


def test_a_row_of_an_earlier_release_is_changed_without_losing_its_status() -> None:
    old = {**msgspec.to_builtins(run(State.FAILED)), "status": FLAT}
    del old["folder"]
    data = json.dumps(old, default=str).encode()
    before = decode_run(data)
    assert before.status and before.status.training.step == 70 and not before.newer
    after = msgspec.structs.replace(before, attempt=3)
    raw = renewed(json.loads(data))
    merged = stored.merged(raw, msgspec.to_builtins(before), msgspec.to_builtins(after))
    again = decode_run(json.dumps(merged, default=str).encode())
    assert again == after and merged["status"]["colour"] == "red"


def test_a_field_that_a_row_does_not_have_is_not_made_nothing_when_another_one_changes() -> None:
    before = run(State.FAILED)
    raw = {k: v for k, v in msgspec.to_builtins(before).items() if k != "folder"}
    after = msgspec.structs.replace(before, attempt=3)
    merged = stored.merged(raw, msgspec.to_builtins(before), msgspec.to_builtins(after))
    assert not decode_run(json.dumps(merged, default=str).encode()).newer


def test_a_record_on_the_volume_keeps_what_only_a_newer_release_knows_of_it(tmp_path: Path) -> None:
    volume = FolderVolume(str(tmp_path))

    def raw() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(volume.read(f"{asked.path}/run.json"))
        return found

    asked: Run = run(State.LAUNCHING)
    run_records.write_run(volume, asked)
    volume.write(f"{asked.path}/run.json", json.dumps({**raw(), "colour": "red"}).encode())
    run_records.write_run(volume, msgspec.structs.replace(asked, attempt=2))
    assert (raw()["colour"], raw()["attempt"]) == ("red", 2)


@pytest.mark.parametrize("part", sorted(STATUS_PARTS))
def test_no_two_parts_have_a_value_of_the_same_name(part: str) -> None:
    others = {n for other, kind in STATUS_PARTS.items() if other != part for n in kind.__struct_fields__}
    assert not others & set(STATUS_PARTS[part].__struct_fields__)
    assert not set(STATUS_PARTS[part].__struct_fields__) & set(Status.__struct_fields__)


def test_a_stage_and_a_phase_that_only_a_newer_release_knows_leave_the_rest_as_it_is() -> None:
    raw = msgspec.to_builtins(a_status(1, State.RUNNING, "c", 1.0, 2.0, step=5, stage="base", phase="training"))
    raw["work"] |= {
        "stage": "rl",
        "doing": "rolling out",
        "stages": [{"name": "base", "state": "done"}, {"name": "rl"}],
    }
    told = job_status_of(json.dumps(raw, default=str).encode())
    assert (told.work.stage, told.work.phase, told.training.step) == (StageName.UNKNOWN, Phase.NONE, 5)
    assert [(s.name, s.state) for s in told.work.stages] == [("base", "done"), ("unknown", "waiting")]
