"""On a real Modal account, for cents: `pytest -m live`. See modal_live.md for what is left to look at by eye."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CLI

pytestmark = pytest.mark.live
GPU = os.environ.get("NANOCHAT_LIVE_GPU", "")
VOLUME = "nanochat-tui-live-test"


def command(home: Path, *words: str) -> str:
    env = {**os.environ, "NANOCHAT_TUI_HOME": str(home), "NO_COLOR": "1"}
    done = subprocess.run([*CLI, *words], env=env, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


def test_doctor_finds_nothing_wrong_with_the_account(tmp_path: Path) -> None:
    lines = [line for line in command(tmp_path, "doctor").splitlines() if "modal" in line]
    assert lines and not [line for line in lines if line.startswith("✗")], lines


def test_a_rehearsed_speedrun_goes_through_every_stage_and_its_log_is_the_volumes(tmp_path: Path) -> None:
    words = ("--backend", "modal", "--volume", VOLUME, "--task", "speedrun", "--tag", "live")
    said = command(tmp_path, "launch", *words, "--watch")
    assert "✓ live done" in said.splitlines()[-1]
    run_id = next(iter((tmp_path / "logs").iterdir())).name
    log = tmp_path / "from-volume"
    get = [sys.executable, "-m", "modal", "volume", "get", VOLUME, f"runs/live-{run_id}/log", str(log)]
    subprocess.run(get, check=True, capture_output=True)
    assert log.read_bytes() == (tmp_path / "logs" / run_id / "log").read_bytes()
    command(tmp_path, "rm", "live", "--yes")


def test_a_rehearsal_is_cancelled_and_resumed(tmp_path: Path) -> None:
    words = ("--backend", "modal", "--volume", VOLUME, "--task", "speedrun", "--tag", "stop", "--step-ms", "300")
    command(tmp_path, "launch", *words)
    follow = subprocess.Popen(
        [*CLI, "logs", "stop", "-f"],
        env={**os.environ, "NANOCHAT_TUI_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follow.stdout
    assert any("base step 20 kept" in line for line in follow.stdout)
    follow.terminate()
    command(tmp_path, "cancel", "stop")
    assert "✓ stop done" in command(tmp_path, "resume", "stop", "--watch")
    command(tmp_path, "rm", "stop", "--yes")


@pytest.mark.skipif(not GPU, reason="set NANOCHAT_LIVE_GPU=H100 to pay for ten steps on one")
def test_the_smoke_test_trains_ten_real_steps(tmp_path: Path) -> None:
    words = ("--backend", "modal", "--engine", "nanochat", "--task", "test", "--model", "d12", "--gpu", GPU)
    said = command(tmp_path, "launch", *words, "--tag", "smoke", "--watch")
    assert "✓ smoke done" in said.splitlines()[-1] and "step 00009/00010" in said
