"""What runs have cost, by day, month and model, and what they cost now. Pure."""

import time
from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from runner import units
from runner.projection import spent_usd
from runner.run import Run
from runner.settings import Settings
from runner.states import State

DAY_S = 86_400
# A run that says that it took longer has a wrong clock somewhere: its cost is not laid out by day.
MOST_DAYS = 400
CENT = Decimal("0.01")


class Spending(Struct, frozen=True):
    """Dollars by local day (2026-11-24), by month (2026-11), by model, and in all."""

    days: dict[str, Decimal]
    months: dict[str, Decimal]
    models: dict[str, Decimal]
    total: Decimal


def by_day(run: Run, now: float) -> dict[str, Decimal]:
    """A run's cost laid evenly over the time from its first container to its last sign of life, by local day."""
    status, spent = run.status, spent_usd(run, now)
    if status is None or not spent:
        return {}
    began = status.first_started_at or status.started_at
    ended = max(status.ended_at or status.updated_at, began + 1)
    if ended - began > MOST_DAYS * DAY_S:
        return {today(ended): spent}
    seconds: dict[str, float] = {}
    at = began
    while at < ended:
        day = time.localtime(at)
        midnight = time.mktime((day.tm_year, day.tm_mon, day.tm_mday + 1, 0, 0, 0, 0, 0, -1))
        until = min(ended, max(midnight, at + 1))
        name = time.strftime("%Y-%m-%d", day)
        seconds[name] = seconds.get(name, 0.0) + until - at
        at = until
    found = {name: spent * Decimal(str(s / (ended - began))) for name, s in seconds.items()}
    # What rounding leaves belongs to the last day: the sum is the run's cost.
    last = max(found)
    found[last] += spent - sum(found.values(), Decimal(0))
    return found


def spending(runs: Iterable[Run], now: float) -> Spending:
    """All of a person's runs in figures; runs that were deleted are not known any more."""
    days: dict[str, Decimal] = {}
    models: dict[str, Decimal] = {}
    for run in runs:
        for day, usd in by_day(run, now).items():
            days[day] = days.get(day, Decimal(0)) + usd
            models[run.spec.model] = models.get(run.spec.model, Decimal(0)) + usd
    months: dict[str, Decimal] = {}
    for day, usd in days.items():
        months[day[:7]] = months.get(day[:7], Decimal(0)) + usd
    order = dict(sorted(days.items(), reverse=True))
    return Spending(order, dict(sorted(months.items(), reverse=True)), models, sum(days.values(), Decimal(0)))


def per_hour(runs: Iterable[Run]) -> Decimal:
    """Dollars an hour that are being spent at this moment."""
    working = (State.PREPARING, State.RUNNING, State.STOPPING)
    return sum((r.status.money.usd_per_hour for r in runs if r.status and r.state in working), Decimal(0))


def question(month: Decimal, likely: Decimal, settings: Settings) -> str:
    """Why a launch asks first: what it is likely to cost, or what the month would then; empty when it need not."""
    if settings.ask_above_usd and likely > settings.ask_above_usd:
        return f"likely {units.money(likely)}, above the {units.money(settings.ask_above_usd)} that need no question"
    limit = settings.monthly_limit_usd
    if limit and likely and month + likely > limit:
        return f"likely {units.money(likely)} on top of {units.money(month)}, the month's limit is {units.money(limit)}"
    return ""


def today(now: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(now))
