"""Pictures of the screens; the README shows some of them."""

import os
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from runner.metrics.series import Series
from tests.demo import demo_app
from tests.test_app import text_of
from tui.app.app import NanochatApp
from tui.screens.watch import WatchScreen
from tui.widgets.braille import Canvas
from tui.widgets.log_view import LogView

SMALL, LARGE = (80, 24), (120, 34)
# Threads that live as long as the app, or as the screen that shows a log.
STANDING = ("watcher", "modal", "discover", "index")
# To the checkpoints of a run, by keyboard.
BROWSED = ("4", "down", "enter", "enter", "enter", "enter")


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NanochatApp:
    return demo_app(tmp_path, monkeypatch)


async def curves(pilot: Pilot[int]) -> None:
    """Wait for what is drawn of a run that is watched."""
    for _ in range(300):
        screen = pilot.app.screen
        if not isinstance(screen, WatchScreen):
            return
        known = screen._curves
        if known and len(known.series["loss"]) == 152 and screen.query_one(LogView).lines:
            return
        await pilot.pause(0.1)


def keys(*pressed: str, wait: float = 0.8) -> Any:
    async def before(pilot: Pilot[int]) -> None:
        # Until the first look at the runs is drawn everywhere.
        for _ in range(100):
            await pilot.pause(0.1)
            if "training" in text_of(pilot.app) and "▶ running" not in text_of(pilot.app):
                break
        for key in pressed:
            await pilot.press(key)
            await settled(pilot, 0.3)
            await curves(pilot)
        await settled(pilot, wait)

    return before


async def settled(pilot: Pilot[int], wait: float) -> None:
    """Until nothing is looked up and what is drawn has stayed the same for so many seconds."""
    drawn, same = "", 0.0
    for _ in range(400):
        await pilot.pause(0.1)
        before, drawn = drawn, text_of(pilot.app)
        looks = any(not worker.is_finished and worker.group not in STANDING for worker in pilot.app.workers)
        same = same + 0.1 if drawn == before and not looks else 0.0
        if same >= wait:
            return


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    "pressed",
    [
        pytest.param((), id="runs"),
        pytest.param(("enter",), id="watch"),
        pytest.param(("enter", "M", "left", "left"), id="metrics"),
        pytest.param(("space", "G", "space", "v"), id="compare"),
        pytest.param(("5",), id="cost"),
        pytest.param(("n", "right"), id="launch"),
        pytest.param((*BROWSED, "down", "down", "down"), id="volume"),
        pytest.param(("6", "down"), id="checkpoints"),
        pytest.param(("4", "z"), id="sizes"),
        pytest.param(("4", "down", "enter", "down", "enter", "x"), id="delete"),
        pytest.param(("c",), id="cancel"),
        pytest.param(("question_mark",), id="help"),
        pytest.param(("j", "j", "j"), id="failed"),
    ],
)
def test_screen(snap_compare: Any, app: NanochatApp, pressed: tuple[str, ...], size: tuple[int, int]) -> None:
    assert snap_compare(app, terminal_size=size, run_before=keys(*pressed))


def test_without_colour_every_state_still_has_its_glyph_and_word(snap_compare: Any, app: NanochatApp) -> None:
    os.environ["NO_COLOR"] = "1"
    try:
        plain = NanochatApp(app.fleet)
        assert snap_compare(plain, terminal_size=SMALL, run_before=keys())
    finally:
        del os.environ["NO_COLOR"]


def drawn(values: list[float], width: int, height: int) -> list[str]:
    series = Series()
    for step, value in enumerate(values):
        series.add(step, step, value)
    canvas = Canvas(width, height)
    columns = series.columns(series.steps, 0, max(1, len(values) - 1), width * 2)
    found = [c for c in columns if c]
    canvas.line(columns, min((c.low for c in found), default=0), max((c.high for c in found), default=0))
    return [canvas.text(y) for y in range(height)]


def test_a_chart_keeps_its_spike_and_its_bounds_and_has_no_holes() -> None:
    rows = drawn([1.0] * 500 + [9.0] + [1.0] * 500, 40, 3)
    assert [len(row) for row in rows] == [40, 40, 40]
    assert rows[0].strip() and rows[2].strip()
    falling = drawn([2.0, 1.0], 20, 2)
    assert falling[0][0] != " " and falling[1][-1] != " "
    assert all(falling[0][i] != " " or falling[1][i] != " " for i in range(20))
    assert drawn([], 10, 2) == [" " * 10] * 2
    assert drawn([float("nan"), float("inf")], 10, 2) == [" " * 10] * 2
    assert all(len(drawn([2.0], w, h)) == h for w in (1, 5) for h in (1, 4))
