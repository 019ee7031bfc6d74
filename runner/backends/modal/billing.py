"""What Modal charges and has charged: the workspace's own rates, the bill of an app by hour, the month so far."""

import contextlib
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import modal
import msgspec

from runner.backends.base import Check
from runner.backends.modal.errors import translating_errors
from runner.backends.modal.token import has_credentials, require_token
from runner.errors import NanochatError
from runner.model import pricing
from runner.model.pricing import Prices
from runner.model.run import Run
from runner.system import atomic
from runner.text import units

PRICES_AGE_S, PRICES_RETRY_S = 24 * 3600.0, 60.0


class Billing:
    """Questions of money; what the plan of a workspace does not tell is None, or the dated table."""

    def __init__(self, home: Path) -> None:
        self._kept = home / "prices.json"
        self._ask_at = 0.0

    def prices(self) -> Prices:
        """The workspace's own rates, asked for once a day; the dated table where they cannot be had."""
        try:
            if 0 <= time.time() - self._kept.stat().st_mtime < PRICES_AGE_S:
                return msgspec.json.decode(self._kept.read_bytes(), type=Prices)
        except (OSError, msgspec.MsgspecError):
            pass
        if not has_credentials() or time.monotonic() < self._ask_at:
            return pricing.DATED
        self._ask_at = time.monotonic() + PRICES_RETRY_S
        try:
            require_token()
            with translating_errors():
                rates: Any = modal.Workspace.from_context().billing.rates()
                found = _prices({str(k): Decimal(str(v)) for k, v in rates.items()})
        except NanochatError:
            return pricing.DATED
        with contextlib.suppress(OSError):
            # A disk that is full costs a question at each start, not the rates that were just told.
            atomic.write(self._kept, msgspec.json.encode(found), atomic.PRIVATE)
        return found

    def billed(self, run: Run, app: str) -> dict[str, Decimal] | None:
        """Dollars that Modal billed for a run's app, by hour (UTC); None where the plan does not tell."""
        status = run.status
        began = (status.first_started_at or status.started_at) if status else run.created_at
        ended = (run.ended_at or time.time()) + 3600
        try:
            require_token()
            with translating_errors():
                app_id = modal.App.lookup(app).app_id
                report = modal.Workspace.from_context().billing.report(
                    start=datetime.fromtimestamp(began, UTC), end=datetime.fromtimestamp(ended, UTC), resolution="h"
                )
        except NanochatError:
            return None
        found: dict[str, Decimal] = {}
        for item in report:
            if item.object_id == app_id:
                hour = item.interval_start.strftime("%Y-%m-%dT%H:00Z")
                found[hour] = found.get(hour, Decimal(0)) + item.cost
        return found

    def checks(self) -> list[Check]:
        """For `doctor`: the rates, and what the month has cost, as the workspace's own limit ends what runs."""
        prices = self.prices()
        found = [Check("modal prices", True, f"{prices.source}, {prices.date}")]
        try:
            with translating_errors():
                month = modal.Workspace.from_context().billing.summary()
        except NanochatError:
            return found
        limit = "its limit, at which Modal stops what runs, is at modal.com/settings/usage"
        return [*found, Check("modal bill", True, f"{units.money(month.billed_cost)} this month; {limit}")]


def _prices(rates: dict[str, Decimal]) -> Prices:
    """`billing.rates()` by its own names -> Prices. Raises KeyError when CPU or memory are not among them."""
    names = {"A10": "a10g", "A100-40GB": "a100_40gb", "A100-80GB": "a100_80gb", "RTX-PRO-6000": "rtx6000"}
    gpus = {
        kind: rates.get(f"gpu_hour_cost_{names.get(kind, kind.lower())}", gpu.usd_per_hour)
        for kind, gpu in pricing.GPUS.items()
        if kind == pricing.chip(kind)
    }
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return Prices(gpus, rates["cpu_hour_cost"], rates["mem_gib_hour_cost"], "this workspace's rates", today)
