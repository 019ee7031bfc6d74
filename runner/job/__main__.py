"""`python -m runner.job`: execute a run's plan stage by stage, resuming at the first stage that is not done."""

import argparse
import contextlib
import fcntl
import functools
import os
import queue
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

import msgspec

from runner import checkpoints, process, survey
from runner.backends.folder import FolderVolume
from runner.checkpoints import Checkpoint
from runner.errors import NanochatError
from runner.job import engines, publish
from runner.job.journal import Journal
from runner.job.outcome import Trail, explain
from runner.job.publish import Publisher
from runner.job.report import report
from runner.job.supervise import TICK_S, run_child
from runner.nanochat import layout
from runner.nanochat.commands import Argv
from runner.plan import Plan, Stage, plan
from runner.run import Outcome, Run, StageState, StageStatus, State, Status

GRACE_S, PATIENCE_S = 2.5, 20.0


class Job:
    """One attempt of one run. The only writer of the run's log, events and status while it lives."""

    def __init__(self, volume: FolderVolume, run: Run, work: Path, call_id: str, grace_s: float) -> None:
        self._volume, self._run, self._work, self._grace_s = volume, run, work, grace_s
        self._base = work / "base"
        self._stop = False
        self._device_batch = 1
        self._earlier: list[StageStatus] = []
        self._trained_steps: int | None = None
        self._notes: queue.SimpleQueue[str | Checkpoint] = queue.SimpleQueue()
        earlier = survey.read_status(volume, run.id)
        now = time.time()
        status = Status(attempt=run.attempt, state=State.PREPARING, call_id=call_id, started_at=now, updated_at=now)
        if earlier:
            status.first_started_at = earlier.first_started_at or earlier.started_at
            self._earlier, self._trained_steps = earlier.stages, earlier.total_steps
            status.spent_before_s = earlier.spent_s
            status.step, status.total_steps, status.loss = earlier.step, earlier.total_steps, earlier.loss
            status.val_bpb, status.core, status.chatcore = earlier.val_bpb, earlier.core, earlier.chatcore
        self._journal = Journal(volume, run.id, status)

    @property
    def _status(self) -> Status:
        return self._journal.status

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT: stop now, keep what is saved."""
        self._stop = True

    def main(self) -> int:
        """Run all stages; the exit code is for whoever watches the process, the status is the record."""
        self._journal.say(f"[ATTEMPT {self._run.attempt}] {self._run.tag} ({self._run.id})")
        self._journal.write_status()
        try:
            outcome = self._stages()
        except (OSError, NanochatError) as error:
            outcome = Outcome("volume", str(error)[:300], "put that right, then resume", stage=self._status.stage)
        except BaseException as error:
            self._finish(Outcome("crash", f"the job itself failed: {error!r}"[:300], "see the log", self._status.stage))
            raise
        self._finish(outcome)
        return 0 if outcome.kind in ("done", "cancelled") else 1

    def _stages(self) -> Outcome:
        if engines.end_leftovers(self._work):
            self._journal.say("[JOB] ended a process that an earlier attempt had left behind")
        publish.link_shared(self._base, self._volume)
        spec = self._run.spec
        publisher = Publisher(
            self._base, self._volume, self._run.id, spec.model, spec.gpus, on_saved=self._notes.put, say=self._notes.put
        )
        publisher.flush()
        self._drain_notes()
        found = checkpoints.scan(self._volume, self._run.id, spec.model, spec.gpus)
        today = self._plan(found)
        self._prepare_work(publisher, found, today)
        publisher.start()
        try:
            return self._checkout(today) or self._run_stages(today, publisher)
        finally:
            publisher.close()
            self._drain_notes()

    def _plan(self, found: list[Checkpoint]) -> Plan:
        """The plan as of now: other runs may have filled the volume meanwhile."""
        return plan(
            self._run.spec,
            survey.inventory(self._volume),
            backend=self._run.backend,
            checkpoints=found,
            finished=self._earlier,
            trained_steps=self._trained_steps,
            attempt=self._run.attempt,
        )

    def _prepare_work(self, publisher: Publisher, found: list[Checkpoint], today: Plan) -> None:
        """Put on the work disk what the next stage continues from, and nothing that could mislead it."""
        for kind in layout.CHECKPOINT_DIRS:
            newest = checkpoints.newest_complete(found, kind)
            if newest:
                publisher.restore(newest)
            else:
                publisher.clear(kind)
        status = self._status
        status.total_steps, status.save_every = today.total_steps, today.save_every
        status.step = status.saved_step = today.resume.step or None
        done = {old.name: old for old in self._earlier if old.state is StageState.DONE}
        status.stages = [
            done[s.name]
            if s.skip and s.name in done
            else StageStatus(s.name, StageState.SKIPPED if s.skip else StageState.WAITING, note=s.skip or s.note)
            for s in today.stages
        ]
        self._device_batch = today.device_batch
        self._journal.say(f"[PLAN] {today.resume.reason}; checkpoint every {today.save_every} steps")

    def _run_stages(self, today: Plan, publisher: Publisher) -> Outcome:
        for stage, record in zip(today.stages, self._status.stages, strict=True):
            if self._stop:
                return self._cancelled()
            if stage.skip:
                if record.state is StageState.SKIPPED:
                    self._journal.say(f"[STAGE] {stage.name} skipped: {stage.skip}")
                continue
            outcome = self._run_stage(stage, record, today, publisher)
            if outcome:
                return outcome
        return Outcome("done", self._result_line())

    def _run_stage(self, stage: Stage, record: StageStatus, today: Plan, publisher: Publisher) -> Outcome | None:
        status = self._status
        status.stage, status.stage_percent, status.stage_loss, status.slowest_dt_s = stage.name, None, None, None
        status.state = State.PREPARING if stage.name in ("prepare", "tokenizer") else State.RUNNING
        record.state, record.started_at = StageState.RUNNING, time.time()
        self._journal.begin_stage()
        self._journal.say(f"[STAGE] {stage.name}")
        self._journal.event({"kind": "stage", "state": "running"})
        self._journal.write_status()
        outcome = self._do(stage, today)
        publisher.flush()
        self._drain_notes()
        if outcome and outcome.kind == "cancelled":
            outcome = self._cancelled()
        publish.keep_results(self._base, self._volume, self._run.id)
        if outcome is None and publisher.problem:
            outcome = Outcome("disk", f"checkpoints could not be kept: {publisher.problem}", "make room, then resume")
        if outcome is None and stage.name == "base":
            outcome = self._missing_last_checkpoint()
        record.ended_at = time.time()
        ended = {None: StageState.DONE, "cancelled": StageState.STOPPED}
        record.state = ended.get(outcome.kind if outcome else None, StageState.FAILED)
        self._journal.event({"kind": "stage", "state": record.state.value})
        self._journal.write_status()
        return outcome

    def _do(self, stage: Stage, today: Plan) -> Outcome | None:
        if stage.name == "report":
            self._write_report(today)
            return None
        if stage.name not in ("prepare", "tokenizer"):
            return self._execute(stage.name, stage.commands, today)
        with self._alone(self._volume.path(f"{layout.CACHE}/prepare.lock"), today.heartbeat_s) as mine:
            if not mine:
                return self._cancelled()
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
            return self._execute("prepare", engines.clone_commands(home), today) if mine else self._cancelled()

    @contextlib.contextmanager
    def _alone(self, path: Path, heartbeat_s: float) -> Iterator[bool]:
        """Hold a lock that only one job has at a time; False when asked to stop while waiting for it."""
        with path.open("a") as lock:
            while not self._stop:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._tick(heartbeat_s)
                    time.sleep(TICK_S)
                else:
                    break
            yield not self._stop

    def _execute(self, stage: str, commands: Sequence[Argv], today: Plan) -> Outcome | None:
        """Run command lines one after the other until one does not end well."""
        interpreter = engines.interpreter(self._run.spec.engine, Path(os.environ["NANOCHAT_TUI_HOME"]))
        env = {**os.environ, **today.env, "NANOCHAT_BASE_DIR": str(self._base), "PYTHONPATH": interpreter.folder}
        if self._run.spec.engine == "rehearsal":
            env["PYTHONPATH"] += os.pathsep + str(Path(__file__).parents[2])
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
                    stopping=lambda: self._stop,
                    grace_s=self._grace_s,
                )
            except OSError as error:
                return Outcome(
                    "environment", f"{argv[0]} cannot be started: {error.strerror}", "nanochat-tui doctor", stage
                )
            for line, event in self._journal.end_stage():
                trail.see(line, event)
            outcome = explain(stage, ended, trail, device_batch=self._device_batch)
            if outcome:
                return outcome
        return None

    def _output(self, trail: Trail, data: bytes) -> None:
        for line, event in self._journal.output(data):
            trail.see(line, event)

    def _tick(self, heartbeat_s: float) -> None:
        if not self._journal.mid_line:
            self._drain_notes()
        if self._stop:
            self._status.state = State.STOPPING
        self._journal.tick(heartbeat_s)

    def _drain_notes(self) -> None:
        """What the publishing thread has to say; the journal has one writer."""
        while not self._notes.empty():
            note = self._notes.get()
            if isinstance(note, str):
                self._journal.say(note)
                continue
            if note.kind == "base":
                self._status.saved_step = note.step
            self._journal.event({"kind": "checkpoint", "of": note.kind, "step": note.step, "bytes": note.bytes})

    def _missing_last_checkpoint(self) -> Outcome | None:
        found = checkpoints.scan(self._volume, self._run.id, self._run.spec.model, self._run.spec.gpus)
        newest = checkpoints.newest_complete(found)
        at = newest.step if newest else 0
        if at == self._status.total_steps:
            return None
        return Outcome(
            "checkpoint", f"the last checkpoint is not whole; step {at:,} is", "resume repeats the steps since"
        )

    def _cancelled(self) -> Outcome:
        s = self._status
        at = f" at step {s.step:,} of {s.total_steps:,}" if s.stage == "base" and s.step and s.total_steps else ""
        kept = f"; kept up to step {s.saved_step:,}" if s.saved_step else ""
        where = f"during {s.stage}" if s.stage else "before the first stage"
        return Outcome("cancelled", f"stopped {where}{at}{kept}", stage=s.stage)

    def _result_line(self) -> str:
        s = self._status
        parts = [f"{s.step:,} steps" if s.step else "", f"loss {s.loss:.3f}" if s.loss is not None else ""]
        parts += [f"val bpb {s.val_bpb:.4f}" if s.val_bpb is not None else ""]
        parts += [f"CORE {s.core:.4f}" if s.core is not None else ""]
        parts += [f"ChatCORE {s.chatcore:.4f}" if s.chatcore is not None else ""]
        return ", ".join(p for p in parts if p)

    def _write_report(self, today: Plan) -> None:
        events = self._volume.read(f"{layout.run_dir(self._run.id)}/{layout.EVENTS_FILE}").decode("utf-8", "replace")
        text = report(self._run, self._status, today, events.splitlines())
        self._volume.write(f"{layout.run_dir(self._run.id)}/{layout.REPORT_FILE}", text.encode())

    def _finish(self, outcome: Outcome) -> None:
        status = self._status
        ends = {"done": State.DONE, "cancelled": State.CANCELLED}
        advice = outcome.advice.replace("RUN", self._run.id)
        outcome = msgspec.structs.replace(outcome, advice=advice)
        status.state, status.outcome = ends.get(outcome.kind, State.FAILED), outcome
        status.ended_at = time.time()
        for stage in status.stages:
            if stage.state is StageState.RUNNING:
                stage.state, stage.ended_at = StageState.FAILED, status.ended_at
        if outcome.kind == "done":
            shutil.rmtree(self._work / "base", ignore_errors=True)
        more = f" — {outcome.advice}" if outcome.advice else ""
        self._journal.say(f"[{status.state.value.upper()}] {outcome.message}{more}")
        self._journal.event({"kind": "outcome", **msgspec.to_builtins(outcome), "outcome": outcome.kind})
        self._journal.close()
        if self._journal.status_problem:
            print(f"{status.state}: {outcome.message} ({self._journal.status_problem})", file=sys.stderr)  # noqa: T201


def _take(lock: IO[str], patience_s: float) -> bool:
    """Take the lock of the run's only job; an earlier attempt's job may still be on its way out."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(TICK_S)
        else:
            return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m runner.job", description="Execute one attempt of a run.")
    parser.add_argument("--run", required=True)
    parser.add_argument("--volume", required=True)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--attempt", required=True, type=int)
    parser.add_argument("--grace", type=float, default=GRACE_S)
    parser.add_argument("--patience", type=float, default=PATIENCE_S)
    args = parser.parse_args()
    with (args.work / "lock").open("a") as lock:
        if not _take(lock, args.patience):
            print(f"{args.run} is running already", file=sys.stderr)  # noqa: T201
            return 3
        volume = FolderVolume(args.volume)
        run = survey.read_run(volume, args.run)
        if run is None or run.attempt != args.attempt:
            print(f"{args.run} has no record of attempt {args.attempt} on {args.volume}", file=sys.stderr)  # noqa: T201
            return 2
        job = Job(volume, run, args.work, process.call_id(os.getpid()), args.grace)
        signal.signal(signal.SIGTERM, job.request_stop)
        signal.signal(signal.SIGINT, job.request_stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return job.main()


if __name__ == "__main__":
    sys.exit(main())
