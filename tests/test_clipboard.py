"""What is copied: where tmux or screen is between us and the terminal, and what is said of it."""

import base64
from pathlib import Path

import pytest

from tests.conftest import CLI, wait_until
from tests.test_app import until
from tests.tmux import Tmux
from tui.app import clipboard
from tui.app.log_viewer import ViewApp
from tui.cli import doctor
from tui.widgets.log_view import LogView

TEXT = "first ✓ line\nsecond"


@pytest.mark.parametrize("setting", ["external", "off", "on"])
def test_what_is_copied_in_tmux_is_in_tmuxs_buffer_whatever_its_settings_are(
    tmux: Tmux, tmp_path: Path, setting: str
) -> None:
    log = tmp_path / "a.log"
    log.write_text("x" * 9000 + " the end\n")
    tmux("new-session", "-d", "-x", "100", "-y", "20", f"sleep 600; {CLI[0]}")
    tmux("set", "-g", "set-clipboard", setting)
    tmux("respawn-pane", "-k", " ".join([*CLI, "view", str(log)]))
    wait_until(lambda: "1 line  " in tmux("capture-pane", "-p"), what="the log")
    tmux("send-keys", "y")
    wait_until(lambda: "copied 1 line to tmux" in tmux("capture-pane", "-p"), what="the word of it")
    assert tmux("show-buffer") == "x" * 9000 + " the end"


async def test_what_was_only_sent_to_the_terminal_is_not_called_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "a.log"
    path.write_text("hello\n")
    app = ViewApp(path, "a.log", tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.query_one(LogView).lines == 1, "the log")
        monkeypatch.setenv("TMUX", str(tmp_path / "gone") + ",1,0")
        for _ in range(2):
            await pilot.press("y")
            await until(pilot, lambda: app.toasts.all and "sent 1 line to the terminal" in app.toasts.all[-1].text, "")
            monkeypatch.delenv("TMUX", raising=False)
        assert not any("copied" in told.text for told in app.toasts.all)


@pytest.mark.parametrize(("passes", "said"), [("on", "hands them on"), ("all", "hands them on"), ("off", "bell alone")])
def test_doctor_says_whether_tmux_hands_notifications_on(
    monkeypatch: pytest.MonkeyPatch, passes: str, said: str
) -> None:
    monkeypatch.setenv("TMUX", "x")
    monkeypatch.setattr(clipboard, "_tmux", lambda words, given="": passes)
    [check] = doctor._notifications()
    assert said in check.detail and check.optional != check.ok
    monkeypatch.delenv("TMUX")
    assert doctor._notifications() == []


def test_gnu_screen_hands_on_what_is_wrapped_for_it_in_pieces() -> None:
    plain = clipboard.sequence(TEXT * 100, {})
    assert plain == f"\x1b]52;c;{base64.b64encode((TEXT * 100).encode()).decode()}\x07"
    wrapped = clipboard.sequence(TEXT * 100, {"STY": "1.x"})
    pieces = wrapped.removeprefix("\x1bP").removesuffix("\x1b\\").split("\x1b\\\x1bP")
    assert "".join(pieces) == plain and max(map(len, pieces)) <= clipboard.PIECE
    assert clipboard.sequence(TEXT, {"STY": "1.x", "TMUX": "y"}) == clipboard.sequence(TEXT, {})
