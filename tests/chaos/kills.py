"""SIGKILL of the client, the job, its child or both at a random instant; then resume: as if nothing had happened."""

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.chaos.bench import SHORT, Bench
from tests.conftest import CLI, Cli, wait_until

VICTIMS = ("client", "job", "child", "both")


def strike(bench: Bench) -> None:
    undisturbed = bench.once("undisturbed", lambda: _undisturbed(bench))
    cli, rng, victim = bench.cli(), bench.rng, bench.rng.choice(VICTIMS)
    client = subprocess.Popen(
        [*CLI, "launch", "--tag", "k", *SHORT, "--step-ms", "2"],
        env=cli.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if victim == "client":
        time.sleep(rng.uniform(0, 1.0))
        client.kill()
        client.wait()
    else:
        client.wait()
        _killed(cli, victim, rng)
    runs = cli.json("ls")
    if not runs:
        bench.claim("a client killed before its record leaves nothing that runs", not cli.processes(), cli.processes())
        return
    ended = bench.settled(cli, "k")
    if ended["state"] != "done":
        # The job's last word comes a moment before its end.
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not cli.processes(), seconds=10, what="the end of all processes")
        left = cli.processes()
        bench.claim("no process is left beside an ended run", not left, (victim, ended["state"], left))
    run = bench.brought_to_its_end(cli, "k")
    if bench.claim("the run ends as done", run["state"] == "done", (victim, run["state"], run["outcome"])):
        bench.claim("val bpb as undisturbed", abs(run["val_bpb"] - undisturbed) < 1e-6, (victim, run["val_bpb"]))
        wrong = _wrong_in_log(cli.run_dir("k") / "log", run)
        bench.claim("the log has every step, none twice in one attempt", not wrong, (victim, wrong))
        saved = cli.json("checkpoints", "k")
        whole = {c["step"] for c in saved if c["verdict"] == "complete"}
        bench.claim("every checkpoint is whole", whole == set(range(10, 61, 10)), (victim, saved))
    bench.claim("no process is left at the end", not cli.processes(), cli.processes())


def _undisturbed(bench: Bench) -> float:
    cli = bench.cli()
    cli("launch", "--tag", "k", *SHORT, "--step-ms", "0", "--watch")
    return float(cli.run("k")["val_bpb"])


def _killed(cli: Cli, victim: str, rng: random.Random) -> None:
    """Kill at an instant between the start and the end, whatever that meets."""
    time.sleep(rng.uniform(0, 2.0))
    for pid in cli.processes():
        try:
            is_job = b"runner.job" in Path(f"/proc/{pid}/cmdline").read_bytes()
            if victim == "both" or (victim == "job") == is_job:
                os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            continue


def _wrong_in_log(log: Path, run: dict[str, Any]) -> list[str]:
    wrong, last, seen = [], None, set()
    for line in log.read_text(errors="replace").split("\n"):
        if line.startswith(("[ATTEMPT", "[STAGE]", "[EXEC]")):
            last = None
        if step := re.match(r"step (\d+)/\d+ .*loss", line):
            number = int(step[1])
            seen.add(number)
            if last is not None and number != last + 1:
                wrong.append(f"step {number} after {last}")
            last = number
    missing = set(range(60)) - seen
    return [*wrong, *([f"no step {sorted(missing)}"] if missing else [])]
