"""What cannot be saved is told while there is time, and ends the run before it costs much."""

import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from runner.job.commits import Commits
from runner.job.environment import LocalEnvironment
from runner.job.job import Job
from runner.job.limits import LimitMonitor
from runner.job.outcome import with_resume_advice
from runner.model.run import Run
from runner.model.states import State
from runner.model.status import OutcomeKind, Status, Unsaved
from runner.monitoring import health, unsaved
from runner.monitoring.notifications import pending_notifications
from runner.volumes.run_records import read_status
from tests.statuses import a_status
from tests.test_run import NOW, run
from tui.cli.json_records import as_json
from tui.presentation import run_summary

FULL = "no space left on the volume"


def told(checkpoints: int = 0, since: float = NOW - 60, **values: Any) -> Status:
    lost = Unsaved(FULL, since, checkpoints)
    given = {
        "stage": "base",
        "saved_step": 20,
        "unsaved": lost,
        "container_seconds": 599.0,
        "progress_at": NOW - 2,
        **values,
    }
    return a_status(1, State.RUNNING, "c", NOW - 600, NOW - 1, **given)


def verdict(status: Status) -> OutcomeKind | None:
    from runner.planning.estimate import shape_of

    guard = LimitMonitor(run(), shape_of(12, run().spec.overrides), lambda line: None, lambda: NOW)
    found = guard.stop_reason(status)
    return found.kind if found else None


def test_what_cannot_be_saved_is_said_by_the_list_the_watch_and_a_notice_in_the_same_words() -> None:
    words = "not saved since step 20 (no space left on the volume)"
    live = run(State.RUNNING, status=told())
    found = health.health(live, NOW)
    assert (found.status, found.why) == (health.HealthStatus.UNSAVED, words)
    assert as_json(live, Decimal(0), NOW)["unsaved"] == words
    assert any(words in str(getattr(cell, "text", cell)) for cell in run_summary.health_line(live, NOW))
    assert [n.text for n in pending_notifications(live, NOW) if n.kind == "unsaved"] == [f"t: {words}"]
    assert unsaved.unsaved_text(told(saved_step=None)) == "nothing is saved yet (no space left on the volume)"


def test_a_run_that_stalls_while_it_cannot_save_says_both() -> None:
    live = run(State.RUNNING, status=told(progress_at=NOW - 590, phase="training", slowest_dt_s=1.0))
    assert health.health(live, NOW).status is health.HealthStatus.STALLED
    assert any(
        "not saved since step 20" in str(getattr(cell, "text", cell)) for cell in run_summary.health_line(live, NOW)
    )


def test_a_run_of_which_all_is_saved_says_nothing_of_it() -> None:
    live = run(State.RUNNING, status=told(unsaved=None))
    assert (
        as_json(live, Decimal(0), NOW)["unsaved"] is None and health.health(live, NOW).status is health.HealthStatus.OK
    )
    assert not [n for n in pending_notifications(live, NOW) if n.kind == "unsaved"]


@pytest.mark.parametrize(
    ("status", "ends"),
    [
        (told(2), True),
        (told(1), False),
        (told(0, NOW - 899), False),
        (told(0, NOW - 901), True),
        (told(7, NOW - 20), False),
        (told(unsaved=None), False),
    ],
)
def test_a_run_that_nothing_is_saved_of_ends_at_its_limit_and_not_before(status: Status, ends: bool) -> None:
    assert verdict(status) is (OutcomeKind.UNSAVED if ends else None)


def test_the_end_of_such_a_run_says_why_what_is_kept_and_what_to_do() -> None:
    from runner.planning.estimate import shape_of

    guard = LimitMonitor(run(), shape_of(12, run().spec.overrides), lambda line: None, lambda: NOW)
    found = guard.stop_reason(told(2))
    assert found is not None
    ended = with_resume_advice(found, told(2), 32)
    assert ended.message == "nothing could be saved for 1m00: no space left on the volume; kept up to step 20"
    assert "volume du" in ended.advice and "resume RUN" in ended.advice and ended.resume == "after a change"


def test_trouble_counts_from_its_beginning_and_is_over_when_something_is_saved() -> None:
    first = unsaved.unsaved(None, FULL, 0, 100.0)
    later = unsaved.unsaved(first, "the volume could not be committed", 1, 160.0)
    assert later == Unsaved("the volume could not be committed", 100.0, 1)
    assert unsaved.unsaved(later, "", 0, 170.0) is None


def test_a_commit_that_fails_is_known_until_one_succeeds() -> None:
    def refuse() -> None:
        raise OSError("it has reached its limit of inodes")

    way: list[Callable[[], None]] = [refuse]
    commits = Commits(lambda: way[0](), lambda line: None)
    assert commits.problem == ""
    commits.commit_now()
    assert commits.problem == "it has reached its limit of inodes"
    way[0] = lambda: None
    commits.commit_now()
    assert commits.problem == ""


def test_a_commit_that_does_not_end_is_trouble_and_is_not_begun_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runner.job.commits.EVERY_S", -1.0)
    monkeypatch.setattr("runner.job.commits.SLOW_S", -1.0)
    begun, go = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        assert go.wait(30)

    commits = Commits(hang, lambda line: None)
    assert commits.due
    commits.commit_in_background()
    assert begun.wait(30)
    assert commits.problem == "a commit of the volume does not end" and not commits.due
    go.set()


def test_a_job_whose_volume_refuses_every_commit_ends_itself_and_says_that_nothing_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.volumes.folder import FolderVolume

    class Refused(LocalEnvironment):
        commits = 0

        def commit(self) -> None:
            self.commits += 1
            if self.commits > 1:
                raise OSError("the volume could not be committed: no inodes")

    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(tmp_path))
    monkeypatch.setattr(unsaved, "LEAST_S", 0.0)
    monkeypatch.setattr("runner.job.publish.RETRY_S", 0.1)
    volume = FolderVolume(str(tmp_path / "volume"))
    Path(volume.location).mkdir()
    here: Run = _slow(volume.location)
    job = Job(volume, here, tmp_path / "work", Refused("local-1"))
    assert job.main() == 1
    status = read_status(volume, here)
    assert status is not None and status.outcome is not None
    assert (status.state, status.outcome.kind) == (State.FAILED, OutcomeKind.UNSAVED)
    assert "no inodes" in status.outcome.message and status.training.saved_step is None
    assert (status.training.step or 0) < 4000


def _slow(location: str) -> Run:
    from runner.model.spec import RunSpec

    overrides = {"iterations": 4000, "save_every": 5, "step_ms": 50}
    spec = RunSpec.create(task="base", model="d12", backend="local", overrides=overrides)
    return run(State.LAUNCHING, volume=location, spec=spec)
