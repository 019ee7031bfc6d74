"""The command lines of a stage, one after the other, as children of the job."""

import functools
import os
import shlex
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from runner import engines
from runner.diagnosis.advice import CanResume
from runner.job import expectations, wandb_stage
from runner.job.compile_cache import CompileCache
from runner.job.journal import Journal
from runner.job.masking import Mask, secret_values
from runner.job.memory import oom_kills
from runner.job.outcome import FailureTracker, diagnose_stage, unwanted_reason
from runner.job.status_tracker import warn
from runner.job.stop import Stop
from runner.job.supervise import run_child
from runner.job.wandb_stage import WandbStage
from runner.model import events
from runner.model.backend_name import BackendName
from runner.model.events import Event
from runner.model.run import Run
from runner.model.stages import PARTS, Part, StageName
from runner.model.status import Outcome, OutcomeKind, Problem
from runner.nanochat.command_lines import Argv
from runner.planning.plan import Plan
from runner.text.secrets import looks_secret
from runner.volumes.folder import FolderVolume


class Children:
    """Runs command lines in the engine's place; their output goes to the journal. `tick` is called all the time."""

    def __init__(
        self,
        run: Run,
        volume: FolderVolume,
        work: Path,
        journal: Journal,
        stop: Stop,
        *,
        compiled: CompileCache | None,
        tick: Callable[[float], None],
        grace_s: float,
        good: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """`good` tells what another run of the task has said that ended well, as templates."""
        self._run, self._volume, self._work, self._journal, self._stop = run, volume, work, journal, stop
        self._compiled, self._tick, self._grace_s = compiled, tick, grace_s
        self._good = good
        self.wrote_at: float | None = None
        # Where the person's own nanochat was laid out.
        self.code_folder: Path | None = None
        # Packages that come before those of the Python that runs it.
        self.packages: Path | None = None
        self._mask = Mask(())
        self._wandb: WandbStage | None = None
        self._watch: expectations.ExpectationCheck | None = None
        self._unlike: Outcome | None = None

    def run(self, stage: StageName, commands: Sequence[Argv], today: Plan) -> Outcome | None:
        """What went wrong, or why it was stopped; None when every command line ended well."""
        spec, home = self._run.spec, Path(os.environ["NANOCHAT_TUI_HOME"])
        place = engines.engine_command(spec.engine, home, spec.code, self.code_folder)
        env = self._environment(today, place)
        self._mask = Mask(secret_values(env, spec.pass_env))
        if spec.wandb is not None and stage in wandb_stage.STAGES:
            python = place.resolve(("python",))[0]
            self._wandb = WandbStage(self._run, stage, self._volume, self._work, python, self._journal.say)
            env = self._wandb.environment(env)
            self._wandb.start()
        try:
            return self._run_all(stage, commands, today, place, env)
        finally:
            if self._wandb:
                self._wandb.close(self._journal.status, for_good=not (self._stop.told or self._stop.halt is not None))
                self._wandb = None

    def _run_all(
        self,
        stage: StageName,
        commands: Sequence[Argv],
        today: Plan,
        place: engines.EngineCommand,
        env: dict[str, str],
    ) -> Outcome | None:
        for argv in commands:
            trail, self._unlike, kills = FailureTracker(), None, oom_kills()
            wanted = None if stage in PARTS[Part.PREPARE] else self._asked(today)
            self._watch = expectations.ExpectationCheck(wanted, stage) if wanted else None
            self._journal.say(f"[EXEC] {shlex.join(argv)}")
            self._journal.event({"kind": "exec", "command": shlex.join(argv)})
            try:
                ended = run_child(
                    place.resolve(argv),
                    env=env,
                    cwd=place.folder if Path(place.folder).is_dir() else str(self._work),
                    note=self._work / engines.CHILD_FILE,
                    on_output=functools.partial(self._output, trail),
                    on_tick=lambda: self._on_tick(today.heartbeat_s),
                    stopping=functools.partial(self._stopping, stage, trail),
                    grace_s=self._grace_s,
                )
            except OSError as error:
                why = f"{argv[0]} cannot be started: {error.strerror}"
                return Outcome(OutcomeKind.ENVIRONMENT, why, "nanochat-tui doctor", stage)
            for said in (*self._journal.output(self._mask.rest()), *self._journal.end_stage()):
                self._see(trail, *said)
            if self._stop.halt and not ended.ok:
                return self._stop.halt
            if self._unlike and not self._stop.told:
                return self._unlike
            unwanted_now = None if self._stop.told else unwanted_reason(stage, trail, self._run.spec.overrides)
            outcome = diagnose_stage(
                stage, ended, trail, stopped_for=unwanted_now, oom_kills=oom_kills() - kills, good=self._good
            )
            if outcome:
                before = self._journal.lines_before() if outcome.line or outcome.problems else 0
                line = outcome.line + before if outcome.line else None
                problems = tuple(Problem(one.line + before, one.text) for one in outcome.problems)
                return msgspec.structs.replace(outcome, line=line, problems=problems)
        return None

    def _environment(self, today: Plan, place: engines.EngineCommand) -> dict[str, str]:
        """What a child gets to see: nothing with which it could act on the person's Modal account.

        On this machine it sees no key of the shell that launched it but those that were named.
        """
        here = self._run.backend is BackendName.LOCAL
        passed = (*self._run.spec.pass_env, *(("WANDB_API_KEY",) if self._run.spec.wandb is not None else ()))
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("MODAL_") and not (here and looks_secret(name, value) and name not in passed)
        }
        env |= {**today.env, "NANOCHAT_BASE_DIR": str(self._work / "base"), "PYTHONPATH": place.folder}
        if self.packages:
            env["PYTHONPATH"] += os.pathsep + str(self.packages)
        if self._run.spec.engine == "rehearsal":
            env["PYTHONPATH"] += os.pathsep + str(Path(__file__).parents[2])
        if self._compiled:
            env |= self._compiled.environment()
        env.pop("PYTHONSAFEPATH", None)
        return env

    def _on_tick(self, heartbeat_s: float) -> None:
        self._tick(heartbeat_s)
        if self._wandb:
            self._wandb.tick(self._journal.status)

    def _stopping(self, stage: StageName, trail: FailureTracker) -> bool:
        unwanted_now = unwanted_reason(stage, trail, self._run.spec.overrides)
        return self._stop.look(self._journal.status) or unwanted_now is not None or self._unlike is not None

    def _output(self, trail: FailureTracker, data: bytes) -> None:
        for line, event, number in self._journal.output(self._mask.take(data)):
            self._see(trail, line, event, number)
            if isinstance(event, events.Saved):
                self.wrote_at = time.monotonic()

    def gpu_mismatch(self, today: Plan) -> Outcome | None:
        """Why the GPUs of this container are not those that are paid for, as their driver tells it."""
        wanted = self._asked(today)
        found = expectations.gpu_mismatch(wanted, self._journal.status.containers.device) if wanted else None
        return self._told(found) if found else None

    def _asked(self, today: Plan) -> expectations.Expected | None:
        return expectations.expected(self._run.spec, self._run.backend, today.resume.step)

    def _see(self, trail: FailureTracker, line: str, event: Event | None, number: int) -> None:
        trail.add_line(line, event, number)
        unlike = self._watch.mismatch(event) if self._watch and event else None
        if unlike:
            self._unlike = self._unlike or self._told(unlike)

    def _told(self, unlike: expectations.Mismatch) -> Outcome | None:
        """The end of the run for what it must not go on with; else a warning."""
        if not unlike.fatal:
            warn(self._journal.status, unlike.message)
            return None
        again, stage = CanResume.YES if unlike.again else CanResume.CHANGED, self._journal.status.work.stage
        return Outcome(OutcomeKind.ENVIRONMENT, unlike.message, unlike.advice, stage, resume=again)
