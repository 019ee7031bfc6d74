"""What does not arrive is asked for again; a stage that fills the volume is done once, and seen by who waits for it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from runner.job.environment import LocalEnvironment
from runner.job.filling import SharedStages
from runner.job.journal import Journal
from runner.job.limits import LimitMonitor
from runner.job.stop import Stop
from runner.model.stages import Phase, StageName
from runner.model.states import State
from runner.model.status import Outcome, OutcomeKind
from runner.nanochat.command_lines import Argv
from runner.nanochat.layout import Inventory
from runner.planning.estimate import shape_of
from runner.planning.plan import Plan, make_plan
from runner.volumes.folder import FolderVolume
from tests.statuses import a_status
from tests.test_plan import FULL
from tests.test_run import SPEC, run

SHORT = Outcome(OutcomeKind.DATA, "1 of 3 shards arrived", stage=StageName.PREPARE)


class Place(LocalEnvironment):
    """A container that waits for a moment in the place of five minutes, and notes what it is told to do."""

    tries, try_again_s = 3, 0.05

    def __init__(self) -> None:
        super().__init__("fc-1")
        self.did: list[str] = []

    def reload(self) -> None:
        self.did.append("reload")


class Bench:
    def __init__(self, tmp_path: Path, ends: Sequence[Outcome | None], *, arrives: bool = True) -> None:
        status = a_status(1, State.PREPARING, "c", 0.0, 0.0, stage="prepare")
        self.volume, self.site, self.ends, self.arrives = FolderVolume(str(tmp_path)), Place(), list(ends), arrives
        self.journal = Journal(self.volume, "runs/abc", status, hold_open=False)
        self.stop = Stop(LimitMonitor(run(), shape_of(12, SPEC.overrides), self.journal.say), None)
        self.has, self.doing = Inventory(), [Phase.NONE]
        self.on_tick: Callable[[], None] = lambda: None
        self.on_keep: Callable[[], None] = lambda: None

    def fill(self) -> Outcome | None:
        return SharedStages(
            self.site, self.volume.path("lock"), self.journal, self.stop,
            clear=lambda: [], keep=lambda: self.on_keep(),
            look=self._look, run=self._run, tick=self._tick, commit=lambda: self.site.did.append("commit"),
        ).run(StageName.PREPARE)  # fmt: skip

    def _look(self) -> Plan:
        self.site.did.append("look")
        return make_plan(SPEC, self.has, backend="local")

    def _run(self, name: str, commands: Sequence[Argv]) -> Outcome | None:
        self.site.did.append("run")
        ended = self.ends.pop(0)
        if ended is None and self.arrives:
            self.has = FULL
        return ended

    def _tick(self) -> None:
        self.doing.append(self.journal.status.work.phase)
        self.on_tick()


def test_what_others_brought_is_seen_before_anything_is_brought_and_shown_before_the_lock_goes(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [None])
    assert bench.fill() is None
    assert bench.site.did == ["reload", "look", "run", "look", "commit"]
    bench.has, bench.site.did = FULL, []
    assert bench.fill() is None
    assert bench.site.did == ["reload", "look"], "done by another run"


def test_a_short_download_is_tried_again_and_told_as_waiting(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [SHORT, SHORT, None])
    assert bench.fill() is None
    assert bench.site.did.count("run") == 3 and bench.site.did.count("commit") == 3
    assert any(doing is Phase.WAITING for doing in bench.doing)
    bench.journal.flush()
    log = (tmp_path / "runs" / "abc" / "log").read_text()
    assert "1 of 3 shards arrived; what arrived is kept, and it is tried again in" in log and "1 time more" in log


def test_it_is_not_tried_for_ever_and_what_time_will_not_mend_is_not_tried_again(tmp_path: Path) -> None:
    assert Bench(tmp_path / "a", [SHORT] * 3).fill() == SHORT
    crash = Outcome(OutcomeKind.CRASH, "exit code 1", stage=StageName.PREPARE)
    bench = Bench(tmp_path / "b", [crash])
    assert bench.fill() == crash


def test_an_exit_code_of_zero_is_not_believed(tmp_path: Path) -> None:
    found = Bench(tmp_path, [None] * 3, arrives=False).fill()
    assert found is not None and (found.kind, found.message) == ("data", "2 of 2 shards did not arrive")


def test_what_came_to_the_work_disk_is_brought_to_the_volume_before_it_is_missed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [None], arrives=False)
    bench.on_keep = lambda: setattr(bench, "has", FULL)
    assert bench.fill() is None


def test_a_cancel_ends_the_waiting_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [SHORT])
    bench.site.try_again_s = 3600.0
    bench.on_tick = lambda: bench.stop.tell() if bench.journal.status.work.phase is Phase.WAITING else None
    found = bench.fill()
    assert found is not None and found.kind == "cancelled"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
