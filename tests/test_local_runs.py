"""Whole runs on the local backend, through the command line, as a person starts, loses and finds them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from runner.model.states import State
from tests.conftest import CLI, Cli, in_own_mounts, wait_until
from tests.gate import Gate

QUICK = ("--step-ms", "5")
PATIENCE_S = 30.0  # what takes three seconds on a quiet machine


def at_step(cli: Cli, step: int, name: str = "last") -> dict[str, Any]:
    def reached() -> Any:
        shown = cli.run(name)
        assert shown["state"] in {*map(str, (State.LAUNCHING, State.QUEUED, State.PREPARING, State.RUNNING))}, shown
        return shown if (shown["step"] or 0) >= step else None

    return dict(wait_until(reached, what=f"step {step}"))


def kill_everything(cli: Cli) -> None:
    pids = wait_until(cli.processes, what="a job")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not cli.processes(), what="all killed")


def test_the_smoke_test_ends_well_and_every_listing_agrees_with_the_disk(cli: Cli) -> None:
    watched = cli("launch", "--backend", "local", "--task", "test", "--watch", *QUICK)
    final = watched.stdout.splitlines()[-1]
    assert final.startswith("✓ d12-") and "done" in final and "loss 3.133, 10 steps" in final
    listed, shown, saved = cli.json("ls"), cli.run(), cli.json("checkpoints", "last")
    assert [r["id"] for r in listed] == [shown["id"]]
    assert (shown["state"], shown["step"], shown["total_steps"], shown["attempts"]) == ("done", 10, 10, 1)
    assert len(shown["call_ids"]) == 1 and shown["cost_usd"] == 0
    folder = cli.run_dir() / "base_checkpoints" / "d12"
    assert {c["step"] for c in saved} == {int(p.stem[6:]) for p in folder.glob("model_*.pt")} == {5, 10}
    for c in saved:
        on_disk = [p for p in folder.iterdir() if f"_{c['step']:06d}" in p.name]
        assert c["bytes"] == sum(p.stat().st_size for p in on_disk)
        assert all(zipfile.is_zipfile(p) for p in on_disk if p.suffix == ".pt")
    meta = json.loads((folder / "meta_000010.json").read_text())
    assert meta["step"] == shown["step"]
    assert (cli.run_dir() / "report.md").read_text().startswith("# d12-")
    status = json.loads((cli.run_dir() / "status.json").read_text())
    assert (status["state"], status["outcome"]["kind"]) == ("done", "done")


def test_a_speedrun_killed_in_mid_training_resumes_from_its_last_checkpoint_to_the_report(cli: Cli, gate: Gate) -> None:
    gate.hold(45)
    cli("launch", "--task", "speedrun", "--tag", "sp", "--iterations", "120", "--save-every", "20", *QUICK)
    gate.reached(45)
    wait_until(lambda: {20, 40} <= {c["step"] for c in cli.json("checkpoints", "sp")}, what="both checkpoints")
    kill_everything(cli)
    gate.open()
    lost = cli.run("sp")
    assert lost["state"] == "interrupted" and "resume" in lost["outcome"]["advice"]
    newest = max(c["step"] for c in cli.json("checkpoints", "sp") if c["verdict"] == "complete")
    assert newest >= 40
    cli("resume", "sp", "--watch")
    done = cli.run("sp")
    assert (done["state"], done["step"], done["attempts"], len(done["call_ids"])) == ("done", 120, 2, 2)
    log = (cli.run_dir("sp") / "log").read_text()
    second = log[log.index("[ATTEMPT 2]") :]
    resumed = int(second.partition("--resume-from-step=")[2].split()[0])
    # A checkpoint that was whole on the work disk when all was killed is published first, and resumed from.
    assert resumed in (newest, newest + 20)
    assert f"step {resumed:05d}/00120" in second and f"step {resumed - 1:05d}/00120" not in second
    assert "[EXEC] python -m nanochat.dataset" not in second
    names = [s["name"] for s in done["stages"] if s["state"] == "done"]
    assert names == ["prepare", "tokenizer", "base", "base_eval", "sft", "chat_eval", "report"]
    report = (cli.run_dir("sp") / "report.md").read_text()
    assert "steps were trained twice" in report and "| ChatCORE | " in report


def test_a_cancel_ends_soon_even_when_sigterm_is_ignored(cli: Cli, gate: Gate) -> None:
    gate.hold(12)
    cli("launch", "--task", "speedrun", "--tag", "c", "--fault", "ignore-sigterm@2", "--save-every", "5")
    gate.reached(12)
    began = time.monotonic()
    done = cli("cancel", "c")
    assert time.monotonic() - began < PATIENCE_S
    assert "cancelled" in done.stdout
    # The gate stays closed: what ignores SIGTERM cannot end by itself.
    wait_until(lambda: cli.processes() == [], what="no process")
    gate.open()
    shown = cli.run("c")
    assert (shown["state"], shown["outcome"]["kind"]) == ("cancelled", "cancelled")
    assert cli("cancel", "c", code=2).stderr.count("\n") == 1
    cli("resume", "c", "--watch", "--plain")
    assert cli.run("c")["state"] == "done"


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("crash@30", "crash", "rehearsed crash at step 30"),
        ("oom@30", "oom", "out of GPU memory"),
        ("truncate@60", "checkpoint", "step 40 is"),
    ],
)
def test_a_failure_is_named_with_what_to_do_and_the_next_attempt_ends_it(
    cli: Cli, fault: str, kind: str, says: str
) -> None:
    flags = ("--iterations", "60", "--save-every", "20", "--eval-every", "-1", "--fault", fault, *QUICK)
    failed = cli("launch", "--tag", "f", *flags, "--watch", code=1)
    assert failed.stdout.splitlines()[-1].startswith("✗ f failed")
    outcome = cli.run("f")["outcome"]
    assert outcome["kind"] == kind and says in outcome["message"] and outcome["advice"]
    cli("resume", "f", "--watch")
    assert (cli.run("f")["state"], cli.run("f")["step"]) == ("done", 60)


@pytest.mark.parametrize("who", ["job", "child"])
def test_a_suspended_process_can_be_cancelled(cli: Cli, who: str) -> None:
    cli("launch", "--tag", "z", "--fault", "hang@3", *QUICK)
    at_step(cli, 3, "z")
    job = int(cli.run("z")["call_ids"][0].split("-")[1])
    pid = job if who == "job" else next(p for p in cli.processes() if p != job)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    assert "cancelled" in cli("cancel", "z").stdout
    assert time.monotonic() - began < PATIENCE_S
    wait_until(lambda: cli.processes() == [], what="no process")


def test_a_cancel_between_the_intent_and_the_spawn_leaves_nothing_running(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.backends.local import LocalBackend
    from runner.fleet.fleet import Fleet
    from runner.model.spec import RunSpec

    cli.home.mkdir()
    fleet, other = Fleet(cli.home), Fleet(cli.home)
    real = LocalBackend.launch

    def slow(self: LocalBackend, run: Any) -> str:
        other.poll_run(other.cancel(other.registry.get(run.id)))
        return real(self, run)

    monkeypatch.setattr(LocalBackend, "launch", slow)
    hang = {"fault": ["hang@3"], "step_ms": "1"}
    spec = RunSpec.create(task="test", model="d12", backend="local", overrides=hang)
    launched = fleet.launch(spec, backend="local", tag="q")
    wait_until(lambda: cli.processes() == [], what="nothing running")
    assert fleet.registry.get(launched.id).state is State.CANCELLED


def test_a_hang_is_heard_as_heartbeats_and_can_be_cancelled(cli: Cli) -> None:
    cli("launch", "--tag", "h", "--fault", "hang@3", "--heartbeat", "0.5", *QUICK)
    log = cli.run_dir("h") / "log"
    wait_until(lambda: log.exists() and log.read_text().count("[HEARTBEAT]") >= 3, what="heartbeats")
    assert "[HEARTBEAT] silent 0s" not in log.read_text()
    assert cli.run("h")["state"] == "running"
    cli("cancel", "h")
    wait_until(lambda: cli.processes() == [], what="no process")


def test_a_job_killed_alone_leaves_no_child_training_on(cli: Cli) -> None:
    cli("launch", "--tag", "o", "--fault", "hang@3", *QUICK)
    wait_until(lambda: len(cli.processes()) >= 2 and (cli.run("o")["step"] or 0) >= 3, what="job and child")
    job = int(cli.run("o")["call_ids"][0].split("-")[1])
    os.kill(job, signal.SIGKILL)
    wait_until(lambda: cli.run("o")["state"] == "interrupted", what="interrupted")
    wait_until(lambda: cli.processes() == [], what="no orphan")


def test_the_launching_terminal_may_die_the_run_does_not(cli: Cli, gate: Gate) -> None:
    gate.hold(3)
    words = [*CLI, "launch", "--tag", "t", "--watch", "--iterations", "60", *QUICK]
    watcher = subprocess.Popen(words, env=cli.env, stdout=subprocess.PIPE, start_new_session=True)
    gate.reached(3)
    os.killpg(watcher.pid, signal.SIGHUP)
    os.killpg(watcher.pid, signal.SIGKILL)
    watcher.wait()
    gate.open()
    assert cli("watch", "t").stdout.splitlines()[-1].startswith("✓ t done")
    assert "[ATTEMPT 1]" in cli("logs", "t").stdout


def test_ctrl_c_on_watch_leaves_the_run_and_exits_130(cli: Cli, gate: Gate) -> None:
    gate.hold(5)
    cli("launch", "--tag", "i", *QUICK)
    gate.reached(5)
    watcher = subprocess.Popen([*CLI, "watch", "i"], env=cli.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watcher.stdout and watcher.stdout.readline()
    watcher.send_signal(signal.SIGINT)
    _, err = watcher.communicate(timeout=60)
    assert watcher.returncode == 130 and b"goes on" in err
    assert cli.run("i")["state"] == "running"


def test_one_run_is_never_executed_twice_at_once(cli: Cli) -> None:
    cli("launch", "--tag", "d", "--fault", "hang@3", *QUICK)
    at_step(cli, 3, "d")
    shown = cli.run("d")
    words = [sys.executable, "-m", "runner.job", "--run", shown["id"], "--volume", shown["volume"]]
    words += ["--work", str(cli.home / "work" / shown["id"]), "--attempt", "1", "--patience", "0.3"]
    second = subprocess.run(words, env=cli.env, capture_output=True, text=True, check=False, timeout=30)
    assert second.returncode == 3 and "running already" in second.stderr
    assert "already" in cli("resume", "d", code=2).stderr


def test_two_launches_at_once_share_one_volume(cli: Cli) -> None:
    both = [subprocess.Popen([*CLI, "launch", "--watch", *QUICK], env=cli.env) for _ in range(2)]
    assert [p.wait(60) for p in both] == [0, 0]
    assert [r["state"] for r in cli.json("ls")] == ["done", "done"]


def test_a_taken_tag_is_refused_and_force_restart_keeps_the_old_run(cli: Cli) -> None:
    cli("launch", "--tag", "x", "--watch", *QUICK)
    old = cli.run("x")["id"]
    refused = cli("launch", "--tag", "x", *QUICK, code=2)
    assert "--force-restart" in refused.stderr and len(cli.json("ls")) == 1
    cli("launch", "--tag", "x", "--force-restart", "--watch", *QUICK)
    assert cli.run("x.1")["id"] == old and cli.run("x")["id"] != old
    assert cli.json("checkpoints", old)
    cli("launch", "--tag", "live", "--fault", "hang@1", *QUICK)
    assert "cancel live first" in cli("launch", "--tag", "live", "--force-restart", code=2).stderr


def test_rm_deletes_everything_of_a_run_and_refuses_a_live_one(cli: Cli) -> None:
    cli("launch", "--tag", "gone", "--watch", *QUICK)
    folder = cli.run_dir("gone")
    assert "--yes" in cli("rm", "gone", code=2).stderr and folder.exists()
    cli("rm", "gone", "--yes")
    assert not folder.exists() and cli.json("ls") == [] and not list((cli.home / "work").iterdir())
    cli("launch", "--tag", "busy", "--fault", "hang@1", *QUICK)
    assert "cancel busy first" in cli("rm", "busy", "--yes", code=2).stderr


def test_a_volume_folder_that_is_gone_is_said_and_nothing_is_lost(cli: Cli) -> None:
    volume = cli.home.parent / "vol"
    cli("launch", "--volume", str(volume), "--tag", "v", "--watch", *QUICK)
    cli("launch", "--volume", str(volume), "--tag", "w", "--fault", "hang@3", *QUICK)
    at_step(cli, 3, "w")
    shutil.move(volume, f"{volume}.away")
    for words in (("checkpoints", "v"), ("logs", "-f", "w"), ("watch", "w")):
        failed = cli(*words, code=5)
        assert "is gone" in failed.stderr and failed.stderr.count("\n") == 1
    listed = cli("ls", "--json")
    assert "is gone" in listed.stderr
    assert {r["tag"]: r["state"] for r in json.loads(listed.stdout)} == {"v": "done", "w": "running"}
    shutil.move(f"{volume}.away", volume)
    cli("cancel", "w")
    assert {r["tag"]: r["state"] for r in cli.json("ls")} == {"v": "done", "w": "cancelled"}
    shutil.move(volume, f"{volume}.away")
    assert "is gone" in cli("resume", "w", code=5).stderr
    shutil.move(f"{volume}.away", volume)
    assert cli.run("w")["state"] == "cancelled"


def test_the_engines_do_not_share_a_volume(cli: Cli) -> None:
    volume = cli.home.parent / "mine"
    cli("launch", "--volume", str(volume), "--watch", *QUICK)
    (volume / "volume.json").write_text('{"engine": "nanochat"}')
    assert "nanochat engine" in cli("launch", "--volume", str(volume), *QUICK, code=2).stderr


def test_logs_are_complete_and_a_tail_is_their_end(cli: Cli) -> None:
    cli("launch", "--tag", "l", "--task", "speedrun", "--watch", "--iterations", "20", *QUICK)
    every = cli("logs", "l").stdout.splitlines()
    assert every[0].startswith("[ATTEMPT 1]") and every[-1].startswith("[DONE]")
    assert sum("step 000" in line and "/00020" in line for line in every) == 20
    assert cli("logs", "l", "-n", "3").stdout.splitlines() == every[-3:]
    assert cli("logs", "l", "-f").stdout.splitlines() == every
    assert not any("\x1b" in line or "\r" in line for line in every)


def test_a_first_attempt_that_cannot_be_spawned_leaves_no_run(cli: Cli, tmp_path: Path) -> None:
    cli.env["NANOCHAT_PYTHON"] = str(tmp_path / "no-python")
    failed = cli("launch", "--engine", "nanochat", "--model", "d4", "--tag", "n", code=2)
    assert "NANOCHAT_PYTHON" in failed.stderr and failed.stderr.count("\n") == 1
    assert cli.json("ls") == []
    assert not list((cli.home / "volumes" / "nanochat").glob("runs/*"))


FULL_DISK = """
set -e
mount -t tmpfs -o size=5m tmpfs "$1"
"$2" -m tui.cli launch --volume "$1" --tag full --iterations 60 --save-every 10 --step-ms 20 --watch && exit 9
"$2" -m tui.cli checkpoints full --json > "$3"
mount -o remount,size=100m "$1"
"$2" -m tui.cli resume full --watch
"$2" -m tui.cli checkpoints full --json >> "$3"
"""


def test_a_volume_that_is_full_fails_the_run_but_loses_no_checkpoint(cli: Cli, tmp_path: Path) -> None:
    volume, out = tmp_path / "small", tmp_path / "out"
    volume.mkdir()
    unshare = in_own_mounts(volume)
    words = [*unshare, "bash", "-c", FULL_DISK, "bash", str(volume), sys.executable, str(out)]
    done = subprocess.run(words, env=cli.env, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, (done.stdout[-1500:], done.stderr)
    assert "no space left on the volume" in done.stdout and "make room" in done.stderr
    before, after = (json.loads(text) for text in out.read_text().replace("]\n[", "]\0[").split("\0"))
    assert 10 in {c["step"] for c in before} and 60 not in {c["step"] for c in before}
    assert {c["verdict"] for c in before} == {"complete"}
    assert {c["step"] for c in after} >= {10, 60}


def test_a_resume_that_cannot_be_spawned_keeps_the_run_and_its_checkpoints(cli: Cli) -> None:
    cli(
        "launch",
        "--tag",
        "keep",
        "--iterations",
        "60",
        "--save-every",
        "20",
        "--fault",
        "crash@50",
        "--watch",
        *QUICK,
        code=1,
    )
    shown = cli.run("keep")
    for file in cli.home.glob("registry.db*"):
        file.unlink()
    (cli.run_dir("keep") / "status.json").write_text('{"cut')
    out = cli.home / "work" / shown["id"] / "job.out"
    out.unlink()
    out.mkdir()
    cli("resume", "keep", code=5)
    assert {c["step"] for c in cli.json("checkpoints", "keep")} == {20, 40}
    out.rmdir()
    cli("resume", "keep", "--watch")
    assert cli.run("keep")["state"] == "done"


def test_a_last_checkpoint_that_got_damaged_is_trained_again_not_built_upon(cli: Cli, gate: Gate) -> None:
    gate.hold(90)  # of the fine-tuning: the base model has 40 steps
    flags = ("--iterations", "40", "--save-every", "20", "--sft-iterations", "100")
    cli("launch", "--task", "speedrun", "--tag", "b", *flags, *QUICK)
    gate.reached(90)
    cli("cancel", "b")
    gate.open()
    model = cli.run_dir("b") / "base_checkpoints" / "d12" / "model_000040.pt"
    model.write_bytes(model.read_bytes()[:-50])
    shutil.rmtree(cli.home / "work" / cli.run("b")["id"] / "base")
    cli("resume", "b", "--watch")
    log = (cli.run_dir("b") / "log").read_text()
    assert "--resume-from-step=20" in log[log.index("[ATTEMPT 2]") :]
    assert {(c["kind"], c["step"]) for c in cli.json("checkpoints", "b") if c["verdict"] == "complete"} >= {
        ("base", 40)
    }


def test_a_tokenizer_that_went_missing_is_trained_again(cli: Cli) -> None:
    cli("launch", "--tag", "t", "--fault", "crash@3", "--watch", *QUICK, code=1)
    volume = Path(cli.run("t")["volume"])
    for file in (volume / "tokenizer").iterdir():
        file.unlink()
    cli("resume", "t", "--watch")
    assert cli.run("t")["state"] == "done"


def test_no_stranger_is_killed_on_the_word_of_a_file(cli: Cli) -> None:
    from runner import processes

    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        cli("launch", "--tag", "s", "--fault", "hang@3", *QUICK)
        at_step(cli, 3, "s")
        kill_everything(cli)
        path = cli.run_dir("s") / "status.json"
        said = json.loads(path.read_text())
        path.write_text(json.dumps({**said, "call_id": processes.call_id(stranger.pid), "state": "running"}))
        assert cli.run("s")["state"] == "interrupted"
        cli("cancel", "s", code=2)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize(
    "content", [pytest.param("[" * 50_000, id="deep"), '"\\ud800"', "{}", '{"attempt": "x"}', "\xff"]
)
def test_damaged_records_break_no_command(cli: Cli, content: str) -> None:
    cli("launch", "--tag", "d", "--watch", "--save-every", "5", *QUICK)
    cli("launch", "--tag", "e", "--fault", "hang@3", *QUICK)
    at_step(cli, 3, "e")
    for tag in ("d", "e"):
        folder = cli.run_dir(tag)
        for name in ("run.json", "status.json"):
            (folder / name).write_text(content)
        (folder / "base_checkpoints" / "d12").mkdir(parents=True, exist_ok=True)
        (folder / "base_checkpoints" / "d12" / "meta_000005.json").write_text(content)
        os.mkfifo(folder / "base_checkpoints" / "d12" / "model_000099.pt")
    assert {r["tag"] for r in cli.json("ls")} == {"d", "e"}
    for words in (("show", "d"), ("checkpoints",), ("logs", "d"), ("cancel", "e"), ("rm", "--yes", "d", "e")):
        cli(*words)
    assert cli.json("ls") == []
    wait_until(lambda: cli.processes() == [], what="no process")


def test_several_runs_named_are_all_acted_on_although_one_is_wrong(cli: Cli) -> None:
    cli("launch", "--tag", "done1", "--watch", *QUICK)
    for tag in ("a", "b"):
        cli("launch", "--tag", tag, "--fault", "hang@3", *QUICK)
    cli("cancel", "a", "done1", "b", code=2)
    assert {r["tag"]: r["state"] for r in cli.json("ls")} == {"a": "cancelled", "b": "cancelled", "done1": "done"}
    cli("cancel", "a", "nobody", code=3)
    assert json.loads(cli("rm", "--yes", "--json", "a", cli.run("a")["id"], "b").stdout)
    assert [r["tag"] for r in cli.json("ls")] == ["done1"]


def test_a_run_whose_volume_is_gone_for_good_can_be_forgotten(cli: Cli) -> None:
    volume = cli.home.parent / "vol"
    cli("launch", "--volume", str(volume), "--tag", "v", "--watch", *QUICK)
    shutil.rmtree(volume)
    assert "--forget" in cli("rm", "--yes", "v", code=5).stderr
    assert "is gone" in cli("logs", "v", code=5).stderr
    cli("rm", "--yes", "--forget", "v")
    assert cli.json("ls") == []
