"""Makes the pictures of docs/pictures from the runs of the demo; `python -m tests.gallery [NAME…]`."""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from textual.pilot import Pilot

from runner.demo import home as demo_home
from runner.fleet.fleet import Fleet
from tests.test_app import text_of
from tui.app.app import NanochatApp

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
SIZE = (140, 40)
# By name: the keys to the screen, and what is there when it is.
PICTURES: dict[str, tuple[tuple[str, ...], str]] = {
    "runs": (("j",), "speedrun-d24"),
    "watch": (("j", "enter"), "tok/s"),
    "metrics": (("j", "enter", "M", "left", "left"), "step"),
    "compare": (("j",) * 5 + ("space",) * 4 + ("v",), "Compare"),
    "failed": (("j", "j", "j", "j"), "out of memory"),
    "new": (("n", "right"), "launch"),
    "volume": (("6", "enter"), "model_"),
    "sizes": (("j", "enter", "4", "z"), "What could go"),
    "cost": (("5",), "Totals"),
    "checkpoints": (("6",), "complete"),
    "find": (("ctrl+t", *"loss"), "loss"),
    "light": (("j", "enter"), "tok/s"),
}
THEMES = {"light": "nanochat-light", "compare": "nanochat-deuteranopia"}


async def draw(home: Path, name: str) -> str:
    """One screen as SVG."""
    keys, text = PICTURES[name]
    with contextlib.closing(Fleet(home)) as fleet:
        app = NanochatApp(fleet)
        async with app.run_test(size=SIZE) as pilot:
            await shown(pilot, "going-on")
            app.looks.show(THEMES.get(name, "nanochat"))
            for key in keys:
                await pilot.press(key)
                await pilot.pause(0.3)
            await shown(pilot, text)
            # The run that goes on never stands still.
            await pilot.pause(2.0)
            return app.export_screenshot(title="nanochat-tui")


async def shown(pilot: Pilot[int], text: str) -> None:
    for _ in range(300):
        if text in text_of(pilot.app):
            return
        await pilot.pause(0.1)
    raise SystemExit(f"{text!r} does not come:\n{text_of(pilot.app)}")


def main(names: Iterable[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp())
    try:
        demo_home.fill(home)
        for name in names:
            (FOLDER / f"{name}.svg").write_text(asyncio.run(draw(home, name)))
    finally:
        demo_home.leave(home)


if __name__ == "__main__":
    main(sys.argv[1:] or PICTURES)
