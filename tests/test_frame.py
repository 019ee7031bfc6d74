"""What stands around every screen: tabs, panels with titles, the run under the cursor, and borders that are dragged."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.content import Content

from runner import settings
from runner.fleet.fleet import Fleet
from runner.metrics.series import Series
from runner.model.states import State
from tests.demo import demo
from tests.test_app import put, text_of, until
from tui.app.app import NanochatApp
from tui.presentation.tabs import TABS, Standing, arranged
from tui.screens.loss_shapes import BLOCKS, Shapes, blocks
from tui.screens.run_detail import RunDetail
from tui.widgets.panel import Panel
from tui.widgets.plot import Plot
from tui.widgets.tab_line import TabLine
from tui.widgets.tail import Tail

MONEY = st.decimals(0, 100_000, places=2)
STANDINGS = st.builds(
    Standing,
    live=st.integers(0, 300),
    alerts=st.integers(0, 30),
    usd_per_hour=MONEY,
    today_usd=MONEY,
    month_usd=MONEY,
    limit_usd=st.none() | MONEY,
    workspace=st.text(max_size=60),
    notes=st.lists(st.sampled_from(["read-only", "demo"]), max_size=2).map(tuple),
)


@given(STANDINGS, st.sampled_from([tab.mode for tab in TABS]), st.integers(1, 250))
def test_no_two_words_of_the_head_lie_over_each_other_and_none_is_cut(now: Standing, mode: str, width: int) -> None:
    pieces = sorted(arranged(mode, now, width))
    ends = [piece.at + cell_len(piece.text) for piece in pieces]
    assert all(end <= width for end in ends)
    assert all(end <= after.at for end, after in zip(ends, pieces[1:], strict=False))


@given(STANDINGS, st.sampled_from([tab.mode for tab in TABS]), st.integers(48, 250))
def test_the_screen_that_one_is_on_is_named_at_any_width(now: Standing, mode: str, width: int) -> None:
    named = {tab.mode: f"{tab.key} {tab.name}" for tab in TABS}
    assert named[mode] in [piece.text for piece in arranged(mode, now, width)]


def test_money_that_is_spent_right_now_is_the_last_to_go() -> None:
    now = Standing(2, 0, Decimal("63.20"), Decimal("148.20"), Decimal("402.10"), Decimal(600), "acme/main")
    for width, said in (
        (140, {"$63.20/h", "today $148.20", "acme/main", "month $402.10 of $600.00"}),
        (80, {"$63.20/h"}),
    ):
        texts = {piece.text for piece in arranged("runs", now, width)}
        assert said <= texts and "6 Checkpoints" in texts


async def test_a_click_on_a_tab_opens_its_screen_and_trouble_is_counted_there(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    put(fleet, 1)
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "tag-1" in text_of(app), "the run")
        at = text_of(app).splitlines()[0].index("5 Cost")
        await pilot.click(TabLine, offset=(at + 1, 0))
        assert app.current_mode == "cost"
        app.unreachable = {"run0001": "Modal does not answer"}
        app._show_runs()
        await until(pilot, lambda: "Modal does not answer" in text_of(app), "the trouble, on any screen")


def titles(app: NanochatApp) -> list[str]:
    return [Content.from_markup(panel.border_title or "").plain for panel in app.screen.query(Panel)]


@pytest.mark.parametrize("size", [(40, 12), (60, 18), (80, 24), (120, 36), (150, 50), (200, 60)])
async def test_a_title_fits_its_border_at_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    fleet = Fleet(tmp_path)
    for number in range(4):
        put(fleet, number, tag="a-tag-" + "long" * 14 + str(number))
    app = NanochatApp(fleet)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "a-tag" in text_of(app), "the runs")
        for key in ("1", "2", "3", "4", "5", "6"):
            await pilot.press(key)
            await pilot.pause()
            for panel in app.screen.query(Panel):
                said = Content.from_markup(panel.border_title or "").plain
                assert not panel.region.width or cell_len(said) <= max(1, panel.region.width - 2)


async def test_the_run_under_the_cursor_is_shown_as_far_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.processes.runs", lambda pid, words: True)
    app = NanochatApp(demo(tmp_path / "home"))
    async with app.run_test(size=(200, 60)) as pilot:
        detail = app.screen.query_one(RunDetail)
        await until(pilot, lambda: "PUBLISH" in text_of(app) and detail.query_one(Plot).curves, "its curve, its log")
        await until(pilot, lambda: "3 checkpoints complete" in text_of(app), "its checkpoints")
        assert detail.region.x > app.screen.query_one("#list").region.x
        await pilot.press("down")
        await until(pilot, lambda: "d26-red" in titles(app)[1], "the next run")
        await until(pilot, lambda: not detail.query_one(Plot).curves, "no curve of another run")
        await pilot.resize_terminal(120, 36)
        await until(pilot, lambda: detail.region.y > app.screen.query_one("#list").region.y, "below it")
        await pilot.resize_terminal(40, 12)
        await until(pilot, lambda: not detail.query_one(Tail).display and "d26-red" in text_of(app), "what is most")


async def test_beside_an_empty_list_stand_the_first_steps_with_a_persons_keys_until_there_is_a_run(
    tmp_path: Path,
) -> None:
    (tmp_path / settings.FILE).write_text('[keys]\n"runs.new" = "w"\n')
    fleet = Fleet(tmp_path)
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "w, then F5" in text_of(app) and "First steps" in text_of(app), "the first steps")
        await pilot.press("6")
        await until(pilot, lambda: "No checkpoints yet." in text_of(app), "no checkpoints")
        put(fleet, 1)
        await pilot.press("1")
        await until(pilot, lambda: "tag-1" in text_of(app), "the run")
        await until(pilot, lambda: "then F5" not in text_of(app) and "First steps" not in text_of(app), "it beside it")


async def test_a_border_is_dragged_and_another_layout_has_its_own_sizes(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for number in range(30):
        put(fleet, number)
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "tag-29" in text_of(app), "the runs")
        runs, detail = app.screen.query_one("#list"), app.screen.query_one(RunDetail)
        before = detail.region.y
        # As a terminal tells it: by its place on the screen alone.
        await pilot.mouse_down(offset=(10, before))
        await pilot.hover(app.screen, offset=(10, 12))
        await pilot.mouse_up(app.screen, offset=(10, 12))
        assert detail.region.y == 12 < before and runs.region.bottom == 12
        app._show_runs()
        await pilot.pause()
        assert detail.region.y == 12
        await pilot.resize_terminal(180, 40)
        await until(pilot, lambda: detail.region.y == runs.region.y, "beside each other")
        assert runs.region.height == detail.region.height and runs.region.width > detail.region.width


def test_a_loss_in_blocks_goes_from_its_highest_to_its_lowest() -> None:
    series = Series()
    for step in range(1000):
        series.add(step, step, 10 / (1 + step))
    text = blocks(series)
    assert len(text) == 8 and text[0] == BLOCKS[-1] and text[-1] == BLOCKS[0]
    flat = Series()
    for step in range(10):
        flat.add(step, step, 2.0)
    assert blocks(flat) == BLOCKS[0] * 8 and blocks(Series()) == ""


async def test_the_curve_of_a_run_stands_in_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.processes.runs", lambda pid, words: True)
    app = NanochatApp(demo(tmp_path / "home"))
    async with app.run_test(size=(140, 30)) as pilot:

        def row() -> str:
            return next(line for line in text_of(app).splitlines()[3:] if "d4-blue" in line)

        await until(pilot, lambda: BLOCKS[-1] in row() and "training" in row(), "the blocks")


def test_a_run_that_has_no_events_here_has_no_curve_and_is_not_fetched(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    put(fleet, 1, State.DONE)
    shapes, run = Shapes(), fleet.registry.all()[0]
    assert shapes.lacks(run)
    shapes.read(run, tmp_path / "nothing" / "events.jsonl")
    assert shapes.of(run) == "" and not shapes.lacks(run)
