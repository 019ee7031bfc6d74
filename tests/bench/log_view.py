"""The log view on a log of ten million lines, beside `less +G` and toolong on the same file, in the same run.

python -m tests.bench.log_view [FILE] [--seconds N] [--peer "COMMAND with {} for the file"]...
"""

import argparse
import asyncio
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import CLI
from tests.terminal import Terminal
from tui.app.log_viewer import ViewApp
from tui.background import SWITCH_S
from tui.widgets.log_view import LogView

LINES = 10_000_000
LINE = b"step %05d/99999 (50.00%%) | loss: 5.430013 | lrm: 0.76 | dt: 82.12ms | tok/sec: 24,938 | line %08d\n"
ERROR = b"ValueError: an error that is rare, line %08d\n"
LAST = b"the last line of all\n"
WRITER = """
import sys, time
path, seconds, rate = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
began, n = time.time(), 0
with open(path, 'ab', buffering=0) as f:
    while time.time() - began < seconds:
        due = int((time.time() - began) * rate) - n
        f.write(b''.join(b'live line %09d | loss: 1.5 | and more, as long as usual\\n' % (n + i) for i in range(due)))
        n += due
        time.sleep(0.01)
print(n)
"""


def make(path: Path) -> None:
    """A gigabyte of lines, with an error in every three million."""
    with path.open("wb") as file:
        for first in range(0, LINES, 10_000):
            numbers = range(first, first + 10_000)
            file.write(b"".join(ERROR % n if n % 3_000_017 == 7 else LINE % (n % 99_999, n) for n in numbers))
        file.write(LAST)


def say(name: str, text: str) -> None:
    print(f"{name:<12} {text}", flush=True)


def spread(ms: list[float]) -> str:
    """Of sorted milliseconds: the middle, the 95th and 99th of a hundred, the worst."""
    at = [ms[int(len(ms) * share)] for share in (0.5, 0.95, 0.99)]
    return f"median {at[0]:.1f} ms, p95 {at[1]:.1f}, p99 {at[2]:.1f}, most {ms[-1]:.1f}"


def rss_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def opened(argv: list[str], *texts: str) -> tuple[list[float], Terminal]:
    """Seconds from the start of a program to each text on its screen."""
    began = time.perf_counter()
    terminal = Terminal(argv, {**os.environ, "LESS": ""}, 120, 40)
    found = []
    for text in texts:
        terminal.wait_for(text, seconds=120)
        found.append(time.perf_counter() - began)
    return found, terminal


def opening(path: Path, peers: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.log"
        small.write_bytes(LAST)
        floor = min(opened_once([*CLI, "view", str(small)], "the last line of all")[0] for _ in range(3))
    times, terminal = opened([*CLI, "view", str(path)], "the last line of all", f"{LINES + 1:,} lines")
    say("ours", f"last line {times[0]:.2f} s (a file of one line: {floor:.2f} s, so {times[0] - floor:+.2f} s)")
    say("", f"every line counted {times[1] - times[0]:.2f} s after that")
    time.sleep(1)
    say("", f"resident {rss_mib(terminal.pid):.0f} MiB")
    search(terminal)
    terminal.kill()
    for peer in peers:
        argv = [word.replace("{}", str(path)) for word in peer.split()]
        times, terminal = opened(argv, "the last line of all")
        time.sleep(1)
        say(argv[0].rpartition("/")[2], f"last line {times[0]:.2f} s, resident {rss_mib(terminal.pid):.0f} MiB")
        terminal.kill()


def opened_once(argv: list[str], text: str) -> list[float]:
    times, terminal = opened(argv, text)
    terminal.kill()
    return times


def search(terminal: Terminal) -> None:
    terminal.press("g")
    terminal.wait_for("line 00000000")
    terminal.press("/", *"line 00000500")
    began = time.perf_counter()
    os.write(terminal._fd, b"\r")
    terminal.wait_for("line 501 ")
    say("search", f"a hit 500 lines on: {time.perf_counter() - began:.2f} s")
    terminal.press("/", "\x15", *"an error")
    began = time.perf_counter()
    os.write(terminal._fd, b"\r")
    terminal.wait_for("ValueError: an error")
    near = time.perf_counter() - began
    terminal.wait_for("in 4 lines  ", seconds=120)
    every = time.perf_counter() - began
    say("", f"a hit 3,000,000 lines on: {near:.2f} s; all 10,000,000 lines: {every:.2f} s")


def keys(terminal: Terminal, count: int, pair: Sequence[str] = ("j", "k")) -> list[float]:
    """Milliseconds from a key, each of two in turn, to the first byte that answers it."""
    found = []
    for n in range(count):
        before = len(terminal.raw)
        began = time.perf_counter()
        os.write(terminal._fd, pair[n % 2].encode())
        while len(terminal.raw) == before and time.perf_counter() - began < 1:
            select.select([], [], [], 0.0005)
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(0.05)
    return sorted(found)


def live(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "live.log"
        path.write_bytes(b"first\n" * 100)
        terminal = Terminal([*CLI, "view", str(path)], dict(os.environ), 120, 40)
        terminal.wait_for("100 lines")
        time.sleep(2)
        terminal.press("k", "k", "k", "k", "k")
        rest = keys(terminal, 100)
        before = cpu_s(terminal.pid)
        time.sleep(10)
        idle = (cpu_s(terminal.pid) - before) / 10
        say("at rest", f"key to paint {spread(rest)}; idle CPU {idle:.2%}")
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path, str(seconds), "100000"], stdout=subprocess.PIPE)
        time.sleep(1)
        busy = keys(terminal, int(max(20, (seconds - 3) * 10)))
        out, _ = writer.communicate()
        written = int(out)
        terminal.press("G")
        terminal.wait_for(f"{written + 100:,} lines", seconds=30)
        say("live", f"{written / seconds:,.0f} lines/s for {seconds:.0f} s, all {written:,} there")
        say("", f"key to paint {spread(busy)}; resident {rss_mib(terminal.pid):.0f} MiB")
        terminal.kill()


def hostile() -> None:
    """A log made to do harm: how long what a person does in it takes, and what of it reaches the terminal."""
    rest = (
        b"".join(
            bytes([n]) + b"\x1b]52;c;aGVsbG8=\x07\x1b]8;;http://evil\x1b\\\x1b]0;owned\x07[red]" for n in range(32)
        )
        * 9
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hostile.log"
        with path.open("wb") as file:
            file.write(b"the first line\n" + b"\xe2\x80\xae\xff\xfe needle \xc3(" * (100 << 20 >> 4) + b"\n")
            file.write(b"\r".join(b"%d%%" % n for n in range(1_000_000)) + b"\n" + b"\0" * (8 << 20) + b"\n")
            file.write((rest + b"\n") * 2000 + LAST)
        terminal = Terminal([*CLI, "view", str(path)], dict(os.environ), 120, 40)
        began = time.perf_counter()
        terminal.wait_for("the last line of all")
        say(
            "hostile",
            f"{path.stat().st_size / 1e6:,.0f} MB, one line of 100 MB: open {time.perf_counter() - began:.2f} s",
        )
        for name, keys_, text in (
            ("its beginning", "g", "the first line"),
            ("wrapped", "w", "999999%"),
            ("a search", "/needle\r", "'needle' in 1 lines  "),
            ("a regex", "/\x15~(a|b)c+d\r", "is not there"),
            ("a filter", "f!needle\r", "only '!needle'"),
            ("its end", "G", "the last line of all"),
        ):
            began = time.perf_counter()
            terminal.press(*keys_)
            terminal.wait_for(text, seconds=60)
            say("", f"{name}: {time.perf_counter() - began - 0.05 * len(keys_):.2f} s")
        terminal.press("k", "k")
        time.sleep(2)
        drawn = keys(terminal, 40)
        got = [name for name in (b"\x1b]52", b"\x1b]8;", b"\x1b]0;", b"\0") if name in terminal.raw]
        say("", f"key to paint {spread(drawn)}; resident {rss_mib(terminal.pid):.0f} MiB")
        say("", f"sequences that got through to the terminal: {got or 'none'}")
        terminal.kill()


async def lag(path: Path) -> None:
    """How long the event loop is held up while everything is counted and searched."""
    sys.setswitchinterval(SWITCH_S)
    app = ViewApp(path, "bench", path.parent)
    delays: list[float] = []

    async def probe() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            delays.append((time.perf_counter() - began - 0.005) * 1000)

    async with app.run_test(size=(120, 40)) as pilot:
        view = app.query_one(LogView)
        while view.lines < LINES:
            await pilot.pause(0.05)
        task = asyncio.create_task(probe())
        await pilot.press("slash", *"an error", "enter")
        while view.search is None or view.search.fraction_scanned < 1:
            await pilot.pause(0.05)
        task.cancel()
    say("event loop", f"held up while searching: {spread(sorted(delays))}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--peer", action="append", default=["less +G {}"])
    args = parser.parse_args()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with tempfile.TemporaryDirectory() as folder:
        path = args.file or Path(folder) / "big.log"
        if not path.exists():
            make(path)
        opening(path, args.peer)
        asyncio.run(lag(path))
    hostile()
    live(args.seconds)


if __name__ == "__main__":
    main()
