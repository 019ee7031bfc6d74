"""Execute a run's plan stage by stage, resuming at the first stage that is not done."""

import functools
import os
import queue
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import msgspec

from runner import engines
from runner.errors import NanochatError
from runner.job import publish
from runner.job.children import Children
from runner.job.clock import Clock
from runner.job.commits import Commits
from runner.job.damaged import quarantine_damaged
from runner.job.ending import Ending
from runner.job.environment import JobEnvironment
from runner.job.filling import SharedStages
from runner.job.good_run import last_good_templates
from runner.job.gpus import Sampler
from runner.job.history import History, history
from runner.job.journal import Journal
from runner.job.limits import LimitMonitor
from runner.job.outcome import (
    cancelled_outcome,
    outcome_of_error,
    outcome_of_fault,
    result_line,
    with_disk_space,
    with_resume_advice,
)
from runner.job.own_code import UnpackedCode, unpacked
from runner.job.own_environment import OwnEnvironment
from runner.job.publish import Publisher
from runner.job.report import report
from runner.job.restarts import archive_later_checkpoints, at_step, crash_loop, initial_status, newest_status
from runner.job.stop import Stop
from runner.job.tokenizers import RunTokenizer, without_tokenizer
from runner.job.unloaded import last_missing, marked
from runner.metrics.svg import loss_svg
from runner.model.pricing import ZERO, TimeRange
from runner.model.run import Run
from runner.model.stages import PARTS, Part, StageName, needs_gpus, part_of
from runner.model.states import State
from runner.model.status import GpuSample, Outcome, OutcomeKind, StageState, StageStatus, Status
from runner.monitoring.unsaved import unsaved
from runner.nanochat import layout
from runner.nanochat.code_facts import CodeFacts
from runner.nanochat.command_lines import Argv
from runner.nanochat.going_back import GOES_ON
from runner.nanochat.layout import CheckpointKind
from runner.planning.defaults import compiles, resolve_spec
from runner.planning.estimate import shape_of
from runner.planning.plan import Plan, make_plan
from runner.planning.plan_stages import Stage, needs_optimizer, starting_point
from runner.planning.tokenizers import asked_for, unlike_shared
from runner.volumes import holdings, run_records
from runner.volumes.checkpoint_verdicts import Checkpoint, Verdict
from runner.volumes.folder import FolderVolume

GRACE_S = 2.5


class Job:
    """One attempt of one run, or one part of it. The only writer of the run's log, events and status while it lives.

    `part` is what is done here where each has a container of its own, None where one process does both.
    """

    def __init__(
        self,
        volume: FolderVolume,
        run: Run,
        work: Path,
        site: JobEnvironment,
        *,
        part: Part | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        self._volume, self._run, self._work = volume, run, work
        self._site, self._part = site, part
        self._base = work / "base"
        self._device_batch = 1
        self._kept_here = False
        self._code: CodeFacts | None = None
        self._unpacked: UnpackedCode | None = None
        self._grace_s = grace_s
        self._notes: queue.SimpleQueue[str | Checkpoint | GpuSample] = queue.SimpleQueue()
        self._earlier = newest_status(run_records.read_status(volume, run), site.last_status(run))
        self._clock = Clock()
        status = initial_status(run, self._earlier, site, part, self._clock() - site.before_s)
        self._finished = self._earlier.work.stages if self._earlier else []
        self._sampler: Sampler | None = None
        self._publisher: Publisher | None = None
        self._journal = Journal(
            volume,
            run.path,
            status,
            self._clock,
            hold_open=site.holds_files,
            emit=site.emit,
            send_heartbeat=site.send_heartbeat,
            compiles=compiles(run.spec, run.backend),
            wall=time.time,
        )
        self._commits = Commits(site.commit, self._notes.put)
        self._tokenizer = RunTokenizer(volume, run, self._base, status)
        self._compiled = site.compile_cache(volume, run, work)
        size = shape_of(run.spec.depth, resolve_spec(run.spec, run.backend).values)
        self._guard = LimitMonitor(run, size, self._journal.say, self._clock, site.call_limit_s)
        self._stop = Stop(self._guard, site.killed_after_s)
        self._ending = Ending(volume, run, work, site, self._journal, self._commits, self._stop, self._clock)
        self._children = Children(
            run,
            volume,
            work,
            self._journal,
            self._stop,
            compiled=self._compiled,
            tick=self._tick,
            grace_s=grace_s,
            good=functools.partial(last_good_templates, volume, run),
        )

    @property
    def _status(self) -> Status:
        return self._journal.status

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT: stop now, keep what is saved."""
        self._stop.tell()

    def main(self) -> int:
        """Run all stages; the exit code is for whoever watches the process, the status is the record."""
        containers = len(self._status.containers.log_offsets)
        again = f", container {containers}" if containers > 1 else ""
        call = f", call {self._status.call_id}" if self._status.call_id else ""
        self._journal.say(f"[ATTEMPT {self._run.attempt}] {self._run.tag} ({self._run.id}){again}{call}")
        if self._status.containers.device:
            self._journal.say(f"[DEVICE] {self._status.containers.device}")
        self._journal.event(
            {"kind": "container", "call": self._status.call_id, "device": self._status.containers.device}
        )
        self._journal.write_status()
        try:
            # What counts the containers must outlive this one, however it dies.
            self._journal.flush()
            self._site.commit()
            outcome = self._stages()
        except (OSError, NanochatError) as error:
            outcome = outcome_of_error(error, self._status.work.stage)
        except BaseException as error:
            self._finish(outcome_of_fault(error, self._status.work.stage))
            raise
        self._finish(outcome)
        return 0 if outcome.kind in (OutcomeKind.DONE, OutcomeKind.CANCELLED) else 1

    @property
    def state(self) -> State:
        return self._status.state

    @property
    def stopped(self) -> bool:
        """Whether it ended because it was told to."""
        return self._stop.told and self._status.state in (State.CANCELLED, State.PREEMPTED)

    def _stages(self) -> Outcome:
        if engines.end_leftovers(self._work):
            self._journal.say("[JOB] ended a process that an earlier attempt had left behind")
        publish.link_shared(self._base, self._volume)
        spec = self._run.spec
        publisher = self._publisher = Publisher(
            self._base,
            self._volume,
            self._run.path,
            spec.model,
            spec.gpus,
            on_saved=self._notes.put,
            say=self._notes.put,
            commit=self._commits.commit,
        )
        publisher.flush()
        self._drain_notes()
        went_back = self._go_back(publisher)
        found = run_records.checkpoints_for(self._volume, self._run)
        if spec.source and not any(starting_point(spec, found, kind) for kind in layout.CHECKPOINT_DIRS):
            return Outcome(
                OutcomeKind.CHECKPOINT, f"no whole checkpoint of {spec.source} is on the volume", "launch a new run"
            )
        if lacks := self._tokenizer.adopt():
            return lacks
        if self._part != "train" and (lacks := without_tokenizer(self._volume, spec, self._run.path)):
            return lacks
        if spec.code:
            code = unpacked(self._volume, spec.code, self._work)
            if isinstance(code, Outcome):
                return code
            self._code, self._children.code_folder = code.facts, code.folder
            self._unpacked = code
            self._journal.say(f"[CODE] {spec.code}")
        today = self._plan(found)
        fruitless = crash_loop(self._status, found, self._finished)
        if fruitless:
            return fruitless
        if self._part is not Part.PREPARE and (unlike := self._children.gpu_mismatch(today)):
            return unlike
        if went_back or (self._status.training.step or 0) > today.resume.step:
            self._journal.event({"kind": GOES_ON, "step": today.resume.step})
            at_step(self._status, self._history())
        self._prepare_work(publisher, found, today)
        if self._compiled and self._part is not Part.PREPARE and (line := self._compiled.restore()):
            self._journal.say(line)
        publisher.start()
        if self._part is not Part.PREPARE:
            self._sampler = Sampler(self._notes.put)
        try:
            return self._checkout(today) or self._own_packages(today) or self._run_stages(today, publisher)
        finally:
            if self._sampler:
                self._sampler.close()
            self._hurry()
            if self._compiled:
                self._compiled.close(self._stop.keeping_s(self._status))
            publisher.close()
            self._drain_notes()

    def _go_back(self, publisher: Publisher) -> bool:
        """Begin at the step that a person chose for this attempt; whether they did."""
        aside = archive_later_checkpoints(self._volume, self._run, self._status.attempt)
        if aside is None:
            return False
        publisher.discard(aside)
        self._finished = [s for s in self._finished if s.name in PARTS[Part.PREPARE]]
        steps = ", ".join(f"{c.kind} {c.step:,}" for c in aside) or "nothing"
        self._journal.say(f"[BACK] to step {self._run.resume_step:,}; put aside: {steps}")
        return True

    def _plan(self, found: list[Checkpoint]) -> Plan:
        """The plan as of now: other runs may have filled the volume meanwhile."""
        source = run_records.read_run(self._volume, self._run.spec.source) if self._run.spec.source else None
        return make_plan(
            self._run.spec,
            self._inventory(),
            backend=self._run.backend,
            checkpoints=found,
            finished=self._finished,
            trained_steps=self._earlier.training.total_steps if self._earlier else None,
            attempt=self._run.attempt,
            prices=self._run.prices,
            whose=source.tag if source else "",
            code=self._code,
            tag=self._run.tag,
        )

    def _inventory(self) -> layout.Inventory:
        """What the volume has for this run. With GPUs that wait nobody looks into files: the part before has."""
        judged = self._part is not Part.TRAIN
        return holdings.inventory(self._volume, self._run.spec.engine, judged=judged, runs=(self._run.path,))

    def _prepare_work(self, publisher: Publisher, found: list[Checkpoint], today: Plan) -> None:
        """Put on the work disk what the next stage continues from, and nothing that could mislead it."""
        for kind in layout.CHECKPOINT_DIRS:
            newest = starting_point(self._run.spec, found, kind)
            if newest:
                publisher.restore(newest, optimizer=needs_optimizer(self._run.spec))
            else:
                publisher.clear(kind)
        status = self._status
        status.training.total_steps, status.training.save_every = today.total_steps or None, today.saves.steps
        status.training.val_every, status.training.core_every = today.val_every, today.core_every
        status.training.step = status.training.saved_step = (today.resume.step or None) if today.total_steps else None
        done = {old.name: old for old in self._finished if old.state is StageState.DONE}
        before = PARTS[Part.PREPARE] if self._part is Part.TRAIN else frozenset()
        status.work.stages = [
            done[s.name]
            if s.name in done and (s.skip or s.name in before)
            else StageStatus(s.name, StageState.SKIPPED if s.skip else StageState.WAITING, note=s.skip or s.note)
            for s in today.stages
        ]
        self._device_batch = today.device_batch
        self._journal.say(f"[PLAN] {today.resume.reason}; checkpoint every {today.saves.steps} steps")

    def _advised(self, outcome: Outcome) -> Outcome:
        return with_resume_advice(outcome, self._status, self._device_batch, self._run.spec)

    def _history(self) -> History:
        self._journal.flush()
        events = self._volume.read(f"{self._run.path}/{layout.EVENTS_FILE}").decode("utf-8", "replace")
        return history(events.splitlines())

    def _run_stages(self, today: Plan, publisher: Publisher) -> Outcome:
        for stage, record in zip(today.stages, self._status.work.stages, strict=True):
            if self._stop.told:
                return cancelled_outcome(self._status)
            if self._part and self._part is not part_of(self._run.spec.task, stage.name):
                continue
            if stage.skip:
                if record.state is StageState.SKIPPED:
                    self._journal.say(f"[STAGE] {stage.name} skipped: {stage.skip}")
                if stage.name is StageName.TOKENIZER and (other := self._settle_tokenizer(stage, today)):
                    return other
                continue
            halt = self._stop.halt = self._stop.halt or self._guard.reason_not_to_begin(
                self._status, stage.name, _seconds(stage)
            )
            if halt:
                return self._advised(halt)
            outcome = self._run_stage(stage, record, today, publisher)
            if outcome:
                return outcome
        made = "" if needs_gpus(self._run.spec.task) else f"its tokenizer is {self._status.training.tokenizer[:8]}"
        return Outcome(OutcomeKind.DONE, result_line(self._status) or made)

    def _run_stage(self, stage: Stage, record: StageStatus, today: Plan, publisher: Publisher) -> Outcome | None:
        status = self._status
        status.work.stage = stage.name
        status.state = State.PREPARING if stage.name in (StageName.PREPARE, StageName.TOKENIZER) else State.RUNNING
        record.state, record.started_at = StageState.RUNNING, self._clock()
        self._journal.begin_stage()
        self._journal.say(f"[STAGE] {stage.name}")
        self._journal.event({"kind": "stage", "state": "running"})
        self._journal.write_status()
        outcome = self._settle_tokenizer(stage, today) if stage.name not in PARTS[Part.PREPARE] else None
        outcome = outcome or self._do(stage, today)
        if outcome is None and stage.name is StageName.TOKENIZER:
            outcome = self._settle_tokenizer(stage, today)
        self._hurry()
        publisher.flush(lambda: self._tick(today.heartbeat_s))
        self._drain_notes()
        if outcome:
            outcome = self._advised(outcome)
            if outcome.kind is OutcomeKind.DISK:
                outcome = with_disk_space(outcome, self._work, self._guard.checkpoint_bytes)
        publish.copy_results(self._base, self._volume, self._run.path)
        outcome = marked(self._volume, self._run, stage.name, outcome) if outcome else self._unkept(stage, publisher)
        record.ended_at = self._clock()
        record.state = _STOPPED.get(outcome.kind, StageState.FAILED) if outcome else StageState.DONE
        self._kept_here |= record.state is StageState.DONE
        self._journal.event({"kind": "stage", "state": record.state.value})
        self._journal.write_status()
        if not self._stop.told:
            self._commit()
        return outcome

    def _settle_tokenizer(self, stage: Stage, today: Plan) -> Outcome | None:
        new = not needs_gpus(self._run.spec.task) or not today.resume.step
        fresh = new and stage.name in (StageName.TOKENIZER, StageName.BASE)
        return self._tokenizer.settle(self._asked_tokenizer(), fresh=fresh)

    def _asked_tokenizer(self) -> tuple[str, ...]:
        return asked_for(resolve_spec(self._run.spec, self._run.backend, self._code))

    def _fill(self, name: StageName, commands: Sequence[Argv], today: Plan) -> Outcome | None:
        """Run the command lines of a stage that fills the volume, while nobody else does."""
        if name is not StageName.TOKENIZER:
            return self._children.run(name, commands, today)
        has = self._inventory()
        own = has.tokenizer_of_run or bool(
            unlike_shared(resolve_spec(self._run.spec, self._run.backend, self._code), has)
        )
        self._tokenizer.aim(own=own, fresh=not today.resume.step)
        outcome = self._children.run(name, commands, today)
        if outcome is None:
            self._tokenizer.trained(self._asked_tokenizer(), own=own)
        return outcome

    def _do(self, stage: Stage, today: Plan) -> Outcome | None:
        if stage.name is StageName.REPORT:
            self._write_report(today)
            return None
        if stage.name not in PARTS[Part.PREPARE]:
            return self._children.run(stage.name, stage.commands, today)
        filling = SharedStages(
            self._site,
            self._volume.path(f"{layout.CACHE}/{layout.PREPARE_LOCK}"),
            self._journal,
            self._stop,
            clear=lambda: quarantine_damaged(self._volume, self._base, self._run.spec.engine),
            keep=lambda: publish.copy_results(self._base, self._volume, self._run.path),
            look=lambda: self._plan([]),
            run=lambda name, commands: self._fill(name, commands, today),
            tick=lambda: self._tick(today.heartbeat_s),
            commit=self._commit,
        )
        return filling.run(stage.name)

    def _checkout(self, today: Plan) -> Outcome | None:
        """Bring nanochat itself when this machine has no checkout."""
        if self._run.spec.engine != "nanochat" or self._run.spec.code:
            return None
        home = Path(os.environ["NANOCHAT_TUI_HOME"])

        def waiting() -> bool:
            self._tick(today.heartbeat_s)
            return not self._stop.told

        with self._site.exclusive_lock(home / "nanochat.lock", waiting) as mine:
            if not mine:
                return cancelled_outcome(self._status)
            return self._children.run(StageName.PREPARE, engines.clone_commands(home), today)

    def _own_packages(self, today: Plan) -> Outcome | None:
        """Bring the packages of a person's own code to a container, whose image has those of the pinned upstream."""
        if self._part is None or self._unpacked is None or self._run.spec.code is None:
            return None
        own = OwnEnvironment(
            self._site,
            self._volume,
            self._work,
            self._journal,
            self._stop,
            tick=lambda: self._tick(today.heartbeat_s),
            commit=self._commit,
            grace_s=self._grace_s,
        )
        found = own.bring(self._run.spec.code, self._unpacked, self._part)
        if isinstance(found, Outcome):
            return found
        self._children.packages = found
        return None

    def _tick(self, heartbeat_s: float) -> None:
        if not self._journal.mid_line:
            self._drain_notes()
        if self._stop.told and self._status.state is not State.STOPPING:
            self._begin_to_stop()
        self._look_at_what_is_saved()
        self._journal.tick(heartbeat_s)
        if self._compiled and self._status.work.stage is StageName.BASE and self._status.pace.slowest_dt_s is not None:
            self._compiled.publish_later()
        if self._commits.due:
            self._commits.commit_in_background()

    def _look_at_what_is_saved(self) -> None:
        work, publisher = self._status.work, self._publisher
        problem, waiting = (publisher.problem, publisher.waiting) if publisher else ("", 0)
        work.unsaved = unsaved(work.unsaved, problem or self._commits.problem, waiting, self._clock())

    def _begin_to_stop(self) -> None:
        """Say so before anything else: what comes next may be cut short."""
        self._status.state = State.STOPPING
        self._journal.flush()
        self._journal.write_status()
        self._commits.commit_in_background()
        self._hurry()

    def _hurry(self) -> None:
        """Give checkpoints no more time than there is."""
        within = self._stop.keeping_s(self._status)
        if self._publisher and within is not None:
            self._publisher.limit_time(within)

    def _commit(self) -> None:
        self._journal.flush()
        self._commits.commit_now()
        self._drain_notes()

    def _drain_notes(self) -> None:
        """What the publishing thread has to say; the journal has one writer."""
        while not self._notes.empty():
            note = self._notes.get()
            if isinstance(note, str):
                self._journal.say(note)
                continue
            if isinstance(note, GpuSample):
                self._status.pace.gpu = note
                self._journal.event({"kind": "gpu", **msgspec.to_builtins(note)})
                continue
            if note.kind is CheckpointKind.BASE:
                if note.verdict is Verdict.COMPLETE:
                    self._status.training.saved_step, self._kept_here = note.step, True
                if self._children.wrote_at is not None:
                    self._status.pace.publish_s = round(time.monotonic() - self._children.wrote_at, 1)
                self._guard.on_checkpoint_saved()
            self._journal.event(
                {"kind": "checkpoint", "of": note.kind, "step": note.step, "bytes": note.bytes, "gpus": note.ranks}
            )

    def _unkept(self, stage: Stage, publisher: Publisher) -> Outcome | None:
        """What a stage that ended well has made and is not on the volume."""
        outcome = None
        if publisher.problem:
            outcome = Outcome(
                OutcomeKind.DISK, f"checkpoints could not be kept: {publisher.problem}", "make room, then resume"
            )
        elif stage.name is StageName.BASE:
            outcome = last_missing(self._volume, self._run, self._status)
        return cancelled_outcome(self._status) if outcome and self._stop.told else outcome

    def _write_report(self, today: Plan) -> None:
        folder = self._run.path
        past = self._history()
        curve = loss_svg(past.loss, past.val) if past.loss else loss_svg(past.sft_loss, past.sft_val)
        if curve:
            self._volume.write(f"{folder}/{layout.CURVE_FILE}", curve.encode())
        text = report(self._run, self._status, today, past, curve=bool(curve))
        self._volume.write(f"{folder}/{layout.REPORT_FILE}", text.encode("utf-8", "replace"))

    def _finish(self, outcome: Outcome) -> None:
        asked: Outcome | None = outcome
        if outcome.kind is OutcomeKind.DONE and self._part is Part.PREPARE and needs_gpus(self._run.spec.task):
            asked = self._ending.spawn_leg(1, "[PREPARED] asking for the GPUs")
        elif outcome.kind is OutcomeKind.TIME_LIMIT:
            advice = "" if self._kept_here else self._guard.leg_without_progress(self._status)
            # Legs that end with nothing kept are counted as containers that died: there must be an end to it.
            self._status.containers.restarts_without_progress += not self._kept_here
            leg = self._status.containers.leg + 1
            line = f"[NEXT CALL] {outcome.message}; asking for call {leg}"
            asked = msgspec.structs.replace(outcome, advice=advice) if advice else self._ending.spawn_leg(leg, line)
        if asked:
            self._ending.end(asked)


# How a stage ended that was stopped: it goes on, in another call or attempt.
_STOPPED = dict.fromkeys(
    (OutcomeKind.CANCELLED, OutcomeKind.BUDGET, OutcomeKind.TIME_LIMIT, OutcomeKind.UNSAVED), StageState.STOPPED
)


def _seconds(stage: Stage) -> TimeRange:
    """What a stage takes that keeps nothing before its end. Base training keeps what it has."""
    return stage.seconds if stage.name in (StageName.BASE_EVAL, StageName.SFT, StageName.CHAT_EVAL) else ZERO
