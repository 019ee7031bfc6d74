"""Execute a run's plan stage by stage, resuming at the first stage that is not done."""

import contextlib
import functools
import os
import queue
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import msgspec

from runner import checkpoints, survey
from runner.backends.folder import FolderVolume
from runner.budget import CLOSING_S
from runner.checkpoints import Checkpoint
from runner.errors import NanochatError
from runner.estimate import shape_of
from runner.job import engines, publish
from runner.job.clock import Clock
from runner.job.curve import loss_svg
from runner.job.gpus import Sampler
from runner.job.guard import Guard
from runner.job.history import history
from runner.job.journal import Journal
from runner.job.outcome import Trail, cancelled, explain, result_line, settled
from runner.job.publish import Publisher
from runner.job.report import report
from runner.job.site import Site
from runner.job.succession import begun, crash_loop, leave, newest, put_aside
from runner.job.supervise import run_child
from runner.nanochat import events, layout
from runner.nanochat.commands import Argv
from runner.plan import PARTS, Plan, Stage, compiles, needs_optimizer, plan, settings, starting_point
from runner.run import GpuSample, Outcome, Run, StageState, StageStatus, State, Status

GRACE_S = 2.5
COMMIT_EVERY_S = 10.0


class Job:
    """One attempt of one run, or one part of it. The only writer of the run's log, events and status while it lives.

    `part` is `prepare` or `train` where each has a container of its own, empty where one process does both.
    """

    def __init__(
        self, volume: FolderVolume, run: Run, work: Path, site: Site, *, part: str = "", grace_s: float = GRACE_S
    ) -> None:
        self._volume, self._run, self._work, self._grace_s = volume, run, work, grace_s
        self._site, self._part = site, part
        self._base = work / "base"
        self._stop = False
        self._device_batch = 1
        self._committed_at = time.monotonic()
        self._notes: queue.SimpleQueue[str | Checkpoint | GpuSample] = queue.SimpleQueue()
        self._earlier = newest(survey.read_status(volume, run.id), site.recall(run))
        self._clock = Clock()
        status = begun(run, self._earlier, site, part, self._clock())
        self._finished = self._earlier.stages if self._earlier else []
        self._halt: Outcome | None = None
        self._sampler: Sampler | None = None
        self._wrote_at: float | None = None
        self._journal = Journal(
            volume,
            run.id,
            status,
            self._clock,
            hold_open=site.holds_files,
            emit=site.emit,
            beat=site.beat,
            compiles=compiles(run.spec, run.backend),
            wall=time.time,
        )
        self._compiled = site.compile_cache(volume, run, work)
        size = shape_of(run.spec.depth, settings(run.spec, run.backend).values)
        self._guard = Guard(run, size, self._journal.say, self._clock)

    @property
    def _status(self) -> Status:
        return self._journal.status

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT: stop now, keep what is saved."""
        self._stop = True

    def main(self) -> int:
        """Run all stages; the exit code is for whoever watches the process, the status is the record."""
        again = f", container {len(self._status.log_bases)}" if len(self._status.log_bases) > 1 else ""
        call = f", call {self._status.call_id}" if self._status.call_id else ""
        self._journal.say(f"[ATTEMPT {self._run.attempt}] {self._run.tag} ({self._run.id}){again}{call}")
        if self._status.device:
            self._journal.say(f"[DEVICE] {self._status.device}")
        self._journal.event({"kind": "container", "call": self._status.call_id, "device": self._status.device})
        self._journal.write_status()
        try:
            # What counts the containers must outlive this one, however it dies.
            self._journal.flush()
            self._site.commit()
            outcome = self._stages()
        except (OSError, NanochatError) as error:
            outcome = Outcome("volume", str(error)[:300], "put that right, then resume", stage=self._status.stage)
        except BaseException as error:
            self._finish(Outcome("crash", f"the job itself failed: {error!r}"[:300], "see the log", self._status.stage))
            raise
        self._finish(outcome)
        return 0 if outcome.kind in ("done", "cancelled") else 1

    @property
    def state(self) -> State:
        return self._status.state

    @property
    def stopped(self) -> bool:
        """Whether it ended because it was told to."""
        return self._stop and self._status.state in (State.CANCELLED, State.PREEMPTED)

    def _stages(self) -> Outcome:
        if engines.end_leftovers(self._work):
            self._journal.say("[JOB] ended a process that an earlier attempt had left behind")
        publish.link_shared(self._base, self._volume)
        spec = self._run.spec
        publisher = Publisher(
            self._base,
            self._volume,
            self._run.id,
            spec.model,
            spec.gpus,
            on_saved=self._notes.put,
            say=self._notes.put,
            commit=self._site.commit,
        )
        publisher.flush()
        self._drain_notes()
        self._go_back(publisher)
        found = survey.checkpoints_for(self._volume, self._run)
        if spec.source and not any(starting_point(spec, found, kind) for kind in layout.CHECKPOINT_DIRS):
            return Outcome("checkpoint", f"no whole checkpoint of {spec.source} is on the volume", "launch a new run")
        today = self._plan(found)
        fruitless = crash_loop(self._status, found, self._finished)
        if fruitless:
            return fruitless
        self._prepare_work(publisher, found, today)
        if self._compiled and self._part != "prepare" and (line := self._compiled.restore()):
            self._journal.say(line)
        publisher.start()
        if self._part != "prepare":
            self._sampler = Sampler(self._notes.put)
        try:
            return self._checkout(today) or self._run_stages(today, publisher)
        finally:
            if self._sampler:
                self._sampler.close()
            if self._halt:
                publisher.hurry(max(1.0, self._guard.seconds_left(self._status) or 0.0) + CLOSING_S / 3)
            if self._compiled:
                self._compiled.close()
            publisher.close()
            self._drain_notes()

    def _go_back(self, publisher: Publisher) -> None:
        """Begin at the step that a person chose for this attempt, if they did."""
        aside = put_aside(self._volume, self._run, self._status.attempt)
        if aside is None:
            return
        publisher.forget(aside)
        self._finished = [s for s in self._finished if s.name in PARTS["prepare"]]
        steps = ", ".join(f"{c.kind} {c.step:,}" for c in aside) or "nothing"
        self._journal.say(f"[BACK] to step {self._run.back_to:,}; put aside: {steps}")

    def _plan(self, found: list[Checkpoint]) -> Plan:
        """The plan as of now: other runs may have filled the volume meanwhile."""
        return plan(
            self._run.spec,
            survey.inventory(self._volume),
            backend=self._run.backend,
            checkpoints=found,
            finished=self._finished,
            trained_steps=self._earlier.total_steps if self._earlier else None,
            attempt=self._run.attempt,
            prices=self._run.prices,
        )

    def _prepare_work(self, publisher: Publisher, found: list[Checkpoint], today: Plan) -> None:
        """Put on the work disk what the next stage continues from, and nothing that could mislead it."""
        for kind in layout.CHECKPOINT_DIRS:
            newest = starting_point(self._run.spec, found, kind)
            if newest:
                publisher.restore(newest, optimizer=needs_optimizer(self._run.spec))
            else:
                publisher.clear(kind)
        status = self._status
        status.total_steps, status.save_every = today.total_steps or None, today.saves.steps
        status.val_every, status.core_every = today.val_every, today.core_every
        status.step = status.saved_step = (today.resume.step or None) if today.total_steps else None
        done = {old.name: old for old in self._finished if old.state is StageState.DONE}
        before = PARTS["prepare"] if self._part == "train" else frozenset()
        status.stages = [
            done[s.name]
            if s.name in done and (s.skip or s.name in before)
            else StageStatus(s.name, StageState.SKIPPED if s.skip else StageState.WAITING, note=s.skip or s.note)
            for s in today.stages
        ]
        self._device_batch = today.device_batch
        self._journal.say(f"[PLAN] {today.resume.reason}; checkpoint every {today.saves.steps} steps")

    def _run_stages(self, today: Plan, publisher: Publisher) -> Outcome:
        for stage, record in zip(today.stages, self._status.stages, strict=True):
            if self._stop:
                return cancelled(self._status)
            if self._part and stage.name not in PARTS[self._part]:
                continue
            if stage.skip:
                if record.state is StageState.SKIPPED:
                    self._journal.say(f"[STAGE] {stage.name} skipped: {stage.skip}")
                continue
            self._halt = self._halt or self._guard.fits(self._status, stage.name, _least(stage))
            if self._halt:
                return settled(self._halt, self._status, self._device_batch)
            outcome = self._run_stage(stage, record, today, publisher)
            if outcome:
                return outcome
        return Outcome("done", result_line(self._status))

    def _run_stage(self, stage: Stage, record: StageStatus, today: Plan, publisher: Publisher) -> Outcome | None:
        status = self._status
        status.stage = stage.name
        status.state = State.PREPARING if stage.name in ("prepare", "tokenizer") else State.RUNNING
        record.state, record.started_at = StageState.RUNNING, self._clock()
        self._journal.begin_stage()
        self._journal.say(f"[STAGE] {stage.name}")
        self._journal.event({"kind": "stage", "state": "running"})
        self._journal.write_status()
        outcome = self._do(stage, today)
        publisher.flush()
        self._drain_notes()
        if outcome:
            outcome = settled(outcome, self._status, self._device_batch)
        publish.keep_results(self._base, self._volume, self._run.id)
        if outcome is None and publisher.problem:
            outcome = Outcome("disk", f"checkpoints could not be kept: {publisher.problem}", "make room, then resume")
        if outcome is None and stage.name == "base":
            outcome = self._missing_last_checkpoint()
        record.ended_at = self._clock()
        ended = {None: StageState.DONE, "cancelled": StageState.STOPPED, "budget": StageState.STOPPED}
        record.state = ended.get(outcome.kind if outcome else None, StageState.FAILED)
        self._journal.event({"kind": "stage", "state": record.state.value})
        self._journal.write_status()
        self._commit()
        return outcome

    def _do(self, stage: Stage, today: Plan) -> Outcome | None:
        if stage.name == "report":
            self._write_report(today)
            return None
        if stage.name not in ("prepare", "tokenizer"):
            return self._execute(stage.name, stage.commands, today)
        with self._alone(self._volume.path(f"{layout.CACHE}/prepare.lock"), today.heartbeat_s) as mine:
            if not mine:
                return cancelled(self._status)
            now = next(s for s in self._plan([]).stages if s.name == stage.name)
            if now.skip:
                self._journal.say(f"[STAGE] {stage.name} was done by another run: {now.skip}")
            return self._execute(stage.name, now.commands, today)

    def _checkout(self, today: Plan) -> Outcome | None:
        """Bring nanochat itself when this machine has no checkout."""
        if self._run.spec.engine != "nanochat":
            return None
        home = Path(os.environ["NANOCHAT_TUI_HOME"])
        with self._alone(home / "nanochat.lock", today.heartbeat_s) as mine:
            return self._execute("prepare", engines.clone_commands(home), today) if mine else cancelled(self._status)

    def _alone(self, shared: Path, heartbeat_s: float) -> contextlib.AbstractContextManager[bool]:
        def waiting() -> bool:
            self._tick(heartbeat_s)
            return not self._stop

        return self._site.alone(shared, waiting)

    def _execute(self, stage: str, commands: Sequence[Argv], today: Plan) -> Outcome | None:
        """Run command lines one after the other until one does not end well."""
        interpreter = engines.interpreter(self._run.spec.engine, Path(os.environ["NANOCHAT_TUI_HOME"]))
        env = {**os.environ, **today.env, "NANOCHAT_BASE_DIR": str(self._base), "PYTHONPATH": interpreter.folder}
        if self._run.spec.engine == "rehearsal":
            env["PYTHONPATH"] += os.pathsep + str(Path(__file__).parents[2])
        if self._compiled:
            env |= self._compiled.environment()
        env.pop("PYTHONSAFEPATH", None)
        for argv in commands:
            trail = Trail()
            self._journal.say(f"[EXEC] {shlex.join(argv)}")
            self._journal.event({"kind": "exec", "command": shlex.join(argv)})
            folder = interpreter.folder if Path(interpreter.folder).is_dir() else str(self._work)
            try:
                ended = run_child(
                    interpreter.resolve(argv),
                    env=env,
                    cwd=folder,
                    note=self._work / engines.CHILD_FILE,
                    on_output=functools.partial(self._output, trail),
                    on_tick=lambda: self._tick(today.heartbeat_s),
                    stopping=functools.partial(self._stopping, trail),
                    grace_s=self._grace_s,
                )
            except OSError as error:
                return Outcome(
                    "environment", f"{argv[0]} cannot be started: {error.strerror}", "nanochat-tui doctor", stage
                )
            for line, event in self._journal.end_stage():
                trail.see(line, event)
            if self._halt and not ended.ok:
                return self._halt
            outcome = explain(stage, ended, trail, stop_on_nan=self._ruined(trail) and not self._stop)
            if outcome:
                return outcome
        return None

    def _stopping(self, trail: Trail) -> bool:
        self._halt = self._halt or self._guard.verdict(self._status)
        return self._stop or self._halt is not None or self._ruined(trail)

    def _ruined(self, trail: Trail) -> bool:
        """Whether the loss is nan in a run that is to stop then."""
        return bool(self._run.spec.overrides.stop_on_nan) and trail.nan_at is not None

    def _output(self, trail: Trail, data: bytes) -> None:
        for line, event in self._journal.output(data):
            trail.see(line, event)
            if isinstance(event, events.Saved):
                self._wrote_at = time.monotonic()

    def _tick(self, heartbeat_s: float) -> None:
        if not self._journal.mid_line:
            self._drain_notes()
        if self._stop:
            self._status.state = State.STOPPING
        self._journal.tick(heartbeat_s)
        if self._compiled and self._status.stage == "base" and self._status.slowest_dt_s is not None:
            self._compiled.publish_later()
        if time.monotonic() - self._committed_at > COMMIT_EVERY_S:
            self._commit_later()

    def _commit(self) -> None:
        """Commit now; what cannot be committed is tried again, and is no reason to stop training."""
        self._committed_at = time.monotonic()
        self._journal.flush()
        try:
            self._site.commit()
        except OSError as error:
            self._journal.say(f"[VOLUME] {error}")

    def _commit_later(self) -> None:
        """Commit without making the child's output wait."""
        self._committed_at = time.monotonic()
        threading.Thread(target=self._commit_quietly, name="commit", daemon=True).start()

    def _commit_quietly(self) -> None:
        try:
            self._site.commit()
        except OSError as error:
            self._notes.put(f"[VOLUME] {error}")

    def _drain_notes(self) -> None:
        """What the publishing thread has to say; the journal has one writer."""
        while not self._notes.empty():
            note = self._notes.get()
            if isinstance(note, str):
                self._journal.say(note)
                continue
            if isinstance(note, GpuSample):
                self._status.gpu = note
                self._journal.event({"kind": "gpu", **msgspec.to_builtins(note)})
                continue
            if note.kind == "base":
                self._status.saved_step = note.step
                if self._wrote_at is not None:
                    self._status.publish_s = round(time.monotonic() - self._wrote_at, 1)
                self._guard.kept()
            self._journal.event(
                {"kind": "checkpoint", "of": note.kind, "step": note.step, "bytes": note.bytes, "gpus": note.ranks}
            )

    def _missing_last_checkpoint(self) -> Outcome | None:
        found = checkpoints.scan(self._volume, self._run.id, self._run.spec.model, self._run.spec.gpus)
        newest = checkpoints.newest_complete(found)
        at = newest.step if newest else 0
        if at == self._status.total_steps:
            return None
        return Outcome(
            "checkpoint", f"the last checkpoint is not whole; step {at:,} is", "resume repeats the steps since"
        )

    def _write_report(self, today: Plan) -> None:
        folder = layout.run_dir(self._run.id)
        self._journal.flush()
        events = self._volume.read(f"{folder}/{layout.EVENTS_FILE}").decode("utf-8", "replace")
        past = history(events.splitlines())
        curve = loss_svg(past.loss, past.val) if past.loss else loss_svg(past.sft_loss, past.sft_val)
        if curve:
            self._volume.write(f"{folder}/{layout.CURVE_FILE}", curve.encode())
        text = report(self._run, self._status, today, past, curve=bool(curve))
        self._volume.write(f"{folder}/{layout.REPORT_FILE}", text.encode("utf-8", "replace"))

    def _finish(self, outcome: Outcome) -> None:
        if outcome.kind == "done" and self._part == "prepare":
            handed = self._hand_over()
            if handed is None:
                return
            outcome = handed
        status, now = self._status, self._clock()
        ends = {"done": State.DONE, "cancelled": self._site.stopped_means, "budget": State.OUT_OF_BUDGET}
        advice = outcome.advice.replace("RUN", self._run.id)
        outcome = msgspec.structs.replace(outcome, advice=advice)
        status.state = ends.get(outcome.kind, State.FAILED)
        for stage in status.stages:
            if stage.state is StageState.RUNNING:
                stage.state, stage.ended_at = StageState.FAILED, now
        if outcome.kind == "done":
            shutil.rmtree(self._work / "base", ignore_errors=True)
        if status.state is State.PREEMPTED:
            status.preemptions += 1
            leave(status, now)
            self._journal.say(f"[PREEMPTED] {outcome.message}; the same call starts again")
        else:
            status.outcome, status.ended_at = outcome, now
            more = f" — {outcome.advice}" if outcome.advice else ""
            self._journal.say(f"[{status.state.value.upper()}] {outcome.message}{more}")
        self._journal.event({**msgspec.to_builtins(outcome), "kind": "outcome", "outcome": outcome.kind})
        self._close()

    def _hand_over(self) -> Outcome | None:
        """Let the GPUs begin; None when they were asked for.

        From then on the other part writes these files: everything must be committed before, and nothing after.
        """
        status, now = self._status, self._clock()
        self._journal.say("[PREPARED] asking for the GPUs")
        was = msgspec.structs.replace(status)
        status.state, status.stage = State.QUEUED, ""
        leave(status, now)
        self._close()
        try:
            self._site.hand_over(msgspec.structs.replace(self._run, status=status))
        except NanochatError as error:
            self._journal.reopen(was)
            return Outcome("launch", error.what[:300], error.do or "put that right, then resume")
        return None

    def _close(self) -> None:
        self._journal.close()
        last = threading.Thread(target=self._commit_last, name="commit", daemon=True)
        last.start()
        # With the money gone, a volume that takes for ever to commit is not waited for.
        last.join(CLOSING_S / 2 if self._halt else None)
        # Whoever hears the last word finds on the volume what it speaks of.
        self._site.beat(self._status, last=True)
        if self._journal.status_problem:
            print(f"{self._status.state}: {self._journal.status_problem}", file=sys.stderr)  # noqa: T201

    def _commit_last(self) -> None:
        try:
            self._site.commit()
        except OSError as error:
            self._journal.status_problem = str(error)


def _least(stage: Stage) -> float:
    """Seconds that a stage takes at the very least: a budget for less is better kept. Training keeps what it has."""
    return stage.seconds.low if stage.name in ("base_eval", "sft", "chat_eval") else 0.0
