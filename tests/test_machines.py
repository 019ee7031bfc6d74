"""Two workspaces, two laptops, no volume, a lost answer, a newer source: no dollar goes unseen."""

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.backends.modal import names
from runner.backends.modal.backend import ModalBackend
from runner.errors import NanochatError, Unreachable, UsageError
from runner.fleet.fleet import Fleet
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.model.states import LIVE, State
from runner.volumes import run_records
from tests.conftest import Cli, wait_until
from tests.modal_cloud import Cloud

# Trains until somebody ends it, however slow the machine is; once resumed, for two minutes.
LONG = ["--task", "speedrun", "--save-every", "10", "--step-ms", "600", "--fault", "hang@15"]


@pytest.fixture
def second(modal_cli: Cli, tmp_path: Path) -> Cli:
    """Another laptop with the same token."""
    other = Cli(tmp_path / "second")
    other.env |= {k: v for k, v in modal_cli.env.items() if k.startswith("MODAL")}
    other.volume = modal_cli.volume
    return other


@pytest.fixture
def fleet(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    made = Fleet(tmp_path / "fleet", volume=f"v{os.urandom(4).hex()}")
    yield made
    cloud.well()
    for run in made.registry.all():
        with contextlib.suppress(NanochatError):
            made.backend("modal").cancel(run, force=True)
    made.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir()


def trains(cli: Cli, cloud: Cloud, tag: str, step: int = 12) -> Any:
    """The run once it has kept a checkpoint and trains, which a resumed one does not at once."""

    def found() -> Any:
        run = cli.run(tag)
        return (run["step"] or 0) >= step and cloud.containers(run["call_ids"], "train") and run

    return wait_until(found, seconds=90, what=f"step {step}")


def alive(cloud: Cloud, calls: list[str]) -> list[str]:
    return [*cloud.containers(calls, "prepare"), *cloud.containers(calls, "train")]


def spec(**overrides: Any) -> Any:
    return RunSpec.create(task="speedrun", model="d12", backend="modal", engine="rehearsal", overrides=overrides)


def test_a_run_of_another_workspace_is_neither_polled_resumed_cancelled_nor_deleted(
    modal_cli: Cli, cloud: Cloud
) -> None:
    modal_cli.modal(*LONG, "--tag", "ours")
    run = trains(modal_cli, cloud, "ours")
    here = dict(modal_cli.env)
    modal_cli.env |= cloud.elsewhere
    # A volume of that name is there, too: whoever used the product there has one.
    modal_cli.modal("--task", "test", "--tag", "theirs", "--watch")
    listed = modal_cli("ls", "--backend", "modal")
    assert "ours is in workspace emu" in listed.stderr and "MODAL_PROFILE=emu" in listed.stderr
    state = {r["tag"]: r["state"] for r in modal_cli.json("ls")}
    assert state["ours"] in LIVE and state["theirs"] == "done"
    for words in (["resume", "ours"], ["cancel", "ours"], ["rm", "ours", "--yes"], ["rm", "ours", "--yes", "--forget"]):
        refused = modal_cli(*words, code=5)
        assert "workspace emu" in refused.stderr, words
    assert alive(cloud, run["call_ids"])
    modal_cli.env.clear()
    modal_cli.env.update(here)
    modal_cli("cancel", "ours")
    assert modal_cli.run("ours")["state"] == "cancelled"
    assert not alive(cloud, modal_cli.run("ours")["call_ids"])


def test_what_another_laptop_resumed_is_adopted_and_told_and_not_deleted(
    modal_cli: Cli, second: Cli, cloud: Cloud
) -> None:
    modal_cli.modal(*LONG, "--tag", "shared")
    trains(modal_cli, cloud, "shared")
    modal_cli("cancel", "shared")
    second("ls", "--backend", "modal", "--volume", modal_cli.volume)
    second("resume", "shared")
    again = trains(second, cloud, "shared", 13)
    assert again["attempts"] == 2
    refused = modal_cli("rm", "shared", "--yes", code=2)
    assert "was resumed on" in refused.stderr and "cancel shared first" in refused.stderr
    there = cloud.folder(modal_cli.volume) / "runs"
    assert len(list(there.glob("*/run.json"))) == 1
    assert modal_cli.run("shared")["state"] in LIVE
    modal_cli("cancel", "shared")
    wait_until(lambda: not alive(cloud, again["call_ids"]), what="no container")


def test_an_ended_run_that_another_laptop_resumed_is_seen_by_listing_alone(
    modal_cli: Cli, second: Cli, cloud: Cloud
) -> None:
    modal_cli.modal(*LONG, "--tag", "seen")
    trains(modal_cli, cloud, "seen")
    modal_cli("cancel", "seen")
    second("ls", "--backend", "modal", "--volume", modal_cli.volume)
    second("resume", "seen")
    trains(second, cloud, "seen", 13)
    listed = modal_cli("ls")
    assert "seen was resumed on" in listed.stderr
    assert {r["tag"]: r["state"] for r in modal_cli.json("ls")}["seen"] in LIVE
    second("cancel", "seen")


def test_without_its_volume_a_run_is_still_cancelled_and_its_record_can_go(modal_cli: Cli, cloud: Cloud) -> None:
    modal_cli.modal(*LONG, "--tag", "bare")
    run = trains(modal_cli, cloud, "bare")
    before = os.environ.copy()
    os.environ.update(cloud.env)
    try:
        import modal

        modal.Volume.objects.delete(modal_cli.volume)
    finally:
        os.environ.clear()
        os.environ.update(before)
    told = modal_cli("cancel", "bare", code=None)
    wait_until(lambda: not alive(cloud, run["call_ids"]), what="no container")
    assert "could not be told" in told.stderr
    wait_until(lambda: modal_cli.run("bare")["state"] == "cancelled", what="cancelled")
    modal_cli("rm", "bare", "--yes", code=5)
    modal_cli("rm", "bare", "--yes", "--forget")
    assert modal_cli.json("ls") == []


def test_the_record_of_a_run_that_still_works_cannot_be_forgotten(modal_cli: Cli, cloud: Cloud) -> None:
    modal_cli.modal(*LONG, "--tag", "works")
    trains(modal_cli, cloud, "works")
    assert "cancel works first" in modal_cli("rm", "works", "--yes", "--forget", code=2).stderr
    modal_cli("cancel", "works")


def test_a_cancel_that_cannot_end_the_calls_says_what_can(modal_cli: Cli, cloud: Cloud) -> None:
    modal_cli.modal(*LONG, "--tag", "stuck")
    run = trains(modal_cli, cloud, "stuck")
    cloud.fault("FunctionCallCancel", "FAILED_PRECONDITION")
    told = modal_cli("cancel", "stuck", code=5)
    assert "may still run on paid GPUs" in told.stderr and "modal container stop" in told.stderr
    assert alive(cloud, run["call_ids"])
    cloud.well()
    modal_cli("cancel", "stuck")
    wait_until(lambda: not alive(cloud, run["call_ids"]), what="no container")


def test_a_resume_whose_answer_is_lost_is_never_taken_for_cancelled_and_is_seen_when_it_trains(
    fleet: Fleet, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fleet.launch(spec(save_every=10, step_ms=600, fault=["hang@15"]), backend="modal", tag="ghost")
    look(fleet, run, lambda r: r.status is not None and (r.status.training.step or 0) > 11)
    fleet.cancel(run)
    ended = look(fleet, run, lambda r: not r.live)
    spawn = ModalBackend._spawn

    def lost(run: Run) -> str:
        spawn(run)
        raise Unreachable("Modal cannot be reached", "try again")

    monkeypatch.setattr(ModalBackend, "_spawn", staticmethod(lost))
    cloud.knobs(hold=True)
    with pytest.raises(Unreachable):
        fleet.resume(ended)
    assert fleet.poll_run(fleet.registry.get(run.id)).state is State.INTERRUPTED
    cloud.knobs(hold=False)
    found = look(fleet, run, lambda r: r.state is State.RUNNING)
    assert found.attempt == 2
    fleet.cancel(found)
    look(fleet, run, lambda r: not r.live)
    wait_until(lambda: not alive(cloud, [c.call_id for c in found.calls]), what="no container")


def test_calls_that_this_workspace_does_not_know_have_not_ended(fleet: Fleet, cloud: Cloud) -> None:
    import msgspec

    cloud.knobs(hold=True)
    run = fleet.launch(spec(), backend="modal", tag="lost")
    # As a release recorded it that knew of no workspaces, now seen from another one.
    calls = [msgspec.structs.replace(c, call_id="fc-ofanotherworkspace") for c in run.calls]
    old = fleet.registry.update(run.id, lambda r: msgspec.structs.replace(r, workspace="", environment="", calls=calls))
    run_records.write_run(fleet.volume_of(old), old)
    found = fleet.poll_run(fleet.registry.get(run.id))
    assert found.state is State.UNKNOWN and found.outcome and "modal.com/apps" in found.outcome.advice
    with pytest.raises(UsageError, match="not known whether"):
        fleet.resume(found)
    with pytest.raises(Unreachable, match="MODAL_PROFILE"):
        fleet.cancel(found)
    with pytest.raises(UsageError, match="cancel lost first"):
        fleet.delete(found, forget=True)
    assert fleet.registry.get(run.id).state in (State.UNKNOWN, State.STOPPING)


def test_a_run_that_a_live_one_goes_on_from_is_not_deleted(fleet: Fleet, cloud: Cloud) -> None:
    base = fleet.launch(spec(), backend="modal", tag="base")
    base = look(fleet, base, lambda r: r.state is State.DONE)
    cloud.knobs(hold=True)
    more = RunSpec.create(task="sft", backend="modal", source=base.spec, source_id=base.id, overrides={})
    child = fleet.launch(more, backend="modal", tag="child")
    with pytest.raises(UsageError, match="child goes on from base"):
        fleet.delete(base)
    assert fleet.registry.get(base.id).state is State.DONE
    fleet.cancel(child)


def test_a_newer_source_is_deployed_beside_live_runs_and_never_under_them(
    fleet: Fleet, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.knobs(hold=True)
    first = fleet.launch(spec(), backend="modal", tag="first")
    source = names.source_fingerprint()
    monkeypatch.setattr(names, "source_fingerprint", lambda: "f" * 16)
    plain = modal_of(fleet)
    deployed: list[str] = []
    monkeypatch.setattr(plain._apps, "_deploy", lambda engine, name: deployed.append(name) or name)
    assert plain.ensure_deployed("rehearsal", live=[first]) == f"{first.app}-ffffff"
    assert plain.ensure_deployed("rehearsal", live=[]) == f"{first.app}-ffffff", "a run of another laptop waits in it"
    fleet.cancel(first)
    cloud.knobs(hold=False)
    cloud.idle()
    assert plain.ensure_deployed("rehearsal", live=[]) == first.app
    monkeypatch.setattr(names, "source_fingerprint", lambda: source)
    assert plain.ensure_deployed("rehearsal", live=[]) == first.app and len(deployed) == 3


def test_a_deployment_that_takes_long_ends_with_the_program_that_began_it(fleet: Fleet, cloud: Cloud) -> None:
    cloud.knobs(latency={"AppPublish": 120.0})
    deploys = modal_of(fleet)._apps
    said: list[str] = []

    def deploy() -> None:
        try:
            deploys._deploy("rehearsal", "slow-one")
        except NanochatError as error:
            said.append(error.what)

    thread = threading.Thread(target=deploy)
    thread.start()
    wait_until(lambda: deploys._deploying, what="a deployment")
    deploys.close()
    thread.join(30)
    assert said == ["the deployment of slow-one was stopped"]


def modal_of(fleet: Fleet) -> ModalBackend:
    found = fleet.backend("modal")
    assert isinstance(found, ModalBackend)
    return found


def look(fleet: Fleet, run: Run, true: Any) -> Run:
    def now() -> Run | None:
        found = fleet.poll_run(fleet.registry.get(run.id))
        return found if true(found) else None

    found = wait_until(now, seconds=90, what=f"{run.tag} as wanted")
    assert isinstance(found, Run)
    return found


@pytest.mark.parametrize("now", [False, True], ids=["into the trash", "for good"])
def test_a_refused_deletion_leaves_the_state_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: bool
) -> None:
    from runner.volumes.folder import FolderVolume

    fleet = Fleet(tmp_path / "fleet")
    run = fleet.launch(RunSpec.create(task="test", model="d4", backend="local"), backend="local", tag="kept")
    look(fleet, run, lambda r: not r.live)

    def refuse(self: object, path: object) -> None:
        raise OSError(30, "Read-only file system", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(FolderVolume if now else Path, "remove" if now else "rename", refuse)
        with pytest.raises((OSError, UsageError), match="Read-only"):
            fleet.delete(fleet.registry.get(run.id), now=now)
    assert fleet.registry.get(run.id).state is State.DONE
    fleet.close()


def test_a_local_run_whose_volume_has_vanished_can_be_cancelled_and_forgotten(tmp_path: Path) -> None:
    volume = tmp_path / "stick"
    fleet = Fleet(tmp_path / "fleet", volume=str(volume))
    local = RunSpec.create(task="speedrun", model="d4", backend="local", overrides={"fault": ["hang@5"]})
    run = fleet.launch(local, backend="local", tag="gone")
    look(fleet, run, lambda r: r.status is not None and (r.status.training.step or 0) > 2)
    shutil.rmtree(volume)
    with pytest.raises(UsageError, match="cancel gone first"):
        fleet.delete(fleet.registry.get(run.id), forget=True)
    fleet.cancel(fleet.registry.get(run.id))
    look(fleet, run, lambda r: not r.live)
    fleet.delete(fleet.registry.get(run.id), forget=True)
    assert fleet.registry.all() == []
    fleet.close()


def test_a_tag_is_not_taken_over_by_a_launch_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(tmp_path / "fleet")
    local = RunSpec.create(task="test", model="d4", backend="local")
    run = fleet.launch(local, backend="local", tag="x")
    look(fleet, run, lambda r: not r.live)

    def refuse(engine: str, *, live: object, code: object) -> str:
        raise UsageError("no torch here")

    monkeypatch.setattr(fleet.backend("local"), "ensure_deployed", refuse)
    with pytest.raises(UsageError, match="no torch"):
        fleet.launch(local, backend="local", tag="x", force_restart=True)
    assert [r.tag for r in fleet.registry.all()] == ["x"]
    fleet.close()
