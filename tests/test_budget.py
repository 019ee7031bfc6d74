"""A budget holds, whatever happens to the containers, and what was kept stays kept; a stalled run ends itself."""

import os
import random
import re
import signal
from decimal import Decimal
from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.job.clock import Clock
from runner.job.limits import LimitMonitor
from runner.job.status_tracker import Tracker
from runner.model.events import Saved, Step
from runner.model.pricing import dollars
from runner.model.run import Run
from runner.model.spec import RunSpec, parse_seconds
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import Status
from runner.planning import budget
from runner.planning.estimate import shape_of
from tests.conftest import Cli, wait_until
from tests.gate import Gate
from tests.statuses import a_status
from tests.test_run import run

PRICE = "3600"


class Life:
    """One run in accelerated time: containers that are preempted, crash, save slowly; the real rule decides."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        dice = self.random
        self.rate = Decimal(dice.choice(["3.95", "15.80", "31.60", "50.00"]))
        self.step_s = dice.uniform(0.3, 4.0)
        self.save_every = dice.randrange(20, 200)
        self.total = self.save_every * dice.randrange(3, 30) + dice.randrange(self.save_every)
        self.startup_s = dice.uniform(10, 150)
        self.publish_s = dice.uniform(1, 90)
        self.mean_life_s = dice.choice([1e9, 3 * 3600.0, 3600.0]) + 4 * self.save_every * self.step_s
        first = self.startup_s + self.save_every * self.step_s * 1.5 + 2 * self.publish_s + 60
        # Some are enough for everything, most are not; all would reach the first checkpoint in peace, twice.
        self.cap = dollars(dice.uniform(2.2, 9.0) * first + 120, self.rate).quantize(Decimal("0.01"))
        spec = RunSpec.create(
            task="base", model="d12", backend="modal", engine="nanochat", gpus=8, budget=str(self.cap),
        )  # fmt: skip
        self.run: Run = run(spec=spec, backend="modal")
        self.paid = 0.0
        self.kept = 0
        self.told: Status | None = None
        self.end = ""
        self.now = 1e6

    def live(self) -> None:
        while not self.end:
            self._container()

    def _container(self) -> None:
        """From the moment it is paid for to the moment it is gone."""
        dice, began = self.random, self.now
        dies_at = began + dice.expovariate(1 / self.mean_life_s) + 5
        politely = dice.random() < 0.7
        self.now += dice.uniform(0.2, 2.0)
        status = a_status(1, State.RUNNING, "c", self.now, self.now)
        status.money.usd_per_hour, status.training.total_steps, status.training.save_every = (
            self.rate,
            self.total,
            self.save_every,
        )
        status.work.stage, status.training.step, status.training.saved_step = (
            StageName.BASE,
            self.kept,
            self.kept or None,
        )
        status.training.resumed_from = self.kept or None
        if self.told:
            status.money.earlier_cost_usd, status.pace.publish_s = self.told.spent_usd, self.told.pace.publish_s
            status.containers.log_offsets = [*self.told.containers.log_offsets, 0]
        else:
            status.containers.log_offsets = [0]
        tracker = Tracker(status)
        tracker.begin_stage(self.now)
        guard = LimitMonitor(self.run, shape_of(12, self.run.spec.overrides), lambda line: None, lambda: self.now)
        next_step = self.now + self.startup_s
        publishing: tuple[int, float, float] | None = None
        while True:
            if self.now >= dies_at:
                self._die(began, status, politely)
                return
            if publishing and self.now >= publishing[1]:
                self.kept = status.training.saved_step = publishing[0]
                status.pace.publish_s = self.now - publishing[2]
                guard.on_checkpoint_saved()
                publishing = None
            if verdict := guard.stop_reason(status):
                assert verdict.kind == "budget", verdict
                left = max(1.0, guard.seconds_left(status) or 0.0) + budget.CLOSING_S / 3
                closing = dice.uniform(1.0, budget.CLOSING_S / 2)
                if publishing:
                    # What is being copied is waited for, but not for longer than there is money.
                    more = publishing[1] - self.now
                    closing += min(more, left)
                    if more <= left:
                        self.kept = publishing[0]
                self.now += closing
                self._pay(began)
                self.end = "budget"
                return
            if self.now >= next_step:
                step = status.training.step or 0
                if step >= self.total:
                    self.now += self.publish_s
                    self.kept = self.total
                    self._pay(began)
                    self.end = "done"
                    return
                took = self.step_s * dice.uniform(0.95, 1.1) * (5 if dice.random() < 0.002 else 1)
                tracker.take(Step(step, self.total, 0.0, 1.0, 1.0, took * 1000, 1, 1.0), self.now)
                next_step = self.now + took
                if (step + 1) % self.save_every == 0:
                    tracker.take(Saved("model parameters", "x", step + 1), self.now)
                    slow = 4 if dice.random() < 0.2 else 1
                    publishing = publishing or (step + 1, self.now + self.publish_s * slow, self.now)
            status.updated_at = self.now
            self.now += min(1.0, max(0.05, next_step - self.now))

    def _die(self, began: float, status: Status, politely: bool) -> None:
        if politely:
            self.now += self.random.uniform(0.5, 5.0)
            status.updated_at = self.now - 1.0
        else:
            # Its last second or so was paid for, and told to nobody.
            status.updated_at = self.now - self.random.uniform(0.0, 1.2)
        self.told = status
        self._pay(began)
        self.now += self.random.uniform(5, 600)

    def _pay(self, began: float) -> None:
        self.paid += (self.now - began) * float(self.rate) / 3600


def test_a_hundred_lives_keep_their_caps_and_a_checkpoint_and_leave_little_unused() -> None:
    ends, unused = [], []
    for seed in range(100):
        life = Life(seed)
        life.live()
        ends.append(life.end)
        assert life.paid <= float(life.cap), (seed, life.paid, life.cap)
        assert life.kept > 0, (seed, life.end, life.__dict__)
        if life.end == "budget":
            worth = (life.save_every * life.step_s * 1.1 + 6 * life.publish_s + 90) * float(life.rate) / 3600
            unused.append((float(life.cap) - life.paid) / worth)
    # Both ends are really there: a rule that stops at once would keep every cap.
    assert ends.count("budget") > 30 and ends.count("done") > 20
    assert sorted(unused)[len(unused) // 2] < 1.0


QUICK = ("--step-ms", "100", "--iterations", "400", "--save-every", "20", "--eval-every", "-1")


@pytest.fixture
def paid(cli: Cli) -> Cli:
    cli("settings", "local_usd_per_hour", PRICE)
    cli("settings", "ask_above_usd", "0")
    return cli


def test_a_run_stops_at_a_checkpoint_before_its_budget_is_spent_and_goes_on_with_more(paid: Cli) -> None:
    done = paid("launch", "--task", "base", "--tag", "b", "--budget", "45", "--watch", *QUICK, code=1)
    record = paid.run("b")
    assert record["state"] == "out of budget" and record["outcome"]["kind"] == "budget"
    assert 0 < record["cost_usd"] <= 45 and "[OUT OF BUDGET]" in done.stdout
    kept = [c["step"] for c in paid.json("checkpoints", "b") if c["verdict"] == "complete"]
    assert kept and f"kept up to step {kept[-1]}" in record["outcome"]["message"]
    assert "or more" in paid("resume", "b", code=2).stderr
    assert "or more" in paid("resume", "b", "--budget", "20", code=2).stderr
    paid("resume", "b", "--budget", "150", "--watch")
    assert paid.run("b")["state"] == "done" and paid.run("b")["budget_usd"] == 150


def test_a_budget_too_small_for_the_first_checkpoint_ends_as_soon_as_that_is_known(paid: Cli) -> None:
    words = ("--step-ms", "100", "--iterations", "1000", "--save-every", "900", "--eval-every", "-1")
    paid("launch", "--task", "base", "--tag", "s", "--budget", "60", "--watch", *words, code=1)
    record = paid.run("s")
    assert record["state"] == "out of budget" and "no checkpoint was kept" in record["outcome"]["message"]
    assert record["cost_usd"] < 20


def test_a_stage_that_cannot_be_paid_is_not_begun(paid: Cli) -> None:
    words = ("--step-ms", "1", "--iterations", "20", "--save-every", "20")
    paid("launch", "--task", "speedrun", "--tag", "e", "--budget", "36", "--watch", *words, code=None)
    record = paid.run("e")
    assert record["cost_usd"] <= 36
    if record["state"] == "out of budget":
        # Which stage it is depends on how fast this machine is; that there is a reason does not.
        assert re.search("besides|at least|the rest is for closing", record["outcome"]["message"])


@pytest.mark.parametrize("how", ["hang", "suspended"])
def test_a_run_that_makes_no_progress_ends_itself_with_nobody_watching(cli: Cli, gate: Gate, how: str) -> None:
    fault = ("--fault", "hang@30") if how == "hang" else ()
    if how == "suspended":
        gate.hold(30)
    cli("launch", "--task", "base", "--tag", "w", "--stop-if-stalled", "5", *fault, *QUICK)
    if how == "suspended":
        gate.reached(30)
        child = next(pid for pid in cli.processes() if b"scripts." in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(child, signal.SIGSTOP)
        gate.open()
    cli("watch", "w", code=1)
    record = cli.run("w")
    assert record["outcome"]["kind"] == "stalled" and "while training" in record["outcome"]["message"]
    assert re.search(r"kept up to step \d+", record["outcome"]["message"])
    wait_until(lambda: cli.processes() == [], what="no process")


JUMP = """
import sys, time
if "runner.job" in sys.orig_argv:
    began, now, ticks = time.monotonic(), time.time, time.monotonic
    time.time = lambda: now() + ({seconds} if ticks() - began > 1.0 else 0)
"""


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_is_set_costs_nothing_and_stops_no_run(paid: Cli, tmp_path: Path, seconds: int) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "sitecustomize.py").write_text(JUMP.format(seconds=seconds))
    paid.env["PYTHONPATH"] = f"{tmp_path / 'odd'}:{Path(__file__).parent.parent}"
    words = ("--step-ms", "20", "--iterations", "100", "--save-every", "50", "--budget", "400")
    paid("launch", "--task", "base", "--tag", "c", "--stop-if-stalled", "5m", "--watch", "-y", *words)
    record = paid.run("c")
    assert record["state"] == "done" and 2 < record["cost_usd"] < 120


def test_a_clock_goes_on_whatever_happens_to_the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    began = clock()
    monkeypatch.setattr("time.time", lambda: 5.0)
    assert 0 <= clock() - began < 10


def test_times_are_read_as_people_write_them() -> None:
    assert [parse_seconds(t) for t in ("20m", "90s", "1h", "30", "1.5h")] == [1200, 90, 3600, 30, 5400]
    for bad in ("", "m", "-5m", "0", "nan", "1d", "1e99h"):
        with pytest.raises(UsageError):
            parse_seconds(bad)


def test_a_call_gets_no_more_time_than_its_budget_pays_for() -> None:
    assert budget.timeout_s(None, Decimal(0), Decimal(32), 86_400) == 86_400
    assert budget.timeout_s(Decimal(40), Decimal(8), Decimal(32), 86_400) == 3600
    assert budget.timeout_s(Decimal(8), Decimal(8), Decimal(32), 86_400) == 60
