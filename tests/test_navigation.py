"""The ways between screens, and the palette: back goes back, a command is found by its name and does its work."""

import re
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from textual.command import CommandList, CommandPalette
from textual.widgets import Input

from runner.fleet.fleet import Fleet
from runner.model.backend_name import BackendName
from runner.model.states import State
from runner.model.status import Money
from runner.nanochat.layout import CheckpointKind
from tests.test_app import put, text_of, until
from tests.test_series import event, step
from tui.app.app import NanochatApp
from tui.app.log_viewer import ViewApp
from tui.app.palette import Command, score
from tui.app.trail import BackStack
from tui.screens import checkpoints, cost
from tui.screens.runs import COLUMNS, CYCLE, ordered
from tui.screens.watch import WatchScreen
from tui.widgets.choice import Choice
from tui.widgets.consent import Confirm
from tui.widgets.key_line import KeyLine
from tui.widgets.log_view import LogView
from tui.widgets.virtual_list import VirtualList


def with_log(fleet: Fleet, number: int, log: str, state: State = State.DONE) -> str:
    run_id = put(fleet, number, state)
    folder = Path(fleet.registry.get(run_id).volume) / "runs" / run_id
    folder.mkdir(parents=True)
    (folder / "log").write_text(log)
    lines = [event(1000, "container"), *(step(1001 + n, n, 5.0 - n * 0.01) for n in range(20))]
    (folder / "events.jsonl").write_text("".join(lines))
    return run_id


def test_back_goes_the_way_that_one_came_and_the_root_ends_it() -> None:
    trail = BackStack("runs")
    ways = [("runs", "checkpoints"), ("checkpoints", "launch"), ("launch", "launch")]
    for way in ways:
        trail.push(*way)
    assert [trail.pop(), trail.pop(), trail.pop()] == ["checkpoints", "runs", "runs"]
    trail.push("runs", "cost")
    trail.push("cost", "runs")
    assert trail.pop() == "runs"
    for _ in range(100):
        trail.push("cost", "watch")
    assert [trail.pop() for _ in range(21)][-2:] == ["cost", "runs"]


async def test_escape_on_every_screen_goes_back_to_the_one_that_one_came_from(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    with_log(fleet, 1, "line\n")
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        for key, mode in (("5", "cost"), ("6", "checkpoints"), ("2", "watch"), ("4", "volume"), ("3", "launch")):
            await pilot.press(key)
            await until(pilot, lambda mode=mode: app.current_mode == mode, mode)
        for mode in ("volume", "watch", "checkpoints", "cost", "runs", "runs"):
            await pilot.press("escape")
            await until(pilot, lambda mode=mode: app.current_mode == mode, f"back to {mode}")


async def test_a_new_run_has_nothing_of_a_checkpoint_that_one_did_not_go_on_from_after_all(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    run_id = put(fleet, 1)
    app = NanochatApp(fleet)

    def form() -> dict[str, str]:
        names = ("task", "model", "backend", "from", "step", "overrides")
        fields = [app.screen.query_one(f"#{name}") for name in names]
        return {n: f.value for n, f in zip(names, fields, strict=True) if isinstance(f, Input | Choice) and f.value}

    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: app.current_mode == "launch", "the form")
        await pilot.press("right")
        fresh = form()
        await pilot.press("escape", "6")
        await until(pilot, lambda: app.current_mode == "checkpoints", "the checkpoints")
        app.resume_from(fleet.registry.get(run_id), CheckpointKind.BASE, 10)
        await until(pilot, lambda: app.current_mode == "launch" and form().get("step") == "10", "the form filled in")
        app.screen.query_one("#overrides", Input).value = "iterations=7"
        assert form()["task"] == "base" and form()["from"] == "tag-1"
        await pilot.press("escape")
        await until(pilot, lambda: app.current_mode == "checkpoints", "back to the checkpoints")
        await pilot.press("1", "n")
        await until(pilot, lambda: app.current_mode == "launch" and form() == fresh, "an empty form")


TRACE = "fine\n" * 40 + "Traceback (most recent call last):\nValueError: the first\n" + "later\n" * 60


async def test_a_failed_run_opens_at_its_first_error_also_while_curves_are_shown(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    with_log(fleet, 2, "fine\n" * 100)
    with_log(fleet, 1, TRACE + "RuntimeError: a later one\n", State.FAILED)
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("enter", "M")
        await until(pilot, lambda: app.screen.has_class("curves"), "the curves of the run that is done")
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: "ValueError: the first" in text_of(app), "the first error")
        assert not app.screen.has_class("curves") and "a later one" not in text_of(app)


async def test_keys_of_the_log_leave_the_curves_and_do_their_work(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    with_log(fleet, 1, TRACE)
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen) and "later" in text_of(app), "the log")
        view = app.screen.query_one(LogView)
        await until(pilot, lambda: view.errors, "the errors to be known")
        await pilot.press("M", "e")
        await until(pilot, lambda: "ValueError: the first" in text_of(app), "the error")
        assert not app.screen.has_class("curves") and app.focused is view
        await pilot.press("M", "slash")
        await until(pilot, lambda: isinstance(app.focused, Input), "the search")


async def test_the_palette_knows_the_commands_of_log_and_curves_one_line_each_and_does_them(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    with_log(fleet, 1, "line\n" * 50)
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen) and "line" in text_of(app), "the log")
        watch = app.screen
        await pilot.press("ctrl+p", *"wrap")
        await until(pilot, lambda: "long lines cut or wrapped" in text_of(app), "the command")
        assert app.screen.query_one(CommandList).option_count == 1
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is watch and watch.query_one(LogView).wrap, "lines to be wrapped")
        await pilot.press("ctrl+p", *"log scale")
        await until(pilot, lambda: "logarithmic" in text_of(app), "the command of the curves")
        assert isinstance(app.screen, CommandPalette)
        await pilot.press(*["backspace"] * 9)
        found = app.screen.query_one(CommandList)
        await until(pilot, lambda: found.option_count > 30, "all commands")
        assert found.virtual_size.height == found.option_count
        await pilot.press(*"log scale")
        await until(pilot, lambda: found.option_count == 1, "the command of the curves again")
        await pilot.press("enter")
        await until(pilot, lambda: watch.has_class("curves"), "the curves")


def test_what_is_meant_comes_first_and_what_has_only_the_letters_not_at_all() -> None:
    sort = Command("Sort", "s", "sort by the next column")
    cancel = Command("Cancel", "c", "stop the marked runs, or this one, keeping what is saved (asks)")
    deletion = Command("Delete", "x", "delete the marked runs, or this one, with their files (asks)")
    assert score("sort", sort) == 1.0 and score("sort", cancel) == score("sort", deletion) == 0
    assert score("so", sort) > score("stop", cancel) > 0 and score("marked del", deletion) > 0
    assert score("", sort) and not score("zzz", sort)


async def test_a_click_on_a_column_sorts_by_it_and_one_on_the_row_under_the_cursor_opens_it(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for number, loss in ((1, 2.5), (2, None), (3, 1.5)):
        put(fleet, number, status={"loss": loss})
    app = NanochatApp(fleet)

    def tags() -> list[str]:
        return [word for line in text_of(app).splitlines()[3:6] for word in line.split() if word.startswith("tag-")]

    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: tags() == ["tag-3", "tag-2", "tag-1"], "the runs, newest first")
        head = next(line for line in text_of(app).splitlines() if "loss" in line)
        at = head.index("loss") + 1
        await pilot.click(VirtualList, offset=(at, 0))
        await until(pilot, lambda: tags() == ["tag-3", "tag-1", "tag-2"], "sorted by loss")
        await pilot.click(VirtualList, offset=(at, 0))
        await until(pilot, lambda: tags() == ["tag-1", "tag-3", "tag-2"], "reversed, what is not known still last")
        await pilot.click(VirtualList, offset=(4, 1))
        assert app.current_mode == "runs" and app.screen.query_one(VirtualList).current == "run0001"
        await pilot.click(VirtualList, offset=(4, 1))
        await until(pilot, lambda: app.current_mode == "watch" and app.watched == "run0001", "the run to be watched")


async def test_the_row_under_the_cursor_stays_in_view_when_rows_are_sorted_anew(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for number in range(1, 31):
        put(fleet, number, tag=f"tag-{number:02d}")
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        rows = app.screen.query_one(VirtualList)
        await until(pilot, lambda: rows.current == "run0030", "the newest")
        await pilot.press("s")
        await until(pilot, lambda: rows.cursor == 29 and "by run" in text_of(app), "by name, where it is the last")
        assert "run0030" in rows.on_screen
        await pilot.press("s", "s", "s", "s")
        await until(pilot, lambda: rows.cursor == 0 and "by started" in text_of(app), "as at first")
        assert "run0030" in rows.on_screen


async def test_the_dearest_run_is_found_and_stopped_where_money_is_shown(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for number, rate in ((1, "31.92"), (2, "3.95"), (3, None)):
        state = State.RUNNING if rate else State.DONE
        money = Money(usd_per_hour=Decimal(rate)) if rate else Money()
        run_id = put(fleet, number, state, backend=BackendName.MODAL)
        known = fleet.registry.get(run_id)
        assert known.status
        status = msgspec.structs.replace(known.status, money=money)
        fleet.registry.update(run_id, lambda run, status=status: msgspec.structs.replace(run, status=status))
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("5", "s")
        await until(pilot, lambda: "by $/h" in text_of(app), "the dearest first")
        await pilot.press("home")
        assert app.screen.query_one(VirtualList).current == "run0001" and "$31.92" in text_of(app)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, Confirm) and "tag-1" in text_of(app), "the question")


async def test_a_click_with_the_other_button_opens_nothing(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    put(fleet, 1)
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "tag-1" in text_of(app), "the run")
        await pilot.click(VirtualList, offset=(4, 1), button=3)
        await pilot.pause()
        assert app.current_mode == "runs"


def test_every_column_can_be_sorted_by_whatever_is_not_known(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    put(fleet, 1)
    bare = msgspec.structs.replace(fleet.registry.all()[0], id="bare", status=None, state=State.QUEUED)
    runs = [*fleet.registry.all(), bare]
    for column in {column.name for column in COLUMNS} | set(CYCLE):
        for reverse in (False, True):
            assert {r.id for r in ordered(runs, column, 2000.0, reverse=reverse)} == {"run0001", "bare"}


async def test_columns_of_live_runs_take_no_room_where_all_have_ended(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    put(fleet, 1)
    app = NanochatApp(fleet)
    async with app.run_test(size=(140, 24)) as pilot:
        await until(pilot, lambda: "tag-1" in text_of(app), "the run")
        head = next(line for line in text_of(app).splitlines() if "loss" in line)
        assert "tok/s" not in head and "eta" not in head and "updated" in head and "bpb" in head


async def test_the_view_of_a_log_has_its_commands_in_its_palette(tmp_path: Path) -> None:
    (tmp_path / "some.log").write_text("line\n" * 50)
    app = ViewApp(tmp_path / "some.log", "some.log", tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.query_one(LogView).lines == 50, "the log")
        await pilot.press("ctrl+p", *"wrap")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette), "the palette")
        found = app.screen.query_one(CommandList)
        await until(pilot, lambda: found.option_count == 1, "the command")
        await pilot.press("enter")
        await until(pilot, lambda: app.query_one(LogView).wrap, "lines to be wrapped")


async def test_a_click_on_any_column_of_cost_or_checkpoints_sorts_by_it_and_a_second_one_the_other_way(
    tmp_path: Path,
) -> None:
    fleet = Fleet(tmp_path)
    for number, tag in ((1, "bbb"), (2, "aaa"), (3, "ccc")):
        put(fleet, number, tag=tag, backend=BackendName.MODAL)
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 30)) as pilot:
        for mode, known in (("cost", cost.COLUMNS), ("checkpoints", checkpoints.COLUMNS)):
            app.action_show(mode)
            await until(pilot, lambda mode=mode: app.current_mode == mode and app.screen.is_mounted, mode)
            found = app.screen.query_one(VirtualList)
            # What only live runs have has no column.
            columns = [column for column in known if (mode, column.name) not in (("cost", "$/h"), ("cost", "likely"))]
            for column in columns:
                found.post_message(VirtualList.HeadClicked(column.name))
                await until(pilot, lambda name=column.name: f"by {name}" in text_of(app), column.name)
                if (mode, column.name) == ("cost", "run"):
                    assert re.findall("aaa|bbb|ccc", text_of(app)) == ["aaa", "bbb", "ccc"]
            found.post_message(VirtualList.HeadClicked(columns[-1].name))
            await until(pilot, lambda: "reversed" in text_of(app), "the other way")


def muted(app: NanochatApp) -> set[str]:
    """The words at the foot that are drawn as keys that would do nothing."""
    line = app.screen.query_one(KeyLine)
    idle = line.get_component_rich_style("keys--idle").color
    return {segment.text.strip() for segment in line.render_line(0) if segment.style and segment.style.color == idle}


async def test_keys_that_would_do_nothing_are_muted_also_where_no_run_is_watched(tmp_path: Path) -> None:
    app = NanochatApp(Fleet(tmp_path))
    async with app.run_test(size=(140, 24)) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: "No run is watched" in text_of(app), "nothing to watch")
        await until(pilot, lambda: {"Cancel", "Resume", "Plan", "Diff", "Report"} <= muted(app), "all about a run")
        run_id = put(app.fleet, 1, State.CANCELLED)
        await until(pilot, lambda: bool(app.runs), "the run")
        await pilot.press("1", "enter")
        await until(pilot, lambda: app.current_mode == "watch" and muted(app) >= {"Cancel"}, "it has ended")
        assert not muted(app) & {"Resume", "Plan", "Diff", "Report"}
        app.fleet.registry.remove(run_id)
        await until(pilot, lambda: muted(app) >= {"Cancel", "Resume", "Plan"}, "it is gone")


@pytest.mark.parametrize(("key", "field"), [("1", "filter"), ("4", "ask"), ("6", "ask")])
async def test_no_key_stands_at_the_foot_that_a_field_takes_as_text(tmp_path: Path, key: str, field: str) -> None:
    app = NanochatApp(Fleet(tmp_path))
    async with app.run_test(size=(120, 24)) as pilot:
        await until(pilot, lambda: "/ Filter" in text_of(app), "the foot")
        await pilot.press(key, "slash")
        await until(pilot, lambda: app.focused is not None and app.focused.id == field, "the field")
        await until(pilot, lambda: text_of(app).splitlines()[-1].split()[-4:] == ["F1", "Help", "F10", "Quit"], "keys")
        assert "/ F" not in text_of(app).splitlines()[-1]
