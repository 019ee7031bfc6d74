"""Is it alive, when is it done, what will it cost: recorded and made-up runs played back second by second."""

from decimal import Decimal
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner.errors import UsageError
from runner.job.gpus import parse
from runner.job.status_tracker import Tracker
from runner.model.events import ChatCore, CoreMetric, Event, Fact, Saved, Step, ValBpb
from runner.model.pricing import dollars
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import GpuSample, StageState, StageStatus, Status
from runner.monitoring.health import HealthStatus, health, patience, phase, upcoming
from runner.monitoring.projection import project, spent_usd
from runner.nanochat.layout import Inventory
from runner.planning.defaults import resolve_spec
from runner.planning.plan import make_plan
from tests.conftest import DATA
from tests.replay import replay, stamped
from tests.statuses import a_status
from tests.test_run import run

REPLAYS = DATA / "replays"
# Phase and word at each second: up to and with that second of the log.
EXPECTED: dict[str, tuple[dict[str, Any], list[tuple[int, str, str]]]] = {
    "h100_d12_smoke_cold": (
        {"val_every": 10, "save_every": 10},
        [
            (11, "starting", "ok"),
            (21, "compiling", "ok"),
            (29, "compiling", "quiet"),
            (39, "compiling", "ok"),
            (92, "compiling", "quiet"),
            (94, "compiling", "ok"),
            (102, "training", "ok"),
            (103, "evaluating", "ok"),
            (107, "saving", "ok"),
            (116, "training", "ok"),
            (117, "evaluating", "ok"),
            (119, "saving", "ok"),
        ],
    ),
    "cpu_base_train_d4": (
        {"compiles": False, "val_every": 50, "save_every": 50},
        [
            (3, "starting", "ok"),
            (18, "training", "ok"),
            (19, "saving", "ok"),
            (47, "training", "ok"),
            (48, "evaluating", "ok"),
            (62, "training", "ok"),
            (63, "training", "quiet"),
            (80, "training", "ok"),
            (81, "training", "quiet"),
            (86, "training", "ok"),
            (93, "training", "slow"),
        ],
    ),
    "cpu_base_train_compile_warm": (
        {"val_every": 50, "save_every": 50},
        [(3, "starting", "ok"), (7, "compiling", "ok"), (9, "training", "ok"), (10, "evaluating", "ok")],
    ),
    "h100_d12_sft": (
        {"stage": StageName.SFT, "val_every": 250, "save_every": 10},
        [
            (10, "starting", "ok"),
            (13, "starting", "quiet"),
            (17, "starting", "ok"),
            (27, "compiling", "ok"),
            (80, "compiling", "quiet"),
            (90, "compiling", "ok"),
            (124, "compiling", "quiet"),
            (134, "fine-tuning", "ok"),
            (157, "fine-tuning", "quiet"),
            (170, "evaluating", "ok"),
            (195, "evaluating", "quiet"),
        ],
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recorded_run_has_the_phase_and_health_that_it_had_at_every_second(name: str) -> None:
    options, expected = EXPECTED[name]
    seen = [
        (round(now), phase(r), health(r, now).status.value)
        for now, r in replay(run(), stamped(REPLAYS / f"{name}.ts.log"), **options)
    ]
    found = [(list(rows)[-1][0], *key) for key, rows in groupby(seen, key=lambda row: row[1:])]
    assert found == expected


def test_compiling_may_be_silent_for_minutes_and_training_may_not() -> None:
    lines = stamped(REPLAYS / "h100_d12_smoke_cold.ts.log")
    before = [line for line in lines if line[0] < 30]
    words = [health(r, now).status for now, r in replay(run(), before, val_every=10, until=500)]
    assert HealthStatus.STALLED not in words
    trained = [line for line in lines if line[0] < 100]
    by_second = [(now, health(r, now).status) for now, r in replay(run(), trained, val_every=10, until=400)]
    first = next(now for now, word in by_second if word is HealthStatus.STALLED)
    assert 99 + 55 < first <= 99 + 95


def test_chatcore_between_two_fine_tuning_steps_may_take_minutes() -> None:
    lines = [line for line in stamped(REPLAYS / "h100_d12_sft.ts.log") if line[0] < 125]
    step = "step {:05d} (10.00%) | loss: 5.5 | lrm: 1.0 | dt: 1000.00ms | tok/sec: 500,000 | mfu: 45 | total time: 1m"
    lines += [(125.0 + n, step.format(n + 2)) for n in range(60)]
    lines += [(186.0, "Step 00061 | Validation bpb: 1.5"), (190.0, "  ARC-Easy: 20.00%")]
    by_second = [
        (now, health(r, now).status) for now, r in replay(run(), lines, stage=StageName.SFT, val_every=250, until=480)
    ]
    assert HealthStatus.STALLED not in {word for _, word in by_second}


def test_a_heartbeat_line_or_a_warning_is_no_progress() -> None:
    lines = [line for line in stamped(REPLAYS / "h100_d12_smoke_cold.ts.log") if line[0] < 100]
    chatter = [(100.0 + 5 * n, "W1122 some library: still here") for n in range(60)]
    by_second = [(now, health(r, now).status) for now, r in replay(run(), [*lines, *chatter], val_every=10)]
    assert by_second[-1][1] is HealthStatus.STALLED


def test_a_run_that_becomes_slower_is_told_before_it_stalls() -> None:
    lines = [(n * 1.0 if n < 60 else 60 + (n - 60) * 2.0, STEP.format(n, 1000 if n < 60 else 2000)) for n in range(100)]
    seen = list(replay(run(), lines, compiles=False))
    assert health(seen[-1][1], seen[-1][0]).status is HealthStatus.SLOW
    assert "was 1.00s" in health(seen[-1][1], seen[-1][0]).why
    assert health(seen[50][1], seen[50][0]).status is HealthStatus.OK


STEP = "step {:05d}/02000 (1.00%) | loss: 2.5 | lrm: 1.00 | dt: {:.2f}ms | tok/sec: 5,000 | bf16_mfu: 45.86"


def test_patience_with_an_evaluation_is_learned_from_the_run_and_its_like() -> None:
    status = a_status(1, State.RUNNING, "c", 0.0, 0.0, phase="evaluating")
    assert patience(status) == 600
    status.pace.max_silence_s = {"evaluating": 20.0}
    assert patience(status) == 120
    assert patience(status, {"evaluating": 80.0}) == 480


def test_what_comes_next_is_said_with_its_time() -> None:
    status = a_status(
        1, State.RUNNING, "c", 0.0, 0.0, stage="base", step=7461, total_steps=10510, pace_s=1.3, val_every=250,
        core_every=2000, save_every=500,
    )  # fmt: skip
    assert [(n.what, n.step, round(n.seconds or 0)) for n in upcoming(status)] == [
        ("val and save", 7500, 51),
        ("CORE", 8000, 701),
        ("end", 10510, 3964),
    ]


OFF = {"step_s": 0.85, "val_s": 4.0, "core_s": 40.0, "save_s": 9.0, "base_eval": 0.8, "sft": 1.1, "chat_eval": 0.9}


class TwoHours:
    """A speedrun of about two hours, second by second, whose stages take other times than was estimated."""

    def __init__(self, off: dict[str, float]) -> None:
        spec = RunSpec.create(task="speedrun", model="d24", backend="modal", engine="nanochat", gpus=8)
        there = Inventory(train_shards=1000, validation_shard=True, tokenizer=True, eval_bundle=True, task_data=True)
        planned = make_plan(spec, there, backend="modal")
        self.off = off
        self.run: Run = run(spec=spec, backend="modal", estimate=planned.estimate)
        self.plan = planned
        stages = [StageStatus(s.name, StageState.SKIPPED if s.skip else StageState.WAITING) for s in planned.stages]
        self.status = a_status(1, State.RUNNING, "c", 0.0, 0.0, stages=stages, usd_per_hour=planned.usd_per_hour)
        self.status.training.val_every, self.status.training.core_every = planned.val_every, planned.core_every
        self.status.training.save_every, self.status.training.total_steps = planned.saves.steps, planned.total_steps
        self.events: list[tuple[float, Event | str]] = []
        self._write()

    def _write(self) -> None:
        likely = {s.name: s.seconds.likely * self.off.get(s.name, 1.0) for s in self.plan.stages}
        now, total = 0.0, self.plan.total_steps
        step_s = self.off["step_s"]
        if not next(s for s in self.plan.stages if s.name == "prepare").skip:
            self.events.append((now, "prepare"))
            now += likely[StageName.PREPARE]
        self.events.append((now, "base"))
        self.events.append((now + 20, Fact("iterations", f"{total:,}")))
        now += 150
        for step in range(total + 1):
            last = step == total
            if last or step % self.plan.val_every == 0:
                now += self.off["val_s"]
                self.events.append((now, ValBpb(step, 0.9)))
            if last or (step and step % self.plan.core_every == 0):
                now += self.off["core_s"]
                self.events.append((now, CoreMetric(step, 0.2)))
            if last or (step and step % self.plan.saves.steps == 0):
                now += self.off["save_s"]
                self.events.append((now, Saved("model parameters", "x", step)))
            if not last:
                took = step_s * (4 if step % 97 == 5 else 1)
                now += took
                self.events.append((now, Step(step, total, 0.0, 2.5, 1.0, took * 1000, 1, 50.0)))
        self.events.append((now, "base_eval"))
        now += likely[StageName.BASE_EVAL]
        self.events.append((now, "sft"))
        for percent in range(1, 101):
            self.events.append(
                (
                    now + 60 + likely[StageName.SFT] * percent / 100,
                    Step(percent, None, float(percent), 1.0, 1.0, 500.0, 1, 40.0),
                )
            )
        now += 60 + likely[StageName.SFT]
        self.events.append((now, "chat_eval"))
        now += likely[StageName.CHAT_EVAL]
        self.events.append((now, ChatCore(None, 0.3)))
        self.end = now

    def seconds(self, every: float) -> list[tuple[float, Run]]:
        """The run as it is known every so often."""
        tracker, waiting, seen, now = Tracker(self.status), list(self.events), [], 0.0
        while now < self.end:
            while waiting and waiting[0][0] <= now:
                at, event = waiting.pop(0)
                if isinstance(event, str):
                    for stage in self.status.work.stages:
                        if stage.state is StageState.RUNNING:
                            stage.state, stage.ended_at = StageState.DONE, at
                        if stage.name == event:
                            stage.state, stage.started_at = StageState.RUNNING, at
                    self.status.work.stage = StageName(event)
                    tracker.begin_stage(at)
                else:
                    tracker.heard(at)
                    tracker.take(event, at)
            self.status.updated_at = now
            copy = msgspec.convert(msgspec.to_builtins(self.status), Status)
            seen.append((now, msgspec.structs.replace(self.run, state=State.RUNNING, status=copy)))
            now += every
        return seen


@pytest.mark.parametrize(
    "off",
    [
        OFF,
        {"step_s": 1.0, "val_s": 11.0, "core_s": 60.0, "save_s": 20.0, "base_eval": 1.2, "sft": 0.85, "chat_eval": 1.2},
        {"step_s": 0.7, "val_s": 3.0, "core_s": 25.0, "save_s": 5.0, "base_eval": 0.9, "sft": 0.9, "chat_eval": 1.0},
    ],
)
def test_the_projection_of_a_two_hour_run_is_within_a_tenth_from_a_twentieth_of_it_on(
    off: dict[str, float],
) -> None:
    life = TwoHours(off)
    assert 1.3 * 3600 < life.end < 3.4 * 3600
    truth = float(dollars(life.end, life.status.money.usd_per_hour))
    worst = 0.0
    for now, r in life.seconds(30.0):
        found = project(r, now)
        assert found is not None
        if now >= life.end / 20:
            worst = max(worst, abs(float(found.usd.likely) / truth - 1))
            assert abs((now + found.left.likely) / life.end - 1) < 0.1, (now, life.end, found)
            assert found.usd.low <= found.usd.likely <= found.usd.high
    assert worst < 0.1


def test_a_run_that_this_version_would_refuse_to_launch_is_projected_all_the_same() -> None:
    *_, (now, seen) = takewhile(lambda one: one[0] < 1800, TwoHours(OFF).seconds(60.0))
    values = msgspec.structs.replace(seen.spec.overrides, total_batch_size=2048)
    refused = msgspec.structs.replace(seen, spec=msgspec.structs.replace(seen.spec, overrides=values))
    with pytest.raises(UsageError):
        resolve_spec(refused.spec, refused.backend)
    found, usual = project(refused, now), project(seen, now)
    assert found and usual and 0 < found.left.likely <= usual.left.likely


def test_a_meter_runs_on_by_itself_for_a_moment_and_not_while_nothing_is_paid() -> None:
    status = a_status(1, State.RUNNING, "c", 0.0, 3600.0, usd_per_hour=Decimal(36))
    assert spent_usd(run(status=status), 3610.0) == Decimal("36.1")
    assert spent_usd(run(status=status), 9000.0) == Decimal("36.3")
    assert spent_usd(run(State.QUEUED, status=status), 9000.0) == 36
    assert project(run(State.DONE, status=status), 9000.0) is None


def test_the_driver_is_understood_and_nonsense_is_not() -> None:
    said = "98, 70912, 81559, 650.20, 61\n96, 71000, 81559, 640.80, 64\n"
    assert parse(said) == GpuSample(97.0, 71000 << 20, 81559 << 20, 1291.0, 64.0)
    assert parse("") is None and parse("No devices were found\n") is None
    assert parse("[N/A], 1, 2, 3, 4\n98, 1, 2, 3, 4\n") == GpuSample(98.0, 1 << 20, 2 << 20, 3.0, 4.0)


def test_replays_are_read_with_their_times() -> None:
    lines = stamped(Path(REPLAYS / "h100_d12_smoke_cold.ts.log"))
    assert len(lines) > 60 and lines[0][0] == 8.49
