"""Steps per second of processor time of a training without W&B, with it, and where W&B never answers; by turns.

python -m tests.bench.wandb_steps [--steps N] [--rounds N]
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from runner import wandb_shadow
from runner.job.wandb_sync import WandbSync, environment, wandb_id
from tests.bench.log_view import say
from tests.wandb_server import KEY, WandbServer

TRAIN = """
import sys, time, wandb
run = wandb.init(project="nanochat", name="x", config={"depth": 4}) if sys.argv[2] == "on" else None
began, logging = time.process_time(), 0.0
for step in range(int(sys.argv[1])):
    sum(range(200_000))
    before = time.process_time()
    if run:
        run.log({"step": step, "train/loss": 1 / (step + 1), "train/lrm": 1.0, "train/dt": 0.3, "train/mfu": 55.1})
    logging += time.process_time() - before
took = time.process_time() - began
if run:
    run.finish()
print(int(sys.argv[1]) / took, logging / int(sys.argv[1]) * 1e6)
"""


def once(steps: int, how: str, url: str) -> tuple[float, float]:
    """Steps per second, and microseconds in each call of `log`."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "wandb"
        env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        argv = [sys.executable, "-c", TRAIN, str(steps), "off" if how == "without" else "on"]
        sync = None
        if how == "without":
            env["WANDB_MODE"] = "disabled"
        else:
            sender = env | {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": url, "HOME": home}
            sync = WandbSync(sys.executable, folder, wandb_id("bench", "base"), sender)
            sync.start()
            env |= environment("bench", "base", "bench", "", folder) | {"PYTHONPATH": str(wandb_shadow.FOLDER)}
        said = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.split()
        if sync:
            sync.close(0.0)
    return float(said[0]), float(said[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    server = WandbServer()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as hanging:
        urls = {"without": "", "with": server.url, "hanging": f"http://127.0.0.1:{hanging.getsockname()[1]}"}
        found: dict[str, list[tuple[float, float]]] = {how: [] for how in urls}
        for _ in range(args.rounds):
            for how, url in urls.items():
                found[how].append(once(args.steps, how, url))
    server.close()
    for how, figures in found.items():
        speeds = [speed for speed, _ in figures]
        middle, call = statistics.median(speeds), statistics.median(us for _, us in figures)
        say(how, f"{middle:8.1f} steps per CPU second ({min(speeds):.1f} to {max(speeds):.1f}), log() {call:6.1f} us")


if __name__ == "__main__":
    main()
