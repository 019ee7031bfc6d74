"""What a container inherits from the one before it: a death counts, a goodbye that was cut short does not."""

import errno
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner.job.environment import LocalEnvironment
from runner.job.job import Job
from runner.job.outcome import outcome_of_error
from runner.job.restarts import (
    MAX_RESTARTS_WITHOUT_PROGRESS,
    archive_later_checkpoints,
    close_container,
    crash_loop,
    initial_status,
    never_began,
)
from runner.model.run import Run
from runner.model.stages import Part, StageName
from runner.model.states import State
from runner.model.status import OutcomeKind, StageState, StageStatus, Status
from runner.volumes.folder import FolderVolume
from runner.volumes.run_records import read_status
from tests.statuses import a_status
from tests.test_run import run


class Site(LocalEnvironment):
    """A place whose containers are told to stop at a time, or never."""

    def __init__(self, told_at: float | None = None) -> None:
        super().__init__("fc-1")
        self.told_at = told_at

    def stop_requested_at(self, run: Run) -> float | None:
        return self.told_at


def died(state: State, **values: Any) -> Status:
    return a_status(1, state, "fc-1", 1000.0, 1300.0, **{"restarts_without_progress": 1, **values})


@pytest.mark.parametrize(
    ("state", "told_at", "fruitless", "preemptions"),
    [
        (State.RUNNING, None, 2, 0),
        (State.RUNNING, 900.0, 2, 0),
        (State.RUNNING, 1299.0, 1, 1),
        (State.PREPARING, 1299.0, 1, 1),
        (State.STOPPING, None, 1, 1),
        (State.PREEMPTED, 1299.0, 1, 0),
    ],
)
def test_a_container_that_was_told_to_stop_is_never_counted_as_one_that_died(
    state: State, told_at: float | None, fruitless: int, preemptions: int
) -> None:
    status = initial_status(run(), died(state), Site(told_at), Part.TRAIN, 2000.0)
    assert (status.containers.restarts_without_progress, status.containers.preemptions) == (fruitless, preemptions)


def test_containers_that_die_in_their_first_second_are_counted_and_one_that_got_on_begins_the_count_anew() -> None:
    done = [StageStatus(name, StageState.DONE) for name in (StageName.PREPARE, StageName.TOKENIZER)]
    told = a_status(1, State.QUEUED, "fc-0", 1000.0, 1300.0, stages=done)
    for deaths in range(MAX_RESTARTS_WITHOUT_PROGRESS + 1):
        # All that is left of it is the status that it began with.
        told = initial_status(run(), told, Site(), Part.TRAIN, 2000.0 + deaths)
        assert (told.containers.progress, told.containers.restarts_without_progress) == ((2, 0), deaths)
        told.work.stages = done if deaths else []
    ended = crash_loop(told, [], done)
    assert ended is not None and ended.kind is OutcomeKind.CRASH_LOOP
    told.training.saved_step = 40
    again = initial_status(run(), told, Site(), Part.TRAIN, 3000.0)
    assert (again.containers.progress, again.containers.restarts_without_progress) == ((2, 40), 0)


def test_a_job_that_could_not_begin_says_so_and_keeps_what_was_spent(tmp_path: Path) -> None:
    volume = FolderVolume(str(tmp_path))
    earlier = died(State.FAILED, spent_before_s=700.0)
    volume.path("runs/abc").mkdir(parents=True)
    volume.write("runs/abc/status.json", msgspec.json.encode(earlier))
    outcome = outcome_of_error(OSError(errno.ENOSPC, "No space left on device", "/v/runs/abc/log"))
    assert never_began(volume, run(attempt=2), "local-1", outcome, 2000.0)
    status = read_status(volume, run())
    assert status is not None and status.outcome == outcome and outcome.kind is OutcomeKind.DISK
    assert (status.attempt, status.state, status.money.spent_before_s) == (2, State.FAILED, 700.0)


def test_what_a_container_ran_before_its_job_did_is_paid_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(LocalEnvironment):
        before_s = 30.0

    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(tmp_path))
    volume = FolderVolume(str(tmp_path / "volume"))
    Path(volume.location).mkdir()
    here = run(volume=volume.location)
    job = Job(volume, here, tmp_path / "work", Late("local-1"))
    job.request_stop(15, None)
    assert job.main() == 0
    status = read_status(volume, here)
    assert status is not None and status.state is State.CANCELLED and 30 <= status.spent_s < 90


def test_a_call_has_run_as_long_as_its_containers_and_a_leg_begins_anew() -> None:
    earlier = died(State.RUNNING, leg=2, leg_before_s=50.0, container_seconds=250.0)
    site = Site()
    site.leg = 2
    assert initial_status(run(), earlier, site, Part.TRAIN, 2000.0).containers.leg_before_s == 300.0
    close_container(earlier, 1310.0)
    earlier.state = State.PREEMPTED
    assert initial_status(run(), earlier, site, Part.TRAIN, 9000.0).containers.leg_before_s == 360.0
    site.call_id, site.leg = "fc-2", 3
    status = initial_status(run(), earlier, site, Part.TRAIN, 2000.0)
    assert (status.containers.leg, status.containers.leg_before_s) == (3, 0.0)


def test_tables_of_what_was_evaluated_on_a_way_that_was_given_up_are_put_aside(tmp_path: Path) -> None:
    volume, one = FolderVolume(str(tmp_path)), msgspec.structs.replace(run(State.RUNNING), resume_step=50)
    volume.write(f"{one.path}/base_eval/base_model_000100.csv", b"arc_easy, 0.5")
    assert archive_later_checkpoints(volume, one, 2) == []
    (kept,) = tmp_path.rglob("*.csv")
    assert kept.relative_to(tmp_path / one.path).parts[:2] == ("put_aside", "before-attempt-2")
    assert archive_later_checkpoints(volume, one, 2) is None
