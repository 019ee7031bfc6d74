"""The ledger of all runs, deleted ones too: spent by day, month and model, and what a month is yet to spend. Pure."""

from collections.abc import Iterable
from datetime import tzinfo
from decimal import Decimal

from msgspec import Struct

from runner.model.backend_name import BackendName
from runner.model.paid import Account, by_day, day_of
from runner.model.run import Run
from runner.model.states import State
from runner.monitoring.projection import project, spent_usd
from runner.settings import Settings
from runner.text import units


class Spending(Struct, frozen=True):
    """Dollars by local day (2026-11-24), by month (2026-11), by model, and in all; `deleted` are of that, by run."""

    days: dict[str, Decimal]
    months: dict[str, Decimal]
    models: dict[str, Decimal]
    total: Decimal
    deleted: list[Account]

    @property
    def deleted_usd(self) -> Decimal:
        return sum((one.usd for one in self.deleted), Decimal(0))


def account(run: Run, now: float | None = None) -> Account:
    """A run's rows, which add up to what it has spent."""
    rows = run.status.rows(spent_usd(run, now)) if run.status else []
    return Account(run.id, run.tag, run.spec.model, run.backend, run.workspace, run.environment, rows)


# Of runs that have ended, by id: the run, its account, and that by the day. The same run has the same.
Known = dict[str, tuple[Run, Account, list[dict[str, Decimal]]]]


def spending(
    runs: Iterable[Run],
    kept: Iterable[Account],
    now: float,
    zone: tzinfo | None = None,
    *,
    known: Known | None = None,
) -> Spending:
    """All of a person's money; `kept` are the accounts of runs that were deleted.

    Who asks again and again gives the same `known` each time, which is filled here.
    """
    known = {} if known is None else known
    accounts, days_of = dict[str, Account](), dict[str, list[dict[str, Decimal]]]()
    for run in runs:
        before = known.get(run.id)
        if before is None or before[0] is not run or run.live:
            own = account(run, now)
            before = known[run.id] = run, own, [by_day(row, zone) for row in own.rows]
        _, accounts[run.id], days_of[run.id] = before
    # A run that came back from its volume after its record was deleted is no more than its record, or than was kept.
    gone = [one for one in kept if one.id not in accounts or one.usd > accounts[one.id].usd]
    accounts |= {one.id: one for one in gone}
    days, months, models = dict[str, Decimal](), dict[str, Decimal](), dict[str, Decimal]()
    for one in gone:
        days_of[one.id] = [by_day(row, zone) for row in one.rows]
    for one in accounts.values():
        for by in days_of[one.id]:
            for day, usd in by.items():
                for sums, name in ((days, day), (months, day[:7]), (models, one.model)):
                    sums[name] = sums.get(name, Decimal(0)) + usd
    newest = {name: days[name] for name in sorted(days, reverse=True)}
    total = sum(days.values(), Decimal(0))
    return Spending(newest, {name: months[name] for name in sorted(months, reverse=True)}, models, total, gone)


def per_hour(runs: Iterable[Run]) -> Decimal:
    """Dollars an hour that are being spent at this moment."""
    working = (State.PREPARING, State.RUNNING, State.STOPPING)
    return sum((r.status.money.usd_per_hour for r in runs if r.status and r.state in working), Decimal(0))


def committed_usd(runs: Iterable[Run], now: float) -> Decimal:
    """What live runs are yet to spend: the rest of their budget, or what is likely where they have none."""
    return sum((_rest(run, now) for run in runs if run.live), Decimal(0))


def _rest(run: Run, now: float) -> Decimal:
    if run.backend is BackendName.LOCAL and not run.prices.local:
        return Decimal(0)
    spent, found = spent_usd(run, now), project(run, now)
    whole = run.spec.budget_usd if run.spec.budget_usd is not None else found.usd.likely if found else spent
    return max(whole - spent, Decimal(0))


def month_so_far(runs: Iterable[Run], kept: Iterable[Account], now: float, zone: tzinfo | None = None) -> Decimal:
    """What this month has cost. What a clock that was ahead has put into a later one counts, too."""
    this = day_of(now, zone)[:7]
    months = spending(runs, kept, now, zone).months
    return sum((usd for month, usd in months.items() if month >= this), Decimal(0))


def at_most_usd(likely: Decimal, budget: Decimal | None) -> Decimal:
    """What is counted of a run before it has begun: its whole budget, where it has one and costs anything."""
    return likely if budget is None or not likely else budget


def confirmation_reason(
    settings: Settings, likely: Decimal, budget: Decimal | None, month: Decimal, live: Decimal
) -> str:
    """Why a launch asks first: what it is likely to cost, or what the month would then; empty when it need not.

    `budget` is the most it can cost; `month` what the month has cost so far, `live` what live runs, and
    those that are asked for with it, are yet to spend.
    """
    at_most = likely if budget is None else min(likely, budget)
    if settings.ask_above_usd and at_most > settings.ask_above_usd:
        return f"likely {units.money(at_most)}, above the {units.money(settings.ask_above_usd)} that need no question"
    limit, whole = settings.monthly_limit_usd, at_most_usd(likely, budget)
    if not limit or not likely or month + live + whole <= limit:
        return ""
    said = f"likely {units.money(whole)}" if budget is None else f"up to its budget of {units.money(whole)}"
    under_way = f" and {units.money(live)} that live runs are yet to spend" if live else ""
    return f"{said} on top of {units.money(month)}{under_way}, the month's limit is {units.money(limit)}"


def today(now: float) -> str:
    """The day of a moment in this machine's time zone, as 2026-11-24."""
    return day_of(now)
