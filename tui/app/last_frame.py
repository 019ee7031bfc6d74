"""The last frame of the screen that the app opens with, kept as text: the picture that the next start begins with."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from runner.system import atomic
from tui.presentation import first_ink

if TYPE_CHECKING:
    from textual.app import App
    from textual.screen import Screen


def drawn_on(app: App[int], screen: Screen[object]) -> str:
    """What a screen has drawn, also behind others; empty where it was drawn on a terminal of another size."""
    if not screen.is_mounted or screen.size != app.size:
        return ""
    strips = screen._compositor.render_strips()
    return first_ink.as_text(("".join(segment.text for segment in strip) for strip in strips), app.size.width)


def keep(frame: str, home: Path) -> None:
    """Keep a frame for nobody but the person; a disk that takes nothing costs the next start its picture alone."""
    if frame:
        with contextlib.suppress(OSError):
            atomic.write(home / first_ink.FILE, frame.encode("utf-8", "replace"), atomic.PRIVATE)
