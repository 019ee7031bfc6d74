"""How long the command line and the app take to start, against `python -c pass` and a bare Textual app in the same run.

python -m tests.bench.cold_start [ROUNDS] [PEER=TEXT …]

A peer is a command of another program, and a text that its first whole frame has: 'posting=Collection'.
All take turns, so that a busy machine is as busy for each. Times are from the exec of a process.
"""

import contextlib
import fcntl
import os
import pty
import select
import shlex
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path

PYTHON = sys.executable
COMMAND = str(Path(PYTHON).with_name("nanochat-tui"))
FLOOR = "from textual.app import App\nfrom textual.widgets import Static\nclass A(App):\n    def compose(self):\n"
FLOOR += "        yield Static('floor')\nA().run()"
# What Textual's driver sends when it has taken a terminal: what comes after it is no picture of before.
TAKEN = b"\x1b[?1000h"
LIMIT_S = 30.0


def ended(*argv: str) -> Callable[[dict[str, str]], float]:
    """Seconds from the start of a command to its end."""

    def measure(env: dict[str, str]) -> float:
        began = time.perf_counter()
        subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began

    return measure


def drawn(text: bytes, *argv: str, after: bytes = b"") -> Callable[[dict[str, str]], float]:
    """Seconds from the start of a program to a text on its terminal, behind what it sends at first."""

    def measure(env: dict[str, str]) -> float:
        began = time.perf_counter()
        pid, fd = pty.fork()
        if pid == 0:
            os.execvpe(argv[0], argv, {**env, "TERM": "xterm-256color"})
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        raw = b""
        try:
            while text not in raw.partition(after)[2] if after else text not in raw:
                if not select.select([fd], [], [], LIMIT_S)[0]:
                    raise TimeoutError(f"{shlex.join(argv)} does not draw {text!r}")
                raw += os.read(fd, 1 << 16)
            return time.perf_counter() - began
        finally:
            _end(pid, fd)

    return measure


def _end(pid: int, fd: int) -> None:
    """In order, so that the next start finds what this one leaves."""
    os.kill(pid, signal.SIGTERM)
    with contextlib.suppress(OSError):
        while os.read(fd, 1 << 16):
            pass
    os.waitpid(pid, 0)
    os.close(fd)


def main(rounds: int, peers: list[str]) -> None:
    with tempfile.TemporaryDirectory() as home:
        # Installed packages have their bytecode.
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= {"NANOCHAT_TUI_HOME": home, "MODAL_CONFIG_PATH": os.devnull}
        subprocess.run(
            [COMMAND, "launch", "--watch", "--step-ms", "0"],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        token = {"MODAL_TOKEN_ID": "ak-x", "MODAL_TOKEN_SECRET": "as-x", "MODAL_SERVER_URL": "http://127.0.0.1:9"}
        token["NANOCHAT_TUI_BACKEND"] = "local"
        ready = drawn(b"sorted by", COMMAND, after=TAKEN)
        measured: dict[str, Callable[[dict[str, str]], float]] = {
            "python -c pass": ended(PYTHON, "-c", "pass"),
            "import textual": ended(PYTHON, "-c", "import textual.app, textual.screen"),
            **{
                words: ended(COMMAND, *words.split())
                for words in ("--version", "--help", "ls", "ls --json", "show last", "cost", "logs last")
            },
            "first ink": drawn(b"opening", COMMAND),
            "app ready": ready,
            "… with a token": lambda env: ready({**env, **token}),
            "bare Textual app": drawn(b"floor", PYTHON, "-c", FLOOR),
        }
        for peer in peers:
            command, _, text = peer.rpartition("=")
            measured[command] = drawn(text.encode(), *shlex.split(command))
        taken: dict[str, list[float]] = {name: [] for name in measured}
        for turn in range(rounds + 1):
            for name, measure in measured.items():
                seconds = measure(env)
                # The first one makes bytecode, and the picture.
                taken[name] += [seconds] if turn else []
        floor, bare = statistics.median(taken["python -c pass"]), statistics.median(taken["bare Textual app"])
        head = f"ms, {rounds} rounds"
        print(f"{head:<22}{'best':>8}{'median':>8}{'over pass':>11}{'× pass':>8}{'× bare app':>12}")
        for name, all_of_it in taken.items():
            middle = statistics.median(all_of_it)
            print(
                f"{name[-22:]:<22}{min(all_of_it) * 1000:8.1f}{middle * 1000:8.1f}{(middle - floor) * 1000:11.1f}"
                f"{middle / floor:8.1f}{middle / bare:12.2f}"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15, sys.argv[2:])
