"""Keys: one thing each, and those of a burst go where they are meant to."""

import asyncio
import time
from pathlib import Path

import pytest
from textual import events
from textual.app import App
from textual.widgets import Input

from runner.fleet.fleet import Fleet
from tests.answers import answer
from tests.test_app import put, text_of, until
from tui.app import base_app
from tui.app.app import NanochatApp
from tui.app.log_viewer import ViewApp
from tui.presentation.keymap import KEYS, key_label
from tui.screens.compare import CompareScreen
from tui.screens.cost import CostScreen
from tui.screens.launch import LaunchScreen
from tui.screens.watch import WatchScreen
from tui.widgets.log_view import LogView
from tui.widgets.metrics import Metrics


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def at_once(app: App[int], *keys: str) -> None:
    """Keys as a slow line brings them: all together."""
    for key in keys:
        app.post_message(events.Key({"/": "slash"}.get(key, key), key if len(key) == 1 else None))


async def test_keys_that_come_all_at_once_fill_the_fields_they_are_meant_for_and_launch_that(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: "likely" in text_of(app), "the plan")
        at_once(app, *["down"] * 8, *"hasty", *["down"] * 3, *"iterations=7", "up", "up", "up", "2", "f5")
        await until(pilot, lambda: [r for r in fleet.registry.all() if not r.live], "the run's end")
        launched = fleet.registry.all()[0]
        seen = [str(told) for told in app.toasts.all], app.focused, app.screen
        assert (launched.tag, launched.spec.overrides.iterations) == ("hasty2", 7), seen


async def test_a_key_that_takes_long_on_a_busy_machine_is_waited_for_in_turns_of_the_loop_too(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_app, "PATIENCE_S", 0.001)
    handed_on = LaunchScreen.on_event

    async def slowly(self: LaunchScreen, event: events.Event) -> None:
        for _ in range(40 if isinstance(event, events.Key) else 0):
            until_then = time.monotonic() + 0.003
            while time.monotonic() < until_then:
                pass
            await asyncio.sleep(0)
        await handed_on(self, event)

    monkeypatch.setattr(LaunchScreen, "on_event", slowly)
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: "likely" in text_of(app), "the plan")
        fields = [app.screen.query_one(f"#{name}", Input) for name in ("tag", "from", "step")]
        fields[2].focus()
        at_once(app, *"7", "up", "up", *"2")
        await until(pilot, lambda: sum(len(f.value) for f in fields) == 2, "the keys")
        assert [f.value for f in fields] == ["2", "", "7"]


async def test_keys_that_come_before_the_prompt_they_are_meant_for_is_there_are_text_and_no_commands(
    fleet: Fleet,
) -> None:
    for number in range(4):
        put(fleet, number)
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "tag-3" in text_of(app), "the runs")
        at_once(app, *"/tag-2", "enter", "x")
        await until(pilot, lambda: "Delete tag-2?" in text_of(app), "the question")
        await answer(pilot, "escape")
        at_once(app, "3", "down", *"x", "escape", "slash", *"dy")
        await until(pilot, lambda: [i.value for i in app.screen.query(Input)] == ["dy"], "the filter")
        assert len(fleet.registry.all()) == 4


def test_a_key_does_one_thing_per_screen_and_every_action_exists() -> None:
    from tui.screens.checkpoints import CheckpointsScreen
    from tui.screens.runs import RunsScreen
    from tui.screens.sizes import SizesScreen
    from tui.screens.volume import VolumeScreen

    screens = {
        "": NanochatApp,
        "runs": RunsScreen,
        "watch": WatchScreen,
        "log": LogView,
        "view": ViewApp,
        "metrics": Metrics,
        "compare": CompareScreen,
        "cost": CostScreen,
        "launch": LaunchScreen,
        "files": VolumeScreen,
        "volume": VolumeScreen,
        "checkpoints": CheckpointsScreen,
        "sizes": SizesScreen,
    }
    seen = set()
    for key in KEYS:
        for one in key.keys.split(","):
            assert (key.screen, one) not in seen
            seen.add((key.screen, one))
        name = key.action.partition("(")[0].rpartition(".")[2]
        assert any(hasattr(owner, f"action_{name}") for owner in (screens[key.screen], NanochatApp)), key


def test_the_readme_names_every_key_of_the_footer() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    missing = [k for k in KEYS if k.footer and f"`{key_label(k.keys).split()[0]}`" not in readme]
    assert missing == []
