"""Pictures of the screens; the README shows some of them."""

import os
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.demo import demo
from tui.app import NanochatApp
from tui.screens.watch import WatchScreen
from tui.widgets.chart import Chart, braille
from tui.widgets.log_view import LogView

SMALL, LARGE = (80, 24), (120, 34)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NanochatApp:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return NanochatApp(demo(Path("home")))


def keys(*pressed: str, wait: float = 0.8) -> Any:
    async def before(pilot: Pilot[int]) -> None:
        await pilot.pause(0.7)
        for key in pressed:
            await pilot.press(key)
            await pilot.pause(0.4)
        if isinstance(pilot.app.screen, WatchScreen):
            for _ in range(100):
                chart = pilot.app.screen.query_one(Chart)
                if len(chart._points) == 152 and pilot.app.screen.query_one(LogView).lines:
                    break
                await pilot.pause(0.1)
        await pilot.pause(wait)

    return before


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    "pressed",
    [
        pytest.param((), id="runs"),
        pytest.param(("enter",), id="watch"),
        pytest.param(("n", "right"), id="launch"),
        pytest.param(("4", "down", "down", "enter", "down", "down", "down"), id="volume"),
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


def test_a_chart_keeps_its_spike_and_its_bounds() -> None:
    rows = braille([1.0] * 500 + [9.0] + [1.0] * 500, 40, 3)
    assert [len(row) for row in rows] == [40, 40, 40]
    assert rows[0].strip() and rows[2].strip()
    falling = braille([2.0, 1.0], 20, 2)
    assert "⠉" in falling[0] and all(falling[0][i] != " " or falling[1][i] != " " for i in range(20))
    assert braille([], 10, 2) == [" " * 10] * 2
    assert braille([float("nan"), float("inf")], 10, 2) == [" " * 10] * 2
    assert all(braille([2.0], w, h) is not None for w in (0, 1, 5) for h in (0, 1, 4))
