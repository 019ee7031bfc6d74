"""No key, click, signal or slow volume ends the app or leaves it dead."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.style import Style
from textual import events
from textual.command import CommandList
from textual.css.errors import StylesheetError
from textual.css.stylesheet import Stylesheet
from textual.screen import Screen
from textual.widgets import Input

from runner.errors import Unreachable
from runner.fleet.fleet import Fleet
from runner.model.run import Run
from runner.transfer.download import Download, End
from runner.volumes.base import Entries
from runner.volumes.folder import FolderVolume
from tests.answers import answer
from tests.test_app import text_of, until
from tui import background
from tui.app.app import NanochatApp
from tui.presentation.key_choice import chosen
from tui.screens import sizes
from tui.screens.sizes import SizesScreen
from tui.widgets.consent import AskPath, Confirm
from tui.widgets.dialogs import Palette, TextPage
from tui.widgets.help_page import HelpPage


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.mark.parametrize(
    "window",
    [
        lambda: HelpPage((), chosen(), lambda name: Style()),
        lambda: TextPage("text"),
        lambda: Confirm("Stop it?", [], "command", "Stop", "Keep"),
        lambda: AskPath("Where to?", "", "command"),
        lambda: Palette(),
    ],
    ids=["help", "page", "question", "prompt", "palette"],
)
async def test_a_window_that_is_closed_twice_at_once_closes_nothing_below_it(
    fleet: Fleet, window: Callable[[], Screen[object]]
) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        below = TextPage("below")
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
        await until(pilot, lambda: isinstance(app.screen, HelpPage), "the help")
        page = app.screen
        for _ in range(2):
            page.post_message(
                events.Click(page, 0, 0, 0, 0, 1, shift=False, meta=False, ctrl=False, screen_x=0, screen_y=0)
            )
        page.post_message(events.Key("escape", None))
        await until(pilot, lambda: not isinstance(app.screen, HelpPage), "the screen below")
        await pilot.pause()
        assert "No runs" in text_of(app) or app.is_running


async def test_sizes_of_a_folder_are_asked_for_and_the_volume_takes_its_time_to_answer(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = Path(fleet.volume_location("local", "rehearsal"))
    for number in range(3):
        (location / "runs" / f"r{number}").mkdir(parents=True)
        (location / "runs" / f"r{number}" / "log").write_bytes(bytes(1000))
    asked, gates = threading.Event(), [threading.Event() for _ in range(4)]
    real = FolderVolume.scan

    def slow(
        self: FolderVolume, path: str, *, deep: bool = False, left_out: list[str] | None = None
    ) -> Iterator[Entries]:
        batches = real(self, path, deep=deep, left_out=left_out)
        if deep:
            for gate, entry in zip(gates, [e for batch in batches for e in batch if not e.is_dir], strict=False):
                asked.set()
                gate.wait()
                yield [entry]
        else:
            yield from batches

    monkeypatch.setattr(FolderVolume, "scan", slow)
    monkeypatch.setattr(sizes, "SHOW_EVERY_S", 0.0)
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        app.show_sizes(app.files.places()[0], "runs/r2")
        await until(pilot, asked.is_set, "the listing has begun")
        screen = app.screen
        assert isinstance(screen, SizesScreen)
        screen._show_title()
        gates[0].set()
        await until(pilot, lambda: "runs" in screen._usage.folders, "a part of the listing")
        assert "runs/r2" in text_of(app), "the folder that was asked for stays"
        for gate in gates:
            gate.set()
        await until(pilot, lambda: "1.0 kB in 1 file" in text_of(app), "its size")


async def test_a_registry_that_is_locked_when_a_launch_is_asked_for_is_a_line_and_the_launch_can_be_tried_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: "likely" in text_of(app), "the plan")
        seen_on: list[int] = []

        def locked(*_: object) -> str:
            seen_on.append(threading.get_ident())
            raise Unreachable("cannot use registry.db (database is locked)", "try again")

        monkeypatch.setattr(fleet, "confirmation_reason", locked)
        await pilot.press("f5")
        await until(pilot, lambda: any("is locked" in told.text for told in app.toasts.all), "the error")
        await pilot.press("f5")
        await until(pilot, lambda: len(seen_on) == 2, "another try")
        assert threading.get_ident() not in seen_on, "no registry on the event loop"


async def test_a_launch_that_is_not_confirmed_can_be_asked_for_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "confirmation_reason", lambda *_, **more: "this is likely to cost $12")
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: "likely" in text_of(app), "the plan")
        for _ in range(2):
            await pilot.press("f5")
            await answer(pilot, "n")
            await until(pilot, lambda: not isinstance(app.screen, Confirm), "the form")
        assert not fleet.registry.all()


async def test_an_upgrade_while_the_app_runs_takes_no_screen_away(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()

        def gone(_: object, path: object) -> None:
            raise StylesheetError(f"unable to read CSS file {path}")

        monkeypatch.setattr(Stylesheet, "read", gone)
        for mode in app.MODES:
            app.action_show(mode)
            await pilot.pause()
            assert app.current_mode == mode


async def test_an_action_that_fails_is_a_line_and_the_app_goes_on(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, failed_work: list[str]
) -> None:
    def odd(_: object) -> None:
        raise KeyError("gone")

    monkeypatch.setattr(NanochatApp, "action_help", odd)
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: any("KeyError: 'gone'" in told.text for told in app.toasts.all), "the word of it")
        await pilot.press("5")
        await until(pilot, lambda: app.current_mode == "cost", "another screen")
    assert "Traceback" in failed_work.pop()


async def test_keys_of_the_palette_do_nothing_where_its_list_has_no_room(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(10, 2)) as pilot:
        await pilot.press("ctrl+p")
        commands = app.screen.query_one(CommandList)
        await until(pilot, lambda: commands.option_count, "the commands")
        commands.highlighted = 0
        await pilot.press("pageup", "pagedown")
        assert isinstance(app.screen, Palette)


async def test_keys_and_clicks_that_come_while_the_app_is_left_are_dropped(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("j")
        app.exit(0)
    await app.on_event(events.Key("j", "j"))
    await app.on_event(
        events.MouseMove(None, 0, 0, 0, 0, 0, shift=False, meta=False, ctrl=False, screen_x=0, screen_y=0)
    )
    app._rest(app._waiting)


async def test_runs_of_other_machines_are_looked_for_until_the_network_is_there_and_ever_after(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def discover() -> list[Run]:
        looks.append(1)
        if len(looks) == 1:
            raise Unreachable("Modal cannot be reached", "see that there is a network")
        return []

    monkeypatch.setattr(fleet, "discover", discover)
    monkeypatch.setattr(fleet, "workspace", lambda: "mine/main")
    monkeypatch.setattr("runner.fleet.places.has_modal_token", lambda: True)
    monkeypatch.setattr("tui.app.app.DISCOVER_EVERY_S", 0.01)
    monkeypatch.setattr(background, "AGAIN_S", 0.01)
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: len(looks) > 3, "looks after the first one failed")
        await until(pilot, lambda: app.workspace == "mine/main", "whose Modal it is")


async def test_many_files_are_brought_home_one_after_the_other(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, most = list[str](), list[int]()
    folder = Path(fleet.volume_location("local", "rehearsal"))
    for number in range(12):
        (folder / f"f{number}").write_text("x")
    real = Download.run

    def run(self: Download) -> End:
        under_way.append("")
        most.append(len(under_way))
        try:
            return real(self)
        finally:
            under_way.pop()

    monkeypatch.setattr(Download, "run", run)
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        app.files.ask_get(app.files.places()[0], [f"f{number}" for number in range(12)])
        await until(pilot, lambda: app.screen.query(Input), "where to")
        app.screen.query_one(Input).value = str(tmp_path / "out")
        await answer(pilot, "enter")
        await until(pilot, lambda: len(most) == 12 and not app.files.busy, "the end of all")
        assert max(most) == 1 and len(list((tmp_path / "out").glob("f*"))) == 12
        await until(pilot, lambda: app.toasts.all, "the word of it")
        assert [told.text for told in app.toasts.all] == [f"f0 and 11 more is in {tmp_path / 'out'}: 12 B, 12 files"]


def test_a_field_that_is_there_before_its_screen_is_does_not_end_the_app_as_it_starts(tmp_path: Path) -> None:
    NanochatApp(Fleet(tmp_path)).clear_selection()
