"""What a run has paid, row by row: a container, or a stretch of one between two sleeps of its machine. Pure."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from itertools import pairwise

import msgspec
from msgspec import Struct

from runner.model import stored
from runner.model.spec import MAX_USD

# So many rows are kept of one run: beyond, the two that lie nearest to each other become one.
MOST = 200
# What the time of day goes on more, or less, than the seconds that are paid: a sleep, or a clock that was set.
JUMP_S = 60.0
# A row that says that it took longer has a wrong clock somewhere: it is not laid out by day.
MOST_DAYS = 400
_DAY_S, _LATEST = 86_400.0, 1e11


class PaidInterval(Struct, frozen=True, array_like=True):
    """From when to when by the time of day, the seconds that cost, the dollars, and of what: GPUs, and where."""

    began: float
    ended: float
    seconds: float
    usd: Decimal
    gpu: str = ""
    gpus: int = 0
    place: str = ""

    @property
    def possible(self) -> bool:
        times = 0 <= self.began < _LATEST and 0 <= self.ended < _LATEST and 0 <= self.seconds < _LATEST
        return times and self.usd.is_finite() and 0 <= self.usd < MAX_USD


class Account(Struct, frozen=True):
    """What one run has paid, as it is kept when the run is deleted."""

    id: str
    tag: str
    model: str
    backend: str
    workspace: str
    environment: str
    rows: list[PaidInterval]

    @property
    def usd(self) -> Decimal:
        return sum((row.usd for row in self.rows), Decimal(0))


def account_of(data: bytes) -> Account:
    """A stored account. Raises one of `stored.UNREADABLE`, also for one of impossible times or amounts."""
    found = stored.decode(data, Account)[0]
    if not all(row.possible for row in found.rows):
        raise ValueError("no such account is possible")
    return found


def with_interval(rows: Sequence[PaidInterval], new: PaidInterval) -> list[PaidInterval]:
    """The rows with one more, for what begins now; no more than are kept."""
    found = [*rows]
    while len(found) >= MOST:
        gaps = [after.began - before.ended for before, after in pairwise(found)]
        at = min(range(len(gaps)), key=gaps.__getitem__)
        found[at : at + 2] = [_joined(found[at], found[at + 1])]
    return [*found, new]


def _joined(one: PaidInterval, other: PaidInterval) -> PaidInterval:
    large = max(one, other, key=lambda row: row.usd)
    ends = {"began": min(one.began, other.began), "ended": max(one.ended, other.ended)}
    return msgspec.structs.replace(large, **ends, seconds=one.seconds + other.seconds, usd=one.usd + other.usd)


def charged_until(rows: Sequence[PaidInterval], seconds: float, usd: Decimal, now: float) -> list[PaidInterval]:
    """The rows with what their run has taken in all until now on the last one, or on a new one after a sleep."""
    if not rows:
        return []
    *before, last = rows
    more_s = max(0.0, seconds - sum(row.seconds for row in rows))
    more_usd = usd - sum((row.usd for row in rows), Decimal(0))
    if abs(now - last.ended - more_s) > JUMP_S:
        after = msgspec.structs.replace(last, began=max(0.0, now - more_s), ended=now, seconds=more_s, usd=more_usd)
        return with_interval(rows, after)
    longer = msgspec.structs.replace(last, ended=now, seconds=last.seconds + more_s, usd=last.usd + more_usd)
    return [*before, longer]


def adding_up_to(usd: Decimal, rows: Sequence[PaidInterval], whole: PaidInterval) -> list[PaidInterval]:
    """The rows of a record, with what they leave of its sum on the last one; `whole` where they make no sense."""
    rest = usd - sum((row.usd for row in rows if row.possible), Decimal(0))
    if not rows or rest < 0 or not all(row.possible for row in rows):
        return [whole] if usd else []
    *before, last = rows
    return [*before, msgspec.structs.replace(last, usd=last.usd + rest)]


def by_day(row: PaidInterval, zone: tzinfo | None = None) -> dict[str, Decimal]:
    """A row's dollars laid evenly over its time, by the days of a zone, or of this machine's."""
    began, ended = row.began, max(row.ended, row.began + 1)
    if ended - began > MOST_DAYS * _DAY_S:
        return {day_of(row.ended, zone): row.usd}
    seconds: dict[str, float] = {}
    at = began
    while at < ended:
        until = min(ended, max(_next_midnight(at, zone), at + 1))
        day = day_of(at, zone)
        seconds[day] = seconds.get(day, 0.0) + until - at
        at = until
    found = {day: row.usd * Decimal(str(s / (ended - began))) for day, s in seconds.items()}
    # What rounding leaves belongs to the last day: the sum is what was paid.
    last = max(found)
    found[last] += row.usd - sum(found.values(), Decimal(0))
    return found


def day_of(moment: float, zone: tzinfo | None = None) -> str:
    """The day of a person, as 2026-11-24."""
    return datetime.fromtimestamp(moment, zone).strftime("%Y-%m-%d")


def _next_midnight(moment: float, zone: tzinfo | None) -> float:
    day: date = datetime.fromtimestamp(moment, zone).date() + timedelta(days=1)
    return datetime.combine(day, time(), zone).timestamp()
