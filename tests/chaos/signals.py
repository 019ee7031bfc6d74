"""Signals to the app, and a terminal that goes away: the process ends, the terminal is put right, the run goes on."""

import os
import signal
import sys

from tests.chaos.bench import Bench
from tests.conftest import wait_until

PUT_RIGHT = (b"\x1b[?1049l", b"\x1b[?25h")


def strike(bench: Bench) -> None:
    cli = bench.cli()
    cli("launch", "--tag", "r", "--fault", "hang@3", "--step-ms", "0")
    wait_until(lambda: (cli.run("r")["step"] or 0) >= 2, seconds=60, what="the run")
    how = bench.rng.choice(("SIGTERM", "SIGHUP", "SIGINT", "closed"))
    with bench.terminal(cli, [sys.executable, "-m", "tui.cli"], 100, 30) as terminal:
        terminal.wait_for("r ", seconds=60)
        terminal.press(bench.rng.choice("12345"))
        terminal.settle()
        if how == "closed":
            terminal.hang_up()
        else:
            os.kill(terminal.pid, getattr(signal, how))
        try:
            code: object = terminal.wait_exit(20)
        except AssertionError:
            code = "still running"
        bench.claim(f"{how}: the app ends", code != "still running", terminal.screen)
        if how != "closed":
            raw = bytes(terminal.raw)
            bench.claim(f"{how}: the terminal is put right", all(c in raw for c in PUT_RIGHT), raw[-200:])
    run = cli.run("r")
    bench.claim("the run goes on", run["state"] == "running", run["state"])
    cli("cancel", "r")
