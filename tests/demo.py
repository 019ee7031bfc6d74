"""A fleet to look at: runs in every state, one of them alive with the log of a real nanochat run."""

import json
import os
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner import processes
from runner.fleet.fleet import Fleet
from runner.job.journal import Journal
from runner.model import pricing
from runner.model.backend_name import BackendName
from runner.model.run import Call, Run, named
from runner.model.spec import RunSpec
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import Outcome, OutcomeKind, StageState, StageStatus
from runner.nanochat import layout
from runner.planning.plan import make_plan
from runner.volumes import run_records
from runner.volumes.folder import FolderVolume
from tests.conftest import DATA
from tests.statuses import a_status
from tui.app.app import NanochatApp

NOW = 1_795_000_000.0
RESUME = "nanochat-tui resume goes on from the last checkpoint"
NAMES = list(StageName)[1:8]


def spec(task: str, model: str, engine: str = "rehearsal", **given: Any) -> Any:
    return RunSpec.create(task=task, model=model, backend="local", engine=engine, **given)


def stages(at: int, state: StageState, began: float) -> list[StageStatus]:
    found = []
    for number, name in enumerate(NAMES):
        if number < at:
            found.append(StageStatus(name, StageState.DONE, began + 40 * number, began + 40 * number + 38))
        elif number == at:
            over = None if state is StageState.RUNNING else NOW - 5
            found.append(StageStatus(name, state, began + 40 * number, over))
        else:
            found.append(StageStatus(name))
    return found


def demo(home: Path) -> Fleet:
    """The fleet, with a clock that stands still; the live run's process is the one that asks."""
    home.mkdir(exist_ok=True)
    fleet = Fleet(home, clock=lambda: NOW)
    location = fleet.volume_location("local", "rehearsal")
    _live(fleet, location)
    _ended(fleet, location)
    for path in Path(location).rglob("*"):
        os.utime(path, (NOW - 600, NOW - 600))
    gone, oom = "the job was killed or its machine went away", "out of GPU memory (1.50 GiB more did not fit)"
    ends = (
        ("d26-red", "d26", State.INTERRUPTED, Outcome(OutcomeKind.KILLED, gone, RESUME), 0.33, 2.733, 0.8012),
        ("smoke", "d12", State.DONE, Outcome(OutcomeKind.DONE, "10 steps, loss 5.102"), 1.0, 5.102, None),
        ("d32-try", "d32", State.FAILED, Outcome(OutcomeKind.OOM, oom, "use --device-batch-size 4"), 0, None, None),
        ("d12-lr2", "d12", State.CANCELLED, Outcome(OutcomeKind.CANCELLED, "stopped at step 900"), 0.36, 3.071, 0.9120),
    )
    for number, (tag, model, state, outcome, share, loss, bpb) in enumerate(ends):
        made = spec("test" if tag == "smoke" else "speedrun", model, budget="25" if tag == "d26-red" else None)
        total = 10 if tag == "smoke" else 2520
        began = NOW - 7200 * (number + 1)
        ended = StageState.DONE if state is State.DONE else StageState.FAILED
        status = a_status(
            1, state, "local-1-x", began, NOW - 660 * (number + 1), ended_at=NOW - 660 * (number + 1), stage="base",
            stages=stages(len(NAMES) if tag == "smoke" else 2, ended, began), step=round(total * share),
            total_steps=total, loss=loss, val_bpb=bpb,
            outcome=outcome,
        )  # fmt: skip
        run = Run(
            f"run{number}demo", tag, made, BackendName.LOCAL, location, began, state, [Call("local-1-x", began)],
            status=status, ended_at=NOW - 7000 * (number + 1),
        )  # fmt: skip
        fleet.registry.add(named(run, tag))
    return fleet


def _ended(fleet: Fleet, location: str) -> None:
    """A run that is over: the log of a real d4 on a CPU that was trained again after a stop."""
    made = spec("base", "d4", "nanochat", overrides={"iterations": 200})
    began, ended = NOW - 90_000, NOW - 86_400
    run = Run("ended4dm", "d4-green", made, BackendName.LOCAL, location, began, State.DONE, [Call("local-1-x", began)])
    run = named(run, run.tag)
    status = a_status(1, State.DONE, "local-1-x", began, ended, ended_at=ended, stage="base")
    journal = Journal(FolderVolume(location), run.path, status, lambda: ended, lambda: 0.0, compiles=False)
    journal.begin_stage()
    base, _, _ = (DATA / "logs" / "cpu_local_pipeline.log").read_bytes().partition(b"Peak memory usage")
    journal.output(base)
    status.outcome, status.work.stage = Outcome(OutcomeKind.DONE, "200 steps"), StageName.NONE
    journal.close()
    status.updated_at = ended
    fleet.registry.add(msgspec.structs.replace(run, status=status, ended_at=ended))


def demo_app(folder: Path, monkeypatch: pytest.MonkeyPatch) -> NanochatApp:
    """The app on it, in a folder of its own, its colours as they are."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("runner.processes.runs", lambda pid, words: True)
    return NanochatApp(demo(Path("home")))


def _live(fleet: Fleet, location: str) -> None:
    """A run that this very process plays: the log of a real d4 on a CPU, up to step 150."""
    call_id = processes.call_id(os.getpid())
    made = msgspec.structs.replace(spec("speedrun", "d4", "nanochat"), budget_usd=Decimal("1.50"))
    prices = msgspec.structs.replace(pricing.DATED, local=Decimal("3.95"))
    planned = make_plan(made, layout.Inventory(), backend="local", prices=prices)
    run = Run(
        "live4demo", "d4-blue", made, BackendName.LOCAL, location, NOW - 300, State.RUNNING, [Call(call_id, NOW - 300)],
        prices=prices, estimate=planned.estimate,
    )  # fmt: skip
    run = named(run, run.tag)
    status = a_status(1, State.RUNNING, call_id, NOW - 299, NOW - 1, stages=stages(2, StageState.RUNNING, NOW - 180))
    status.work.stage, status.training.saved_step, status.money.usd_per_hour = StageName.BASE, 150, Decimal("3.95")
    status.training.val_every = status.training.save_every = 50
    volume = FolderVolume(location)
    run_records.write_run(volume, msgspec.structs.replace(run, calls=[]))
    times = iter(range(10**6))
    journal = Journal(volume, run.path, status, lambda: NOW - 100 + next(times) * 0.09, lambda: 0.0, compiles=False)
    journal.begin_stage()
    journal.say("[STAGE] base")
    journal.say("[EXEC] python -m scripts.base_train --depth=4 --num-iterations=200 --save-every=50 --model-tag=d4")
    lines = (DATA / "logs" / "cpu_base_train_d4.log").read_bytes().splitlines(keepends=True)
    for line in lines[: next(i for i, line in enumerate(lines) if line.startswith(b"step 00152"))]:
        journal.output(line)
    journal.say("[PUBLISH] base step 150 kept: 6.4 MB, resumable on 1 GPU")
    status.work.last_line_at = status.work.progress_at = NOW - 2
    journal._clock = journal._wall = lambda: NOW - 1
    journal.close()
    fleet.registry.add(run)
    # As long whatever the number of this process is: its size is in a picture.
    saved = Path(location) / run.path / layout.STATUS_FILE
    saved.write_bytes(saved.read_bytes().ljust(2000))
    report = Path(location) / run.path / "report.md"
    shutil.copyfile(DATA / "report.md", report)
    saved_in = report.parent / "base_checkpoints" / "d4"
    saved_in.mkdir(parents=True)
    for step, bpb in ((50, 1.4031), (100, 1.2172), (150, 1.1655)):
        shutil.copyfile(DATA / "torch" / "model.pt", saved_in / f"model_{step:06d}.pt")
        shutil.copyfile(DATA / "torch" / "optim.pt", saved_in / f"optim_{step:06d}_rank0.pt")
        (saved_in / f"meta_{step:06d}.json").write_text(json.dumps({"step": step, "val_bpb": bpb}))
    data = Path(location) / layout.DATA
    data.mkdir()
    (data / "shard_00000.parquet").write_bytes(b"a line of text\n" * 8_000)
