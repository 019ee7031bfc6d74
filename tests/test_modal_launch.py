"""A launch that cannot orphan money: whoever dies when, there are never two trainings, and never one that is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.errors import Unreachable
from runner.fleet.fleet import Fleet
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.model.states import State
from tests.conftest import wait_until
from tests.modal_cloud import ROOT, Cloud

SPEC = RunSpec.create(task="test", model="d12", backend="modal", engine="rehearsal")
EFFECTS = [
    "make volume",
    "write on volume",
    "intent",
    # run.json, and run.toml.
    "write on volume",
    "write on volume",
    "spawn",
    "record",
    "write on volume",
    "return",
]


@pytest.fixture
def fresh(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> tuple[Cloud, str]:
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    return cloud, f"v{os.urandom(4).hex()}"


def launch(home: Path, volume: str, number: int | None) -> subprocess.CompletedProcess[str]:
    words = [str(home), volume, *([str(number)] if number else [])]
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "tests.faulty_launch", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def later() -> float:
    """Long enough after the launch that nobody waits for it any more."""
    return time.time() + 60


def settled(fleet: Fleet, cloud: Cloud, volume: str) -> list[Run]:
    """The runs on a volume once none is live; others on the same cloud are not its business."""

    def look() -> bool:
        fleet.discover()
        if any(state != "done" for call in cloud.state()["calls"].values() for state, *_ in call):
            return False
        return not any(r.live for r in fleet.poll_all())

    wait_until(look, what="no live run")
    return [run for run in fleet.registry.all() if run.volume == volume]


def trained(cloud: Cloud, volume: str) -> int:
    """How many containers have begun to train on a volume."""
    if volume not in cloud.state()["volumes"]:
        return 0
    logs = (cloud.folder(volume) / "runs").glob("*/log")
    return sum(log.read_text().count("[EXEC] python -m scripts.base_train") for log in logs)


def test_a_launch_has_these_effects_in_this_order(fresh: tuple[Cloud, str], tmp_path: Path) -> None:
    launch(tmp_path / "first", fresh[1], None)
    done = launch(tmp_path / "home", fresh[1], None)
    assert done.returncode == 0, done.stderr
    # The volume is marked with its engine once; the app is deployed once.
    assert done.stdout.split("\n")[:-1] == [EFFECTS[0], *EFFECTS[2:]]


@pytest.mark.parametrize(
    "number", range(1, len(EFFECTS) + 1), ids=[f"before-{n}-{e}" for n, e in enumerate(EFFECTS, 1)]
)
@pytest.mark.parametrize("queue", ["free", "full"])
def test_a_client_killed_at_any_point_leaves_one_training_or_none_and_the_next_start_finds_it(
    fresh: tuple[Cloud, str], tmp_path: Path, number: int, queue: str
) -> None:
    cloud, volume = fresh
    if not any(app["name"] for app in cloud.state()["apps"].values()):
        launch(tmp_path / "deploys", f"{volume}-first", None)
    cloud.idle()
    calls = set(cloud.state()["calls"])
    cloud.knobs(hold=queue == "full")
    killed = launch(tmp_path / "home", volume, number)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    spawned = set(cloud.state()["calls"]) - calls
    fleet = Fleet(tmp_path / "home", volume=volume, clock=later)
    if queue == "full":
        # Nothing of it runs yet. A person who sees a run that did not come up starts it again.
        found = fleet.poll_all()
        for run in found:
            if run.state is State.INTERRUPTED:
                fleet.resume(run)
        cloud.knobs(hold=False)
    runs = settled(fleet, cloud, volume)
    assert len(runs) <= 1
    if spawned or (queue == "full" and runs):
        assert [r.state for r in runs] == [State.DONE]
        assert trained(cloud, volume) == 1
    else:
        assert [r.state for r in runs] in ([], [State.INTERRUPTED])
        assert trained(cloud, volume) == 0
    fleet.close()


def test_a_spawn_whose_answer_was_lost_is_found_again_and_trains_once(
    fresh: tuple[Cloud, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.backends.modal.backend import ModalBackend

    cloud, volume = fresh
    spawn = ModalBackend._spawn

    def lost(run: Run) -> str:
        spawn(run)
        raise Unreachable("Modal cannot be reached", "try again")

    monkeypatch.setattr(ModalBackend, "_spawn", staticmethod(lost))
    fleet = Fleet(tmp_path, volume=volume)
    with pytest.raises(Unreachable):
        fleet.launch(SPEC, backend="modal", tag="unsure")
    assert [r.tag for r in fleet.registry.all()] == ["unsure"]
    assert [(r.tag, r.state) for r in settled(fleet, cloud, volume)] == [("unsure", State.DONE)]
    assert trained(cloud, volume) == 1
    fleet.close()


def test_a_second_call_for_the_same_attempt_is_refused(fresh: tuple[Cloud, str], tmp_path: Path) -> None:
    import modal

    cloud, volume = fresh
    launch(tmp_path / "home", volume, None)
    fleet = Fleet(tmp_path / "home", volume=volume)
    run = fleet.registry.all()[0]
    wait_until(lambda: len(fleet.poll_run(fleet.registry.get(run.id)).calls) == 2, what="both calls")
    first = dict(zip(("prepare", "train"), [c.call_id for c in fleet.registry.get(run.id).calls], strict=True))
    for part in ("prepare", "train"):
        function = modal.Function.from_name("nanochat-tui-rehearsal", part)
        mounted = function.with_options(volumes={"/vol": modal.Volume.from_name(volume)})
        twin = mounted.spawn(run.id, run.attempt, volume)
        assert twin.get(timeout=30) == {"state": "refused", "error": f"{first[part]} has it"}
    assert [r.state for r in settled(fleet, cloud, volume)] == [State.DONE]
    assert trained(cloud, volume) == 1
    fleet.close()


def test_a_call_that_starts_after_its_run_was_cancelled_does_not_train(
    fresh: tuple[Cloud, str], tmp_path: Path
) -> None:
    import modal

    cloud, volume = fresh
    cloud.knobs(hold=True)
    launch(tmp_path / "home", volume, None)
    fleet = Fleet(tmp_path / "home", volume=volume)
    run = fleet.registry.all()[0]
    fleet.cancel(run)
    # A call that no client has on record, as when the client died right after the spawn.
    function = modal.Function.from_name("nanochat-tui-rehearsal", "prepare")
    lost = function.with_options(volumes={"/vol": modal.Volume.from_name(volume)}).spawn(run.id, 1, volume)
    cloud.knobs(hold=False)
    assert lost.get(timeout=30) == {"state": "refused", "error": "it was cancelled before it began"}
    assert [r.state for r in settled(fleet, cloud, volume)] == [State.CANCELLED]
    assert trained(cloud, volume) == 0
    fleet.close()
