"""What both apps look like, and how they share the processor between the screen and their threads."""

from collections.abc import Mapping

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

from tui.presentation.themes import TONES

# From so many cells on two panels stand beside each other.
WIDE = 180
CSS = """
Screen { background: $background; }
ModalScreen { background: $background 70%; }
ToastRack { margin: 0; overflow-y: hidden; }
ToastHolder { align-horizontal: left; }
Toast { width: 1fr; max-width: 100%; height: 1; margin: 0; padding: 0 1; background: $boost; text-wrap: nowrap;
        text-overflow: ellipsis; }
CommandPalette CommandList { text-wrap: nowrap; text-overflow: ellipsis; }
Toast.-error { height: auto; max-height: 3; text-wrap: wrap; }
* { scrollbar-size-vertical: 1; scrollbar-background: $background; scrollbar-background-hover: $background;
    scrollbar-background-active: $background; scrollbar-color: $panel; }
VirtualList:ansi > .list--cursor { background: transparent; text-style: bold reverse; }
VirtualList:ansi > .list--blurred { background: transparent; text-style: underline; }
Choice:ansi:focus { background: transparent; text-style: reverse; }
"""


def tone_style(variables: Mapping[str, str], name: str) -> Style:
    """A tone of `Cell` in the colours of the theme."""
    if name not in TONES:
        return Style()
    try:
        colour = Color.parse(variables[TONES[name]])
    except (KeyError, ValueError):
        return Style()
    # Which grey the terminal's own colours have is not known; what it makes of `dim` is a person's choice, too.
    return Style(dim=True) if name == "dim" and colour.ansi is not None else Style(color=colour.rich_color)


class Muted(LineFilter):
    """Draws what is `dim` in the theme's colour of muted text: half of another colour may be too little to be read."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__()
        self._instead = tone_style(variables, "dim") + Style(dim=False)

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        instead = self._instead
        return [
            Segment(text, style + instead, control)
            if style is not None and style.dim
            else Segment(text, style, control)
            for text, style, control in segments
        ]
