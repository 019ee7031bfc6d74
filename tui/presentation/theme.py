"""What both apps look like, and how they share the processor between the screen and their threads."""

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

# How long a thread that counts or searches may keep the screen waiting: a fifth of what Python would let it.
SWITCH_S = 0.001
CSS = """
Screen { background: $background; }
ToastRack { margin: 0; padding: 0 17 0 0; }
ToastHolder { align-horizontal: left; }
Toast { width: 1fr; max-width: 100%; height: 1; margin: 0; padding: 0 1; background: $boost; text-wrap: nowrap;
        text-overflow: ellipsis; }
CommandPalette CommandList { text-wrap: nowrap; text-overflow: ellipsis; }
Toast.-error { height: auto; max-height: 3; text-wrap: wrap; }
* { scrollbar-size-vertical: 1; scrollbar-background: $background; scrollbar-background-hover: $background;
    scrollbar-background-active: $background; scrollbar-color: $panel; }
"""
THEME = Theme(
    name="nanochat",
    primary="#4fb3a5",
    accent="#4fb3a5",
    secondary="#6c8ebf",
    foreground="#d4d7dd",
    background="#101318",
    surface="#181c23",
    panel="#262c36",
    success="#8fbf6f",
    warning="#e0b05a",
    error="#e8746c",
    dark=True,
)


def tone_style(variables: dict[str, str], name: str) -> Style:
    """A tone of `Cell` in the colours of the theme."""
    names = {
        "dim": "text-muted",
        "success": "text-success",
        "warning": "text-warning",
        "error": "text-error",
        "secondary": "text-secondary",
    }
    key = {**names, "accent": "text-accent"}.get(name, "")
    if not key:
        return Style()
    if name == "dim":
        return Style(dim=True)
    try:
        return Style(color=Color.parse(variables[key]).rich_color)
    except (KeyError, ValueError):
        return Style()
