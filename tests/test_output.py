"""What the command line writes: above the one line that is written over again, in what the terminal has and can."""

import io
import re
import sys
from decimal import Decimal

import msgspec
import pyte
import pytest

from runner.model import pricing
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import StageState, StageStatus
from tests.conftest import CLI, Cli, wait_until
from tests.terminal import Terminal
from tests.test_run import NOW, run, status
from tui.presentation import ascii_signs, console
from tui.presentation.ascii_signs import IN_WORDS
from tui.presentation.cells import Cell
from tui.presentation.live_line import live_line


class Tty(io.StringIO):
    """A terminal that keeps what it is sent."""

    def isatty(self) -> bool:
        return True

    def screen(self, columns: int = 80) -> list[str]:
        screen = pyte.Screen(columns, 24)
        pyte.Stream(screen).feed(self.getvalue().replace("\n", "\r\n"))
        return [line.rstrip() for line in screen.display if line.strip()]


def terminal(monkeypatch: pytest.MonkeyPatch) -> Tty:
    """Standard output and error on one terminal."""
    made = Tty()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, made)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    console.prepare()
    return made


def test_what_is_printed_scrolls_above_the_line_that_is_written_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "REWRITE_EVERY_S", 0.0)
    tty = terminal(monkeypatch)
    line = console.StatusLine()
    console.write("first of the log")
    line.put("step 1")
    console.write("second of the log")
    line.put("step 2")
    console.message("a message")
    line.put("step 3")
    assert tty.screen() == ["first of the log", "second of the log", "a message", "step 3"]
    console.table(("a", "b"), [("1", "2")], right=frozenset(), plain=True)
    assert tty.screen()[-2:] == ["a  b", "1  2"]
    line.put("step 4")
    once = tty.getvalue()
    line.put("step 4")
    assert tty.getvalue() == once, "what stands there already is not sent again"
    assert line.clear() and not line.clear()
    assert tty.screen()[-1] == "1  2"


@pytest.mark.parametrize("why", ["plain", "dumb", "no terminal", "not wanted"])
def test_nothing_is_written_over_where_that_cannot_or_should_not_be(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    tty = terminal(monkeypatch)
    if why == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    if why == "no terminal":
        monkeypatch.setattr(tty, "isatty", lambda: False)
    console.prepare(plain=why == "plain")
    line = console.StatusLine(wanted=why != "not wanted")
    line.put("step 1")
    console.write("a line")
    line.clear()
    assert tty.getvalue() == "a line\n"
    console.prepare()


@pytest.mark.parametrize(
    ("width", "says"),
    [
        (
            120,
            "d12-amber  ▶ training  base 1/1  █████▍······  45%  step 900/2,000  loss 2.913  742K tok/s  $0.50  ♥ 1s",
        ),
        (79, "d12-amber  ▶ training  base 1/1  45%  step 900/2,000  loss 2.913  $0.50  ♥ 1s"),
        (49, "▶ training  45%  step 900/2,000  $0.50"),
        (20, "▶ training  45%"),
    ],
)
def test_the_line_of_a_live_run_loses_the_least_important_where_there_is_no_room(width: int, says: str) -> None:
    live = status(
        State.RUNNING, stage="base", step=900, total_steps=2000, loss=2.9134, usd_per_hour=Decimal(36),
        phase="training", stages=[StageStatus(StageName.BASE, StageState.RUNNING, NOW - 50)],
        tokens_per_s=742_000, progress_at=NOW - 2,
    )  # fmt: skip
    prices = msgspec.structs.replace(pricing.DATED, local=Decimal(36))
    assert live_line(run(State.RUNNING, tag="d12-amber", status=live, prices=prices), NOW, width) == says


def test_a_terminal_without_our_signs_gets_words_in_aligned_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ascii(Tty):
        encoding = "ascii"

    made = Ascii()
    monkeypatch.setattr(sys, "stdout", made)
    console.write("✓ done – 8×H100 … ▶")
    console.table(("state", "loss"), [("✓ done", "–"), ("running", "1.5")], right=frozenset(), plain=True)
    lines = made.getvalue().splitlines()
    assert lines[0] == "ok done - 8xH100 ... >"
    assert lines[1:] == ["state    loss", "ok done  -", "running  1.5"]


def test_every_sign_of_ours_has_a_word_in_ascii() -> None:
    from tui.presentation import run_format

    signs = "".join(
        glyph for table in (run_format.STATES, run_format.STAGES, run_format.HEALTH) for glyph, _ in table.values()
    )
    assert signs.translate(IN_WORDS).isascii()


@pytest.mark.parametrize("columns", [20, 40, 60])
def test_a_table_stays_within_a_narrow_terminal_and_loses_no_word(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    tty = terminal(monkeypatch)
    monkeypatch.setattr(console, "terminal_size", lambda *_: (columns, 24))
    meaning = "notices ring the bell of the terminal, and go to it as notifications"
    rows = [("bell", "on", Cell(meaning)), ("keep", "5", Cell("GB of logs"))]
    console.table(("name", "set", "meaning"), rows, right=frozenset({"set"}), plain=True, optional=())
    lines = tty.getvalue().splitlines()
    assert max(map(len, lines)) <= max(columns, 16 + 11)
    said = " ".join(" ".join(lines).split())
    assert all(word in said for word in meaning.split())


def test_a_run_that_is_watched_stands_below_its_log_and_leaves_nothing_behind(cli: Cli) -> None:
    terminal = Terminal([*CLI, "launch", "--tag", "w", "--watch", "--fault", "hang@5"], cli.env, 100, 24)
    try:
        stands = re.compile(r"w  . .*  base \d/4  .*  50%  step 5/10  loss \d")
        wait_until(lambda: stands.match(_last(terminal)), what="the line below")
        assert "step 00004" in terminal.screen
        cli("cancel", "w")
        assert terminal.wait_exit(60) == 1
    finally:
        terminal.kill()
    assert "w cancelled in" in terminal.screen and "  step 5/10" not in terminal.screen


def _last(terminal: Terminal) -> str:
    """The last line that there is on the screen."""
    return next((line for line in reversed(terminal.screen.splitlines()) if line.strip()), "")


ASCII = {"LC_ALL": "C", "TERM": "dumb"}


def test_where_the_locale_has_ascii_alone_every_command_says_only_that_on_a_terminal_that_is_dumb(cli: Cli) -> None:
    cli("launch", "--task", "test", "--tag", "done", "--watch")
    cli("launch", "--task", "test", "--tag", "bad", "--fault", "crash@3", "--watch", code=1)
    note = cli.run_dir("done") / "nöte.md"
    note.write_text("ünï ✓\n")
    said = ""
    for words in (
        ["--help"], ["launch", "--help"], ["ls"], ["ls", "--json"], ["show", "bad"], ["show", "done"], ["plan"],
        ["cost"], ["logs", "bad"], ["watch", "bad"], ["watch", "done", "--every", "1m"], ["checkpoints"],
        ["compare", "done", "bad"],
        ["settings"], ["recipes"], ["flags", "base"], ["doctor"], ["volume", "ls", "done:"], ["volume", "tree"],
        ["volume", "du"], ["volume", "cat", "done:nöte.md"], ["volume", "ls", "done:", "--json"], ["show", "dne"],
    ):  # fmt: skip
        terminal = Terminal([*CLI, *words], cli.env | ASCII, 100, 40, name="dumb")
        terminal.wait_exit()
        terminal.wait_read()
        shown = terminal.raw.decode()
        assert shown.isascii() and "\x1b" not in shown and "\r" not in shown.replace("\r\n", ""), (words, shown)
        said += shown
    assert "ok done done in" in said and "n\\xf6te.md" in said and '"done:' not in said
    listed = msgspec.json.decode(said[said.index("[\r\n") :].split("\r\n]")[0] + "]")
    assert {one["tag"] for one in listed} == {"done", "bad"}
    assert "n\\u00f6te.md" in said, "JSON escapes as JSON does"


@pytest.mark.parametrize(
    ("encoding", "environ", "ascii_alone"),
    [
        ("utf-8", {}, False),
        ("utf-8", {"LANG": "C.UTF-8"}, False),
        ("utf-8", {"LC_ALL": "C"}, True),
        ("utf-8", {"LC_ALL": "", "LC_CTYPE": "POSIX", "LANG": "de_DE.UTF-8"}, True),
        ("utf-8", {"LC_ALL": "C", "PYTHONIOENCODING": "utf-8"}, False),
        ("iso-8859-1", {"LANG": "de_DE"}, True),
        (None, {}, True),
    ],
)
def test_what_a_terminal_has_is_said_by_its_encoding_or_by_the_locale(
    encoding: str | None, environ: dict[str, str], ascii_alone: bool
) -> None:
    assert ascii_signs.only_ascii(encoding, environ) is ascii_alone
    assert ascii_signs.in_words("✓ ü…", "iso-8859-1") == "ok ü..."


def test_the_line_below_goes_as_a_whole_where_a_terminal_that_folds_it_becomes_narrow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "REWRITE_EVERY_S", 0.0)
    tty, line = terminal(monkeypatch), console.StatusLine()
    monkeypatch.setattr(console, "terminal_size", lambda *_: (60, 24))
    line.put("x" * 59)
    # As a terminal shows it then: folded, the cursor where it was, at the beginning.
    assert tty.getvalue().endswith("x\r")
    monkeypatch.setattr(console, "terminal_size", lambda *_: (20, 24))
    line.put("x" * 59)
    assert tty.getvalue().endswith("\r\x1b[J" + "x" * 19 + "\r"), "it is drawn anew, and all below goes"
