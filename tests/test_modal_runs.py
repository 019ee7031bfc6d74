"""Runs on Modal, end to end: the real client, the real command line, a server that executes the function bodies."""

import json
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CLI, Cli, wait_until
from tests.modal_cloud import Cloud

QUICK = ("--step-ms", "0")
# Checkpoints at 20, 40, 60 and the end, and what its val bpb is then, however often it was stopped in between.
SHORT, SHORT_BPB = ("--task", "speedrun", "--iterations", "80", "--save-every", "20", *QUICK), 0.959286


def held_at(cloud: Cloud, step: int) -> str:
    """The container whose training stands before a step that `cloud.gate` holds."""
    cloud.gate.reached(step)
    (container,) = cloud.all_containers("train", alive=True)
    return container


def has_begun(log: Path, times: int) -> bool:
    return log.read_text().count("scripts.base_train") >= times


def committed(store: Path, step: int) -> bool:
    """Whether the whole checkpoint of a step is on the volume: model, metadata, and a file for each of eight GPUs."""
    names = {file.stem for file in store.glob(f"runs/*/base_checkpoints/*/*_{step:06d}*")}
    return names >= {f"{part}_{step:06d}" for part in ("model", "meta")} | {
        f"optim_{step:06d}_rank{n}" for n in range(8)
    }


def gone(cloud: Cloud, container: str) -> None:
    wait_until(lambda: container not in cloud.all_containers("train", alive=True), what="the end of a container")


def finished(cli: Cli, tag: str, *, code: int | None = 0) -> Any:
    cli("watch", tag, code=code)
    return cli.run(tag)


def same_log(cli: Cli, cloud: Cloud, run: Any) -> None:
    """What is on this disk is what the job wrote, to the byte."""
    cli("logs", run["id"])
    there = cloud.folder(run["volume"]) / run["folder"]
    here = cli.home / "logs" / run["id"]
    for name in ("log", "events.jsonl"):
        assert (here / name).read_bytes() == (there / name).read_bytes(), name


def test_the_smoke_test_runs_on_modal_and_its_log_arrives_whole(modal_cli: Cli, cloud: Cloud) -> None:
    done = modal_cli.modal("--task", "test", "--tag", "smoke", "--watch")
    assert re.search(r"✓ smoke done in .*: loss 3\.133, 10 steps", done.stdout.splitlines()[-1])
    assert "[STAGE] prepare" in done.stdout and "step 00009/00010" in done.stdout
    run = modal_cli.run("smoke")
    assert (run["state"], run["step"], len(run["call_ids"])) == ("done", 10, 2)
    same_log(modal_cli, cloud, run)
    kinds = [c["verdict"] for c in modal_cli.json("checkpoints", "smoke")]
    assert kinds == ["complete", "complete"]
    functions = {cloud.state()["tasks"][t]["function"] for t in cloud.state()["tasks"]}
    assert {"prepare", "train"} <= functions


@pytest.mark.parametrize("skip_reload", [False, True])
def test_a_run_preempted_twice_still_ends_and_loses_at_most_one_save_interval(
    modal_cli: Cli, cloud: Cloud, skip_reload: bool
) -> None:
    cloud.knobs(skip_reload=skip_reload)
    cloud.gate.hold(25, 65)
    modal_cli.modal("--tag", "pre", *SHORT)
    for step in (25, 65):
        container = held_at(cloud, step)
        cloud.preempt(container)
        gone(cloud, container)
        cloud.gate.release(step)
    run = finished(modal_cli, "pre")
    assert (run["state"], run["preemptions"], run["attempts"]) == ("done", 2, 1)
    assert run["val_bpb"] == pytest.approx(SHORT_BPB, abs=1e-6)
    log = (modal_cli.home / "logs" / run["id"] / "log").read_text()
    resumed = [int(s) for s in re.findall(r"step (\d+) is the newest complete checkpoint", log)]
    stopped = [int(s) for s in re.findall(r"\[PREEMPTED\] stopped during base at step (\d+)", log)]
    assert len(resumed) == len(stopped) == 2
    assert all(0 <= at - back <= 20 for at, back in zip(stopped, resumed, strict=True)), (stopped, resumed)
    same_log(modal_cli, cloud, run)


def test_a_container_that_dies_is_started_again_and_goes_on_from_its_checkpoint(modal_cli: Cli, cloud: Cloud) -> None:
    cloud.knobs(crash_reschedules=5)
    cloud.gate.hold(55, 75)
    modal_cli.modal("--tag", "dies", *SHORT)
    for step, saved in ((55, 40), (75, 60)):
        container = held_at(cloud, step)
        wait_until(partial(committed, cloud.folder(modal_cli.volume), saved), what=f"step {saved} on the volume")
        cloud.kill(container)
        gone(cloud, container)
        cloud.gate.release(step)
    run = finished(modal_cli, "dies")
    assert (run["state"], run["step"]) == ("done", 80)
    assert run["val_bpb"] == pytest.approx(SHORT_BPB, abs=1e-6)
    log = modal_cli("logs", "dies").stdout
    assert re.findall(r"--resume-from-step=(\d+)", log) == ["40", "60"]


def test_a_container_that_dies_again_and_again_stops_itself_and_says_so(modal_cli: Cli, cloud: Cloud) -> None:
    cloud.knobs(crash_reschedules=50)
    cloud.gate.hold(5)
    modal_cli.modal("--tag", "loop", *SHORT)
    for deaths in range(3):
        container = held_at(cloud, 5)
        log = cloud.folder(modal_cli.volume) / modal_cli.run("loop")["folder"] / "log"
        wait_until(partial(has_begun, log, deaths + 1), what="its first commit")
        cloud.gate.again(5)
        cloud.kill(container)
        gone(cloud, container)
    cloud.gate.open()
    run = finished(modal_cli, "loop", code=1)
    assert (run["state"], run["outcome"]["kind"]) == ("failed", "crash loop")
    assert "died 3 times without a new checkpoint" in run["outcome"]["message"]
    assert len([t for t in cloud.all_containers("train") if cloud.state()["tasks"][t]["call"] in run["call_ids"]]) == 4


def test_evictions_that_leave_no_time_to_close_are_no_crash_loop(modal_cli: Cli, cloud: Cloud) -> None:
    cloud.gate.hold(5)
    modal_cli.modal("--task", "base", "--tag", "busy", "--iterations", "40", "--save-every", "30", *QUICK)
    for evictions in range(3):
        container = held_at(cloud, 5)
        log = cloud.folder(modal_cli.volume) / modal_cli.run("busy")["folder"] / "log"
        wait_until(partial(has_begun, log, evictions + 1), what="its first commit")
        # What it still has to say does not get through before it is killed.
        cloud.knobs(hold=True)
        cloud.fault("container:VolumeCommit", "HANG")
        cloud.gate.again(5)
        cloud.preempt(container, grace=3.0)
        gone(cloud, container)
        cloud.knobs(hold=False, faults=[])
    cloud.gate.open()
    run = finished(modal_cli, "busy")
    assert (run["state"], run["preemptions"]) == ("done", 3)
    assert len([t for t in cloud.all_containers("train") if cloud.state()["tasks"][t]["call"] in run["call_ids"]]) == 4


@pytest.mark.parametrize("skip_reload", [False, True])
def test_two_launches_at_once_bring_each_shard_once_and_train_one_tokenizer(
    modal_cli: Cli, cloud: Cloud, skip_reload: bool
) -> None:
    cloud.knobs(hold=True, skip_reload=skip_reload)
    for tag in ("x1", "x2"):
        modal_cli.modal("--tag", tag, "--shards", "12", *QUICK)
    cloud.knobs(hold=False)
    logs = []
    for tag in ("x1", "x2"):
        assert finished(modal_cli, tag)["state"] == "done"
        logs.append(modal_cli("logs", tag).stdout)
    both = "".join(logs)
    assert both.count("Successfully downloaded") == 13
    assert both.count("[EXEC] python -m scripts.tok_train") == 1
    assert both.count("prepare was done by another run") == 1


def test_a_broken_log_stream_loses_and_doubles_no_line(modal_cli: Cli, cloud: Cloud) -> None:
    cloud.knobs(log_stream_break=6)
    modal_cli.modal("--tag", "torn", "--watch", *SHORT)
    same_log(modal_cli, cloud, modal_cli.run("torn"))


def test_an_outage_keeps_the_last_state_and_recovers(modal_cli: Cli, cloud: Cloud) -> None:
    cloud.gate.hold(5)
    modal_cli.modal("--tag", "out", *SHORT)
    held_at(cloud, 5)
    before = wait_until(lambda: (r := modal_cli.run("out"))["state"] == "running" and r, what="its word")
    cloud.outage(600)
    during = modal_cli("ls", "--json")
    assert during.stderr.count("\n") == 1 and "showing what was last known" in during.stderr
    assert modal_cli.run("out")["state"] == before["state"] == "running"
    cloud.outage(0)
    cloud.gate.release(5)
    run = finished(modal_cli, "out")
    assert run["state"] == "done"
    same_log(modal_cli, cloud, run)


def test_a_run_in_the_queue_says_so_costs_nothing_and_can_be_cancelled(modal_cli: Cli, cloud: Cloud) -> None:
    cloud.knobs(hold=True)
    modal_cli.modal("--task", "test", "--tag", "waits")
    run = modal_cli.run("waits")
    assert (run["state"], run["cost_usd"]) == ("queued", 0)
    modal_cli("cancel", "waits")
    assert modal_cli.run("waits")["state"] == "cancelled"
    cloud.knobs(hold=False)
    assert not cloud.containers(run["call_ids"], "prepare")


def test_the_error_of_a_failed_image_build_reaches_the_person_and_no_run_is_left(cli: Cli, tmp_path: Path) -> None:
    fresh = Cloud(tmp_path / "cloud")
    try:
        cli.env |= fresh.env
        fresh.knobs(boot_fail="no matching distribution for msgspec==99")
        failed = cli("launch", "--backend", "modal", "--engine", "rehearsal", "--tag", "never", code=1)
        assert "no matching distribution for msgspec==99" in failed.stderr
        assert "deploy-rehearsal.log" in failed.stderr
        assert cli.json("ls") == []
    finally:
        fresh.close()


def test_when_the_outputs_have_expired_the_volume_tells_how_it_ended(modal_cli: Cli, cloud: Cloud) -> None:
    modal_cli.modal("--task", "test", "--tag", "old", "--watch")
    run = modal_cli.run("old")
    for call in run["call_ids"]:
        cloud.post(f"/expire/{call}")
    (modal_cli.home / "registry.db").unlink()
    found = modal_cli.json("ls", "--backend", "modal", "--volume", modal_cli.volume)
    assert [(r["id"], r["state"], r["step"]) for r in found] == [(run["id"], "done", 10)]


def test_a_run_cancelled_by_another_client_is_cancelled_here_too(modal_cli: Cli, cloud: Cloud) -> None:
    cloud.gate.hold(30)
    modal_cli.modal("--tag", "other", *SHORT)
    held_at(cloud, 30)
    run = wait_until(lambda: len((r := modal_cli.run("other"))["call_ids"]) == 2 and r, what="both calls")
    other = "import modal, sys; [modal.FunctionCall.from_id(c).cancel(terminate_containers=True) for c in sys.argv[1:]]"
    subprocess.run([sys.executable, "-c", other, *run["call_ids"]], env=modal_cli.env, check=True)
    run = finished(modal_cli, "other", code=1)
    assert (run["state"], run["outcome"]["message"]) == (
        "cancelled",
        "stopped from outside: a person, or the workspace's limit",
    )
    cloud.gate.release(30)
    resumed = modal_cli("resume", "other", "--watch")
    assert "✓ other done" in resumed.stdout
    again = modal_cli.run("other")
    assert (again["attempts"], again["val_bpb"]) == (2, pytest.approx(SHORT_BPB, abs=1e-6))


def test_cancel_ends_every_call_and_keeps_what_is_saved(modal_cli: Cli, cloud: Cloud) -> None:
    cloud.gate.hold(50)
    modal_cli.modal("--tag", "stop", *SHORT)
    container = held_at(cloud, 50)
    modal_cli("cancel", "stop")
    assert modal_cli.run("stop")["state"] == "cancelled"
    gone(cloud, container)
    assert max(c["step"] for c in modal_cli.json("checkpoints", "stop") if c["verdict"] == "complete") >= 20


def test_a_cancel_between_the_parts_ends_the_one_that_waits_for_gpus(modal_cli: Cli, cloud: Cloud) -> None:
    cloud.knobs(hold_parts=["train"])
    modal_cli.modal("--tag", "between")
    wait_until(lambda: len(cloud.state()["calls"]) == 2, what="the call that waits for GPUs")
    wait_until(lambda: not cloud.all_containers("prepare", alive=True), what="the end of the first part")
    state = modal_cli.run("between")
    assert state["state"] == "queued"
    assert state["step"] in (None, 0)
    modal_cli("cancel", "between")
    cloud.knobs(hold_parts=[])
    assert modal_cli.run("between")["state"] == "cancelled"
    cloud.idle()
    assert modal_cli.run("between")["state"] == "cancelled"
    log = (cloud.folder(state["volume"]) / state["folder"] / "log").read_text()
    assert "[PREPARED]" in log and "scripts.base_train" not in log


def test_another_laptop_finds_the_run_and_can_cancel_it(modal_cli: Cli, cloud: Cloud, tmp_path: Path) -> None:
    cloud.gate.hold(10)
    modal_cli.modal("--tag", "mine", *SHORT)
    held_at(cloud, 10)
    run = wait_until(lambda: (r := modal_cli.run("mine"))["state"] == "running" and r, what="its word")
    other = Cli(tmp_path / "other-home")
    other.env |= cloud.env
    found = other.json("ls", "--backend", "modal", "--volume", modal_cli.volume)
    assert [(r["id"], r["state"]) for r in found] == [(run["id"], "running")]
    other("cancel", "mine")
    assert finished(modal_cli, "mine", code=1)["state"] == "cancelled"


def test_ctrl_c_leaves_the_run_going(modal_cli: Cli, cloud: Cloud) -> None:
    words = ["launch", "--backend", "modal", "--volume", modal_cli.volume, "--tag", "c", "--watch"]
    cloud.gate.hold(10)
    watcher = subprocess.Popen(
        [*CLI, *words, *SHORT], env=modal_cli.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    held_at(cloud, 10)
    wait_until(lambda: modal_cli.run("c")["state"] == "running", what="the run's word")
    watcher.send_signal(signal.SIGINT)
    _, said = watcher.communicate(timeout=60)
    cloud.gate.release(10)
    assert watcher.returncode == 130 and "goes on" in said and "Traceback" not in said and "exception" not in said
    assert finished(modal_cli, "c")["state"] == "done"


def test_a_resumed_call_gets_no_more_time_than_what_is_left_of_its_budget_pays_for(
    modal_cli: Cli, cloud: Cloud
) -> None:
    short = ("--task", "base", "--iterations", "40", "--save-every", "20", "--fault", "crash@30")
    modal_cli.modal("--tag", "cap", "--budget", "0.50", *short)
    run = finished(modal_cli, "cap", code=1)
    status = cloud.folder(run["volume"]) / run["folder"] / "status.json"
    said = json.loads(status.read_text())
    said["money"]["paid_usd"] = "0.40"
    status.write_text(json.dumps({**said, "updated_at": 9e9}))
    modal_cli("resume", "cap")
    finished(modal_cli, "cap")
    asked = [f["timeout_secs"] for f in cloud.state()["functions"].values() if f["timeout_secs"] < 3600 * 6]
    assert asked and 0.09 < max(asked) / 3600 * 0.0633 < 0.10, asked
