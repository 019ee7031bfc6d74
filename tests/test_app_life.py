"""No key, click, signal or slow volume ends the app or leaves it dead."""

from collections.abc import Callable
from pathlib import Path

import pytest
from textual import events
from textual.screen import Screen

from runner.fleet import Fleet
from tests.test_app import text_of, until
from tui.app import NanochatApp
from tui.screens.dialogs import Ask, Confirm, Page, Palette, help_page


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.mark.parametrize(
    "window",
    [
        lambda: help_page(),
        lambda: Page("text"),
        lambda: Confirm("Stop it?", [], "command", "Stop", "Keep"),
        lambda: Ask("Where to?", "", "command"),
        lambda: Palette(),
    ],
    ids=["help", "page", "question", "prompt", "palette"],
)
async def test_a_window_that_is_closed_twice_at_once_closes_nothing_below_it(
    fleet: Fleet, window: Callable[[], Screen[object]]
) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        below = Page("below")
        app.push_screen(below)
        answers: list[object] = []
        app.push_screen(window(), answers.append)
        await pilot.pause()
        top = app.screen
        top.dismiss(None)
        top.dismiss(None)
        await pilot.pause()
        assert app.screen is below
        below.dismiss()
        below.dismiss()
        await pilot.pause()
        assert len(app.screen_stack) == 1 and len(answers) == 1


async def test_two_clicks_beside_the_help_in_one_burst_close_it_once(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, Page), "the help")
        page = app.screen
        for _ in range(2):
            page.post_message(
                events.Click(page, 0, 0, 0, 0, 1, shift=False, meta=False, ctrl=False, screen_x=0, screen_y=0)
            )
        page.post_message(events.Key("escape", None))
        await until(pilot, lambda: not isinstance(app.screen, Page), "the screen below")
        await pilot.pause()
        assert "No runs" in text_of(app) or app.is_running
