"""How the seconds between the word to go and the end of a container are divided."""

import pytest

from runner.job.limits import LimitMonitor
from runner.job.stop import Stop
from runner.model.states import State
from runner.planning.estimate import shape_of
from tests.statuses import a_status
from tests.test_run import SPEC, run


def test_of_the_seconds_before_a_container_is_killed_most_bring_checkpoints_and_the_last_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("runner.job.stop.time.monotonic", lambda: now[0])
    status = a_status(1, State.RUNNING, "fc-1", 0.0, 0.0, stage="base")
    guard = LimitMonitor(run(), shape_of(12, SPEC.overrides), lambda line: None, lambda: 0.0)
    stop, patient = Stop(guard, 30.0), Stop(guard, None)
    assert (stop.keeping_s(status), stop.closing_s()) == (None, None), "nothing presses"
    for one in (stop, patient):
        one.tell()
    assert (stop.keeping_s(status), stop.closing_s()) == (20.0, 26.0)
    assert (patient.keeping_s(status), patient.closing_s()) == (None, None), "nobody kills it"
    now[0] += 21
    stop.tell()
    assert (stop.keeping_s(status), stop.closing_s()) == (0.0, 5.0), "a second word gives no more time"
    now[0] += 60
    assert (stop.keeping_s(status), stop.closing_s()) == (0.0, 1.0)
