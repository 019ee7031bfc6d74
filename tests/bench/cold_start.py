"""How long the command line and the app take to start, against `python -c pass` in the same run.

python -m tests.bench.cold_start
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.terminal import Terminal

ROUNDS = 15
COMMAND = [str(Path(sys.executable).with_name("nanochat-tui"))]


def seconds(argv: list[str], env: dict[str, str]) -> list[float]:
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, check=True)
        taken.append(time.perf_counter() - began)
    return taken


def first_paint(env: dict[str, str]) -> float:
    began = time.perf_counter()
    terminal = Terminal(COMMAND, env)
    terminal.wait_for("sorted by")
    taken = time.perf_counter() - began
    terminal.kill()
    return taken


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "NANOCHAT_TUI_HOME": home}
        subprocess.run(
            [*COMMAND, "launch", "--watch", "--step-ms", "0"], env=env, stdout=subprocess.DEVNULL, check=True
        )
        floor = seconds([sys.executable, "-c", "pass"], env)
        print(f"{'':<16} {'best ms':>8} {'median':>8} {'over pass':>10}")
        for words in ([], ["--version"], ["--help"], ["ls", "--json"], ["show", "last", "--json"]):
            taken = seconds([*COMMAND, *words], env) if words else floor
            over = (statistics.median(taken) - statistics.median(floor)) * 1000
            name = " ".join(words) or "python -c pass"
            print(f"{name:<16} {min(taken) * 1000:8.1f} {statistics.median(taken) * 1000:8.1f} {over:10.1f}")
        token = {"MODAL_TOKEN_ID": "ak-x", "MODAL_TOKEN_SECRET": "as-x", "MODAL_SERVER_URL": "http://127.0.0.1:9"}
        token["NANOCHAT_TUI_BACKEND"] = "local"
        for name, more in (("app, first paint", {}), ("… with a token", token)):
            paints = [first_paint({**env, **more}) for _ in range(7)]
            print(f"{name:<16} {min(paints) * 1000:8.1f} {statistics.median(paints) * 1000:8.1f}")


if __name__ == "__main__":
    main()
