"""Life is judged by change: a clock that is wrong, here or there, makes no live run silent and no silent one well."""

import itertools
import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from runner.model.run import Run
from runner.model.states import State
from runner.monitoring.health import HealthStatus, health
from runner.monitoring.heartbeat_age import BEATS_S, HeartbeatAges
from tests.conftest import Cli
from tests.statuses import a_status
from tests.test_run import run

DAY = 86_400.0


def beating(at: float) -> Run:
    status = a_status(
        1, State.RUNNING, "c", at - 60, at, phase="training", progress_at=at - 1, pace_s=1.0, container_seconds=60.0
    )
    return run(State.RUNNING, status=status)


class Clock:
    """A clock that is told how late it is."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.mark.parametrize("wrong_by", [0.0, DAY, -DAY, 4000 * DAY, -3650 * DAY])
def test_a_job_that_beats_is_well_whatever_the_clocks_say(wrong_by: float) -> None:
    clock, job = Clock(), 5e8
    signs = HeartbeatAges(clock)
    for _ in range(5):
        one = beating(job)
        signs.note(one)
        found = health(one, signs.now(one, job + wrong_by))
        assert found.status is HealthStatus.OK, found
        clock.at, job = clock.at + 2, job + 2


@pytest.mark.parametrize("wrong_by", [0.0, DAY, -DAY])
def test_a_job_that_was_seen_to_beat_and_stops_has_no_signal_after_half_a_minute(wrong_by: float) -> None:
    clock, job = Clock(), 5e8
    signs = HeartbeatAges(clock)
    for _ in range(2):
        one = beating(job)
        signs.note(one)
        clock.at, job = clock.at + 1, job + 1
    clock.at, job = clock.at + 20, job + 20
    signs.note(one)
    assert health(one, signs.now(one, job + wrong_by)).status is not HealthStatus.NO_SIGNAL
    clock.at, job = clock.at + 15, job + 15
    assert health(one, signs.now(one, job + wrong_by)).status is HealthStatus.NO_SIGNAL


def test_one_look_at_a_job_whose_clock_disagrees_says_nothing_and_a_second_one_does() -> None:
    clock, old = Clock(), beating(5e8)
    signs = HeartbeatAges(clock)
    signs.note(old)
    now = 5e8 + 3600
    assert signs.doubtful(old, now) and health(old, signs.now(old, now)).status is HealthStatus.OK
    clock.at += BEATS_S
    signs.note(old)
    found = health(old, signs.now(old, now))
    assert not signs.doubtful(old, now) and found.status is HealthStatus.NO_SIGNAL and "1h00" in found.why
    fresh = beating(5e8 + 3600)
    assert not HeartbeatAges(clock).doubtful(fresh, now)
    quiet = run(State.DONE)
    assert not signs.doubtful(quiet, now)


def test_a_sign_of_life_from_the_future_is_silent_once_it_no_longer_changes() -> None:
    clock, ahead = Clock(), beating(5e8 + DAY)
    signs = HeartbeatAges(clock)
    signs.note(ahead)
    words = []
    for seconds in (0, 10, 25):
        clock.at = 1000.0 + seconds
        words.append(health(ahead, signs.now(ahead, 5e8 + seconds)).status)
    assert HealthStatus.NO_SIGNAL not in words
    clock.at = 1000.0 + 31
    assert health(ahead, signs.now(ahead, 5e8 + 31)).status is HealthStatus.NO_SIGNAL


def test_a_laptop_that_slept_finds_its_runs_well() -> None:
    clock, job = Clock(), 5e8
    signs = HeartbeatAges(clock)
    for _ in range(2):
        one = beating(job)
        signs.note(one)
        clock.at, job = clock.at + 1, job + 1
    # The time of day has gone on for an hour, the clock that stands still in a sleep has not.
    assert health(one, signs.now(one, job + 3600)).status is HealthStatus.OK


SHIFTED = """
import sys, time
real = time.time
time.time = lambda: real() + float(sys.argv[1])
from tui.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def shifted(cli: Cli, seconds: float, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SHIFTED, str(seconds), *words],
        env=cli.env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done
    return done.stdout


def test_commands_on_a_machine_whose_clock_is_wrong_show_a_live_run_as_it_is(cli: Cli) -> None:
    cli("launch", "--task", "base", "--tag", "live", "--iterations", "2000", "--step-ms", "100")
    for days in (1, 4000, -3650):
        said = shifted(cli, days * DAY, "ls")
        assert "no signal" not in said and "interrupted" not in said and "stalled" not in said, said
        assert json.loads(shifted(cli, days * DAY, "show", "live", "--json"))["health"] in ("ok", "quiet")
    shifted(cli, 4000 * DAY, "cost")
    assert cli.run("live")["state"] in ("preparing", "running")


BEYOND = """
import sys, time
def beyond(): raise OverflowError("timestamp too large to convert to C _PyTime_t")
time.time = beyond
from tui.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_clock_beyond_all_that_python_can_tell_is_one_line(cli: Cli) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEYOND, "ls"], env=cli.env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (5, 1) and "clock" in done.stderr


def test_the_signs_of_many_runs_are_kept_apart() -> None:
    clock, signs = Clock(), HeartbeatAges()
    runs: dict[str, Any] = {}
    for name, at in itertools.product("ab", (5e8, 5e8 + 1)):
        runs[name] = msgspec.structs.replace(beating(at if name == "a" else at + DAY), id=name)
        signs.note(runs[name])
    assert abs(signs.now(runs["a"], 5e8) - 5e8) < 5 and abs(signs.now(runs["b"], 5e8) - 5e8 - DAY) < 5 and clock()


def test_a_run_that_ended_before_anybody_looked_is_as_old_as_it_is() -> None:
    clock, ended = Clock(), 5e8
    signs = HeartbeatAges(clock)
    gone = msgspec.structs.replace(beating(ended), state=State.INTERRUPTED)
    signs.note(gone)
    clock.at += BEATS_S / 2
    assert signs.now(gone, ended + 600) == ended + 600
