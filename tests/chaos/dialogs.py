"""Dialogs and pages closed twice in one burst, by keys and by clicks outside: one closing, no end of the app."""

import sys

from tests.chaos.bench import Bench
from tests.conftest import Cli

OPENED = ("?", "\x10", "n", "4", "2", "5", "2o", "2p", "nd")
CLOSED = ("\x1b\x1b", "\x1b\x1b\x1b", "??", "\x1b[<0;1;1M\x1b[<0;1;1m" * 2, "\x1b[<0;1;1M\x1b[<0;1;1m\x1b")


def strike(bench: Bench) -> None:
    cli = bench.once("home", lambda: _home(bench))
    with bench.terminal(cli, [sys.executable, "-m", "tui.cli"], 120, 40) as terminal:
        terminal.wait_for("a ", seconds=60)
        done = []
        for _ in range(10):
            keys = bench.rng.choice(OPENED)
            burst = bench.rng.choice(CLOSED)
            done.append((keys, burst))
            terminal.press(*keys)
            terminal.settle()
            terminal.write(burst)
            terminal.settle()
            if not terminal.alive:
                break
        bench.claim("closing twice ends no app", terminal.alive, (done, terminal.screen))


def _home(bench: Bench) -> Cli:
    cli = bench.cli("home")
    cli("launch", "--tag", "a", "--step-ms", "0", "--watch")
    return cli
