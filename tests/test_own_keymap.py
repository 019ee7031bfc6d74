"""A person's own keys at work: in the app, on a screen and in its log, in lists, in the view, on a terminal."""

import os
from pathlib import Path

from textual.command import CommandList, CommandPalette
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from runner import settings
from runner.fleet.fleet import Fleet
from tests.answers import answer
from tests.conftest import CLI
from tests.terminal import Terminal
from tests.test_app import put, text_of, until
from tests.test_navigation import with_log
from tui.app.app import NanochatApp
from tui.app.log_viewer import ViewApp
from tui.cli.commands import command_lines
from tui.screens.checkpoints import CheckpointsScreen
from tui.screens.volume import VolumeScreen
from tui.screens.watch import WatchScreen
from tui.widgets.help_page import HelpPage
from tui.widgets.key_line import KeyLine
from tui.widgets.log_view import LogView
from tui.widgets.virtual_list import VirtualList

MINE = """keys_preset = "emacs"
[keys]
"app.help" = "H"
"app.cost" = "$"
"runs.new" = "X"
"runs.delete" = []
"watch.metrics" = "V"
"log.wrap" = ["W", "f6"]
"move.down" = ["i", "ctrl+n"]
"""


def with_keys(home: Path, text: str = MINE) -> Fleet:
    (home / settings.FILE).write_text(text)
    return Fleet(home)


async def in_palette(pilot: Pilot[int], words: str) -> None:
    """Open the palette, and once it is there, type."""
    await pilot.press("ctrl+p")
    await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette), "the palette")
    await pilot.press(*words)


async def test_own_keys_work_in_the_app_on_a_screen_in_its_log_and_in_lists_and_the_old_ones_do_not(
    tmp_path: Path,
) -> None:
    fleet = with_keys(tmp_path)
    for number in (1, 2, 3):
        with_log(fleet, number, "line\n" * 200)
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "tag-3" in text_of(app), "the runs")
        runs = app.screen.query_one(VirtualList)
        assert "X New" in text_of(app) and "Delete" not in text_of(app) and "H Help" in text_of(app)
        items = [item.label for item in app.screen.query_one(KeyLine).items]
        assert items[:3] == ["Watch", "New", "Cancel"], "in the order of the table, wherever their keys come from"
        await pilot.press("i", "down", "j", "ctrl+n", "n", "question_mark", "d", "5")
        assert runs.cursor == 2 and app.current_mode == "runs" and len(app.screen_stack) == 1
        await pilot.press("ctrl+p", "$")
        await until(pilot, lambda: app.current_mode == "cost", "the cost")
        assert runs.cursor == 1, "the preset moves up by what opens the palette else"
        await pilot.press("ctrl+g")
        await until(pilot, lambda: app.current_mode == "runs", "the runs again")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen) and "line" in text_of(app), "the log")
        view = app.screen.query_one(LogView)
        await pilot.press("w", "M")
        assert not view.wrap and not app.screen.has_class("curves")
        await pilot.press("V")
        await until(pilot, lambda: app.screen.has_class("curves"), "the curves")
        await pilot.press("W")
        await until(pilot, lambda: view.wrap and not app.screen.has_class("curves"), "the log, through the curves")
        await pilot.press("f6", "g", "i")
        await until(pilot, lambda: not view.wrap and round(view.scroll_y) == 1, "a line further")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.focused, Input), "the search")
        assert isinstance(app.focused, Input)
        assert "V Metrics" not in text_of(app) and "H Help" not in text_of(app), "what is typed does nothing else"
        await pilot.press("i")
        assert app.focused.value == "i", "a letter is typed where text is"


async def test_the_view_of_a_log_has_own_keys_too_and_a_key_of_the_preset_in_the_place_of_the_palette(
    tmp_path: Path,
) -> None:
    (tmp_path / settings.FILE).write_text(MINE)
    log = tmp_path / "a.log"
    log.write_text("line\n" * 200)
    app = ViewApp(log, "a.log", tmp_path)
    async with app.run_test(size=(100, 30)) as pilot:
        view = app.query_one(LogView)
        await until(pilot, lambda: view.rows, "the log")
        await pilot.press("g", "ctrl+n", "ctrl+n", "ctrl+p")
        assert round(view.scroll_y) == 1 and not isinstance(app.screen, CommandPalette)
        await pilot.press("alt+x")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette), "the palette")


async def test_what_of_the_keys_is_not_obeyed_is_told_in_one_line_and_the_app_starts(tmp_path: Path) -> None:
    fleet = with_keys(tmp_path, '[keys]\n"runs.cancl" = "k"\n"runs.new" = "c"\n"runs.sort" = "\\u001b[31m"\n')
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: app.toasts.all, "the line")
        told = [toast.text for toast in app.toasts.all if "[keys]" in toast.text]
        assert len(told) == 1 and "did you mean runs.cancel?; and 2 more (nanochat-tui keys)" in told[0]
        await pilot.press("n")
        await until(pilot, lambda: app.current_mode == "launch", "the key that stays")


async def test_letters_leave_the_help_that_has_them_and_enter_does_what_is_chosen(tmp_path: Path) -> None:
    fleet = with_keys(tmp_path)
    put(fleet, 1)
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("H")
        await until(pilot, lambda: isinstance(app.screen, HelpPage) and "under the cursor" in text_of(app), "the help")
        found = app.screen.query_one(OptionList)
        every = found.option_count
        await pilot.press(*"disk usage")
        await until(pilot, lambda: found.option_count == 2, "one line under its screen")
        assert "z" in text_of(app) and every > 100
        await pilot.press(*["backspace"] * 10, *"filter")
        await until(pilot, lambda: 4 < found.option_count < every, "the filters")
        first = found.highlighted
        await pilot.press("ctrl+n")
        assert found.highlighted != first
        await pilot.press("up", "enter")
        await until(pilot, lambda: isinstance(app.focused, Input) and app.focused.id == "filter", "the filter of Runs")
        await pilot.press("escape", "H", "H")
        await until(pilot, lambda: len(app.screen_stack) == 1, "the key that opened the help to close it")
        await pilot.press("H", *"nothing", "enter")
        await until(pilot, lambda: len(app.screen_stack) == 1, "the runs below")


async def test_the_palette_has_the_commands_of_other_screens_and_goes_there(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    put(fleet, 1)
    app = NanochatApp(fleet, command_lines())
    async with app.run_test(size=(120, 40)) as pilot:
        await in_palette(pilot, "filter")
        found = app.screen.query_one(CommandList)
        await until(pilot, lambda: found.option_count > 2, "the filters")
        lines = [str(found.get_option_at_index(n).prompt) for n in range(found.option_count)]
        assert "show only runs" in lines[0] and any("Volume: only names" in line for line in lines[1:])
        await pilot.press("escape")
        await in_palette(pilot, "upload")
        await until(pilot, lambda: "Volume: upload" in text_of(app), "the upload")
        await pilot.press("enter")
        await until(pilot, lambda: "Which file or folder of this machine?" in text_of(app), "the question, over Volume")
        await answer(pilot, "escape")
        assert isinstance(app.screen, VolumeScreen)
        await in_palette(pilot, "launch what")
        await until(pilot, lambda: "New run: launch" in text_of(app), "the launch")
        await pilot.press("enter")
        await until(pilot, lambda: app.current_mode == "launch", "the form")
        await pilot.pause()
        assert len(fleet.registry.all()) == 1, "what a form would launch is looked at first"


async def test_a_command_line_that_is_chosen_in_the_palette_is_copied_and_that_is_said(tmp_path: Path) -> None:
    app = NanochatApp(Fleet(tmp_path), command_lines())
    async with app.run_test(size=(120, 40)) as pilot:
        await in_palette(pilot, "nanochat-tui doctor")
        await until(pilot, lambda: "check this machine" in text_of(app), "the command")
        await pilot.press("enter")
        await until(pilot, lambda: any("nanochat-tui doctor" in t.text for t in app.toasts.all), "the word of it")
        assert app.clipboard == "nanochat-tui doctor"


async def test_marks_and_a_filter_that_were_cleared_come_back_on_runs_and_checkpoints(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for number in (1, 2, 12):
        put(fleet, number)
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "tag-12" in text_of(app), "the runs")
        runs = app.screen.query_one(VirtualList)
        await pilot.press("slash", *"tag-1", "enter", "space", "space")
        assert len(runs.marked) == 2
        await pilot.press("escape")
        await until(pilot, lambda: "tag-2" in text_of(app) and not runs.marked, "all runs")
        await pilot.press("U")
        await until(pilot, lambda: len(runs.marked) == 2 and "tag-2" not in text_of(app), "what was cleared")
        await pilot.press("escape", "U", "U")
        await until(
            pilot, lambda: any("nothing was deleted here" in t.text for t in app.toasts.all), "that there is no more"
        )
        await pilot.press("6")
        await until(pilot, lambda: isinstance(app.screen, CheckpointsScreen), "the checkpoints")
        await pilot.press("slash", *"abc", "enter", "escape", "U")
        await until(pilot, lambda: "/abc" in text_of(app), "the filter of the checkpoints")


async def test_marks_and_a_filter_come_back_in_a_folder_of_a_volume(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    volume = Path(fleet.volume_location("local", "rehearsal"))
    for name in ("one.txt", "two.txt", "other.md"):
        (volume / name).parent.mkdir(parents=True, exist_ok=True)
        (volume / name).write_text("text")
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "other.md" in text_of(app), "the files")
        found = app.screen.query_one("#list", VirtualList)
        await pilot.press("f", *"txt", "enter")
        await until(pilot, lambda: "other.md" not in text_of(app), "the filter")
        await pilot.press("space", "escape")
        await until(pilot, lambda: "other.md" in text_of(app), "all files")
        assert len(found.marked) == 1
        await pilot.press("escape")
        assert not found.marked
        await pilot.press("U", "U")
        await until(pilot, lambda: len(found.marked) == 1 and "other.md" not in text_of(app), "marks and filter")


def test_on_a_real_terminal_a_function_key_of_a_preset_does_its_work(tmp_path: Path) -> None:
    (tmp_path / settings.FILE).write_text('keys_preset = "function-keys"\n')
    terminal = Terminal(CLI, {**os.environ, "NANOCHAT_TUI_HOME": str(tmp_path)}, 100, 30)
    try:
        terminal.wait_for("F2 New")
        terminal.write("\x1bOQ")
        terminal.wait_for("New run")
        terminal.write("\x1b[21~")
        assert terminal.wait_exit() == 0
    finally:
        terminal.kill()
