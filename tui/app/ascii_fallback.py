"""What stands for a sign that a terminal's encoding lacks: something of ASCII that is as wide."""

import codecs
from typing import cast

from rich.cells import cell_len

from tui.presentation.ascii_signs import ALIKE

# To be given as `errors` to what encodes.
SIGNS = "nanochat-signs"
_DOTS = " ..::**##"


def in_ascii(text: str) -> str:
    """Text in ASCII, as wide as it was."""
    return "".join(map(_sign, text))


def _sign(char: str) -> str:
    if char.isascii():
        return char
    if "\u2800" <= char <= "\u28ff":
        return _DOTS[(ord(char) - 0x2800).bit_count()]
    return ALIKE.get(char, "?" * cell_len(char))


def _lacking(error: UnicodeError) -> tuple[str, int]:
    lacks = cast(UnicodeEncodeError, error)
    return in_ascii(lacks.object[lacks.start : lacks.end]), lacks.end


codecs.register_error(SIGNS, _lacking)
