"""Whether the terminal is dark or light: by a variable that it sets, and by its own answer."""

import re
from collections.abc import Mapping

# Asks the terminal for its background (OSC 11).
QUERY = "\x1b]11;?\x1b\\"
# Where nobody answers, or the answer is known.
NOT_ASKED = ("", "dumb", "linux")
# A key that comes so soon after the question may be the beginning of the answer.
ANSWER_S = 1.0
_ANSWER = re.compile(r"\x1b\]11;([^\x07\x1b]*)(?:\x07|\x1b\\)")
_BEGUN = re.compile(r"\x1b\](?:1(?:1(?:;[^\x07\x1b]{0,60}\x1b?)?)?)?\Z")
_LIGHT = re.compile(r"rgba?:([0-9a-f]{1,4})/([0-9a-f]{1,4})/([0-9a-f]{1,4})(?:/[0-9a-f]{1,4})?", re.I)


def dark_by_variable(environ: Mapping[str, str]) -> bool | None:
    """What `COLORFGBG` says; None where it says nothing."""
    background = environ.get("COLORFGBG", "").rpartition(";")[2]
    if not background.isascii() or not background.isdecimal() or int(background) > 15:
        return None
    return int(background) in (*range(7), 8)


def dark_by_answer(said: str) -> bool | None:
    """What a colour as terminals tell it says, as `rgb:ffff/ffff/ffff`; None where it is none."""
    if not (found := _LIGHT.fullmatch(said)):
        return None
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in found.groups())
    return bool(0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5)


class Answers:
    """Takes the terminal's answers out of what is typed, also those that come in pieces, late, or unasked."""

    def __init__(self) -> None:
        self._begun, self._until = "", 0.0

    def expect(self, now: float) -> None:
        """The question is about to be asked."""
        self._until = now + ANSWER_S

    def take(self, text: str, now: float) -> tuple[str, list[bool]]:
        """What is left of a text, and the answers that were in it. A pause, which has no text, ends what had begun."""
        if not text:
            text, self._begun = self._begun, ""
            return text, []
        text, self._begun = self._begun + text, ""
        told = [dark for said in _ANSWER.findall(text) if (dark := dark_by_answer(said)) is not None]
        text = _ANSWER.sub("", text)
        if found := _BEGUN.search(text):
            begins = found.start()
        else:
            begins = len(text) - (text.endswith("\x1b") and now < self._until)
        self._begun = text[begins:]
        return text[:begins], told
