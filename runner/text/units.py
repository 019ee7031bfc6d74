"""Numbers in the units people say: 742K tok/s, 1h02, $72.10, 2.0 GB. A value that is not known is a dash."""

import math
import time
from decimal import Decimal

from runner.model.pricing import MoneyRange, TimeRange

UNKNOWN = "–"


def duration(seconds: float | None) -> str:
    """`0.8s`, `41s`, `9m05`, `1h02`, `3d04h`."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}s" if seconds % 1 else f"{seconds:.0f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}m{rest:02}"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h" if days else f"{hours}h{minutes:02}"


def age(then: float | None, now: float) -> str:
    """How long ago, coarse: `4s`, `3m`, `2h`, `5d`."""
    if then is None or not math.isfinite(now - then):
        return UNKNOWN
    seconds = max(0, int(now - then))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def clock(then: float) -> str:
    """A moment for a reader anywhere: `2026-11-23 19:58 UTC`."""
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(then))
    except (OverflowError, ValueError, OSError):
        return UNKNOWN


def moment(then: float, now: float) -> str:
    """A moment for a reader here: `17:48 CET`, with its date where that is not today's: `Fri 27 Nov 01:10 CET`."""
    try:
        there, here = time.localtime(then), time.localtime(now)
    except (OverflowError, ValueError, OSError):
        # A clock that shows a time beyond all calendars.
        return UNKNOWN
    day = "" if there[:3] == here[:3] else "%a %d %b " if abs(then - now) < 300 * 86400 else "%d %b %Y "
    return time.strftime(f"{day}%H:%M %Z", there)


def days(first: float, last: float, now: float) -> str:
    """The zone of clock times, with their days where not all are of today: `25 Nov to 26 Nov, UTC`."""
    begin, end, today = (time.strftime("%d %b", time.localtime(at)) for at in (first, last, now))
    zone = time.strftime("%Z", time.localtime(last))
    return zone if begin == end == today else f"{begin}, {zone}" if begin == end else f"{begin} to {end}, {zone}"


def money(usd: Decimal | None) -> str:
    """Dollars as people write them; a dash where they are unknown."""
    if usd is None:
        return UNKNOWN
    if 0 < usd < Decimal("0.005"):
        return "<$0.01"
    # What is rounded first is told in the unit that it then has: never $1000.00 beside $1,001.
    cents = f"{usd:.2f}"
    return f"${usd:,.0f}" if Decimal(cents) >= 1000 else f"${cents}"


def count(number: float | None) -> str:
    """`812`, `742K`, `1.68B`."""
    if number is None:
        return UNKNOWN
    text, unit = f"{number:.0f}", ""
    for larger, scale in (("K", 1e3), ("M", 1e6), ("B", 1e9)):
        if float(text) < 1000:
            break
        scaled, unit = number / scale, larger
        text = f"{scaled:.0f}" if scaled >= 99.95 else f"{scaled:.3g}"
    return text + unit


def pluralize(number: int, noun: str) -> str:
    """`1 file`, `1,204 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(bytes_: int | None) -> str:
    """Decimal units, as disks and prices are given: `1.3 kB`, `3.9 GB`."""
    if bytes_ is None:
        return UNKNOWN
    text, unit = f"{bytes_}", "B"
    for larger, scale in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)):
        if float(text) < 1000:
            break
        text, unit = f"{bytes_ / scale:.1f}", larger
    return f"{text} {unit}"


def decimals(value: float | None, places: int) -> str:
    """A number with so many decimal places; a dash where it is unknown."""
    if value is None:
        return UNKNOWN
    return f"{value:.{places}f}"


def duration_range(range_: TimeRange) -> str:
    """`41s (35s–52s)`."""
    low, likely, high = (duration(s) for s in (range_.low, range_.likely, range_.high))
    return likely if low == high else f"{likely} ({low}–{high})"


def money_range(usd: MoneyRange) -> str:
    """Dollars from low to high."""
    low, likely, high = (money(m) for m in (usd.low, usd.likely, usd.high))
    return likely if low == high else f"{likely} ({low}–{high})"


def bar(share: float | None, width: int) -> str:
    """A progress bar of `width` cells, in eighths."""
    if share is None:
        return "·" * width
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, part = divmod(eighths, 8)
    cells = "█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")
    return cells + "·" * (width - len(cells))
