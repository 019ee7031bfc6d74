"""The screens of the app by the names of its modes. The app opens with one of them, and loads the others behind it."""

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tui.screens.base import NanochatScreen

# Each in the file of its mode, with its style beside it.
PAGES = {
    "runs": "RunsScreen",
    "launch": "LaunchScreen",
    "watch": "WatchScreen",
    "volume": "VolumeScreen",
    "compare": "CompareScreen",
    "cost": "CostScreen",
    "checkpoints": "CheckpointsScreen",
    "sizes": "SizesScreen",
}
# All of it is read at the start: the files may go or change while the app runs, as with an upgrade.
STYLES = [Path(__file__).parents[1] / "screens" / f"{mode}.tcss" for mode in PAGES]


def page_class(mode: str) -> type[NanochatScreen]:
    """The screen of a mode, loaded."""
    found: type[NanochatScreen] = getattr(importlib.import_module(f"tui.screens.{mode}"), PAGES[mode])
    return found


def _page(mode: str) -> NanochatScreen:
    return page_class(mode)()


MODES: dict[str, Callable[[], NanochatScreen]] = {mode: partial(_page, mode) for mode in PAGES}


def load_all() -> None:
    """Load what no screen has asked for yet, as an upgrade may take it away, and a key should not wait for it."""
    for mode in PAGES:
        page_class(mode)
    for name in ("tui.widgets.log_view", "tui.app.finding", "textual.widgets._markdown"):
        importlib.import_module(name)
