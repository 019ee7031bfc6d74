"""A detached process and a folder: for a first try, for rehearsals and for tests."""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from runner import engine_imports, engines, processes
from runner.backends.base import Check, Workspace
from runner.backends.local_life import LiveJob, find_live_job
from runner.errors import Unreachable, UsageError, VolumeGone
from runner.model import pricing
from runner.model.backend_name import BackendName
from runner.model.code import Code
from runner.model.pricing import Prices
from runner.model.run import Poll, Run
from runner.model.spec import RunSpec
from runner.model.states import State
from runner.model.status import Outcome, OutcomeKind, Status
from runner.nanochat import layout
from runner.settings import without_variables
from runner.system import locks, read_only
from runner.text.sanitize import strip_ansi
from runner.volumes import run_records
from runner.volumes.folder import FolderVolume

# Where a job's own output goes: what it could not put on the volume.
SAID, SAID_BYTES = "job.out", 1 << 16


class LocalBackend:
    """The Backend Protocol on this machine. A job is its own session and outlives the app and the terminal."""

    name = BackendName.LOCAL

    def __init__(self, home: Path) -> None:
        self._home = home

    def volume(self, location: str) -> FolderVolume:
        return FolderVolume(location)

    def default_volume(self, engine: str) -> str:
        folder = self._home / "volumes" / engine
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def _work(self, run: Run) -> Path:
        return self._home / "work" / run.id

    def make_volume(self, location: str) -> bool:
        read_only.refuse("make a volume")
        if Path(location).is_dir():
            return False
        try:
            Path(location).mkdir(parents=True)
        except OSError as error:
            raise UsageError(
                f"cannot make the volume folder {location} ({error.strerror})", "give another --volume", field="volume"
            ) from error
        return True

    def current_workspace(self) -> Workspace:
        return Workspace()

    def check_workspace(self, run: Run) -> None:
        """Everything here is of this machine."""

    def ensure_deployed(self, engine: str, *, live: Sequence[Run], code: Code | None = None) -> str:
        problem = engines.problem(engine, self._home, code)
        if not problem and code and engine == "nanochat":
            problem = engine_imports.problem_of_code(self._home, code)
        if problem:
            raise UsageError(*problem, field="engine")
        return ""

    def check_keys(self, spec: RunSpec) -> None:
        for name in spec.pass_env:
            if name not in os.environ:
                raise UsageError(f"{name} is not set in this shell", f"export {name}=…, then again", field="pass-env")

    def launch(self, run: Run) -> str:
        read_only.refuse("launch a run")
        import subprocess

        work = self._work(run)
        locks.check(work, processes.LOCK_FILE)
        locks.check(Path(run.volume) / layout.CACHE, layout.PREPARE_LOCK)
        argv = [sys.executable, "-m", "runner.job", "--run", run.id, "--volume", run.volume]
        argv += ["--work", str(work), "--attempt", str(run.attempt)]
        environ = {**without_variables(os.environ), "NANOCHAT_TUI_HOME": str(self._home), "PYTHONSAFEPATH": "1"}
        with (work / SAID).open("wb") as out:
            job = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=work,
                env=environ,
                start_new_session=True,
            )
        return processes.call_id(job.pid)

    def _life(self, run: Run, status: Status | None) -> LiveJob | None:
        return find_live_job(run, status, self._work(run))

    def poll(self, run: Run) -> Poll:
        gone = not Path(run.volume).is_dir()
        status = None if gone else run_records.read_status(self.volume(run.volume), run)
        alive = self._life(run, status) is not None
        if not alive and run.live and not read_only.is_set():
            self._end_leftovers(run)
        if gone and (alive or not run.cancel_requested_at):
            raise VolumeGone(f"the volume folder {run.volume} is gone", "put it back to see its runs")
        if gone:
            return Poll(False, None)
        if alive:
            return Poll(True, status)
        # The job may have ended between the two looks: its last word is read once more.
        last = run_records.read_status(self.volume(run.volume), run)
        return Poll(False, last, self._unwritten(run, wrote=last is not None and last.attempt == run.attempt))

    def _unwritten(self, run: Run, *, wrote: bool) -> Outcome | None:
        """What a job said that could not write it down: how it ended, what tells it, or its only words."""
        if run.state is State.LAUNCHING:
            # What is there may be of the attempt before.
            return None
        try:
            lines = (self._work(run) / SAID).read_bytes()[-SAID_BYTES:].decode("utf-8", "replace").splitlines()
        except OSError:
            return None
        said = next((line for line in reversed(lines) if line.strip()), "")
        with contextlib.suppress(msgspec.MsgspecError):
            return msgspec.json.decode(said, type=Outcome)
        from runner.diagnosis.evidence import Evidence
        from runner.diagnosis.verdict import diagnose

        seen = Evidence()
        for number, line in enumerate(lines):
            seen.add_line(strip_ansi(line), None, number)
        if found := diagnose(seen):
            what = f"the job itself failed: {found.message}"[:300]
            return Outcome(found.kind, what, found.advice.replace("RUN", run.id), resume=found.resume)
        if wrote or not said:
            return None
        words = f"the job ended before it wrote anything; it said: {strip_ansi(said)}"
        return Outcome(OutcomeKind.KILLED, words[:300], f"nanochat-tui resume {run.id}")

    def last_heartbeat(self, run: Run) -> Status | None:
        return run_records.read_status(self.volume(run.volume), run)

    def may_be_running(self, run: Run) -> bool:
        return self._life(run, None) is not None

    def _end_leftovers(self, run: Run, within_s: float = 0.0) -> None:
        """End the children of a job that is dead: the lock is free, or is so soon, so no other attempt lives."""
        work = self._work(run)
        path = work / processes.LOCK_FILE
        # Where nobody can say whether another attempt lives, nothing is ended.
        with contextlib.suppress(FileNotFoundError, locks.NoLocks), path.open("r+") as lock:
            if locks.take_within(lock, path, within_s):
                engines.end_leftovers(work)

    def cancel(self, run: Run, *, force: bool = False) -> None:
        read_only.refuse("cancel a run")
        job = self._life(run, run.status)
        if job is None:
            return
        try:
            if job.pid is not None and not force:
                processes.stop(job.pid)
                return
            if job.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(job.pid, signal.SIGKILL)
                self._end_leftovers(run, within_s=processes.END_PATIENCE_S)
                return
            where, there = f"on {job.host or 'another machine'}", "there"
        except PermissionError:
            where, there = "as another user", "as that user"
        # No signal reaches it: it looks for this mark itself.
        run_records.mark_cancelled(self.volume(run.volume), run)
        if force:
            raise Unreachable(f"{run.tag} runs {where}, and has not answered", f"cancel it {there}")

    def pull_log(self, run: Run, folder: Path) -> None:
        """The job writes where it is read."""

    def prices(self) -> Prices:
        return pricing.DATED

    def billed(self, run: Run) -> dict[str, Decimal] | None:
        return None

    def forget(self, run: Run) -> None:
        read_only.refuse("delete a run")
        shutil.rmtree(self._work(run), ignore_errors=True)

    def close(self) -> None:
        """Nothing is held open."""

    def check(self) -> list[Check]:
        free = shutil.disk_usage(self._home).free
        checks = [Check("disk", free > 2 << 30, f"{free / 2**30:.1f} GiB free under {self._home}", "free some space")]
        checks.append(Check("engine rehearsal", True, "needs nothing else"))
        problem = engines.problem("nanochat", self._home) or engine_imports.problem(self._home)
        detail = problem[0] if problem else f"{engines.nanochat_python(self._home)} imports what its stages import"
        # Who has named a Python or a checkout means to use it.
        optional = not {"NANOCHAT_PYTHON", "NANOCHAT_DIR"} & set(os.environ)
        checks.append(Check("engine nanochat", problem is None, detail, problem[1] if problem else "", optional))
        return checks
