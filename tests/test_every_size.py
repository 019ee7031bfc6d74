"""Every screen at four sizes and in every theme of ours: its words as they were last looked at, all of them readable.

NEW=1 writes the words anew (tests/__snapshots__/words); PICTURES=FOLDER keeps a picture of each.
"""

import os
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.demo import demo_app
from tests.drawn import drawn
from tests.test_app import text_of
from tests.test_snapshots import BROWSED, keys, settled
from tests.test_themes import shown_in
from tui.app.app import NanochatApp
from tui.presentation.themes import OURS, READABLE

WORDS = Path(__file__).parent / "__snapshots__" / "words"
SIZES = [(40, 12), (80, 24), (120, 36), (200, 60)]
# The terminal's own colours are not known.
THEMES = [name for name in OURS if name != "terminal"]
EVERYWHERE = ("nanochat", "nanochat-light", "nanochat-deuteranopia")
SCREENS = {
    "runs": (),
    "watch": ("enter",),
    "search": ("enter", "slash", *"loss", "enter"),
    "metrics": ("enter", "M", "left", "left"),
    "failed": ("j", "j", "j"),
    "compare": ("space", "G", "space", "v"),
    "new": ("n", "right"),
    "volume": (*BROWSED, "down", "down", "down"),
    "sizes": ("4", "z"),
    "cost": ("5",),
    "checkpoints": ("6", "down"),
    "cancel": ("c",),
    "help": ("question_mark",),
    "palette": ("ctrl+p",),
    "themes": ("ctrl+p", *"theme", "enter"),
    "find": ("ctrl+t", *"loss: 0.8"),
    "delete": ("j", "j", "x"),
}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NanochatApp:
    return demo_app(tmp_path, monkeypatch)


async def readable(pilot: Pilot[int], themes: list[str]) -> dict[str, str]:
    """What cannot be read, by theme and widget."""
    poor = {}
    for theme in themes:
        await shown_in(pilot, theme)
        for piece in drawn(pilot.app):
            if piece.contrast < READABLE:
                poor[f"{theme}: {piece.colour} on {piece.ground} {piece.widget}"] = piece.text
        keep(pilot, theme)
    return poor


def keep(pilot: Pilot[int], theme: str) -> None:
    if folder := os.environ.get("PICTURES"):
        size, name = pilot.app.size, os.environ["PYTEST_CURRENT_TEST"].partition("[")[2].partition("]")[0]
        Path(folder).mkdir(parents=True, exist_ok=True)
        picture = Path(folder) / f"{name}-{size.width}x{size.height}-{theme}.svg"
        picture.write_text(pilot.app.export_screenshot())


async def words_of(pilot: Pilot[int], kept: Path) -> str:
    """What is on the screen, as soon as it is what it was before, else once it stands still."""
    for _ in range(100):
        if "NEW" in os.environ:
            await settled(pilot, 0.6)
        words = "".join(f"{line.rstrip()}\n" for line in text_of(pilot.app).splitlines())
        if "NEW" in os.environ or words == kept.read_text():
            break
        await pilot.pause(0.1)
    return words


@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen_says_the_same_as_when_it_was_last_looked_at(app: NanochatApp, name: str) -> None:
    async with app.run_test(size=SIZES[2]) as pilot:
        await keys(*SCREENS[name])(pilot)
        differing, poor = [], dict[str, str]()
        for size in SIZES:
            width, height = size
            await pilot.resize_terminal(width, height)
            kept = WORDS / f"{name}-{width}x{height}.txt"
            words = await words_of(pilot, kept)
            if os.environ.get("NEW"):
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(words)
            elif words != kept.read_text():
                differing.append(f"{kept.name}, now:\n{words}\nbefore:\n{kept.read_text()}")
            # The largest shows most; the others are only drawn in all colours for pictures.
            if size == SIZES[-1] or os.environ.get("PICTURES"):
                poor |= await readable(pilot, THEMES if size == SIZES[-1] else list(EVERYWHERE))
                await shown_in(pilot, THEMES[0])
        assert not poor and not differing, f"{poor}\n" + "\n".join(differing)
