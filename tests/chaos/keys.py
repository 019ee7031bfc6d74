"""Random keys, pastes, clicks and sizes in the app, for a while: it lives, answers, and leaves with q."""

import sys

from runner.system.client_log import FILE
from tests.chaos.bench import SHORT, Bench
from tests.conftest import Cli
from tests.terminal import Terminal

KEYS: tuple[str, ...] = (
    *"123456?nMcrdvsfjkghlGwtTexLpozKy/+-[]'",
    *("enter", "escape", "tab", "up", "down", "left", "right", "f5", "f1", "backspace", " ", "\x10", "\x12", "\x1b[5~"),
)
PASTED = ("last", "[red]x[/]", "\x07\x1b[31m", "9" * 300, "ä漢\u202e", "a\nb\nc", "--step-ms 200")


def strike(bench: Bench) -> None:
    cli = bench.copy_of(bench.once("template", lambda: two_runs(bench)).home)
    with bench.terminal(cli, [sys.executable, "-m", "tui.cli"], 120, 40) as terminal:
        terminal.wait_for("a ", seconds=60)
        done: list[str] = []
        for _ in range(120):
            done.append(_one(bench, terminal))
            if not terminal.alive:
                break
        seen = (
            done[-40:],
            terminal.exit_code,
            (cli.home / FILE).read_text()[-800:] if (cli.home / FILE).exists() else "",
        )
        # A click may meet the footer's own way out.
        left = terminal.exit_code == 0 and any(one.startswith("click") for one in done)
        if bench.claim("the app lives on", terminal.alive or left, seen) and not left:
            sized(terminal, 120, 40)
            bench.claim("it leaves in order", _leaves(terminal), (done[-20:], terminal.screen))
        for run in cli.json("ls"):
            if run["state"] not in ("done", "failed", "cancelled", "interrupted"):
                cli("cancel", run["id"], code=None)


def two_runs(bench: Bench) -> Cli:
    """A home with a run that ended well, and one that failed."""
    cli = bench.cli("template")
    cli("launch", "--tag", "a", *SHORT, "--step-ms", "0", "--watch")
    cli("launch", "--tag", "b", "--step-ms", "0", "--fault", "crash@3", "--watch", code=1)
    return cli


def _one(bench: Bench, terminal: Terminal) -> str:
    rng = bench.rng
    match rng.randrange(20):
        case 0:
            columns, lines = rng.choice(((80, 24), (20, 6), (200, 60), (1, 1), (120, 40)))
            sized(terminal, columns, lines)
            return f"size {columns}x{lines}"
        case 1:
            text = rng.choice(PASTED)
            terminal.write(f"\x1b[200~{text}\x1b[201~")
            return f"paste {text!r}"
        case 2:
            x, y = rng.randint(1, 120), rng.randint(1, 40)
            terminal.write(f"\x1b[<0;{x};{y}M\x1b[<0;{x};{y}m")
            return f"click {x},{y}"
        case 3:
            terminal.write(f"\x1b[<{rng.choice((64, 65))};{rng.randint(1, 120)};{rng.randint(1, 40)}M")
            return "wheel"
    key = rng.choice(KEYS)
    terminal.press(key)
    return key


def sized(terminal: Terminal, columns: int, lines: int) -> None:
    terminal.resize(columns, lines)


def _leaves(terminal: Terminal) -> bool:
    """By Ctrl-C, which no field takes, and a yes where it asks."""
    for keys in (("escape", "escape", "escape", "escape", "q"), ("\x03",), ("y",)):
        terminal.press(*keys)
        try:
            return terminal.wait_exit(20) == 0
        except AssertionError:
            continue
    return False
