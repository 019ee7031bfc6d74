"""Logs full of escapes that are cut, replaced and written on while they are viewed, searched and filtered."""

import sys
from pathlib import Path

from tests.chaos.bench import Bench

EVIL = b"\x1b]0;owned\x07\x1b]52;c;aGk=\x07\x1b[?1049l\x1bc[bold]x[/] \xe2\x80\xae\xff\x00 error step 00012/00100\n"
LINE = b"step %05d/99999 (1.00%%) | loss: 3.1 | lrm: 1.00 | dt: 4.00ms | tok/sec: 100\n"
TYPED = (("/", *"error", "enter"), ("f", *"step", "enter"), ("G",), ("g",), ("n",), ("w",), ("t",), ("escape",), ("e",))


def strike(bench: Bench) -> None:
    rng, cli = bench.rng, bench.cli()
    cli.home.mkdir(parents=True, exist_ok=True)
    log = cli.home / "x.log"
    _write(bench, log, 3000)
    with bench.terminal(cli, [sys.executable, "-m", "tui.cli", "view", str(log)]) as terminal:
        terminal.wait_for("loss", seconds=60)
        alive = True
        for _ in range(12):
            terminal.press(*rng.choice(TYPED))
            rng.choice((_truncate, _replace, _append, _remove))(bench, log)
            alive = alive and terminal.alive
        if bench.claim("the view lives on", alive and terminal.alive, terminal.screen):
            terminal.press("escape", "escape", "escape", "q")
            bench.claim("q leaves it with 0", terminal.wait_exit(60) == 0, terminal.screen)
        escaped = [bad for bad in (b"\x1b]0;owned", b"]52;", b"\x1bc") if bad in terminal.raw]
        bench.claim("nothing hostile reaches the terminal", not escaped, escaped)


def _write(bench: Bench, log: Path, lines: int) -> None:
    log.write_bytes(b"".join(EVIL if bench.rng.random() < 0.05 else LINE % n for n in range(lines)))


def _truncate(bench: Bench, log: Path) -> None:
    if log.exists():
        with log.open("r+b") as file:
            file.truncate(bench.rng.choice((0, 1, 500)))


def _replace(bench: Bench, log: Path) -> None:
    log.unlink(missing_ok=True)
    _write(bench, log, bench.rng.choice((0, 1, 200, 5000)))


def _append(bench: Bench, log: Path) -> None:
    with log.open("ab") as file:
        file.write(b"".join(LINE % n for n in range(bench.rng.choice((1, 400)))) + EVIL)


def _remove(bench: Bench, log: Path) -> None:
    log.unlink(missing_ok=True)
    log.touch()
