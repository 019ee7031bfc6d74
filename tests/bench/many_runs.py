"""Two hundred runs, twenty of them live, each of these rewriting its status once a second: what the app takes of a
processor, and on every screen how long it is from a key to what it changes; then with none live.

python -m tests.bench.many_runs [--seconds N]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec

from runner import processes
from runner.fleet.fleet import Fleet
from runner.model.run import Call
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import StageState, StageStatus, Status
from runner.nanochat import layout
from runner.volumes import run_records
from runner.volumes.folder import FolderVolume
from tests.bench.log_view import cpu_s, keys, say, spread
from tests.conftest import CLI
from tests.statuses import a_status
from tests.terminal import Terminal
from tests.test_run import run

RUNS, ENDED = 20, 180
# Each screen, and two keys of which each changes what it shows.
SCREENS = {
    "runs": ("1", "j", "k"),
    "watch": ("2", "k", "j"),
    "metrics": ("M", "h", "l"),
    "new": ("3", "j", "k"),
    "volume": ("4", "j", "k"),
    "sizes": ("z", "j", "k"),
    "cost": ("5", "j", "k"),
    "checkpoints": ("6", "j", "k"),
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
    for run_id in ids:
        one = run(State.RUNNING, id=run_id, tag=run_id, volume=location, created_at=now - 60, calls=[Call(call, now)])
        run_records.write_run(FolderVolume(location), one)
        fleet.registry.add(msgspec.structs.replace(one, status=status))
        paths.append(Path(location) / one.path / layout.STATUS_FILE)
    for number in range(ENDED):
        began = now - 3600 - number
        ended = a_status(
            1, State.DONE, "local-1-x", began, began + 600, stage="report", total_steps=10_000, step=10_000
        )
        one = run(
            State.DONE, id=f"done{number:04d}", tag=f"done{number:04d}", volume=location, created_at=began, status=ended
        )
        run_records.write_run(FolderVolume(location), one)
        fleet.registry.add(one)
    fleet.close()
    return carrier, paths, status


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
            for name, (opens, *pair) in SCREENS.items():
                terminal.press(opens)
                time.sleep(2)
                say(name, f"key to paint {spread(keys(terminal, 60, pair))}")
            terminal.press("1")
            over.set()
            carrier.kill()
            carrier.wait()
            terminal.wait_for("interrupted", seconds=60)
            time.sleep(5)
            before = cpu_s(terminal.pid)
            time.sleep(seconds)
            say("none live", f"{(cpu_s(terminal.pid) - before) / seconds:.2%} of a processor")
        finally:
            over.set()
            terminal.kill()
            carrier.kill()


if __name__ == "__main__":
    main()
