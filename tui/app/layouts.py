"""Keys of layouts that have no Latin letters: the Latin letter that is on the same key. Pure."""

import re

# By where they are on the keyboard: Russian and Ukrainian, Greek, Hebrew.
_PLACES = (
    ("йцукенгшщзхїфівапролджєячсмитьбюъыэё", "qwertyuiop[]asdfghjkl;'zxcvbnm,.]s'`"),
    ("ςερτυθιοπασδφγηξκλζχψωβνμ", "wertyuiopasdfghjklzxcvbnm"),
    ("קראטוןםפשדגכעיחלךףזסבהנמצתץ", "ertyuiopasdfghjkl;zxcvbnm,."),
)
_LATIN = {
    letter: latin
    for others, latins in _PLACES
    for other, key in zip(others, latins, strict=True)
    for letter, latin in {other.upper(): key.upper(), other: key}.items()
}
# A key report of the kitty protocol: code, what Shift makes of it, what it is on a Latin layout; modifiers; text.
_REPORT = re.compile(r"\x1b\[(\d+)(?::(\d*))?(?::(\d+))?(?:;(\d*)(?::\d*)?)?(;[\d:]*)?u", re.ASCII)
_SHIFT_AND_LOCKS = 1 | 64 | 128
MOST = 0x10FFFF


def latin(letter: str) -> str:
    """The Latin letter on the key of a letter; the letter itself where it is one, or is not known."""
    return _LATIN.get(letter, letter)


def by_place(report: str) -> str:
    """A key report as one of a Latin layout, where a key was held with it that makes a command of it, as Ctrl.

    What only a newer protocol says is left out of all others. What is no key report is left as it is.
    """
    m = _REPORT.fullmatch(report)
    if m is None:
        return report
    code, held, text = int(m[1]), int(m[4] or 1) - 1, m[5] or ""
    if held & ~_SHIFT_AND_LOCKS:
        code, text = int(m[3]) if m[3] else ord(latin(chr(min(code, MOST)))), ""
    return f"\x1b[{code};{held + 1}{text}u"
