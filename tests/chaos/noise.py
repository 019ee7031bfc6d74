"""Random bytes, key reports, sizes and stops in app and view: they live and answer, or end with another code than 0."""

import os
import signal
import sys

from tests.chaos.bench import Bench
from tests.chaos.keys import sized, two_runs
from tests.conftest import wait_until
from tests.terminal import Terminal

# What stands for much of what terminals send, and for what only looks like it.
PIECES = (
    b"\x1b[", b"\x1b]", b"\x1bP", b"\x1bO", b"\x1b", b"\x1b[200~", b"\x1b[201~", b"\x1b[<0;", b"\x1b[M", b"\x1b[?",
    b"1092;5u", b"1092:1060:97;6u", b"99999999999;1u", b"48;10;10;100;100t", b"48;65535;65535;0;0t", b"2048;2$y",
    b"1;2R", b"57428u", b";;;u", b"u", b"~", b"M", b"m", b"\xe9", b"\xc3", b"\xf0\x9f", b"\xff\xfe", b"\x00", b"\x9b",
)  # fmt: skip
# Never in what is random: a stop is tried by itself, and an end is not what is looked for.
ENDS = frozenset(b"q\x03\x1a\x11")
HELP = ("every command by name", "look for a text")
SIZES = ((80, 24), (20, 5), (1, 1), (2, 1), (300, 100), (10, 3), (120, 40))


def strike(bench: Bench) -> None:
    what = bench.rng.choice(("app", "view", "piped"))
    cli = bench.copy_of(bench.once("template", lambda: two_runs(bench)).home)
    log = bench.root / "some.log"
    log.write_bytes(b"step 00001/00010 (10%) | loss: 3.0\n" * 300)
    ours = f"{sys.executable} -m tui.cli"
    argv = {
        "app": [sys.executable, "-m", "tui.cli"],
        "view": [sys.executable, "-m", "tui.cli", "view", str(log)],
        "piped": ["bash", "-c", f"exec {ours} view - < <(cat {log}; sleep 300)"],
    }[what]
    with bench.terminal(cli, argv, 120, 40) as terminal:
        terminal.wait_for("a " if what == "app" else "300 lines")
        sent = [_one(bench, terminal) for _ in range(60) if terminal.alive]
        if not bench.claim(f"{what}: alive after noise", terminal.alive, (sent[-8:], terminal.screen)):
            bench.claim(f"{what}: an end that is no crash is not 0", terminal.wait_exit() != 0, sent[-8:])
            return
        sized(terminal, 120, 40)
        bench.claim(f"{what}: it answers", _answers(terminal), (sent[-20:], terminal.screen))
        bench.claim(f"{what}: it leaves in order", _leaves(terminal), (sent[-20:], terminal.screen))
        restored = bytes(terminal.raw).rpartition(b"\x1b[?1049l")
        bench.claim(f"{what}: the terminal is given back as it was", restored[1] and b"\x1b[?25h" in restored[2])
    runs = {run["tag"]: run["state"] for run in cli.json("ls")}
    bench.claim("noise deletes and resumes nothing", (runs.pop("a"), runs.pop("b")) == ("done", "failed"), runs)
    if runs:
        # A free rehearsal is launched by one key of the form.
        cli("cancel", *runs, code=None)
    written = (cli.home / "nanochat-tui.log").read_text() if (cli.home / "nanochat-tui.log").exists() else ""
    bench.claim("nothing of it is an error of ours", "the app ended" not in written, written[-1500:])


def _one(bench: Bench, terminal: Terminal) -> bytes:
    rng = bench.rng
    match rng.randrange(12):
        case 0:
            columns, lines = rng.choice(SIZES)
            sized(terminal, columns, lines)
            return f"size {columns}x{lines}".encode()
        case 1:
            terminal.write_bytes(b"\x1a")
            return b"Ctrl-Z"
        case 2:
            os.kill(terminal.pid, signal.SIGSTOP)
            os.kill(terminal.pid, signal.SIGCONT)
            return b"stop"
    noise = b"".join(rng.choice(PIECES) if rng.random() < 0.4 else rng.randbytes(3) for _ in range(rng.randint(1, 60)))
    noise = bytes(byte for byte in noise if byte not in ENDS)
    terminal.write_bytes(noise)
    return noise


def _answers(terminal: Terminal) -> bool:
    """By the help, once whatever is open is closed and whatever waits is given up."""
    terminal.settle()

    def helped() -> bool:
        terminal.press("escape", "escape", "escape", "?")
        terminal.settle(seconds=2)
        return any(said in terminal.screen for said in HELP)

    try:
        return bool(wait_until(helped, seconds=60))
    except AssertionError:
        return False


def _leaves(terminal: Terminal) -> bool:
    for _ in range(3):
        terminal.press("escape", "escape", "escape", "\x1b[21~")
        try:
            return terminal.wait_exit(10) == 0
        except AssertionError:
            terminal.answer("y")
    return not terminal.alive
