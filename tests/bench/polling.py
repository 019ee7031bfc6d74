"""`nanochat-tui ls` of twenty live runs on Modal, each answer of which takes two seconds: how many answers long it is.

python -m tests.bench.polling [--latency S] [--runs N]
"""

import argparse
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import modal
import msgspec

from runner.backends.base import Workspace
from runner.backends.modal.names import LIVE_DICT, VOLUMES
from runner.fleet.fleet import Fleet
from runner.model.run import Call
from runner.model.states import State
from tests.bench.log_view import say
from tests.conftest import CLI
from tests.modal_cloud import Cloud
from tests.statuses import a_status
from tests.test_run import run


def put(home: Path, runs: int) -> list[str]:
    """Live runs on record, which beat once a second."""
    fleet, now = Fleet(home), time.time()
    where: Workspace = fleet.backend("modal").current_workspace()
    ids = [f"live{number:04d}" for number in range(runs)]
    for name in ids:
        one = run(State.RUNNING, id=name, tag=name, backend="modal", volume=VOLUMES["rehearsal"], created_at=now)
        calls = [Call(f"fc-{name}", now, 1)]
        known = msgspec.structs.replace(one, calls=calls, workspace=where.name, environment=where.environment)
        fleet.registry.add(known)
    fleet.backend("modal").make_volume(VOLUMES["rehearsal"])
    fleet.close()
    return ids


def beat(ids: list[str], done: threading.Event) -> None:
    live = modal.Dict.from_name(LIVE_DICT, create_if_missing=True)
    while not done.wait(1.0):
        now = time.time()
        live.update({name: msgspec.json.encode(a_status(1, State.RUNNING, f"fc-{name}", now, now)) for name in ids})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cloud = Cloud(Path(folder) / "cloud")
        home = Path(folder) / "home"
        home.mkdir()
        os.environ.update(cloud.env)
        ids, done = put(home, args.runs), threading.Event()
        threading.Thread(target=beat, args=(ids, done), daemon=True).start()
        try:
            env = {**os.environ, "NANOCHAT_TUI_HOME": str(home)}
            for label, latency in (("no latency", 0.0), (f"{args.latency:g} s an answer", args.latency)):
                cloud.knobs(latency={"*": latency} if latency else {})
                began = time.monotonic()
                listed = subprocess.run([*CLI, "ls"], env=env, capture_output=True, text=True, check=True)
                took = time.monotonic() - began
                assert listed.stdout.count("live0") >= args.runs, listed.stderr
                answers = f", {took / latency:.1f} answers long" if latency else ""
                say("ls", f"{args.runs} live runs, {label}: {took:.2f} s{answers}")
        finally:
            cloud.well()
            done.set()
            cloud.close()


if __name__ == "__main__":
    main()
