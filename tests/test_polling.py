"""Looks at runs: one that cannot be asked or ended holds up no other, and what has just ended is looked at soon."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from runner.backends.modal.backend import POLL_ENDED_EVERY_S, POLL_EVERY_S, poll_interval_s
from runner.backends.modal.billing import Billing
from runner.errors import Unreachable
from runner.fleet.polling import FORCE_AFTER_S, Poller
from runner.fleet.registry import Registry
from runner.model import pricing
from runner.model.run import Poll
from runner.model.states import State
from tests.test_run import NOW, run, status


class Deaf:
    """A backend on which every run lives, and whose forced cancel fails."""

    def __init__(self) -> None:
        self.forced: list[str] = []

    def poll(self, asked: Any) -> Poll:
        return Poll(True, status(State.RUNNING))

    def cancel(self, asked: Any, *, force: bool) -> None:
        self.forced.append(asked.id)
        raise Unreachable(f"{asked.id} cannot be ended", "try again")


def test_a_run_that_cannot_be_ended_by_force_keeps_no_other_from_being_looked_at_and_is_not_forced_at_each_look(
    tmp_path: Path,
) -> None:
    registry, deaf, now = Registry(tmp_path), Deaf(), [NOW]
    stuck = run(State.STOPPING, id="stuck", tag="stuck", cancel_requested_at=NOW - FORCE_AFTER_S - 1)
    well = run(State.QUEUED, id="well", tag="well")
    for one in (stuck, well):
        registry.add(one)
    poller = Poller(registry, lambda name: deaf, lambda: now[0], lambda text: None)  # type: ignore[arg-type, return-value]
    found = {r.id: r.state for r in poller.poll_all([stuck, well])}
    assert found == {"stuck": State.STOPPING, "well": State.RUNNING}
    assert "cannot be ended" in poller.unreachable["stuck"]
    poller.poll_all([stuck, well])
    assert deaf.forced == ["stuck"]
    now[0] += FORCE_AFTER_S + 1
    poller.poll_all([stuck])
    assert deaf.forced == ["stuck", "stuck"]
    registry.close()


@pytest.mark.parametrize(("ago", "pause"), [(0.0, POLL_EVERY_S), (100.0, 10.0), (86_400.0, POLL_ENDED_EVERY_S)])
def test_a_run_taken_for_ended_is_looked_at_soon_and_the_longer_ago_the_more_seldom(ago: float, pause: float) -> None:
    assert poll_interval_s(run(State.INTERRUPTED, ended_at=NOW - ago), NOW) == pause
    assert poll_interval_s(run(State.INTERRUPTED, ended_at=NOW + ago), NOW) == pause, "whatever clock has put it down"
    assert poll_interval_s(run(State.RUNNING), NOW) == POLL_EVERY_S


def test_the_prices_that_were_told_are_used_though_the_disk_takes_no_copy_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object) -> None:
        raise OSError(28, "No space left on device")

    told = msgspec.structs.replace(pricing.DATED, source="this workspace")
    billing = SimpleNamespace(billing=SimpleNamespace(rates=dict))
    for name, value in (
        ("has_credentials", lambda: True),
        ("require_token", lambda: None),
        ("_prices", lambda rates: told),
    ):
        monkeypatch.setattr(f"runner.backends.modal.billing.{name}", value)
    monkeypatch.setattr("runner.backends.modal.billing.modal.Workspace.from_context", lambda: billing)
    monkeypatch.setattr("runner.system.atomic.write", full)
    assert Billing(tmp_path).prices() == told
