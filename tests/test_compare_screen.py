"""Runs side by side on the screen: they grow, what keeps one from growing is told, an export is whole or not there."""

from pathlib import Path

import pytest
from textual.widgets import Input

from runner.errors import Unreachable
from runner.fleet.fleet import Fleet
from runner.model.run import Run
from runner.model.states import State
from tests.answers import answer
from tests.disk import full_at
from tests.test_app import put, until
from tests.test_series import many
from tui.app.app import NanochatApp
from tui.screens.compare import CompareScreen
from tui.screens.feed import Feed
from tui.widgets.consent import AskPath
from tui.widgets.metrics import Metrics
from tui.widgets.plot import Plot


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    made = Fleet(tmp_path / "home")
    for number in (1, 2):
        put(made, number, State.DONE)
        events(made, number, 0, 100)
    return made


def events(fleet: Fleet, number: int, first: int, last: int) -> None:
    path = fleet.log_file(fleet.registry.get(f"run{number:04d}")).with_name("events.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(many(first, last))


async def test_a_run_that_goes_on_elsewhere_is_brought_again_and_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought: list[str] = []

    def pull(run: Run) -> None:
        brought.append(run.id)
        if run.id == "run0001":
            events(fleet, 1, 100 * brought.count(run.id), 100 * brought.count(run.id) + 100)
        else:
            raise Unreachable("Modal cannot be reached", "check the network")

    monkeypatch.setattr(fleet, "pull_log", pull)
    monkeypatch.setattr("tui.screens.compare.READ_EVERY_S", 0.2)
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(app.runs) == 2, "the runs")
        app.compared = ["run0001", "run0002"]
        app.action_show("compare")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and app.screen.query(Plot), "the screen")
        loss = app.screen.query_one(Metrics).query(Plot)[0]
        await until(pilot, lambda: loss.curves and len(loss.curves[0].series) >= 400, "four times as many points")
        await until(
            pilot, lambda: len(loss.curves) == 2 and len(loss.curves[1].series) == 100, "what is here of the other"
        )
        assert sum("Modal cannot be reached" in n.message for n in app._notifications) == 1


async def test_an_export_is_whole_or_not_there(fleet: Fleet, tmp_path: Path) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(app.runs) == 2, "the runs")
        app.compared = ["run0001", "run0002"]
        app.action_show("compare")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and len(app.screen._curves) == 2, "the curves")
        assert isinstance(app.screen, CompareScreen)
        with full_at(2000):
            await pilot.press("s")
            assert isinstance(app.screen, AskPath) and app.screen.query_one(Input).value == str(Path.cwd() / "compare")
            await answer(pilot, "enter")
            await until(pilot, lambda: any(n.severity == "error" for n in app._notifications), "the error")
        assert not list(tmp_path.glob("compare*"))
        for wanted in ("mine", "mine-2"):
            await pilot.press("s")
            app.screen.query_one(Input).value = str(tmp_path / "mine.csv")
            await answer(pilot, "enter")
            await until(pilot, lambda name=wanted: (tmp_path / f"{name}.svg").exists(), "the files")
        await pilot.press("s", "escape")
        assert {p.name for p in tmp_path.glob("mine*")} == {f"mine{n}.{e}" for n in ("", "-2") for e in ("csv", "svg")}
        lines = (tmp_path / "mine.csv").read_text().splitlines()
        assert sum(line.startswith("tag-1,loss,") for line in lines) == 100


def test_what_keeps_a_log_from_coming_is_told_again_only_after_it_came(fleet: Fleet, tmp_path: Path) -> None:
    feed, run, told = Feed(tmp_path / "events.jsonl"), fleet.registry.get("run0001"), list[str]()
    trouble = ["a", "a", "", "a", "b"]

    class Elsewhere(Fleet):
        def pull_log(self, run: Run) -> None:
            if problem := trouble.pop(0):
                raise Unreachable(problem)

    (tmp_path / "other").mkdir()
    other = Elsewhere(tmp_path / "other")
    while trouble:
        assert feed.look(other, run, told.append) is None
    assert told == ["a", "a", "b"]
