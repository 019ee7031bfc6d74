"""Text that is not ours, made harmless for a terminal."""

import re

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_TRICKS = re.compile(
    r"[\u00ad\u061c\ud800-\udfff\U000e0000-\U000e0fff\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)


def clean(text: str) -> str:
    """Text without terminal escapes and control characters; tabs stay."""
    return _ESCAPES.sub("", text)


def safe(text: str) -> str:
    """One line that a terminal shows as it stands: no controls, no bidirectional tricks; tabs become spaces."""
    return _TRICKS.sub("", clean(text.replace("\n", " ").replace("\r", " "))).expandtabs(8)
