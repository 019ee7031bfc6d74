"""Made-up lives with runs on laptops and on Modal: the ledger is right to the cent, no month exceeds its limit."""

import random
from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from runner.fleet.registry import Registry
from runner.job.environment import LocalEnvironment
from runner.job.restarts import close_container, initial_status
from runner.model import pricing
from runner.model.backend_name import BackendName
from runner.model.paid import Account, day_of
from runner.model.pricing import DATED, MoneyRange, TimeRange
from runner.model.run import Estimate, Run
from runner.model.spec import RunSpec
from runner.model.stages import Part, StageName
from runner.model.states import State
from runner.model.status import StageState, StageStatus, Status
from runner.monitoring import ledger
from runner.settings import Settings

LIVES, BATCHES = 500, 10
# Each begins a few days before something happens to the calendar of its place.
PLACES = [
    ("UTC", "2026-12-30"), ("America/New_York", "2026-10-30"), ("America/New_York", "2027-03-12"),
    ("Europe/Berlin", "2026-10-23"), ("Europe/Berlin", "2027-03-26"), ("Asia/Kolkata", "2026-02-26"),
    ("Pacific/Apia", "2026-11-28"), ("America/Sao_Paulo", "2026-04-29"),
]  # fmt: skip
HOUR = 3600.0
SPEC = RunSpec.create(task="base", model="d20", backend="modal", engine="nanochat", gpus=8)
BOX = pricing.resources_for(Part.TRAIN, SPEC.engine, gpu=SPEC.gpu, gpus=SPEC.gpus)


class Site(LocalEnvironment):
    """Where a container runs, at the price that its run was launched at."""

    def usd_per_hour(self, run: Run, part: Part | None) -> Decimal:
        return pricing.hourly_rate(run.backend, BOX, run.prices)


class Job:
    """A run, with its container if one runs, and what is true of it."""

    def __init__(self, run: Run, whole_s: float, laptop: int | None) -> None:
        self.run, self.whole_s, self.laptop = run, whole_s, laptop
        self.rate = pricing.hourly_rate(run.backend, BOX, run.prices)
        self.status: Status | None = None
        self.elapsed = self.taken = 0.0

    @property
    def running(self) -> bool:
        return self.run.state is State.RUNNING

    def record(self) -> Run:
        return msgspec.structs.replace(
            self.run, status=msgspec.convert(msgspec.to_builtins(self.status), Status | None)
        )

    def begin(self, wall: float) -> None:
        self.status = initial_status(self.run, self.status, Site("c"), Part.TRAIN, wall)
        self.status.state = State.RUNNING
        self.status.work.stages = [StageStatus(StageName.BASE, StageState.RUNNING, started_at=wall)]
        self.status.tell(0.0, wall)
        self.run, self.elapsed = msgspec.structs.replace(self.run, state=State.RUNNING), 0.0

    def left_s(self) -> float:
        """Until its work is done, or its money."""
        cap = self.run.spec.budget_usd
        money = float((cap - pricing.dollars(self.taken, self.rate)) / self.rate) * HOUR if cap is not None else 1e9
        return max(0.0, min(self.whole_s - self.taken, money))

    def end(self, state: State, wall: float) -> None:
        assert self.status
        self.status.state = state
        self.run = msgspec.structs.replace(self.run, state=state)
        self.status.ended_at = wall


class Life:
    """Time, two laptops with their clocks, a volume, and the truth."""

    def __init__(self, seed: int, registries: list[Registry]) -> None:
        self.rng, self.registries = random.Random(seed), registries
        name, day = self.rng.choice(PLACES)
        self.zone = ZoneInfo(name)
        self.now = datetime.fromisoformat(day).replace(tzinfo=self.zone).timestamp() + self.rng.uniform(0, 4) * 86_400
        self.behind = [0.0, 0.0]
        self.jobs: list[Job] = []
        self.left: dict[str, Account] = {}
        # What was paid by the months that machines showed, and by those that it was.
        self.truth: dict[str, Decimal] = defaultdict(Decimal)
        self.limited: dict[str, Decimal] = defaultdict(Decimal)
        # What a laptop itself costs is not on the volume that both see: where it costs, there is no other.
        self.laptops = self.rng.choice([1, 2])
        self.settings = Settings(ask_above_usd=Decimal(0), monthly_limit_usd=Decimal(self.rng.randint(60, 1200)))
        self.asked = self.deleted = 0
        for registry in registries:
            with registry.transaction() as db:
                db.execute("DELETE FROM runs")
                db.execute("DELETE FROM ledger")

    def wall(self, laptop: int | None) -> float:
        return self.now - (0.0 if laptop is None else self.behind[laptop])

    def pass_by(self, seconds: float, asleep: int | None = None) -> None:
        """Everything that runs goes on; what is on a laptop that sleeps does not."""
        while seconds > 0:
            step = min(seconds, self.rng.uniform(200, 1500))
            seconds -= step
            for job in self.jobs:
                if job.running and (job.laptop is None or job.laptop != asleep):
                    self._work(job, step)
            self.now += step

    def _work(self, job: Job, step: float) -> None:
        seconds, began = min(step, job.left_s()), self.wall(job.laptop)
        for truth, moment in ((self.truth, began), (self.limited, self.now)):
            here = self._before_month_ends(moment, seconds)
            truth[self._month(moment)] += pricing.dollars(here, job.rate)
            truth[self._month(moment + seconds)] += pricing.dollars(seconds - here, job.rate)
        job.elapsed, job.taken = job.elapsed + seconds, job.taken + seconds
        assert job.status
        job.status.tell(round(job.elapsed, 3), began + seconds)
        if job.left_s() < 1e-6:
            job.end(State.DONE if job.taken >= job.whole_s else State.OUT_OF_BUDGET, began + seconds)

    def _month(self, moment: float) -> str:
        return datetime.fromtimestamp(moment, self.zone).strftime("%Y-%m")

    def _before_month_ends(self, began: float, seconds: float) -> float:
        """How much of a stretch is of the month in which it begins."""
        low, high = 0.0, seconds
        while self._month(began + seconds) != self._month(began) and high - low > 1e-4:
            middle = (low + high) / 2
            low, high = (middle, high) if self._month(began + middle) == self._month(began) else (low, middle)
        return high

    def look(self, laptop: int) -> tuple[list[Run], list[Account]]:
        """What a laptop knows after it has looked: at the volume, and at every run."""
        registry = self.registries[laptop]
        known = {run.id: run for run in registry.all()}
        for job in self.jobs:
            if job.laptop in (None, laptop):
                record = job.record()
                if job.run.id in known:
                    registry.update(job.run.id, lambda _, new=record: new)
                else:
                    registry.add(record)
        registry.save_accounts(self.left.values())
        return registry.all(), registry.saved_accounts()

    def may(self, laptop: int, likely: Decimal, budget: Decimal | None) -> bool:
        """What a person answers who never exceeds their limit."""
        runs, kept = self.look(laptop)
        now = self.wall(laptop)
        month, live = ledger.month_so_far(runs, kept, now, self.zone), ledger.committed_usd(runs, now)
        asked = ledger.confirmation_reason(self.settings, likely, budget, month, live)
        self.asked += bool(asked)
        return not asked

    def launch(self) -> None:
        laptop, hours = self.rng.randrange(self.laptops), self.rng.uniform(0.5, 12)
        here = 0 if self.laptops == 1 and self.rng.random() < 0.4 else None
        run_id = f"r{len(self.jobs) + self.deleted}"
        prices = msgspec.structs.replace(DATED, local=Decimal(20))
        backend = BackendName.MODAL if here is None else BackendName.LOCAL
        run = Run(run_id, run_id, SPEC, backend, "v", self.now, prices=prices)
        job = Job(run, hours * HOUR * self.rng.uniform(0.3, 1.0), here)
        likely = pricing.dollars(hours * HOUR, job.rate)
        seconds = TimeRange(hours * HOUR, hours * HOUR, hours * HOUR)
        estimate = Estimate(seconds, MoneyRange.exactly(likely), {StageName.BASE: seconds})
        budget = (likely * Decimal(str(round(self.rng.uniform(0.3, 1.5), 2)))).quantize(pricing.CENT)
        spec = msgspec.structs.replace(SPEC, budget_usd=budget if self.rng.random() < 0.5 else None)
        if self.may(laptop, likely, spec.budget_usd):
            job.run = msgspec.structs.replace(run, estimate=estimate, spec=spec, state=State.QUEUED)
            self.jobs.append(job)

    def one(self, *states: State) -> Job | None:
        found = [job for job in self.jobs if job.run.state in states]
        return self.rng.choice(found) if found else None

    def step(self) -> None:
        match self.rng.choice(
            ["launch", "launch", "begin", "begin", "begin", "work", "work", "preempt", "kill", "stop", "resume", "idle",
             "delete", "set back", "sleep"]
        ):  # fmt: skip
            case "launch":
                self.launch()
            case "begin":
                if job := self.one(State.QUEUED, State.PREEMPTED):
                    job.begin(self.wall(job.laptop))
            case "work":
                self.pass_by(self.rng.uniform(0.1, 9) * HOUR)
            case "preempt":
                if (job := self.one(State.RUNNING)) and job.status:
                    close_container(job.status, job.status.started_at + job.elapsed)
                    job.status.tell(0.0, self.wall(job.laptop))
                    job.status.state = State.PREEMPTED
                    job.run = msgspec.structs.replace(job.run, state=State.PREEMPTED)
            case "kill":
                # The same call begins at once in another container, which finds what this one said last.
                if job := self.one(State.RUNNING):
                    job.begin(self.wall(job.laptop))
            case "stop":
                if job := self.one(State.RUNNING):
                    job.end(State.CANCELLED, self.wall(job.laptop))
            case "resume":
                self.resume()
            case "idle" if not self.one(State.RUNNING):
                self.now += self.rng.uniform(1, 40) * 86_400
            case "delete":
                self.delete()
            case "set back":
                self.behind[0] += self.rng.uniform(60, 30 * HOUR)
            case "sleep":
                self.pass_by(self.rng.uniform(1, 100) * HOUR, asleep=0)

    def resume(self) -> None:
        job = self.one(State.CANCELLED, State.OUT_OF_BUDGET)
        if not job or not job.run.estimate or job.whole_s - job.taken < 60:
            return
        laptop = self.rng.randrange(self.laptops)
        whole, spent = job.run.estimate.usd.likely, pricing.dollars(job.taken, job.rate)
        budget = None if job.run.spec.budget_usd is None else spent + Decimal(self.rng.randint(5, 200))
        if self.may(laptop, max(whole - spent, whole / 10), None if budget is None else budget - spent):
            spec = msgspec.structs.replace(job.run.spec, budget_usd=budget)
            again = {"spec": spec, "state": State.QUEUED, "attempt": job.run.attempt + 1}
            job.run = msgspec.structs.replace(job.run, **again)

    def delete(self) -> None:
        job = self.one(State.DONE, State.CANCELLED, State.OUT_OF_BUDGET)
        if not job:
            return
        laptop = self.rng.randrange(self.laptops)
        self.look(laptop)
        account = ledger.account(job.record())
        if account.usd and job.laptop is None:
            self.left[job.run.id] = account
        self.registries[laptop].remove(job.run.id)
        self.jobs.remove(job)
        self.deleted += 1

    def check(self) -> None:
        runs, kept = self.look(0)
        found = ledger.spending(runs, kept, 0.0, self.zone)
        assert abs(found.total - sum(self.truth.values())) < pricing.CENT
        for month in found.months.keys() | self.truth.keys():
            off = abs(found.months.get(month, Decimal(0)) - self.truth.get(month, Decimal(0)))
            assert off < pricing.CENT, (month, found.months, dict(self.truth))
        assert sum(found.days.values()) == found.total == sum(found.models.values())
        assert all(day_of(0.0) <= day for day in found.days)
        over = {m: usd for m, usd in self.limited.items() if usd > self.settings.monthly_limit_usd}
        assert not over, f"the limit of {self.settings.monthly_limit_usd} was exceeded: {over}"


@pytest.mark.parametrize("batch", range(BATCHES))
def test_in_no_life_a_cent_is_lost_or_a_months_limit_exceeded(tmp_path: Path, batch: int) -> None:
    homes = [tmp_path / name for name in ("one", "two")]
    for home in homes:
        home.mkdir()
    registries = [Registry(home) for home in homes]
    asked = deleted = 0
    for number in range(LIVES // BATCHES):
        life = Life(batch * 1000 + number, registries)
        for _ in range(40):
            life.step()
        life.check()
        asked, deleted = asked + life.asked, deleted + life.deleted
    for registry in registries:
        registry.close()
    assert asked > 5 and deleted > 20, "lives in which nothing happens show nothing"
