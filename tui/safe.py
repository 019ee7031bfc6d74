"""Text that is not ours, made harmless: no escapes, no control characters, no bidirectional tricks, one line."""

import re

from runner.nanochat.grammar import clean

_TRICKS = re.compile(r"[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")


def safe(text: str) -> str:
    """One line that a terminal shows as it stands; tabs become spaces."""
    return _TRICKS.sub("", clean(text.replace("\n", " ").replace("\r", " "))).expandtabs(8)
