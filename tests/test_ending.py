"""The end of a container that hands over: all is committed before, nobody is asked in vain, and nothing is lost."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from runner.errors import NanochatError
from runner.job import ending
from runner.job.commits import Commits
from runner.job.ending import Ending
from runner.job.environment import LocalEnvironment
from runner.job.journal import Journal
from runner.job.limits import LimitMonitor
from runner.job.stop import Stop
from runner.model.run import Run
from runner.model.states import State
from runner.model.status import Outcome, Status
from runner.planning.estimate import shape_of
from runner.volumes.folder import FolderVolume
from runner.volumes.run_records import mark_cancelled, read_status
from tests.statuses import a_status
from tests.test_run import SPEC, run


class Place(LocalEnvironment):
    """A container that can ask for the next call."""

    state_when_stopped = State.PREEMPTED

    def __init__(self) -> None:
        super().__init__("fc-1")
        self.asked: list[tuple[int, State]] = []
        self.on_commit: Callable[[], None] = lambda: None
        self.refuses = ""

    def commit(self) -> None:
        self.on_commit()

    def spawn_leg(self, run: Run, leg: int) -> str:
        if self.refuses:
            raise NanochatError(self.refuses, "put that right, then resume")
        assert run.status is not None
        self.asked.append((leg, run.status.state))
        return "fc-2"


class Bench:
    def __init__(self, tmp_path: Path) -> None:
        self.site, self.volume = Place(), FolderVolume(str(tmp_path))
        self.run = run(volume=str(tmp_path))
        status = a_status(1, State.RUNNING, "fc-1", 0.0, 0.0, stage="base", step=50, saved_step=40)
        self.journal = Journal(self.volume, self.run.path, status, hold_open=False)
        self.stop = Stop(LimitMonitor(self.run, shape_of(12, SPEC.overrides), self.journal.say), None)
        commits = Commits(self.site.commit, lambda line: None)
        self.ending = Ending(
            self.volume, self.run, tmp_path, self.site, self.journal, commits, self.stop, lambda: 100.0
        )

    def told(self) -> Status:
        found = read_status(self.volume, self.run)
        assert found is not None
        return found


def test_the_next_call_is_asked_for_once_everything_is_committed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.site.on_commit = lambda: committed.append(bench.told().state)
    committed: list[State] = []
    assert bench.ending.spawn_leg(2, "[NEXT CALL]") is None
    assert committed == [State.QUEUED] and bench.site.asked == [(2, State.QUEUED)]
    assert bench.told().money.usd_per_hour == 0


def test_no_call_is_asked_for_where_the_run_was_cancelled_or_the_container_is_to_go(tmp_path: Path) -> None:
    for how in ("cancelled", "told"):
        bench = Bench(tmp_path)
        if how == "cancelled":
            mark_cancelled(bench.volume, bench.run)
        else:
            bench.stop.tell()
        found = bench.ending.spawn_leg(2, "[NEXT CALL]")
        assert found is not None and found.kind == "cancelled" and bench.site.asked == []
        bench.ending.end(found)
        assert bench.told().state is (State.CANCELLED if how == "cancelled" else State.PREEMPTED)


def test_a_call_that_cannot_be_had_ends_the_run_with_all_its_numbers(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.site.refuses = "the GPUs could not be asked for (not permitted)"
    found = bench.ending.spawn_leg(2, "[NEXT CALL]")
    assert found is not None and (found.kind, found.advice) == ("launch", "put that right, then resume")
    bench.ending.end(found)
    status = bench.told()
    assert (status.state, status.work.stage, status.training.step, status.outcome) == (State.FAILED, "base", 50, found)


def test_what_is_not_committed_is_not_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise OSError("the volume could not be committed")

    monkeypatch.setattr(ending, "COMMIT_FOR_S", 0.3)
    monkeypatch.setattr(ending, "COMMIT_AGAIN_S", 0.05)
    bench = Bench(tmp_path)
    bench.site.on_commit = refused
    found = bench.ending.spawn_leg(2, "[NEXT CALL]")
    assert found is not None and found.kind == "volume" and bench.site.asked == []
    assert isinstance(found, Outcome) and msgspec.json.encode(found)
