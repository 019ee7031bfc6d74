"""The real nanochat on Modal's test server, whose GPU is this processor: NANOCHAT_PYTHON (a Python with torch) and
NANOCHAT_DIR, or several checkouts in NANOCHAT_CHECKOUTS with `:` between them.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.model.states import State
from runner.nanochat import layout
from runner.nanochat.command_lines import HOPPER_KERNEL
from tests.conftest import wait_until
from tests.modal_cloud import ROOT, Cloud
from tests.place import Place

PYTHON = os.environ.get("NANOCHAT_PYTHON")
CHECKOUTS = (os.environ.get("NANOCHAT_CHECKOUTS") or os.environ.get("NANOCHAT_DIR") or "").split(os.pathsep)
pytestmark = [
    pytest.mark.skipif(not (PYTHON and CHECKOUTS[0]), reason="NANOCHAT_DIR and NANOCHAT_PYTHON are not set"),
    pytest.mark.parametrize("place", ["modal"], indirect=True),
    pytest.mark.parametrize("checkout", [Path(c) for c in CHECKOUTS], ids=lambda c: c.name),
]
# What a processor trains in seconds.
TINY = {
    "iterations": 30, "save_every": 10, "eval_every": 10, "eval_tokens": 2048, "core_every": -1, "sample_every": -1,
    "seq_len": 128, "head_dim": 32, "aspect_ratio": 32, "device_batch_size": 8, "total_batch_size": 1024,
    "window_pattern": "L", "warmup_steps": 10, "compile": False, "shards": 2, "tokenizer_chars": 20_000_000,
    "vocab_size": 512,
}  # fmt: skip


def paid_python(python: Path) -> Path:
    """The Python with torch, which tells its processor as the GPU that is paid for."""
    more = ROOT / "tests" / "paid_processor"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{more}" exec {PYTHON} "$@"\n')
    python.chmod(0o755)
    return python


def made_up_data(place: Place, folder: Path) -> None:
    """A corpus, and a kernel that no processor loads, on the volume as the network would have brought them."""
    env = {**os.environ, "NANOCHAT_BASE_DIR": str(folder)}
    subprocess.run([str(PYTHON), ROOT / "tests" / "made_up_data.py", "2048", "500"], env=env, check=True)
    revision = folder / layout.HF_CACHE / "hub" / HOPPER_KERNEL.folder / "refs" / "main"
    revision.parent.mkdir(parents=True)
    revision.write_text(HOPPER_KERNEL.revision)
    for path in folder.rglob("*"):
        if path.is_file():
            place.volume().put(path, path.relative_to(folder).as_posix(), lambda _: None, over=True)


def log(place: Place, run: Run) -> str:
    return place.volume().read(f"{run.path}/log").decode("utf-8", "replace")


def test_a_checkout_is_planned_launched_killed_cancelled_and_gone_on_with(
    place: Place, cloud: Cloud, checkout: Path, tmp_path: Path
) -> None:
    python = paid_python(tmp_path / "python")
    cloud.knobs(crash_reschedules=1, image={"NANOCHAT_DIR": str(checkout), "NANOCHAT_PYTHON": str(python)})
    made_up_data(place, tmp_path / "made-up")
    mine = shutil.copytree(checkout, tmp_path / "mine", ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__"))
    spec = RunSpec.create(
        task="base", model="d4", backend="modal", engine="nanochat", gpus=1, code=place.fleet.code(str(mine)),
        overrides=TINY,
    )  # fmt: skip
    planned = place.fleet.plan(spec, "modal")
    assert not [warning for warning in planned.warnings if "left out" in warning], planned.warnings
    cloud.gate.hold(15, 25)
    run = place.fleet.launch(spec, backend="modal")
    shutil.rmtree(mine)
    cloud.gate.reached(15)
    place.until(run, lambda r: r.status is not None and r.status.training.saved_step == 10)
    killed = cloud.all_containers("train", alive=True)[0]
    cloud.kill(killed)
    wait_until(lambda: cloud.state()["tasks"][killed]["rc"] is not None, what="the container is gone")
    cloud.gate.release(15)
    cloud.gate.reached(25)
    place.until(run, lambda r: r.status is not None and r.status.training.saved_step == 20)
    place.fleet.cancel(run)
    run = place.ended(run)
    assert run.state is State.CANCELLED
    cloud.gate.open()
    done = place.ended(place.fleet.resume(run))
    assert done.state is State.DONE, done.outcome
    assert done.status and done.status.training.step == 30
    assert re.findall(r"Resuming optimization from step (\d+)", log(place, done)) == ["10", "20"]
