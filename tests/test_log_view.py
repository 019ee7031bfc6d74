"""The log on screen: followed, searched, filtered, copied and saved, by keyboard, whatever is in it."""

import errno
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.content import Content
from textual.pilot import Pilot

from runner.logs.log_file import LogFile
from runner.logs.timestamps import TimestampWriter
from runner.settings import load
from runner.text.sanitize import sanitize_line
from tests.answers import answer
from tests.conftest import CLI, DATA
from tests.disk import full_at
from tests.terminal import Terminal
from tui.app.log_viewer import ViewApp
from tui.widgets.dialogs import TextPage
from tui.widgets.log_lines import wrapped
from tui.widgets.log_pane import LogPane, Prompt
from tui.widgets.log_view import LogView

LINES = [
    f"line {n:03d}" + (" Error: bad" if n in (20, 60) else " loss: 1.5" if n % 10 == 0 else "") for n in range(100)
]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ViewApp:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "some.log"
    path.write_text("\n".join(LINES) + "\n")
    return ViewApp(path, "some.log", tmp_path)


def shown(app: ViewApp) -> list[str]:
    """The rows of the log on screen, without gutter and map."""
    view = app.query_one(LogView)
    rows = ["".join(s.text for s in view.render_line(y)) for y in range(view.size.height)]
    return [row[2:].rstrip().rstrip("▐").rstrip() for row in rows]


def title(app: ViewApp) -> str:
    return Content.from_markup(app.query_one(LogPane).border_title or "").plain


async def until(pilot: Pilot[int], condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if condition():
            return
        await pilot.pause(0.02)
    assert isinstance(pilot.app, ViewApp)
    raise AssertionError(f"{what}: {shown(pilot.app)}, {title(pilot.app)}")


async def ready(pilot: Pilot[int], app: ViewApp) -> LogView:
    view = app.query_one(LogView)
    await until(pilot, lambda: view.lines >= 100, "the log")
    return view


async def test_the_end_is_followed_until_one_scrolls_and_new_lines_are_counted(app: ViewApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        await until(pilot, lambda: shown(app)[-1] == LINES[-1], "the end")
        with app._path.open("a") as file:
            file.write("line 100\n")
        await until(pilot, lambda: shown(app)[-1] == "line 100", "the new line")
        await pilot.press("k")
        with app._path.open("a") as file:
            file.write("line 101\nline 102\n")
        await until(pilot, lambda: "2 new lines below" in title(app), "the count")
        assert shown(app)[-1] == LINES[-1]
        await pilot.press("G")
        await until(pilot, lambda: shown(app)[-1] == "line 102" and "following" in title(app), "the end again")


async def test_paging_up_before_the_lines_are_counted_stays_there_when_they_are(
    app: ViewApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, refresh = threading.Event(), LogFile.refresh

    def held(log: LogFile, limit: int | None = None) -> bool:
        assert limit == 0 or go_on.wait(60)
        return refresh(log, limit)

    monkeypatch.setattr(LogFile, "refresh", held)
    async with app.run_test(size=(80, 24)) as pilot:
        view = app.query_one(LogView)
        await until(pilot, lambda: view.reading and shown(app)[-1] == LINES[-1], "the end of the log")
        await pilot.press("pageup")
        await until(pilot, lambda: not view.following, "following to end")
        before = shown(app)
        assert before[-1] == LINES[-view.size.height]
        go_on.set()
        await ready(pilot, app)
        await until(pilot, lambda: not view.reading and shown(app) == before, "the same rows, out of the index")
        assert not view.following


async def test_a_search_counts_its_hits_and_walks_through_them_round_the_end(app: ViewApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        view = await ready(pilot, app)
        await pilot.press("slash", *"error", "enter")
        await until(pilot, lambda: view.here == 20 and "'error' in 2 lines" in title(app), "the first hit")
        for key, line in (("n", 60), ("n", 20), ("N", 60), ("N", 20)):
            await pilot.press(key)
            await until(pilot, partial(lambda line: view.here == line, line), f"{key} to {line}")
        assert any("Error: bad" in row for row in shown(app))
        await pilot.press("escape")
        assert "'error'" not in title(app)


async def test_a_filter_leaves_only_its_lines_and_enter_stays_on_one_of_them(app: ViewApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        view = await ready(pilot, app)
        await pilot.press("f", *"loss", "enter")
        await until(pilot, lambda: view.rows == 8, "the filter")
        assert [row for row in shown(app) if row] == [x for x in LINES if "loss" in x]
        await pilot.press("slash", *"050", "enter")
        await until(pilot, lambda: view.here == 50, "the hit")
        await pilot.press("enter")
        assert view.filter is None and view.here == 50 and LINES[50] in shown(app) and LINES[51] in shown(app)
        await pilot.press("f", *"!line", "enter")
        await until(pilot, lambda: view.filter is not None and view.rows == 0, "nothing left")
        await pilot.press("escape")
        assert view.rows == 100


async def test_a_filter_grows_with_the_log(app: ViewApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        view = await ready(pilot, app)
        await pilot.press("f", *"level:error", "enter")
        await until(pilot, lambda: view.rows == 2, "the filter")
        with app._path.open("a") as file:
            file.write("fine\nValueError: no\n")
        await until(pilot, lambda: shown(app)[2] == "ValueError: no", "the new error")


async def test_errors_are_jumped_to_and_marked_in_the_gutter_and_on_the_map(app: ViewApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        view = await ready(pilot, app)
        await until(pilot, lambda: view.errors == 2, "the errors")
        await pilot.press("g", "e")
        await until(pilot, lambda: view.here == 20, "the first error")
        await pilot.press("e")
        await until(pilot, lambda: view.here == 60, "the second")
        rows = ["".join(s.text for s in view.render_line(y)) for y in range(view.size.height)]
        assert [row[0] for row in rows if "Error" in row] == ["✗"]
        assert sum(row.endswith("▐") for row in rows) == 2


async def test_lines_are_marked_copied_and_saved(app: ViewApp, tmp_path: Path) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        view = await ready(pilot, app)
        await pilot.press("g", "y")
        assert app.clipboard == LINES[0]
        await pilot.press("m", "e", "m", "y")
        await until(pilot, lambda: len(view.marks) == 2, "the marks")
        assert app.clipboard == f"{LINES[0]}\n{LINES[20]}"
        await pilot.press("apostrophe")
        assert view.here == 0
        await pilot.press("f", *"Error", "enter")
        await until(pilot, lambda: view.rows == 2, "the filter")
        await pilot.press("s")
        await answer(pilot, "enter")
        saved = tmp_path / "some.2.log"
        await until(pilot, saved.exists, "the file")
        await until(pilot, lambda: saved.read_text().count("\n") == 2, "its lines")
        assert saved.read_text() == f"{LINES[20]}\n{LINES[60]}\n"


async def test_a_regex_that_is_none_is_told_and_can_be_mended(app: ViewApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        view = await ready(pilot, app)
        await pilot.press("slash", "~", "(", "enter")
        prompt = app.query_one(Prompt)
        assert prompt.display and view.search is None
        await pilot.press("backspace", *"0[27]0", "enter")
        await until(pilot, lambda: view.here == 20 and not prompt.display, "the hit")


async def test_hostile_lines_are_drawn_harmless_and_hits_in_them_marked(tmp_path: Path) -> None:
    path = tmp_path / "evil.log"
    evil = b"\x1b]0;owned\x07[bold]x[/nope] \xe2\x80\xae\xff\x00 \xe6\x97\xa5\xe6\x9c\xac Error\n"
    path.write_bytes(evil * 30 + b"y" * 2_000_000 + b"\n" + b"1%\r" * 100_000 + b"100%\n")
    app = ViewApp(path, "evil.log", tmp_path)
    async with app.run_test(size=(40, 20)) as pilot:
        view = app.query_one(LogView)
        await until(pilot, lambda: view.lines == 32, "the log")
        await until(pilot, lambda: shown(app)[-1] == "100%", "the end")
        await pilot.press("slash", *"日本", "enter")
        await until(pilot, lambda: view.here is not None, "the hit")
        assert not any("\x1b" in row or "\u202e" in row for row in shown(app))
        await pilot.press("G", "up", "up", "enter")
        await until(pilot, lambda: isinstance(app.screen, TextPage), "the whole line")
        await pilot.press("escape")
        await pilot.press("l", "l", "h", "h", "pageup", "g")
        assert "[bold]x[/nope]" in shown(app)[0]


async def test_the_numbers_in_a_log_are_shown_above_it(tmp_path: Path) -> None:
    app = ViewApp(DATA / "logs" / "h200_killed_and_resumed.log", "h200", tmp_path)
    async with app.run_test(size=(160, 24)) as pilot:
        wanted = "step 39 of 40  loss 4.3514  bpb 1.5970"
        await until(pilot, lambda: wanted in str(app.query_one("#numbers").render()), "the numbers")
        assert app.query_one(LogPane).view.lines == 181


async def test_times_of_lines_are_shown_by_the_clock_and_since_the_start(app: ViewApp, tmp_path: Path) -> None:
    stamper = TimestampWriter(0)
    records = [stamper.stamp(len(line) + 1, 1e9 + 2 * n) for n, line in enumerate(LINES[:50])]
    (tmp_path / "log.times").write_bytes(b"".join(records))
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        await until(pilot, lambda: shown(app)[-1] == LINES[-1], "the end")
        await pilot.press("g", "t")
        clock = time.strftime("%H:%M:%S", time.localtime(1e9 + 2))
        assert shown(app)[1] == f"{clock} {LINES[1]}"
        await until(pilot, lambda: "09 Sep, UTC" in title(app), "the day and the zone")
        await pilot.press("t")
        assert shown(app)[1].split() == ["2s", *LINES[1].split()]
        await pilot.press("t")
        assert shown(app)[1] == LINES[1]


async def test_a_window_of_time_leaves_the_last_lines_and_a_jump_out_of_it_shows_all(
    app: ViewApp, tmp_path: Path
) -> None:
    stamper = TimestampWriter(0)
    records = [stamper.stamp(len(line) + 1, 1e9 + 10 * n) for n, line in enumerate(LINES)]
    (tmp_path / "log.times").write_bytes(b"".join(records))
    async with app.run_test(size=(80, 24)) as pilot:
        view = await ready(pilot, app)
        await until(pilot, lambda: view._times.last == 1e9 + 990, "the times")
        await pilot.press("1")
        assert [row for row in shown(app) if row] == LINES[-7:] and "the last 1m" in title(app)
        await pilot.press("f", *"loss", "enter")
        await until(pilot, lambda: [row for row in shown(app) if row] == [], "no loss in that minute")
        await pilot.press("escape", "2")
        assert view.rows == 31 and shown(app)[-1] == LINES[-1]
        await pilot.press("g")
        assert shown(app)[0] == LINES[69]
        await pilot.press("E")
        await until(pilot, lambda: view.here == 60 and view.rows == 100, "the error before the window")
        await pilot.press("T", "T", "0")
        assert view.rows == 100


async def test_without_times_a_window_says_so(app: ViewApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        view = await ready(pilot, app)
        await pilot.press("3")
        assert view.rows == 100 and view.window == 0


async def test_long_lines_are_wrapped_to_the_last_character_and_the_end_stays_on_screen(tmp_path: Path) -> None:
    lines = [f"{n:02d} " + "abcdefghij" * (n % 4 * 5) + "漢字" * (n % 3) + "|" for n in range(40)]
    path = tmp_path / "long.log"
    path.write_text("\n".join(lines) + "\n")
    app = ViewApp(path, "long.log", tmp_path)
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(LogView)
        await until(pilot, lambda: view.lines == 40 and view.errors == 0, "the log")
        await pilot.press("w")
        joined = "".join(shown(app))
        assert shown(app)[-1].endswith("|") or "39 " in joined
        assert "".join(shown(app)).endswith(lines[-1])
        await pilot.press("g")
        seen = ""
        for number in range(40):
            first = shown(app)
            assert first[0].startswith(f"{number:02d} "), (number, first)
            if view.scroll_y >= view.max_scroll_y:
                seen += "".join(first)
                break
            height = next(y for y, row in enumerate(first[1:], 1) if row.startswith(f"{number + 1:02d} "))
            seen += "".join(first[:height])
            await pilot.press("j")
        assert seen == "".join(lines)
        await pilot.press("slash", *"05 ab", "enter")
        await until(pilot, lambda: view.here == 5 and any(r.startswith("05 ") for r in shown(app)), "the hit")
        y = next(y for y, row in enumerate(shown(app)) if row.startswith("07 "))
        await pilot.click(LogView, offset=(5, y + 1))
        assert view.here == 7


async def test_how_lines_are_shown_is_remembered(app: ViewApp, tmp_path: Path) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        await pilot.press("w", "t", "t")
        await until(pilot, lambda: load(tmp_path).log_times == "since start" and load(tmp_path).log_wrap, "the file")
    again = ViewApp(app._path, "some.log", tmp_path)
    async with again.run_test(size=(80, 24)) as pilot:
        view = again.query_one(LogView)
        assert view.wrap and view.stamps == 2


async def test_a_line_that_is_still_being_written_is_filtered_too(app: ViewApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        view = await ready(pilot, app)
        await pilot.press("f", *"050", "enter")
        await until(pilot, lambda: view.rows == 1, "the filter")
        with app._path.open("a") as file:
            file.write("also 050, unfinished")
            file.flush()
            await until(pilot, lambda: shown(app)[1] == "also 050, unfinished", "the open line")
            file.write(" and done\n")
        await until(pilot, lambda: shown(app)[:3] == [LINES[50], "also 050, unfinished and done", ""], "the whole line")


@given(st.text(max_size=300), st.integers(2, 40), st.integers(1, 9))
def test_a_wrapped_line_loses_nothing_and_no_row_is_too_wide(text: str, room: int, most: int) -> None:
    text = sanitize_line(text)
    pieces = wrapped(text, room, 10_000)
    assert "".join(piece[start:] for start, piece in pieces) == text
    assert all(cell_len(piece[start:]) <= room for start, piece in pieces)
    assert len(wrapped(text, room, most)) == min(most, len(pieces))


def test_what_is_typed_before_the_prompt_is_there_is_text_and_no_command(tmp_path: Path) -> None:
    path = tmp_path / "some.log"
    path.write_text("\n".join(LINES) + "\n")
    terminal = Terminal([*CLI, "view", str(path)], {**os.environ, "NANOCHAT_TUI_HOME": str(tmp_path)})
    terminal.wait_for("line 099")
    os.write(terminal._fd, b"g/loss\r")
    terminal.wait_for("'loss' in 8 lines")
    os.write(terminal._fd, b"fstem\r")
    terminal.wait_for("only 'stem': 0")
    terminal.kill()
    assert {p.name for p in tmp_path.iterdir()} <= {"some.log", "settings.toml", ".settings.lock"}


class Held(LogFile):
    """A log that is searched or saved for as long as a test wants: large pieces come when it says so."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked, self.go_on = threading.Event(), threading.Event()
        self.broken = False

    def read(self, offset: int, length: int) -> bytes:
        if length > 1000 and threading.current_thread() is not threading.main_thread():
            self.asked.set()
            assert self.go_on.wait(30)
            if self.broken:
                raise OSError(errno.EIO, "Input/output error")
        return super().read(offset, length)


@pytest.fixture
def other(tmp_path: Path) -> LogFile:
    path = tmp_path / "other.log"
    path.write_text("one loss\ntwo\nthree loss\n")
    return LogFile(path)


async def test_another_log_can_be_filtered_when_a_search_in_the_one_before_came_to_a_bad_end(
    app: ViewApp, other: LogFile
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        pane = app.query_one(LogPane)
        held = Held(app._path)
        pane.open(held, "held")
        await until(pilot, held.asked.is_set, "the scan for errors")
        await pilot.press("E")
        await until(pilot, lambda: pane.view.busy, "the search")
        held.broken = True
        held.go_on.set()
        await until(pilot, lambda: not pane.view.busy, "its end")
        pane.open(other, "other")
        await pilot.press("f", *"loss", "enter")
        await until(pilot, lambda: [r for r in shown(app) if r] == ["one loss", "three loss"], "the filter")
        assert pane.view.here is None and "searching the log failed: Input/output error" in [
            t.text for t in app.toasts.all
        ]


async def test_a_log_that_is_being_saved_is_saved_whole_though_another_one_is_opened(
    app: ViewApp, other: LogFile, tmp_path: Path
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        view = await ready(pilot, app)
        pane = app.query_one(LogPane)
        held = Held(app._path)
        held.go_on.set()
        pane.open(held, "held")
        await until(pilot, lambda: view.lines == 100 and view.errors == 2, "the log")
        held.go_on.clear()
        held.asked.clear()
        await pilot.press("s")
        await answer(pilot, "enter")
        await until(pilot, held.asked.is_set, "the save")
        pane.open(other, "other")
        assert not (tmp_path / "held.log").exists()
        held.go_on.set()
        await until(pilot, (tmp_path / "held.log").exists, "the file")
        assert (tmp_path / "held.log").read_text() == app._path.read_text()
        await until(pilot, lambda: any("100 lines are in" in told.text for told in app.toasts.all), "the word")


async def test_a_log_that_cannot_be_saved_is_told_and_leaves_no_half_file(app: ViewApp, tmp_path: Path) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        view = await ready(pilot, app)
        await until(pilot, lambda: view.errors == 2, "the log")
        with full_at(100):
            await pilot.press("s")
            await answer(pilot, "enter")
            await until(pilot, lambda: bool(app._notifications), "the error")
        assert [n.severity for n in app._notifications] == ["error"] and "saving the log" in str(
            list(app._notifications)
        )
        assert {p.name for p in tmp_path.iterdir()} <= {"some.log", "settings.toml", ".settings.lock"}


@pytest.mark.parametrize(
    ("how", "keys"),
    [
        ("cut", ["f", *"loss", "enter"]),
        ("cut and grown", ["slash", *"loss", "enter"]),
        ("cut and grown", ["f", *"loss", "enter"]),
        ("replaced", ["g", "m", "e"]),
        ("another of that size", ["w", "T", "e"]),
    ],
)
async def test_a_log_that_is_cut_or_written_anew_is_shown_as_it_is_now(app: ViewApp, how: str, keys: list[str]) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        view = await ready(pilot, app)
        await until(pilot, lambda: view.errors == 2 and shown(app)[-1] == LINES[-1], "the log")
        await pilot.press(*keys)
        new = "new 1 loss\nnew 2\nError: 3 loss\n"
        if how == "cut":
            os.truncate(app._path, len("\n".join(LINES[:3])) + 1)
            new = "\n".join(LINES[:3]) + "\n"
        elif how == "cut and grown":
            new *= 200
            app._path.write_text(new)
        elif how == "replaced":
            app._path.with_name("x").write_text(new)
            app._path.with_name("x").replace(app._path)
        else:
            new = (new * 99)[: app._path.stat().st_size - 1] + "\n"
            app._path.write_text(new)
        # Whatever is drawn before anybody has seen it.
        await pilot.press("pageup", "g", "G", "n", "pagedown")
        lines = new.splitlines()
        wanted = [x for x in lines if "loss" in x] if "f" in keys else lines
        await until(pilot, lambda: view.lines == len(lines) and view.rows == len(wanted), "the new log")
        await pilot.press("escape", "escape", "G")
        await until(pilot, lambda: "".join(shown(app)).endswith(lines[-1]), "its end")
        assert not view.marks and any("written anew" in told.text for told in app.toasts.all)


def sparse(tmp_path: Path, size: int) -> Path:
    path = tmp_path / "large.log"
    path.write_bytes(b"the first line\n")
    os.truncate(path, size)
    return path


def test_the_view_is_left_at_once_though_a_log_of_a_hundred_gigabytes_is_being_counted(tmp_path: Path) -> None:
    path = sparse(tmp_path, 100 << 30)
    terminal = Terminal([*CLI, "view", str(path)], {**os.environ, "NANOCHAT_TUI_HOME": str(tmp_path)})
    terminal.wait_for("counting its lines (")
    terminal.wait_for("so far)")
    terminal.press("q")
    assert terminal.wait_exit(20) == 0


def test_the_view_says_of_which_share_of_a_large_log_its_numbers_are(tmp_path: Path) -> None:
    path = tmp_path / "large.log"
    line = "step 00010/02520 (0.40%) | loss: 9.1 | lrm: 1.00 | dt: 900.1ms | tok/sec: 582,100 | mfu: 41.00\n"
    path.write_text(line * 400_000)
    terminal = Terminal([*CLI, "view", str(path)], {**os.environ, "NANOCHAT_TUI_HOME": str(tmp_path)}, columns=120)
    terminal.wait_for("% read, ")
    assert "step 10 of 2,520" in terminal.screen
    terminal.press("q")
    assert terminal.wait_exit(20) == 0
