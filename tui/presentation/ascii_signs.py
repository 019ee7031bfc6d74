"""What stands for our signs where a terminal has ASCII alone: as wide as they are, or in words. One table."""

import os
import sys
from collections.abc import Mapping

ALIKE = {
    **dict.fromkeys("─━═┄┈╌╸⎯–—", "-"),
    **dict.fromkeys("▁▂▔", "_"),
    **dict.fromkeys("│┃║▌▐▎▏▍▋▊▉┆┊⏐", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰╞╡╪╔╗╚╝", "+"),
    **dict.fromkeys("█▇▆▅▄▃▀■◼▓▒", "#"),
    **dict.fromkeys("◌◐○●◦", "o"),
    **dict.fromkeys("→›▶▸", ">"),
    **dict.fromkeys("←‹◀", "<"),
    "✓": "v", "✗": "x", "×": "x", "·": ".", "…": "~", "↑": "^", "▲": "^", "↓": "v", "▼": "v", "↻": "~", "↯": "!",
    "♥": "*", "★": "*", "°": " ", "⏎": "$", "‘": "'", "’": "'", "“": '"', "”": '"', "\u00a0": " ", "░": ":",
}  # fmt: skip
# In lines of text, where nothing has to keep its width.
IN_WORDS = str.maketrans(
    ALIKE | {"✓": "ok", "—": "-", "…": "...", "→": "->", "←": "<-", "°": "", "↓": "v", "↑": "^", "─": "-"}
)  # fmt: skip


def only_ascii(encoding: str | None, environ: Mapping[str, str]) -> bool:
    """Whether a terminal has nothing but ASCII: by its encoding, or by a locale that a person has set to say so.

    Python takes UTF-8 in the locale C, whatever the terminal has.
    """
    try:
        "✓".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return True
    if environ.get("PYTHONIOENCODING") or environ.get("PYTHONUTF8") == "1":
        return False
    locale = next((said for name in ("LC_ALL", "LC_CTYPE", "LANG") if (said := environ.get(name))), "")
    return locale in ("C", "POSIX")


def here() -> bool:
    """Whether standard output has nothing but ASCII."""
    return only_ascii(sys.stdout.encoding, os.environ)


def in_words(text: str, encoding: str | None) -> str:
    """A line for a terminal of that encoding: our signs by what stands for them, what it lacks by its code."""
    known = "ascii" if not encoding or encoding.lower().startswith("utf") else encoding
    return text.translate(IN_WORDS).encode(known, "backslashreplace").decode(known)
