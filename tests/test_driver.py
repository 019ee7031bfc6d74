"""Between terminal and app: any bytes, any size, other keyboards, other encodings, suspended and gone on with."""

import io
import os
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events

from tests.conftest import CLI, Cli, wait_until
from tests.terminal import Terminal
from tui.app import ascii_fallback
from tui.app.driver import PASTE_S, InputDecoder, Mark, TerminalDriver, TerminalOutput
from tui.app.layouts import by_place, latin
from tui.presentation import console

PASTE = ("\x1b[200~", "\x1b[201~")


def keys(typed: InputDecoder, text: str, now: float = 0.0) -> list[str]:
    return [m.key for m in typed.messages(text, now) if isinstance(m, events.Key)]


@given(st.lists(st.text(max_size=40) | st.sampled_from(["\x1b[48;9;9;0;0t", "\x1b[<0;1;1M", "\x1b[1089;5u", *PASTE])))
def test_no_text_that_a_terminal_sends_is_an_error_and_the_next_key_is_understood(pieces: list[str]) -> None:
    typed = InputDecoder()
    for number, piece in enumerate(pieces):
        list(typed.messages(piece, float(number)))
    # What began as something longer ends with a pause.
    list(typed.messages("", 1e6))
    list(typed.messages("", 1e6 + 1))
    typed._parser._timeout_time = 0.0
    list(typed.messages("", 1e6 + 2))
    assert keys(typed, "q", 2e6) == ["q"]


@pytest.mark.parametrize("bad", ["\x1b[99999999999999999999;1u", "\x1b[1;2:;u", "\x1b[<0;1" + "9" * 400 + ";1M"])
def test_a_key_report_that_makes_no_sense_takes_no_key_behind_it_along(bad: str) -> None:
    assert keys(InputDecoder(), f"{bad}j\x1b[B")[-2:] == ["j", "down"]


def test_a_paste_whose_end_got_lost_ends_with_a_pause_and_is_no_command() -> None:
    typed = InputDecoder()
    assert keys(typed, f"{PASTE[0]}daily report", 0.0) == []
    assert keys(typed, "", PASTE_S / 2) == []
    [paste] = [m for m in typed.messages("", PASTE_S + 1) if isinstance(m, events.Paste)]
    assert paste.text == "daily report" and keys(typed, "j", PASTE_S + 2) == ["j"]


def test_escape_leaves_a_paste_whose_end_got_lost() -> None:
    typed = InputDecoder()
    assert keys(typed, f"{PASTE[0]}daily", 0.0) == [] and keys(typed, "\x1b", 0.1) == []
    typed._parser._timeout_time = 0.0
    assert keys(typed, "", 0.3) == ["escape"] and keys(typed, "j", 0.4) == ["j"]


def test_a_size_that_is_told_in_what_is_typed_does_not_move_the_mouse() -> None:
    typed = InputDecoder()
    list(typed.messages("\x1b[48;10;10;1000;1000t", 0.0))
    [click] = [m for m in typed.messages("\x1b[<0;7;3M", 1.0) if isinstance(m, events.MouseDown)]
    assert (click.x, click.y) == (6, 2)


@pytest.mark.parametrize(
    ("report", "key"),
    [
        ("\x1b[1089;5u", "ctrl+c"),
        ("\x1b[1089::99;5u", "ctrl+c"),
        ("\x1b[1089:1057:99;6u", "ctrl+shift+c"),
        ("\x1b[963;5u", "ctrl+s"),
        ("\x1b[99;5u", "ctrl+c"),
        ("\x1b[1081;;1081u", "й"),
        ("\x1b[113;;113u", "q"),
        ("\x1b[21~", "f10"),
    ],
)
def test_a_key_with_ctrl_is_the_one_at_its_place_on_any_keyboard(report: str, key: str) -> None:
    assert keys(InputDecoder(), report) == [key]


@given(st.text())
def test_what_is_no_key_report_is_left_as_it_is(text: str) -> None:
    assert by_place(text) == text
    assert [latin(letter) for letter in "йЙςק q1"] == ["q", "Q", "w", "e", " ", "q", "1"]


@pytest.mark.parametrize("leaving", ["й", "\x1b[1089;5u", "\x1b[21~"], ids=["letter", "ctrl", "f10"])
def test_the_app_is_left_from_a_keyboard_without_latin_letters(cli: Cli, leaving: str) -> None:
    terminal = Terminal(CLI, cli.env, 80, 24)
    try:
        terminal.wait_for("No runs yet")
        terminal.press("/", "й")
        terminal.wait_for("/й")
        terminal.press("escape", leaving)
        assert terminal.wait_exit() == 0
    finally:
        terminal.kill()


def test_a_terminal_that_does_not_wait_gets_all_that_is_drawn() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    gone: list[bool] = []
    with os.fdopen(writing, "w", encoding="utf-8") as file:
        drawing = TerminalOutput(file, lambda: gone.append(True))
        got = bytearray()

        def read() -> None:
            while data := os.read(reading, 1 << 16):
                got.extend(data)
                if got.endswith(b"end"):
                    return

        reader = threading.Thread(target=read)
        reached: list[bool] = []
        mark = Mark()
        mark.reached = lambda: reached.append(True)
        reader.start()
        drawing.write("x" * 1_000_000 + "end")
        drawing.write(mark)
        reader.join(60)
    os.close(reading)
    assert len(got) == 1_000_003 and reached and not gone


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "koi8-r"])
@given(text=st.text(alphabet="─│┌█▂✓✗…·→⠿⣀éд漢\U0001f600 a\u202e"))
def test_a_terminal_without_a_sign_is_shown_one_that_is_as_wide(encoding: str, text: str) -> None:
    from rich.cells import cell_len

    drawn = text.encode(encoding, ascii_fallback.SIGNS).decode(encoding)
    assert cell_len(drawn) == cell_len(text) and "\\u" not in drawn


def test_a_terminal_of_another_encoding_shows_signs_of_ascii_and_types_its_own_letters(cli: Cli) -> None:
    cli("launch", "--tag", "a", "--step-ms", "0", "--watch")
    terminal = Terminal(CLI, {**cli.env, "PYTHONIOENCODING": "iso-8859-1", "PYTHONUTF8": "0"}, 100, 24)
    try:
        terminal.wait_for("v done")
        terminal.write("/")
        terminal.settle()
        terminal.write_bytes(b"caf\xe9")
        wait_until(lambda: b"\xe9" in terminal.raw, what="what was typed")
        assert b"\\u" not in terminal.raw and b"\xe2\x9c" not in terminal.raw
    finally:
        terminal.kill()


def test_a_fault_in_what_reads_the_keyboard_ends_the_app_in_order_and_not_with_0(cli: Cli) -> None:
    broken = "import tui.app.driver as d; d.InputDecoder.messages = lambda *_: 1 // 0"
    fault = f"{broken}; import tui.cli.main as m; exit(m.main())"
    terminal = Terminal([sys.executable, "-c", fault], cli.env, 100, 24)
    try:
        assert terminal.wait_exit() == 70
        terminal.wait_for("unexpected error: ZeroDivisionError")
    finally:
        terminal.kill()


def test_the_size_is_that_of_the_terminal_and_never_more_than_can_be_drawn(cli: Cli) -> None:
    assert console.terminal_size(None, io.StringIO()) == console.USUAL
    terminal = Terminal(CLI, {**cli.env, "TZ": "UTC"}, 80, 24)
    try:
        terminal.wait_for("No runs yet")
        for _ in range(8):
            # So fast that one signal comes in the middle of another.
            for columns, lines in ((0, 0), (65535, 65535), (1, 1), (100, 30)):
                terminal.resize(columns or 1, lines or 1) if columns < 1000 else _told(terminal, columns, lines)
            wait_until(
                lambda: "No runs yet" in terminal.screen and "q Quit" in terminal.screen[-12:],
                what="the screen in its size",
            )
        terminal.write("?")
        terminal.wait_for("letters of a key")
    finally:
        terminal.kill()


def _told(terminal: Terminal, columns: int, lines: int) -> None:
    """A size that the terminal names and does not have."""
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal._fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    os.kill(terminal.pid, signal.SIGWINCH)


@pytest.mark.parametrize("words", [[], ["view", "a.log"]], ids=["app", "view"])
def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_brings_the_app_back_drawn_anew(
    cli: Cli, tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "a.log").write_text("hello log\n")
    first = "hello log" if words else "No runs yet"
    command = " ".join([*CLI, *(w.replace("a.log", str(tmp_path / "a.log")) for w in words)])
    terminal = Terminal(["bash", "--norc", "-i"], {**cli.env, "PS1": "shell> "}, 100, 20)
    try:
        terminal.wait_for("shell>")
        terminal.write(f"{command}\n")
        terminal.wait_for(first)
        terminal.write("\x1a")
        terminal.wait_for("Stopped")
        terminal.write("clear; echo still''here\n")
        terminal.wait_for("stillhere")
        terminal.write("fg\n")
        wait_until(lambda: first in terminal.screen and "stillhere" not in terminal.screen, what="the app again")
        terminal.write("?")
        terminal.wait_for("letters of a key")
        terminal.press("escape", "\x1b[21~")
        terminal.wait_for("shell>")
    finally:
        terminal.kill()


def test_ctrl_z_where_no_shell_could_let_it_go_on_stops_nothing(cli: Cli) -> None:
    terminal = Terminal(CLI, cli.env, 80, 24)
    try:
        terminal.wait_for("No runs yet")
        # What the terminal would make signals of while it is given back is no end.
        terminal.write("\x1a\x1c\x04")
        os.kill(terminal.pid, signal.SIGCONT)
        terminal.write("\x1c\x04")
        terminal.settle()
        terminal.write("?")
        terminal.wait_for("letters of a key")
        terminal.press("escape", "\x1b[21~")
        assert terminal.wait_exit() == 0
    finally:
        terminal.kill()


def test_an_end_that_was_typed_while_others_had_the_terminal_is_not_the_end_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = os.openpty()
    driver = TerminalDriver.__new__(TerminalDriver)
    driver.fileno, driver.exit_event, driver._debug, driver._dropping = theirs, threading.Event(), False, False
    driver._typed, (driver._woken, driver._wake) = InputDecoder(), os.pipe()
    got: list[Any] = []
    monkeypatch.setattr(driver, "process_message", got.append)
    gone = threading.Event()
    driver._gone = gone.set
    os.write(ours, b"\x04")
    reading = threading.Thread(target=driver.run_input_thread)
    reading.start()
    os.write(ours, b"j\n")
    wait_until(lambda: [m.key for m in got[:1]] == ["j"], what="the next key")
    assert not gone.is_set()
    os.close(ours)
    assert gone.wait(60)
    reading.join(60)
    for one in (theirs, driver._woken, driver._wake):
        os.close(one)


def test_who_waits_for_keys_at_rest_has_them_at_once_and_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.app.driver.REST_AFTER_S", 0.0)
    monkeypatch.setattr("tui.app.driver.REST_S", 3600.0)
    ours, theirs = os.openpty()
    driver = TerminalDriver.__new__(TerminalDriver)
    driver.fileno, driver.exit_event, driver._debug, driver._dropping = theirs, threading.Event(), False, False
    driver._typed, (driver._woken, driver._wake) = InputDecoder(), os.pipe()
    monkeypatch.setattr(driver, "_disable_mouse_support", lambda: None)
    got: list[Any] = []
    monkeypatch.setattr(driver, "process_message", got.append)
    driver._key_thread = threading.Thread(target=driver.run_input_thread)
    driver._key_thread.start()
    os.write(ours, b"j\n")
    wait_until(lambda: [m.key for m in got[:1]] == ["j"], what="the key")
    driver.disable_input()
    assert not driver._key_thread.is_alive()
    for one in (ours, theirs, driver._woken, driver._wake):
        os.close(one)


def test_a_signal_that_comes_while_it_draws_draws_nothing_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    later: list[Any] = []
    driver = TerminalDriver.__new__(TerminalDriver)
    monkeypatch.setattr(driver, "_loop", SimpleNamespace(call_soon_threadsafe=later.append), raising=False)
    driver._stopping = False
    driver._sigtstp_application()
    driver._sigcont_application()
    assert later == [driver._stop, driver._go_on]


def test_a_program_that_was_stopped_by_another_signal_draws_itself_anew_and_reads_each_key_once(cli: Cli) -> None:
    terminal = Terminal(CLI, cli.env, 80, 24)
    try:
        terminal.wait_for("No runs yet")
        os.kill(terminal.pid, signal.SIGSTOP)
        os.kill(terminal.pid, signal.SIGCONT)
        terminal.settle()
        terminal.write("n")
        terminal.wait_for("likely")
        terminal.press("down")
        for letter in "34":
            terminal.press(letter)
        terminal.wait_for("34")
        threads = Path(f"/proc/{terminal.pid}/task")
        names = [(task / "comm").read_text() for task in threads.iterdir()]
        assert sum("textual-in" in name for name in names) <= 1, names
    finally:
        terminal.kill()


def test_the_app_is_drawn_on_the_terminal_though_stderr_is_a_file(cli: Cli, tmp_path: Path) -> None:
    shell = f"exec {sys.executable} -m tui.cli 2>{tmp_path / 'said'}"
    terminal = Terminal(["sh", "-c", shell], cli.env, 80, 24)
    try:
        terminal.wait_for("No runs yet")
        terminal.write("q")
        assert terminal.wait_exit() == 0
    finally:
        terminal.kill()
