"""The picture of the last frame, on the terminal before the app is: whose it is, and that nothing stays of it."""

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.css.stylesheet import Stylesheet

from runner.fleet.fleet import Fleet
from runner.model.states import State
from tests.conftest import CLI, Cli, wait_until
from tests.terminal import Terminal
from tests.test_app import put, text_of, until
from tests.tmux import Tmux
from tui.app import pages
from tui.app.app import NanochatApp
from tui.app.pages import PAGES, STYLES, page_class
from tui.cli.main import parser
from tui.cli.start import OPTIONS, VALUED, opens_app
from tui.presentation import first_ink
from tui.presentation.first_ink import ALTERNATE, BACK

LINES = [f"line {number} of a frame".ljust(80) for number in range(24)]


class Slow:
    """A home whose settings come from a pipe: the app stands there, with all of it loaded, until they come."""

    def __init__(self, cli: Cli) -> None:
        self._cli, self._settings = cli, cli.home / "settings.toml"
        os.mkfifo(self._settings)
        self.opened: list[Terminal] = []

    def __call__(self, *words: str, columns: int = 80, **more: str) -> Terminal:
        env = {k: v for k, v in self._cli.env.items() if k != "NO_COLOR"}
        self.opened.append(Terminal([*CLI, *words], {**env, **more}, columns))
        return self.opened[-1]

    def stands(self, terminal: Terminal) -> Terminal:
        terminal.wait_for("opening")
        return terminal

    def goes_on(self) -> None:
        with self._settings.open("w"):
            self._settings.unlink()


@pytest.fixture
def slow(cli: Cli) -> Iterator[Slow]:
    cli.home.mkdir(exist_ok=True)
    made = Slow(cli)
    yield made
    for one in made.opened:
        one.kill()


def untouched() -> list[Any]:
    """How a new terminal is set: a program that was started in one may have begun to set it otherwise."""
    ends = os.openpty()
    try:
        return termios.tcgetattr(ends[0])
    finally:
        for end in ends:
            os.close(end)


def keep(home: Path, text: str) -> Path:
    (home / first_ink.FILE).write_text(text)
    return home / first_ink.FILE


def test_the_last_frame_is_there_before_the_app_and_keys_that_are_typed_at_it_reach_the_app(
    cli: Cli, slow: Slow
) -> None:
    first = slow()
    slow.stands(first)
    assert "No runs" not in first.screen
    slow.goes_on()
    first.wait_for("No runs yet")
    first.press("q")
    assert first.wait_exit() == 0
    kept = cli.home / first_ink.FILE
    assert kept.stat().st_mode & 0o777 == 0o600 and "No runs yet" in kept.read_text()
    os.mkfifo(cli.home / "settings.toml")
    again = slow.stands(slow())
    assert "No runs yet" in again.screen and "this is how it was" in again.screen
    assert again.raw.count(b"\x1b[2m") == 23, "dim, but for the line that says what it is"
    again.write("n")
    slow.goes_on()
    again.wait_for("likely")
    assert again.raw.count(ALTERNATE.encode()) == 1, "entered twice, it would flash"
    again.press("escape")
    again.wait_for("No runs yet")
    again.press("q")
    assert again.wait_exit() == 0 and again.raw.count(b"\x1b[?1049l") == 1


@pytest.mark.parametrize("size", ["80x24", "40x12"])
def test_the_terminal_is_as_it_was_after_the_app_that_has_taken_the_picture_over(slow: Slow, size: str) -> None:
    keep(slow._cli.home, "\n".join([size, *LINES, ""]))
    terminal = slow()
    before = untouched()
    slow.stands(terminal)
    assert not termios.tcgetattr(terminal._fd)[3] & termios.ECHO
    assert ("line 3 of a frame" in terminal.screen) == (size == "80x24"), "of another size it would be torn"
    slow.goes_on()
    terminal.wait_for("No runs yet")
    terminal.press("q")
    assert terminal.wait_exit() == 0
    assert termios.tcgetattr(terminal._fd) == before


@pytest.mark.parametrize(
    ("strike", "code"),
    [
        (lambda t: os.kill(t.pid, signal.SIGTERM), -signal.SIGTERM),
        (lambda t: os.kill(t.pid, signal.SIGHUP), -signal.SIGHUP),
        (lambda t: os.kill(t.pid, signal.SIGQUIT), -signal.SIGQUIT),
        (lambda t: t.write("\x03"), 130),
    ],
    ids=["terminated", "hung up", "quit", "ctrl-c"],
)
def test_a_start_that_is_ended_gives_the_terminal_back(
    slow: Slow, strike: Callable[[Terminal], None], code: int
) -> None:
    terminal = slow()
    before = untouched()
    slow.stands(terminal)
    strike(terminal)
    assert terminal.wait_exit() == code
    terminal.settle()
    assert terminal.raw.endswith(BACK.encode()) and b"Traceback" not in terminal.raw
    assert termios.tcgetattr(terminal._fd) == before


@pytest.mark.parametrize("number", range(1, 5))
def test_a_signal_at_any_step_of_the_drawing_gives_the_terminal_back(cli: Cli, number: int) -> None:
    strikes = (
        "import os, signal, termios, runpy, sys\n"
        "left = [int(sys.argv.pop(1))]\n"
        "def then(real):\n"
        "    def called(*args):\n"
        "        done = real(*args[:1], args[1][:20], *args[2:]) if real is write else real(*args)\n"
        "        left[0] -= 1\n"
        "        if left[0] == 0: os.kill(os.getpid(), signal.SIGTERM)\n"
        "        return done\n"
        "    return called\n"
        "write, os.write, termios.tcsetattr = os.write, then(os.write), then(termios.tcsetattr)\n"
        "runpy.run_module('tui.cli', run_name='__main__')\n"
    )
    terminal = Terminal([sys.executable, "-c", strikes, str(number)], cli.env)
    try:
        before = untouched()
        assert terminal.wait_exit() == -signal.SIGTERM
        terminal.settle()
        assert terminal.raw.endswith(BACK[-20:].encode())
        assert termios.tcgetattr(terminal._fd) == before
    finally:
        terminal.kill()


def test_what_hinders_a_start_is_told_in_the_shell_and_not_in_the_picture(cli: Cli) -> None:
    cli.home.mkdir(exist_ok=True)
    keep(cli.home, "\n".join(["80x24", *LINES, ""]))
    terminal = Terminal([*CLI, "--volume", "\x01"], {**cli.env, "NANOCHAT_TUI_GPUS": "many"})
    try:
        assert terminal.wait_exit() != 0
        terminal.settle()
        drawn, _, told = bytes(terminal.raw).partition(BACK.encode())
        assert b"opening" in drawn and told.startswith(b"nanochat-tui: ")
    finally:
        terminal.kill()


def test_a_shell_in_tmux_has_its_screen_and_its_keys_again(slow: Slow, tmux: Tmux) -> None:
    def shows(text: str) -> None:
        wait_until(lambda: text in tmux("capture-pane", "-p"), what=f"{text} in the pane")

    tmux("new-session", "-d", "-x", "80", "-y", "24", "PS1='> ' sh")
    shows(">")
    tmux("send-keys", f"echo of before; {' '.join(CLI)}", "Enter")
    shows("opening")
    tmux("send-keys", "typed at the picture")
    tmux("send-keys", "C-c")
    shows("of before")
    assert "opening" not in tmux("capture-pane", "-p") and "typed" not in tmux("capture-pane", "-p")
    tmux("send-keys", "echo $((40 + 2))", "Enter")
    shows("42")
    shows("echo $((40 + 2))")
    assert tmux("display", "-p", "#{alternate_on} #{cursor_flag}").split() == ["0", "1"]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8))
def test_a_kept_frame_holds_nothing_that_a_terminal_acts_on(lines: list[str]) -> None:
    kept = first_ink.as_text(lines, 30).split("\n")
    assert kept[0] == f"30x{len(lines)}" and len(kept) == len(lines) + 2
    assert all(line.isprintable() for line in kept)


async def test_a_tag_of_a_stranger_is_kept_as_it_is_shown_without_its_escapes(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    put(fleet, 1, State.DONE, tag="\x1b]0;mine\x07a\x1b[2J\u202eb")
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        await pilot.press("question_mark")
        await pilot.pause()
        app.leave()
    kept = app.last_frame.split("\n")
    assert kept[0] == "100x30" and "nanochat" in kept[1] and all(line.isprintable() for line in kept)
    assert "Ctrl-P" not in app.last_frame, "what lay over it is nothing to come back to"


def test_a_picture_that_was_tampered_with_says_nothing_to_the_terminal(slow: Slow) -> None:
    hostile = ["\x1b]52;c;cm0gLXJm\x07\x1b[?1002h\x9b31m\u202e\x1b[5n".ljust(80), *LINES[1:]]
    keep(slow._cli.home, "\n".join(["80x24", *hostile, ""]))
    terminal = slow.stands(slow())
    assert "line 3 of a frame" in terminal.screen
    for wrong in (b"\x1b]", b"\x1b[?1002h", b"\x9b", b"\x1b[5n", "\u202e".encode()):
        assert wrong not in terminal.raw.replace("…".encode(), b"")


@pytest.mark.parametrize("wrong", ["too large", "a link", "a pipe", "no text"])
def test_what_is_no_picture_of_ours_is_left_out(slow: Slow, tmp_path: Path, wrong: str) -> None:
    path, whole = slow._cli.home / first_ink.FILE, "\n".join(["80x24", *LINES, ""])
    if wrong == "a link":
        path.symlink_to(keep(tmp_path, whole))
    elif wrong == "a pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(whole.encode() * 200 if wrong == "too large" else bytes(range(256)))
    assert "line 3" not in slow.stands(slow()).screen


@pytest.mark.parametrize("more", [{"TEXTUAL_DRIVER": "a.b:C"}, {"TERM": "dumb"}])
def test_a_terminal_that_shows_lines_alone_and_a_browser_get_no_picture(cli: Cli, more: dict[str, str]) -> None:
    asks = (
        "import os, sys; os.environ['TERM'] = 'xterm'; os.environ.update({}); from tui.presentation import first_ink\n"
    )
    asks = asks.replace("{}", repr(more)) + "first_ink.show(); print(first_ink.hand_over())"
    terminal = Terminal([sys.executable, "-c", asks], cli.env)
    terminal.wait_for("[]")
    terminal.kill()
    assert ALTERNATE.encode() not in terminal.raw


def test_nothing_is_drawn_where_the_app_is_not_opened() -> None:
    known = {option for action in parser()._actions for option in action.option_strings if option.startswith("--")}
    assert known - {"--help", "--version"} == {*OPTIONS, *VALUED}
    assert all(map(opens_app, ([], ["--debug"], ["--volume", "ls", "--env=lab"])))
    assert not any(
        map(opens_app, (["ls"], ["--help"], ["--volume", "x", "ls"], ["--debug", "view", "-"], ["--volume"]))
    )


@pytest.mark.parametrize("env", [{}, {"XDG_DATA_HOME": "/of/data"}, {"NANOCHAT_TUI_HOME": "/of/mine"}])
def test_the_picture_is_looked_for_where_the_data_folder_is(env: dict[str, str]) -> None:
    asks = "from runner.paths import _where; from tui.presentation.first_ink import _folders\n"
    asks += "print(str(_where()) in _folders())"
    said = subprocess.run(
        [sys.executable, "-c", asks], env={"HOME": "/of/me", **env}, capture_output=True, text=True, check=True
    )
    assert said.stdout == "True\n"


@pytest.mark.parametrize("other", ["textual", "runner", "argparse", "typing", "re", "pathlib", "platformdirs"])
def test_nothing_heavy_stands_before_the_picture(other: str) -> None:
    asks = "import sys; before = set(sys.modules); from tui.cli import start; from tui.presentation import first_ink\n"
    asks += "print(sys.argv[1] in set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", asks, other], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_first_frame_needs_one_screen_and_no_markdown() -> None:
    asks = "import sys, tui.app.app; from tui.app.pages import PAGES, page_class; page_class('runs')\n"
    asks += "late = {'textual.widgets._markdown', *(f'tui.screens.{p}' for p in PAGES)}\n"
    asks += "print(sorted(late & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert done.stdout == "['tui.screens.runs']\n"


def test_every_screen_has_its_style_in_the_list_that_is_read_at_the_start() -> None:
    assert [page_class(mode).CSS_PATH for mode in PAGES] == STYLES
    assert sorted(STYLES) == sorted(STYLES[0].parent.glob("*.tcss"))


async def test_all_screens_are_loaded_behind_the_first_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(pages, "load_all", lambda: asked.append(True))
    async with NanochatApp(Fleet(tmp_path)).run_test() as pilot:
        await until(pilot, lambda: asked, "the other screens")


async def test_the_style_is_parsed_anew_for_other_colours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[object] = []
    real: Any = Stylesheet._parse_rules

    def counted(self: Stylesheet, css: str, read_from: tuple[str, str], *args: object, **more: object) -> object:
        rules = real(self, css, read_from, *args, **more)
        if read_from == (str(STYLES[0]), "") and not any(rules is one for one in parsed):
            parsed.append(rules)
        return rules

    monkeypatch.setattr(Stylesheet, "_parse_rules", counted)
    app = NanochatApp(Fleet(tmp_path))
    async with app.run_test() as pilot:
        await until(pilot, lambda: "No runs" in text_of(app), "the first frame")
        await pilot.pause()
        assert len(parsed) == 1
        before = app.screen.styles.background
        app.theme = "textual-light"
        await until(pilot, lambda: app.screen.styles.background != before, "the other colours")
        assert len(parsed) == 2
