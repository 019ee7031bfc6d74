"""Numbers and other people's text as a screen reader says them: no units of one letter, no nameless signs. Pure."""

import math
import re
import unicodedata
from decimal import Decimal

from runner.text.sanitize import sanitize_line

_SIGNS = {"×": " times ", "–": " to ", "—": ", ", "…": "", "→": " to ", "°": " degrees ", "%": " per cent"}
_DURATION = re.compile(r"\b(?:(\d+)d(\d\d)h|(\d+)h(\d\d)|(\d+)m(\d\d)|(\d+(?:\.\d)?)s)\b")
_MONEY = re.compile(r"<?\$(\d[\d,]*(?:\.\d\d)?)")


def sentence(text: str) -> str:
    """Words as one sentence: a capital at its beginning, a full stop at its end."""
    text = " ".join(text.split()).rstrip(" .,;:")
    return text[:1].upper() + text[1:] + "." if text else ""


def plural(number: float, noun: str) -> str:
    """`1 step`, `2,520 steps`."""
    said = f"{number:,.0f}" if number == round(number) else f"{number:g}"
    return f"{said} {noun}" if number == 1 else f"{said} {noun}s"


def duration(seconds: float | None) -> str:
    """`41 seconds`, `2 minutes 5 seconds`, `12 minutes`, `1 hour 2 minutes`, `3 days 4 hours`."""
    if seconds is None or not math.isfinite(seconds):
        return "an unknown time"
    whole = round(max(0.0, seconds))
    if whole < 1:
        return "less than a second"
    parts: list[str] = []
    for size, noun in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        number, whole = divmod(whole, size)
        # Two parts tell enough; of what takes ten minutes nobody wants the seconds.
        if number and len(parts) < 2 and not (noun == "second" and seconds >= 600):
            parts.append(plural(number, noun))
        elif parts:
            break
    return " ".join(parts)


def money(usd: Decimal) -> str:
    """`2 dollars 10`, `45 cents`, `1,204 dollars`, `less than a cent`."""
    if 0 < usd < Decimal("0.005"):
        return "less than a cent"
    dollars, cents = divmod(round(usd * 100), 100)
    if usd >= 1000:
        return plural(round(usd), "dollar")
    if not dollars:
        return plural(cents, "cent") if cents else "nothing"
    return f"{plural(dollars, 'dollar')} {cents:02}" if cents else plural(dollars, "dollar")


def count(number: float) -> str:
    """`812`, `742 thousand`, `1.68 billion`."""
    for size, name in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= size * 0.9995:
            scaled = number / size
            return f"{scaled:.0f} {name}" if scaled >= 99.5 else f"{scaled:.3g} {name}"
    return f"{number:,.0f}"


def joined(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def text(given: str) -> str:
    """A message, a warning, a name: harmless, on one line, its amounts and times in words, without signs."""
    said = _MONEY.sub(_amount, sanitize_line(given))
    said = _DURATION.sub(_time, said)
    said = "".join(_SIGNS.get(char, char) for char in said)
    return " ".join("".join(char if _has_name(char) else " " for char in said).split())


def _has_name(char: str) -> bool:
    return char.isascii() or unicodedata.category(char)[0] in "LNM"


def _amount(found: re.Match[str]) -> str:
    if found[0].startswith("<"):
        return "less than a cent"
    return money(Decimal(found[1].replace(",", "")))


def _time(found: re.Match[str]) -> str:
    days, hours, hours2, minutes, minutes2, seconds, alone = found.groups()
    if days:
        return duration(int(days) * 86400 + int(hours) * 3600)
    if hours2:
        return duration(int(hours2) * 3600 + int(minutes) * 60)
    return duration(int(minutes2) * 60 + int(seconds)) if minutes2 else plural(float(alone), "second")
