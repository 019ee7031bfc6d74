"""The smallest thing shown: words and the tone they are said in."""

from typing import NamedTuple


class Cell(NamedTuple):
    """Plain text (never markup) and the name of a tone: "", "dim", "success", "warning", "error" or "accent"."""

    text: str
    tone: str = ""
