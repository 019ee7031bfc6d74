"""Twenty live runs on the Runs screen, each rewriting its status once a second: what the app takes of a processor.

python -m tests.bench.many_runs [--seconds N]
"""

import argparse
import os
import subprocess
import sys
import tempfile
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
from tests.bench.log_view import cpu_s, say
from tests.conftest import CLI
from tests.statuses import a_status
from tests.terminal import Terminal
from tests.test_run import run

RUNS = 20


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
    fleet.close()
    return carrier, paths, status


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=20)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        carrier, paths, status = put(Path(folder))
        terminal = Terminal(CLI, {**os.environ, "NANOCHAT_TUI_HOME": folder}, 120, 40)
        try:
            terminal.wait_for("20 live")
            before, began = 0.0, 0.0
            for second in range(seconds + 3):
                if second == 3:
                    before, began = cpu_s(terminal.pid), time.monotonic()
                status.training.step, status.updated_at, status.work.progress_at = second + 2, time.time(), time.time()
                for path in paths:
                    partial = path.with_suffix(".part")
                    partial.write_bytes(msgspec.json.encode(status))
                    partial.replace(path)
                time.sleep(1.0)
            share = (cpu_s(terminal.pid) - before) / (time.monotonic() - began)
            assert f"{seconds + 4:,}/10,000" in terminal.screen or "/10,000" in terminal.screen
            say("20 live runs", f"{share:.1%} of a processor over {seconds} s")
        finally:
            terminal.kill()
            carrier.kill()


if __name__ == "__main__":
    main()
