"""When a run must stop so that its budget holds, and where it had better stop already. Pure."""

from decimal import ROUND_UP, Decimal

from runner.errors import UsageError
from runner.model import pricing
from runner.model.pricing import Prices
from runner.model.spec import RunSpec
from runner.model.stages import dearest_part
from runner.text import units

# From the decision to the end of the container: a child that ends, what it left put away, the last commit.
CLOSING_S = 15.0
# What of a container's time its own clock cannot see: before it starts, after its last heartbeat.
UNSEEN_S = 3.0
# A checkpoint goes to the volume at about this speed, where this run has not shown another.
PUBLISH_BYTES_PER_S = 250e6
# What a container needs to do anything at all.
BEGINNING_S = 5.0
UNCERTAINTY = 1.02
WARN_AT = (50, 80, 95)


def seconds_left(
    cap: Decimal, spent: Decimal, usd_per_hour: Decimal, *, containers: int, publish_s: float
) -> float | None:
    """How long a container may go on before it must begin to close; None where nothing is paid.

    `spent` is what all containers so far say they took, `publish_s` what a checkpoint takes from written to kept.
    """
    if usd_per_hour <= 0:
        return None
    return float((cap - spent) / usd_per_hour) * 3600 - CLOSING_S - UNSEEN_S * containers - publish_s


def publish_seconds(checkpoint_bytes: int, measured: float | None) -> float:
    """How long a checkpoint takes from written to kept: as the last one did, else by its size."""
    return max(measured or 0.0, checkpoint_bytes / PUBLISH_BYTES_PER_S if measured is None else 0.0)


def better_here(left_s: float, next_kept_s: float) -> bool:
    """Whether to stop where nothing is lost: the next thing to be kept would not be reached."""
    return next_kept_s * UNCERTAINTY > left_s


def share(cap: Decimal, spent: Decimal) -> int:
    """The warning that is due: 0, 50, 80 or 95 per cent."""
    return max((mark for mark in WARN_AT if spent * 100 >= cap * mark), default=0)


def timeout_s(cap: Decimal | None, spent: Decimal, usd_per_hour: Decimal, most: int) -> int:
    """The limit that a call gets from its backend, as a second line of defence: at most `most` seconds."""
    if cap is None or usd_per_hour <= 0:
        return most
    return max(60, min(most, int(float((cap - spent) / usd_per_hour) * 3600)))


def at_least(usd_per_hour: Decimal) -> Decimal:
    """Dollars below which a container could only start and close again."""
    return pricing.dollars(CLOSING_S + UNSEEN_S + BEGINNING_S, usd_per_hour)


def needs(spec: RunSpec, backend: str, prices: Prices) -> Decimal:
    """Dollars below which a container of this run could only begin and close again, in whole cents."""
    rate = pricing.hourly_rate(
        backend, pricing.resources_for(dearest_part(spec.task), spec.engine, gpu=spec.gpu, gpus=spec.gpus), prices
    )
    return at_least(rate).quantize(pricing.CENT, ROUND_UP)


def check_new(spec: RunSpec, backend: str, prices: Prices) -> None:
    """See that a new run can begin with its budget. Raises UsageError."""
    least, cap = needs(spec, backend, prices), spec.budget_usd
    if cap is not None and cap < least:
        what = f"{units.money(cap)} only pays for beginning and closing"
        raise UsageError(what, f"give {units.money(least)} or more", field="budget")


def check_again(tag: str, spec: RunSpec, backend: str, prices: Prices, cap: Decimal | None, spent: Decimal) -> None:
    """See that a budget leaves something to go on with. Raises UsageError."""
    least = needs(spec, backend, prices)
    if cap is not None and cap - spent < least:
        raise UsageError(
            f"{tag} has spent {units.money(spent)} of its {units.money(cap)}",
            f"give it {units.money(spent + least)} or more: nanochat-tui resume {tag} --budget USD",
            field="budget",
        )
