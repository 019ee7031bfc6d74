"""What a screen says is so: nothing cut without a mark, no count of what nobody counted, no age that stands still."""

import threading
from pathlib import Path

import pytest

from runner.fleet.fleet import Fleet
from tests.answers import readable
from tests.test_app import put, text_of, until
from tui.app.app import NanochatApp
from tui.app.log_viewer import ViewApp
from tui.context import VolumeRef
from tui.screens.compare import CompareScreen
from tui.widgets import log_view
from tui.widgets.consent import Confirm
from tui.widgets.dialogs import TextPage
from tui.widgets.log_view import LogView


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


async def test_a_name_that_is_cut_says_so(fleet: Fleet) -> None:
    put(fleet, 1, tag="a-very-long-tag-of-a-run-1")
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "a-very-long-tag…" in text_of(app), "the cut tag")


async def test_ages_go_on_and_the_title_says_so_where_a_look_hangs(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(fleet, 1)
    asked, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr("tui.app.app.LATE_S", 4.0)
    monkeypatch.setattr(fleet, "poll_all", lambda backend: (asked.set(), go_on.wait(60), fleet.registry.all())[2])
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, asked.is_set, "a look")
        await until(pilot, lambda: "last looked at" in text_of(app), "that it is late")
        go_on.set()
        await until(pilot, lambda: "last looked at" not in text_of(app), "that it is not")


async def test_runs_that_are_not_compared_are_told(fleet: Fleet) -> None:
    for number in range(8):
        put(fleet, number)
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: "tag-7" in text_of(app), "the runs")
        await pilot.press(*["space"] * 8, "v")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "the comparison")
        assert any("6 of 8 are compared" in told.text for told in app.toasts.all)


async def test_the_command_of_a_deletion_says_how_many_it_does_not_name_and_no_count_is_claimed(fleet: Fleet) -> None:
    location = Path(fleet.volume_location("local", "rehearsal"))
    location.mkdir(parents=True, exist_ok=True)
    paths = [f"f{number}" for number in range(9)]
    for path in paths:
        (location / path).write_text("x")
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 40)) as pilot:
        app.files.ask_remove(VolumeRef("local", str(location)), paths, lambda: None)
        await until(pilot, lambda: "for good" in text_of(app), "what goes")
        assert "f0 f1 f2 (and 6 more)" in text_of(app) and "and 3 more" in text_of(app)
        await readable(pilot)
        assert isinstance(app.screen, Confirm)
        (location / "f3").unlink()
        await pilot.press(*"delete", "enter")
        said = "deleted f0 and 8 more, about 9 B"
        await until(pilot, lambda: any(told.text.startswith(said) for told in app.toasts.all), "the word")


async def test_a_line_that_is_not_shown_whole_says_how_much_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_view, "MAX_WHOLE", 100)
    path = tmp_path / "a.log"
    path.write_text("x" * 5100 + "\n")
    app = ViewApp(path, "a.log", tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.query_one(LogView).lines == 1, "the log")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TextPage), "the line")
        shown = "\n".join("".join(s.text for s in strip) for strip in app.screen._compositor.render_strips())
        assert "5.0 kB more of this line" in shown
