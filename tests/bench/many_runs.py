"""Two hundred runs, twenty of them live, each of these rewriting its status once a second: what the app takes of a
processor, and on every screen how long it is from a key to what it changes; then with none live.

python -m tests.bench.many_runs [--seconds N]
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from decimal import Decimal
from pathlib import Path

import msgspec

from runner import processes
from runner.fleet.fleet import Fleet
from runner.job.journal import Journal
from runner.model import pricing
from runner.model.run import Call, Run
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import StageState, StageStatus, Status
from runner.nanochat import layout
from runner.nanochat.layout import CheckpointKind
from runner.volumes import run_records
from runner.volumes.folder import FolderVolume
from tests.bench.log_view import cpu_s, keys, say, spread
from tests.conftest import CLI, DATA
from tests.statuses import a_status
from tests.terminal import Terminal
from tests.test_run import run

RUNS, ENDED, SAVED = 20, 180, 40
LOG = (DATA / "logs" / "cpu_local_pipeline.log").read_bytes().partition(b"Peak memory usage")[0]
DOWN, UP, RIGHT, LEFT = "\x1b[B", "\x1b[A", "\x1b[C", "\x1b[D"
# Each screen: the keys that open it, what it says then, and two keys of which each changes what it shows.
SCREENS = {
    "runs": (("1",), "sorted by", "j", "k"),
    "watch": (("2",), "Log", "k", "j"),
    "metrics": (("M",), "Metrics", LEFT, RIGHT),
    "search a log": (("2", "/"), "search:", "s", "\x7f"),
    "new": (("escape", "escape", "3"), "Plan", DOWN, UP),
    "volume": (("escape", "4"), "base_data", "j", "k"),
    "sizes": (("z",), "could go", "j", "k"),
    "cost": (("5",), "Totals", "j", "k"),
    "checkpoints": (("6",), "complete", "j", "k"),
    "compare": (("1", " ", " ", "v"), "Results and settings", LEFT, RIGHT),
    "help": (("escape", "?"), "everywhere", DOWN, UP),
    "palette": (("escape", "\x10"), "Search for commands", DOWN, UP),
    "search all": (("escape", "\x14"), "Search", "a", "\x7f"),
}


def put(home: Path) -> tuple[subprocess.Popen[bytes], list[Path], Status]:
    """Twenty runs on record, all carried by one process that sleeps."""
    ids = [f"live{number:04d}" for number in range(RUNS)]
    carrier = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "runner.job", *ids])
    time.sleep(0.5)
    call, now = processes.call_id(carrier.pid), time.time()
    fleet = Fleet(home)
    location = fleet.volume_location("local", "rehearsal")
    fleet.backend("local").make_volume(location)
    status = a_status(1, State.RUNNING, call, now - 60, now, stage="base", phase="training", total_steps=10_000, step=1)
    status.work.stages = [StageStatus(StageName.BASE, StageState.RUNNING, now - 60)]
    status.pace.pace_s, status.pace.slowest_dt_s, status.work.progress_at, status.training.save_every = (
        1.0,
        1.2,
        now,
        100,
    )
    paths = []
    prices = msgspec.structs.replace(pricing.DATED, local=Decimal("3.95"))
    status.money.usd_per_hour = prices.local
    for run_id in ids:
        one = run(
            State.RUNNING, id=run_id, tag=run_id, volume=location, created_at=now - 60, calls=[Call(call, now)],
            prices=prices,
        )  # fmt: skip
        run_records.write_run(FolderVolume(location), one)
        train(Path(location), one, now)
        fleet.registry.add(msgspec.structs.replace(one, status=status))
        paths.append(Path(location) / one.path / layout.STATUS_FILE)
    for number in range(ENDED):
        began = now - 3600 - number
        ended = a_status(
            1, State.DONE, "local-1-x", began, began + 600, stage="report", total_steps=10_000, step=10_000,
            usd_per_hour=prices.local,
        )  # fmt: skip
        one = run(
            State.DONE, id=(name := f"done{number:04d}"), tag=name, volume=location, created_at=began, status=ended,
            prices=prices,
        )  # fmt: skip
        run_records.write_run(FolderVolume(location), one)
        if number < SAVED:
            train(Path(location), one, began)
        fleet.registry.add(one)
    (Path(location) / "base_data_climbmix").mkdir(exist_ok=True)
    fleet.close()
    return carrier, paths, status


def train(volume: Path, one: Run, began: float) -> None:
    """The log and events of a real d4, and three checkpoints of real torch files, in the folder of a run."""
    times = itertools.count()
    journal = Journal(
        FolderVolume(str(volume)), one.path, a_status(1, State.RUNNING, "local-1-x", began, began),
        lambda: began + next(times) * 0.09, lambda: 0.0, compiles=False,
    )  # fmt: skip
    journal.begin_stage()
    journal.output(LOG)
    journal.close()
    (volume / one.path / layout.STATUS_FILE).unlink()
    folder = volume / one.path / layout.CHECKPOINT_DIRS[CheckpointKind.BASE] / one.spec.model
    folder.mkdir(parents=True)
    for step in (50, 100, 150):
        shutil.copyfile(DATA / "torch" / "model.pt", folder / f"model_{step:06d}.pt")
        shutil.copyfile(DATA / "torch" / "optim.pt", folder / f"optim_{step:06d}_rank0.pt")
        (folder / f"meta_{step:06d}.json").write_text(json.dumps({"step": step, "val_bpb": 1.2 - step / 1000}))


def rewrite(paths: list[Path], status: Status, over: threading.Event) -> None:
    """What twenty jobs do: say once a second how far they are."""
    while not over.wait(1.0):
        assert status.training.step
        status.training.step, status.updated_at, status.work.progress_at = (
            status.training.step + 1,
            time.time(),
            time.time(),
        )
        for path in paths:
            partial = path.with_suffix(".part")
            partial.write_bytes(msgspec.json.encode(status))
            partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=20)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        carrier, paths, status = put(Path(folder))
        over = threading.Event()
        threading.Thread(target=rewrite, args=(paths, status, over), daemon=True).start()
        terminal = Terminal(CLI, {**os.environ, "NANOCHAT_TUI_HOME": folder}, 120, 40)
        try:
            terminal.wait_for("●20")
            time.sleep(3)
            before, began = cpu_s(terminal.pid), time.monotonic()
            time.sleep(seconds)
            share = (cpu_s(terminal.pid) - before) / (time.monotonic() - began)
            assert "/10,000" in terminal.screen
            say("20 of 200", f"live: {share:.1%} of a processor over {seconds} s")
            for name, (opens, shown, *pair) in SCREENS.items():
                terminal.press(*opens)
                terminal.wait_for(shown)
                time.sleep(2)
                say(name, f"key to paint {spread(keys(terminal, 60, pair))}")
            terminal.press("escape", "1")
            over.set()
            carrier.kill()
            carrier.wait()
            terminal.wait_for("interrupted", seconds=60)
            # Until what was seen last is told in minutes.
            time.sleep(65)
            before = cpu_s(terminal.pid)
            time.sleep(seconds)
            say("none live", f"{(cpu_s(terminal.pid) - before) / seconds:.2%} of a processor")
        finally:
            over.set()
            terminal.kill()
            carrier.kill()


if __name__ == "__main__":
    main()
