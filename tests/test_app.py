"""The app by keyboard, through Textual's pilot, over a real Fleet."""

import contextlib
import re
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input

from runner.fleet.fleet import Fleet
from runner.logs.log_file import LogFile
from runner.model.run import Call, Run
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import Outcome, OutcomeKind, StageState, StageStatus
from runner.volumes import deletion
from tests.answers import answer
from tests.statuses import a_status
from tests.test_run import run
from tests.test_series import event, step
from tui.app.app import NanochatApp
from tui.screens.launch import LaunchScreen
from tui.screens.runs import RunsScreen
from tui.screens.watch import WatchScreen
from tui.widgets.choice import Choice
from tui.widgets.consent import Confirm
from tui.widgets.dialogs import TextPage
from tui.widgets.log_view import LogView
from tui.widgets.metrics import Metrics
from tui.widgets.plot import Plot
from tui.widgets.virtual_list import VirtualList

HOSTILE = "[/red] [bold]x[/] \x1b]0;t\x07\x1b[2J \u202eevil\n[@click=app.quit]y[/]"
SIZES = [(80, 24), (120, 34), (200, 60), (20, 6)]


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


async def until(pilot: Pilot[int], true: Callable[[], Any], what: str = "", seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return
        await pilot.pause(0.05)
    app = pilot.app
    told = app.toasts.all if isinstance(app, NanochatApp) else []
    raise AssertionError(f"not within {seconds}s: {what}; told {told}, focus {app.focused}\n{text_of(app)}")


def text_of(app: App[int]) -> str:
    """What is on the screen, as text."""
    return "\n".join("".join(s.text for s in strip) for strip in app.screen._compositor.render_strips())


def window_text(app: App[int]) -> str:
    """What the window on top says, as one line."""
    box = app.screen.children[0].content_region
    lines = text_of(app).splitlines()[box.y : box.bottom]
    return " ".join(" ".join(line[box.x : box.right] for line in lines).split())


def put(fleet: Fleet, number: int, state: State = State.DONE, **given: Any) -> str:
    """A run on record that no process stands behind."""
    run_id = f"run{number:04d}"
    values = {"ended_at": 1100.0, "step": 5, "total_steps": 10, "loss": 2.5, **given.pop("status", {})}
    status = a_status(1, state, "local-1-x", 1000.0, 1100.0, **values)
    base = {"id": run_id, "tag": f"tag-{number}", "volume": str(fleet.home / "volumes" / "rehearsal")}
    made = run(
        state, **{**base, "created_at": 1000.0 + number, "status": status, "calls": [Call("local-1-x", 1.0)], **given}
    )
    fleet.registry.add(made)
    return run_id


async def test_runs_of_which_none_is_live_are_looked_at_again_only_when_one_was_changed_on_record(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(fleet, 1)
    looked, asked = [0], [0]
    poll_all, version = fleet.poll_all, fleet.registry.version

    def looks(backend: str = "") -> Any:
        looked[0] += 1
        return poll_all(backend)

    def asks() -> tuple[int, int]:
        asked[0] += 1
        return version()

    monkeypatch.setattr("tui.app.app.LOOK_AT_NONE_S", 0.02)
    monkeypatch.setattr("tui.app.app.AGES_EVERY_S", 3600.0)
    monkeypatch.setattr(fleet, "poll_all", looks)
    monkeypatch.setattr(fleet.registry, "version", asks)
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: asked[0] > 20, "the first looks")
        before, asked[0] = looked[0], 0
        await until(pilot, lambda: asked[0] > 20, "more of them")
        assert looked[0] == before
        with contextlib.closing(Fleet(fleet.home)) as other:
            put(other, 2)
        await until(pilot, lambda: "tag-2" in text_of(app), "the run of another terminal")


async def test_behind_a_page_runs_are_drawn_at_once_only_where_a_state_has_changed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = put(fleet, 1, State.QUEUED)
    monkeypatch.setattr("tui.app.app.BEHIND_EVERY_S", 3600.0)
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "tag-1" in text_of(app), "the run")
        screen, drawn = app.screen, list[list[State]]()
        assert isinstance(screen, RunsScreen)
        show = screen.show_runs

        def shows(runs: list[Run]) -> None:
            drawn.append([r.state for r in runs])
            show(runs)

        monkeypatch.setattr(screen, "show_runs", shows)
        await pilot.press("question_mark")
        await until(pilot, lambda: app.screen is not screen, "the page")
        drawn.clear()
        app._show_runs()
        assert drawn == []
        app.runs = [msgspec.structs.replace(fleet.registry.get(run_id), state=State.RUNNING)]
        app._show_runs()
        assert drawn == [[State.RUNNING]]
        await pilot.press("escape")
        await until(pilot, lambda: len(drawn) > 1, "what is there now, once the page is gone")


async def test_numbers_that_change_while_keys_are_pressed_are_drawn_once_these_pause(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(fleet, 1)
    monkeypatch.setattr("tui.app.app.LOOK_AT_NONE_S", 3600.0)
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "2.500" in text_of(app) and app._stood, "the run")
        drawn: list[int] = []
        monkeypatch.setattr(app.screen, "show_runs", lambda runs: drawn.append(len(runs)))
        app.key_at = app._shown_at = time.monotonic()
        app._show_runs()
        assert drawn == [], "keys go first"
        await until(pilot, lambda: drawn == [1], "the numbers, without another look")


async def test_a_run_is_launched_once_however_often_the_key_is_pressed_and_then_watched(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: "likely" in text_of(app), "the plan")
        await pilot.press("f5", "f5", "ctrl+j", "f5")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen), "the watch screen")
        await until(pilot, lambda: "done" in text_of(app) and "[DONE]" in text_of(app), "the end")
        assert len(fleet.registry.all()) == 1
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, TextPage), "the report")
        await pilot.press("q")
        assert isinstance(app.screen, WatchScreen)


async def test_a_bad_value_is_explained_at_its_field_and_cannot_be_launched(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("n")
        field = app.screen.query_one("#model", Input)
        for value, says in (("d13", "unknown depth d13"), ("[red]", "unknown model"), ("d34", "")):
            field.value = value
            await until(pilot, partial(lambda says: says in text_of(app), says), says)
        field.value = "gpt"
        await until(pilot, lambda: "unknown model 'gpt'" in text_of(app), "the error")
        await pilot.press("f5")
        await pilot.pause(0.2)
        assert isinstance(app.screen, LaunchScreen) and fleet.registry.all() == []
        field.value = "d12"
        app.screen.query_one("#overrides", Input).value = "save-every=0"
        await until(pilot, lambda: "--save-every" in text_of(app), "the override's error")


async def test_the_command_line_shown_is_the_launch_that_would_happen(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.press("n", "right")
        app.screen.query_one("#overrides", Input).value = "iterations=20 fault=crash@3"
        app.screen.query_one("#tag", Input).value = "a-tag"
        wanted = "$ nanochat-tui launch --task speedrun --model d12 --tag a-tag --iterations 20 --fault crash@3"
        await until(pilot, lambda: wanted in text_of(app), "the command")
        assert "--num-iterations=20" in text_of(app)


async def test_all_runs_that_are_listed_are_marked_at_once_and_back_again(fleet: Fleet) -> None:
    for number in range(4):
        put(fleet, number)
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: "tag-3" in text_of(app), "the runs")
        await pilot.press("space", "a")
        await until(pilot, lambda: "4 marked" in text_of(app), "all of them")
        await pilot.press("a")
        await until(pilot, lambda: "marked" not in text_of(app), "none")
        await pilot.press("U")
        await until(pilot, lambda: "4 marked" in text_of(app), "them back")
        await pilot.press("escape", "slash", *"tag-2", "enter", "a")
        await until(pilot, lambda: "1 marked" in text_of(app), "what is listed alone")


async def test_nothing_is_sorted_by_what_no_row_has(fleet: Fleet) -> None:
    put(fleet, 1)
    put(fleet, 2)
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: "sorted by started" in text_of(app), "the runs")
        seen = set()
        for _ in range(6):
            await pilot.press("s")
            seen |= {word for word in ("cost", "loss", "$/h") if f"sorted by {word}" in text_of(app)}
        assert seen == {"cost", "loss"}


async def test_cancel_asks_first_and_enter_keeps_the_run(fleet: Fleet) -> None:
    from runner.model.spec import RunSpec

    spec = RunSpec.create(
        task="test",
        model="d12",
        backend="local",
        overrides={"fault": ["hang@3"], "step_ms": "1"},
    )
    launched = fleet.launch(spec, backend="local", tag="hung")
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "3/10" in text_of(app), "step 3")
        await pilot.press("c")
        assert isinstance(app.screen, Confirm)
        assert "hung" in text_of(app) and "free" in text_of(app) and "nanochat-tui cancel hung" in text_of(app)
        await answer(pilot, "enter")
        await pilot.pause(0.2)
        assert fleet.registry.get(launched.id).state is not State.STOPPING
        await pilot.press("c")
        await answer(pilot, "y")
        await until(pilot, lambda: fleet.registry.get(launched.id).state is State.CANCELLED, "cancelled")
        await pilot.press("r")
        await until(pilot, lambda: "attempt 2" in text_of(app) and "free" in text_of(app), "what it costs")
        await answer(pilot, "y")
        await until(pilot, lambda: fleet.registry.get(launched.id).state is State.DONE, "resumed to its end")


async def test_marked_runs_are_deleted_together_after_a_question(fleet: Fleet) -> None:
    fleet.volume_location("local", "rehearsal")
    for number in range(3):
        put(fleet, number)
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.3)
        await pilot.press("space", "space", "x")
        assert "Delete 2 runs?" in text_of(app)
        await until(pilot, lambda: "gone for good" in text_of(app), "what goes")
        await answer(pilot, "escape")
        await pilot.press("x")
        await until(pilot, lambda: "gone for good" in text_of(app), "what goes")
        await answer(pilot, *"y", "enter")
        assert isinstance(app.screen, Confirm) and len(fleet.registry.all()) == 3
        await answer(pilot, "backspace", *"2 runs", "enter")
        await until(pilot, lambda: [r.tag for r in fleet.registry.all()] == ["tag-0"], "two deleted")


async def test_filter_sort_and_the_cursor_that_stays_on_its_run(fleet: Fleet) -> None:
    for number in range(30):
        put(fleet, number, State.FAILED if number % 2 else State.DONE)
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.3)
        await pilot.press("j", "j")
        rows = app.screen.query_one(VirtualList)
        current = rows.current
        put(fleet, 99)
        await until(pilot, lambda: "tag-99" in text_of(app), "the new run")
        assert rows.current == current
        await pilot.press("slash", *"failed", "enter")
        assert "tag-28" not in text_of(app) and "tag-29" in text_of(app) and "15 of 31" in text_of(app)
        await pilot.press("escape", "s")
        assert "sorted by run" in text_of(app)


@pytest.mark.parametrize("size", SIZES)
async def test_foreign_text_is_shown_as_text_at_every_size(fleet: Fleet, size: tuple[int, int]) -> None:
    run_id = put(
        fleet, 1, State.FAILED, tag=HOSTILE,
        status={"outcome": Outcome(OutcomeKind.CRASH, HOSTILE, HOSTILE), "warnings": [HOSTILE],
                "stages": [StageStatus(StageName.BASE, StageState.FAILED, note=HOSTILE)]},
    )  # fmt: skip
    folder = Path(fleet.volume_location("local", "rehearsal")) / "runs" / run_id
    folder.mkdir(parents=True)
    (folder / "log").write_text(f"{HOSTILE}\n" * 50)
    (folder / "[red]name.md").write_text(f"# {HOSTILE}\n\n[link](http://x)\n")
    app = NanochatApp(fleet)
    async with app.run_test(size=size) as pilot:
        for keys in (
            ("enter",),
            ("p",),
            ("escape",),
            ("4",),
            ("down", "enter"),
            ("down", "enter"),
            ("down",),
            ("question_mark",),
        ):
            await pilot.press(*keys)
            await pilot.pause(0.25)
            shown_text = text_of(app)
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", shown_text)
        await pilot.press("escape", "1")
        await pilot.pause(0.2)
        if size[0] >= 80:
            assert "[/red] [bold]" in text_of(app)


@pytest.mark.parametrize("size", SIZES)
async def test_every_screen_opens_at_every_size_with_no_runs_at_all(fleet: Fleet, size: tuple[int, int]) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=size) as pilot:
        for key in ("2", "3", "escape", "4", "v", "r", "1", "enter", "c", "r", "x", "question_mark", "escape"):
            await pilot.press(key)
            await pilot.pause(0.05)


async def test_the_log_follows_lets_go_when_scrolled_and_says_what_came_meanwhile(fleet: Fleet) -> None:
    run_id = put(fleet, 1)
    folder = Path(fleet.volume_location("local", "rehearsal")) / "runs" / run_id
    folder.mkdir(parents=True)
    log = folder / "log"
    log.write_text("".join(f"line {i}\n" for i in range(1000)))
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await until(pilot, lambda: "line 999" in text_of(app), "the end of the log")
        await pilot.press("pageup")
        await until(pilot, lambda: not app.screen.query_one(LogView).following, "the end let go")
        with log.open("a") as file:
            file.write("one more\n" * 7)
        await until(pilot, lambda: "7 new lines below" in text_of(app), "the count of new lines")
        assert "one more" not in text_of(app)
        await pilot.press("G")
        await until(pilot, lambda: "one more" in text_of(app), "the end again")
        await pilot.press("g")
        await until(pilot, lambda: "line 0" in text_of(app), "the beginning")


def test_a_line_of_any_length_and_a_million_carriage_returns_cost_little(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 5_000_000 + b"\n" + b"50%\r" * 1_000_000 + b"100%\n" + b"tail")
    log = LogFile(path)
    assert log.refresh() and not log.refresh()
    assert (len(log), len(log.raw(0)), log.text(1), log.text(2)) == (3, 4096, "100%", "tail")
    with path.open("ab") as file:
        file.write(b" end\nnext\n")
    assert log.refresh()
    assert [log.text(n) for n in (2, 3)] == ["tail end", "next"] and len(log) == 4


async def test_curves_are_zoomed_read_under_a_cursor_and_shown_large_by_keyboard(fleet: Fleet) -> None:
    run_id = put(fleet, 1, State.DONE)
    folder = Path(fleet.registry.get(run_id).volume) / "runs" / run_id
    folder.mkdir(parents=True)
    lines = [event(1000, "container"), *(step(1001 + n, n, 5.0 - n * 0.01) for n in range(200))]
    (folder / "events.jsonl").write_text("".join(lines))
    (folder / "log").write_text("step\n")
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 34)) as pilot:
        await pilot.press("enter", "M")
        metrics = app.screen.query_one(Metrics)
        await until(pilot, lambda: len(metrics.query(Plot)[0].curves) == 2, "the curves")
        await until(pilot, lambda: "5" in text_of(app) and "step 0" in text_of(app), "the chart")
        await pilot.press("h", "+")
        assert metrics.view.begin is not None and metrics.view.begin > 50
        await until(pilot, lambda: "at 196" in text_of(app), "the value under the cursor")
        await pilot.press("enter")
        await until(pilot, lambda: [p.display for p in metrics.query(Plot)].count(True) == 1, "one large chart")
        assert next(iter(metrics.query(Plot))).size.height > 15
        await pilot.press("x")
        assert metrics.view.axis == "time" and metrics.view.begin is None
        await pilot.press("L", "escape")
        assert metrics.view.log and not metrics.has_class("large")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen.query_one(LogView).has_focus, "the log again")


async def test_a_deletion_says_how_much_goes_and_takes_no_yes_before(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = fleet.registry.get(put(fleet, 1, folder="tag-1-run0001"))
    assert found.path == "runs/tag-1-run0001"
    folder = Path(found.volume) / found.path / "base_checkpoints" / "d12"
    folder.mkdir(parents=True)
    for at in (10, 20):
        for name in (f"model_{at:06d}.pt", f"meta_{at:06d}.json", f"optim_{at:06d}_rank0.pt"):
            (folder / name).write_bytes(bytes(300_000))
    known = threading.Event()
    weighed = deletion.weigh

    def slow(*asked: Any) -> deletion.Weight:
        known.wait(20)
        return weighed(*asked)

    monkeypatch.setattr("tui.app.run_questions.weigh", slow)
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "tag-1" in text_of(app), "the run")
        await pilot.press("x", "y", "y")
        assert "Delete tag-1?" in text_of(app) and "adding up" in text_of(app)
        known.set()
        await until(pilot, lambda: "2 checkpoints" in text_of(app), "how much")
        assert "1.8 MB, kept 7 days" in text_of(app) and fleet.registry.all()
        await answer(pilot, *"tag-1", "enter")
        await until(pilot, lambda: not fleet.registry.all(), "the deletion")


async def test_modal_without_a_token_says_so_at_its_field_before_anything_is_launched(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "modal.toml"))
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: "likely" in text_of(app), "the plan")
        app.screen.query_one("#backend", Choice).value = "modal"
        await until(pilot, lambda: "no Modal token" in text_of(app) and "$" in text_of(app), "the problem, and a plan")
        app.screen.query_one("#backend", Choice).value = "local"
        await until(pilot, lambda: "no Modal token" not in text_of(app), "no problem here")
