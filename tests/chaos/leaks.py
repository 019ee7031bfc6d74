"""Memory and descriptors of the app while the same round of screens is walked again and again: they stay flat."""

import re
import statistics
import sys
from pathlib import Path

from tests.chaos.bench import SHORT, Bench
from tests.conftest import Cli

ROUND = ("2", "M", "M", "/", "escape", "3", "escape", "4", "escape", "5", "escape", "6", "escape", "?", "escape", "1")
ROUNDS, WARM = 14, 4
KIB_A_ROUND, DESCRIPTORS_A_ROUND = 300.0, 0.5


def strike(bench: Bench) -> None:
    cli = bench.once("home", lambda: _home(bench))
    memory, descriptors = [], []
    with bench.terminal(cli, [sys.executable, "-m", "tui.cli"], 120, 40) as terminal:
        terminal.wait_for("a ", seconds=60)
        for _ in range(ROUNDS):
            for key in ROUND:
                terminal.press(key)
            terminal.settle()
            bench.claim("the app lives on", terminal.alive, terminal.screen)
            status = Path(f"/proc/{terminal.pid}/status").read_text()
            memory.append(float(re.findall(r"VmRSS:\s+(\d+)", status)[0]))
            descriptors.append(float(sum(1 for _ in Path(f"/proc/{terminal.pid}/fd").iterdir())))
    kib, files = _slope(memory[WARM:]), _slope(descriptors[WARM:])
    bench.figures.append(
        f"memory {memory[0] / 1024:.0f} -> {memory[-1] / 1024:.0f} MiB, {kib:+.0f} KiB a round; "
        f"descriptors {descriptors[0]:.0f} -> {descriptors[-1]:.0f}, {files:+.2f} a round"
    )
    bench.claim("memory is flat", kib < KIB_A_ROUND, memory)
    bench.claim("descriptors are flat", files < DESCRIPTORS_A_ROUND, descriptors)


def _home(bench: Bench) -> Cli:
    cli = bench.cli("home")
    cli("launch", "--tag", "a", *SHORT, "--step-ms", "0", "--watch")
    return cli


def _slope(values: list[float]) -> float:
    return statistics.linear_regression(range(len(values)), values).slope
