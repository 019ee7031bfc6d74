"""`view -` and `logs` in a pipe: what is said of what comes, and whole lines."""

import sys
from pathlib import Path

import pytest

from tests.conftest import CLI, Cli, wait_until
from tests.terminal import Terminal

FEED = """
import os, sys, time
for number in range(6000):
    print(f"line {number:05d} " + "x" * 40, flush=number % 500 == 9)
    if number == 9:
        while not os.path.exists(sys.argv[1]):
            time.sleep(0.05)
print("end", flush=True)
open(sys.argv[2], "w").close()
"""


@pytest.mark.parametrize("limit", [128, 4])
def test_a_full_disk_under_a_pipe_is_said_and_whoever_feeds_it_comes_to_its_end(
    cli: Cli, tmp_path: Path, limit: int
) -> None:
    feed, go, fed = tmp_path / "feed.py", tmp_path / "go", tmp_path / "fed"
    feed.write_text(FEED)
    cli("ls")
    view = f"(trap '' XFSZ; ulimit -f {limit * 2}; exec {' '.join(CLI)} view -)"
    terminal = Terminal(["bash", "-c", f"{sys.executable} {feed} {go} {fed} | {view}"], cli.env, 100, 24)
    try:
        terminal.wait_for("line 00009")
        terminal.wait_for("following")
        go.touch()
        wait_until(lambda: "nothing is kept" in (s := terminal.screen) and "following" not in s, what="the word of it")
        wait_until(fed.exists, what="the end of what feeds it")
        assert "File too large" in terminal.screen
        terminal.press("q")
        assert terminal.wait_exit() == 0
    finally:
        terminal.kill()


def test_a_pipe_that_has_ended_is_not_said_to_be_followed(cli: Cli) -> None:
    terminal = Terminal(["bash", "-c", f"(echo one; echo two) | {' '.join(CLI)} view -"], cli.env, 80, 24)
    try:
        terminal.wait_for("the input has ended")
        wait_until(lambda: "following" not in (s := terminal.screen) and "at the end" in s, what="the end of following")
    finally:
        terminal.kill()


@pytest.mark.parametrize("words", [["view", "-"], ["view", "-", "--summary"]])
def test_nothing_piped_in_is_refused_in_words(cli: Cli, words: list[str]) -> None:
    terminal = Terminal([*CLI, *words], cli.env, 100, 10)
    try:
        assert terminal.wait_exit() == 2
        terminal.wait_for("nothing is piped into view -")
    finally:
        terminal.kill()


def test_a_pipe_gets_lines_whole_and_grep_judges_what_it_gets(cli: Cli) -> None:
    cli("launch", "--tag", "long", "--step-ms", "0", "--watch")
    long, bar = "BEGIN" + "x" * 2_000_000 + " NEEDLE", "bar 1%\rbar 50%\rbar 100%"
    with (cli.run_dir("long") / "log").open("a") as log:
        log.write(f"{long}\n{bar}\n")
    printed = cli("logs", "long").stdout.splitlines()
    assert long in printed and "bar 1% bar 50% bar 100%" in printed
    assert cli("logs", "long", "--grep", "NEEDLE").stdout == f"{long}\n"
    assert cli("logs", "long", "--grep", "50%", "--lines", "1").stdout == "bar 1% bar 50% bar 100%\n"
    assert "NEEDLE" not in cli("logs", "long", "--grep", "BEGIN", "--invert").stdout


def test_exported_sizes_and_an_empty_no_color_say_nothing(cli: Cli) -> None:
    cli("launch", "--tag", "coloured", "--step-ms", "0", "--watch")
    env = {**cli.env, "NO_COLOR": ""}
    shell = f"export COLUMNS=30 LINES=5; {' '.join(CLI)} ls; echo done"
    terminal = Terminal(["bash", "-c", shell], env, 120, 24)
    try:
        terminal.wait_for("done")
        wait_until(lambda: not terminal.alive, what="the end")
        assert "\x1b[32m" in terminal.raw.decode(), "colours"
        assert "task" in terminal.screen and "cost" in terminal.screen, "columns that a narrow terminal leaves out"
    finally:
        terminal.kill()
