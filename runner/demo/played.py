"""Lines with their times -> a run as its job would have left it: log, events, status, checkpoints, report."""

import json
import math
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from runner.demo import recorded
from runner.demo.recorded import STAMP, Timed
from runner.job.history import history
from runner.job.journal import Journal
from runner.job.outcome import (
    FailureTracker,
    cancelled_outcome,
    diagnose_stage,
    result_line,
    unwanted_reason,
    with_resume_advice,
)
from runner.job.report import report
from runner.job.supervise import ProcessExit
from runner.metrics.svg import loss_svg
from runner.model.paid import PaidInterval
from runner.model.run import Run
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import Containers, Money, Outcome, OutcomeKind, StageState, StageStatus, Status
from runner.nanochat import layout
from runner.nanochat.layout import CHECKPOINT_DIRS, CheckpointKind
from runner.planning.plan import Plan
from runner.volumes.folder import FolderVolume

ENDS = {OutcomeKind.DONE: State.DONE, OutcomeKind.CANCELLED: State.CANCELLED}
# What is left of a checkpoint, by its step: files that its verdict misses.
Losses = dict[int, Callable[[str], bool]]


class Player:
    """Plays one run onto its volume. `lost` are files of checkpoints that never arrived whole, by step."""

    def __init__(self, volume: FolderVolume, run: Run, plan: Plan, began: float, lost: Losses | None = None) -> None:
        self._volume, self._run, self._plan, self._lost = volume, run, plan, lost or {}
        self._now = began
        self._seen = FailureTracker()
        self._model, self._optimizer = recorded.data("model.pt"), recorded.data("optim.pt")
        self._begin(1)

    def _begin(self, attempt: int, earlier: Status | None = None) -> None:
        """A container begins; what the one before it cost is known."""
        spec, now = self._run.spec, self._now
        device = f"{spec.gpus} × NVIDIA {spec.gpu}"
        money = Money(usd_per_hour=self._plan.usd_per_hour)
        status = Status(attempt, State.RUNNING, "", now, now, first_started_at=now, money=money)
        status.containers = Containers(device=device)
        new = PaidInterval(now, now, 0.0, Decimal(0), spec.gpu, spec.gpus, "us-east")
        money.paid = [new]
        if earlier:
            status.first_started_at, status.training = earlier.first_started_at, earlier.training
            money.spent_before_s, money.earlier_cost_usd = earlier.spent_s, earlier.spent_usd
            money.paid = [*earlier.money.paid, new]
            status.containers.log_offsets = earlier.containers.log_offsets
            status.containers.preemptions = earlier.containers.preemptions + 1
        status.work.stages = [StageStatus(stage.name) for stage in self._plan.stages]
        training = status.training
        training.total_steps, training.save_every = self._plan.total_steps or None, self._plan.saves.steps
        training.val_every, training.core_every = self._plan.val_every, self._plan.core_every
        self._journal = Journal(
            self._volume, self._run.path, status, lambda: self._now, lambda: self._now, hold_open=False
        )
        self._journal.say(f"[ATTEMPT {attempt}] {self._run.tag} ({self._run.id})")
        self._journal.say(f"[DEVICE] {device}")
        self._journal.event({"kind": "container", "call": "", "device": device})

    @property
    def _status(self) -> Status:
        return self._journal.status

    def play(self, lines: Iterable[Timed]) -> None:
        """Each line at its time. Lines of the job itself are told in its own words."""
        for seconds, line in lines:
            self._now += seconds
            words = line.split()
            if line.startswith("[ATTEMPT "):
                self._again(int(words[1].rstrip("]")))
            elif line.startswith("[STAGE] "):
                self._stage(line)
            elif line.startswith("[PUBLISH] ") and words[2] == "step":
                self._keep(CheckpointKind(words[1]), int(words[3]))
            elif line.startswith(("[DEVICE]", "[DONE]")):
                continue
            elif line.startswith("["):
                self._journal.say(line)
            else:
                self._told(line)

    def _told(self, line: str) -> None:
        stamp = datetime.fromtimestamp(self._now, UTC).strftime(recorded.STAMP_FORMAT)[:-3]
        said = STAMP.sub(stamp, line, count=1)
        for heard in self._journal.output(f"{said}\n".encode()):
            self._seen.add_line(*heard)

    def _again(self, attempt: int) -> None:
        """The next attempt, after one whose container was taken away; the first one has begun."""
        if attempt == self._status.attempt:
            return
        said = "the container was taken away; the same call starts again"
        self._journal.say(f"[PREEMPTED] {said}")
        self._end_stage(StageState.STOPPED)
        self._status.ended_at = self._now
        self._journal.close()
        earlier = self._status
        self._now += 55
        self._begin(attempt, earlier)

    def _stage(self, line: str) -> None:
        _, name, *rest = line.split(" ", 2)
        found = next((one for one in self._status.work.stages if one.name == name), None)
        if found is None:
            return
        if rest:
            found.state, found.note = StageState.SKIPPED, rest[0].removeprefix("skipped: ")
            self._journal.say(line)
            return
        self._end_stage(StageState.DONE)
        found.state, found.started_at = StageState.RUNNING, self._now
        self._status.work.stage, self._seen = StageName(name), FailureTracker()
        self._journal.begin_stage()
        self._journal.say(line)
        self._journal.event({"kind": "stage", "state": "running"})

    def _end_stage(self, state: StageState) -> None:
        for one in self._status.work.stages:
            if one.state is StageState.RUNNING:
                one.state, one.ended_at = state, self._now
                self._journal.event({"kind": "stage", "state": state.value})

    def _keep(self, kind: CheckpointKind, step: int) -> None:
        """The files of a checkpoint, small ones, and what the job says of them."""
        spec, training = self._run.spec, self._status.training
        folder = f"{self._run.path}/{CHECKPOINT_DIRS[kind]}/{spec.model}"
        bpb = training.sft_bpb if kind is CheckpointKind.SFT else training.val_bpb
        loop = {"smooth_train_loss": training.loss, "min_val_bpb": bpb, "total_training_time": 0.0}
        config = {"n_layer": spec.depth, "n_embd": 64 * spec.depth, "sequence_len": 2048, "vocab_size": 32768}
        meta = {"step": step, "val_bpb": bpb, "model_config": config, "loop_state": loop}
        files = {layout.model_file(step): self._model, layout.meta_file(step): json.dumps(meta).encode()}
        files |= {f"optim_{step:06d}_rank{rank}.pt": self._optimizer for rank in range(spec.gpus)}
        lost = self._lost.get(step)
        for name, content in files.items():
            if lost is None or not lost(name):
                self._write(f"{folder}/{name}", content)
        size = sum(map(len, files.values()))
        if kind is CheckpointKind.BASE and (training.loss is None or math.isfinite(training.loss)):
            training.saved_step = step
        gpus = f"{spec.gpus} GPU{'s' if spec.gpus > 1 else ''}"
        self._journal.say(f"[PUBLISH] {kind} step {step} kept: {size / 1e6:,.1f} MB, resumable on {gpus}")
        self._journal.event({"kind": "checkpoint", "of": kind, "step": step, "bytes": size, "gpus": spec.gpus})

    def _write(self, path: str, content: bytes) -> None:
        """A file as of now, by the time of the run."""
        self._volume.write(path, content)
        os.utime(self._volume.path(path), (self._now, self._now))

    def end(self, how: OutcomeKind) -> Run:
        """The run as it is on record when its job has ended: done, cancelled, or with what its log tells."""
        status, run = self._status, self._run
        outcome = self._outcome(how)
        status.outcome = msgspec.structs.replace(outcome, advice=outcome.advice.replace("RUN", run.id))
        stops = {OutcomeKind.DONE: StageState.DONE, OutcomeKind.CANCELLED: StageState.STOPPED}
        self._end_stage(stops.get(how, StageState.FAILED))
        status.state, status.ended_at = ENDS.get(outcome.kind, State.FAILED), self._now
        advice = f" — {outcome.advice.replace('RUN', run.tag)}" if outcome.advice else ""
        self._journal.say(f"[{status.state.value.upper()}] {outcome.message}{advice}")
        self._journal.event({**msgspec.to_builtins(outcome), "kind": "outcome", "outcome": outcome.kind})
        status.work.stage = StageName.NONE if how is OutcomeKind.DONE else status.work.stage
        self._journal.close()
        if how is OutcomeKind.DONE:
            self._report()
        for name in (layout.LOG_FILE, layout.TIMES_FILE, layout.EVENTS_FILE, layout.STATUS_FILE):
            os.utime(self._volume.path(f"{run.path}/{name}"), (self._now, self._now))
        return msgspec.structs.replace(
            run, state=status.state, status=status, ended_at=self._now, attempt=status.attempt
        )

    def _outcome(self, how: OutcomeKind) -> Outcome:
        status, stage = self._status, self._status.work.stage
        if how is OutcomeKind.DONE:
            return Outcome(how, result_line(status))
        if how is OutcomeKind.CANCELLED:
            return cancelled_outcome(status)
        found = unwanted_reason(stage, self._seen, self._run.spec.overrides) if how is OutcomeKind.NAN else None
        found = found or diagnose_stage(stage, ProcessExit(1, None, stopped=False), self._seen)
        return with_resume_advice(found or Outcome(how, "it ended"), status, self._plan.device_batch, self._run.spec)

    def _report(self) -> None:
        events = self._volume.read(f"{self._run.path}/{layout.EVENTS_FILE}").decode("utf-8", "replace")
        past = history(events.splitlines())
        curve = loss_svg(past.loss, past.val)
        self._write(f"{self._run.path}/{layout.CURVE_FILE}", curve.encode())
        text = report(self._run, self._status, self._plan, past, curve=bool(curve))
        self._write(f"{self._run.path}/{layout.REPORT_FILE}", text.encode("utf-8", "replace"))
