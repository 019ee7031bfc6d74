"""The real nanochat on this CPU, where it is: NANOCHAT_DIR (a checkout) and NANOCHAT_PYTHON (a Python with torch)."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Cli, wait_until

DIR, PYTHON = os.environ.get("NANOCHAT_DIR"), os.environ.get("NANOCHAT_PYTHON")
pytestmark = pytest.mark.skipif(not (DIR and PYTHON), reason="NANOCHAT_DIR and NANOCHAT_PYTHON are not set")
SHORT = ("--iterations", "60", "--save-every", "20", "--eval-every", "20", "--sft-iterations", "20")


def test_the_real_pipeline_is_killed_resumed_and_reported(cli: Cli) -> None:
    volume = cli.home / "volumes" / "nanochat"
    volume.mkdir(parents=True)
    made = Path(__file__).with_name("made_up_data.py")
    subprocess.run([str(PYTHON), made, "2048"], env={**os.environ, "NANOCHAT_BASE_DIR": str(volume)}, check=True)
    cli("launch", "--task", "speedrun", "--engine", "nanochat", "--model", "d2", "--tag", "real", *SHORT)
    wait_until(lambda: (cli.run("real")["step"] or 0) >= 25, seconds=120, what="step 25")
    for pid in cli.processes():
        os.kill(pid, signal.SIGKILL)
    assert cli.run("real")["state"] == "interrupted"
    assert max(c["step"] for c in cli.json("checkpoints", "real") if c["verdict"] == "complete") >= 20
    watched = cli("resume", "real", "--watch")
    assert watched.stdout.splitlines()[-1].startswith("✓ real done")
    shown = cli.run("real")
    assert (shown["step"], shown["attempts"], shown["stage"]) == (60, 2, "report")
    assert 0 < shown["val_bpb"] < 2
    stages = {s["name"]: s["state"] for s in shown["stages"]}
    assert stages.pop("prepare") == "skipped" and set(stages.values()) == {"done"}
    report = (cli.run_dir("real") / "report.md").read_text()
    assert "ChatCORE" in report and "| 60 |" in report


def test_the_real_smoke_test_with_evaluation_off(cli: Cli) -> None:
    volume = cli.home / "volumes" / "nanochat"
    volume.mkdir(parents=True)
    made = Path(__file__).with_name("made_up_data.py")
    subprocess.run([str(PYTHON), made, "2048"], env={**os.environ, "NANOCHAT_BASE_DIR": str(volume)}, check=True)
    cli("launch", "--task", "test", "--engine", "nanochat", "--model", "d2", "--watch")
    assert {(c["step"], c["verdict"]) for c in cli.json("checkpoints")} == {(5, "complete"), (10, "complete")}
