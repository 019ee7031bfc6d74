"""Sizes by keyboard: what could go, what of it comes back, and that a mark stays with what was marked."""

from pathlib import Path
from typing import Any

import pytest

from runner.fleet.fleet import Fleet
from runner.model.states import State
from runner.nanochat import layout
from tests.test_app import put, text_of, until
from tests.test_navigation import muted
from tests.test_volume_screen import LARGE, browse, fleet, root
from tui.app.app import NanochatApp
from tui.screens.checkpoints import CheckpointsScreen
from tui.screens.sizes import SizesScreen
from tui.screens.volume import VolumeScreen
from tui.widgets.consent import Confirm

__all__ = ["fleet"]


@pytest.fixture
def full(fleet: Fleet) -> Fleet:
    """The volume of a cancelled run, with an evaluation bundle that comes back, smaller than what does not."""
    bundle = root(fleet) / "eval_bundle"
    bundle.mkdir()
    (bundle / "core.yaml").write_bytes(b"x" * 500)
    return fleet


async def sizes(pilot: Any, app: NanochatApp) -> SizesScreen:
    await browse(pilot, app, "")
    await pilot.press("z")
    await until(pilot, lambda: isinstance(app.screen, SizesScreen) and app.screen._advice, "what could go")
    assert isinstance(app.screen, SizesScreen)
    return app.screen


async def test_what_comes_back_by_itself_is_named_first(full: Fleet) -> None:
    app = NanochatApp(full)
    async with app.run_test(size=LARGE) as pilot:
        screen = await sizes(pilot, app)
        first, *rest = screen._advice.values()
        assert first.what == "evaluation bundle" and first.again and first.bytes < max(one.bytes for one in rest)
        rows = [
            line for line in text_of(app).splitlines() if "evaluation bundle" in line or "older checkpoints" in line
        ]
        assert " yes " in rows[0] and " no " in rows[1]


async def test_why_stands_in_the_title_where_its_column_has_no_room(full: Fleet) -> None:
    app = NanochatApp(full)
    async with app.run_test(size=(80, 24)) as pilot:
        await sizes(pilot, app)
        await pilot.press("tab")
        await until(pilot, lambda: "downloads the evaluation bundle again" in text_of(app), "why")


async def test_a_mark_stays_with_what_was_marked_and_goes_with_its_volume(full: Fleet, tmp_path: Path) -> None:
    app = NanochatApp(full)
    async with app.run_test(size=LARGE) as pilot:
        screen = await sizes(pilot, app)
        await pilot.press("tab", "space")
        assert screen._could_go.marked == {"evaluation bundle"}
        (root(full) / layout.COMPILE_CACHE).mkdir(parents=True)
        (root(full) / layout.COMPILE_CACHE / "kernel").write_bytes(b"x" * 9000)
        screen.action_reload()
        await until(pilot, lambda: screen._done_at and len(screen._advice) == 3, "what could go now")
        assert screen._could_go.marked == {"evaluation bundle"} and next(iter(screen._advice)) == "compile caches"
        other = screen.place._replace(location=str(tmp_path / "elsewhere"))
        screen.open_at(other, "")
        assert not screen._could_go.marked and not screen._list.marked


async def test_a_mark_in_one_list_is_what_a_deletion_asks_about_wherever_the_cursor_is(full: Fleet) -> None:
    app = NanochatApp(full)
    async with app.run_test(size=LARGE) as pilot:
        screen = await sizes(pilot, app)
        await pilot.press("space")
        assert screen._list.marked
        await pilot.press("tab", "space")
        assert not screen._list.marked, "one question is about one list"
        await pilot.press("shift+tab", "x")
        await until(pilot, lambda: isinstance(app.screen, Confirm) and "eval_bundle" in text_of(app), "the question")


async def test_the_folders_have_the_keys_each_time_one_comes(full: Fleet) -> None:
    app = NanochatApp(full)
    async with app.run_test(size=LARGE) as pilot:
        screen = await sizes(pilot, app)
        await pilot.press("tab")
        assert screen._could_go.has_focus
        await pilot.press("escape", "z")
        await until(pilot, lambda: app.screen is screen and screen._list.has_focus, "the folders")


async def test_enter_on_what_could_go_shows_where_it_lies_or_what_there_is_to_choose_from(full: Fleet) -> None:
    app = NanochatApp(full)
    async with app.run_test(size=LARGE) as pilot:
        screen = await sizes(pilot, app)
        await pilot.press("tab", "enter")
        await until(
            pilot, lambda: isinstance(app.screen, VolumeScreen) and "eval_bundle" in app.screen._list.current, "it"
        )
        await pilot.press("z")
        await until(pilot, lambda: app.screen is screen and screen._advice, "sizes again")
        await pilot.press("tab", "end", "enter")
        await until(
            pilot,
            lambda: isinstance(app.screen, CheckpointsScreen) and app.screen._list.current.endswith("/40"),
            "the best of that run",
        )


async def test_one_key_goes_through_the_volumes_and_is_muted_where_there_is_but_one(
    full: Fleet, tmp_path: Path
) -> None:
    app = NanochatApp(full)
    async with app.run_test(size=LARGE) as pilot:
        screen = await sizes(pilot, app)
        assert "Next volume" in muted(app) and "volume 1 of" not in text_of(app)
        other = tmp_path / "other"
        (other / "runs" / "run0002").mkdir(parents=True)
        (other / "eval_bundle").mkdir()
        (other / "eval_bundle" / "core.yaml").write_bytes(b"x" * 900)
        put(full, 2, State.DONE, volume=str(other))
        await until(pilot, lambda: "volume 1 of 2" in text_of(app) or "volume 2 of 2" in text_of(app), "another one")
        await until(pilot, lambda: "Next volume" not in muted(app), "its key")
        before = screen.place
        await pilot.press("v")
        await until(pilot, lambda: screen.place != before and screen._done_at and "900 B" in text_of(app), "its sizes")
        await pilot.press("v")
        await until(pilot, lambda: screen.place == before and screen._done_at, "the first again")


async def test_checkpoints_begin_at_the_best_of_the_run_in_hand(fleet: Fleet) -> None:
    put(fleet, 2, State.DONE)
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await pilot.press("end")
        await pilot.press("6")
        await until(
            pilot, lambda: isinstance(app.screen, CheckpointsScreen) and app.screen._list.current.endswith("/40"), "it"
        )
        assert "0.7000 ★" in text_of(app) and text_of(app).count("★") == 2, "and why, below"
