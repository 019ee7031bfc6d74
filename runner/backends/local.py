"""A detached process and a folder: for a first try, for rehearsals and for tests."""

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

from runner import process, survey
from runner.backends.base import Check
from runner.backends.folder import FolderVolume
from runner.errors import Unreachable, UsageError
from runner.job import engines
from runner.nanochat import layout
from runner.run import Poll, Run


class LocalBackend:
    """The Backend Protocol on this machine. A job is its own session and outlives the app and the terminal."""

    name = "local"

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

    def launch(self, run: Run) -> str:
        problem = engines.problem(run.spec.engine, self._home)
        if problem:
            raise UsageError(*problem, field="engine")
        import subprocess

        work = self._work(run)
        work.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "runner.job", "--run", run.id, "--volume", run.volume]
        argv += ["--work", str(work), "--attempt", str(run.attempt)]
        environ = {**os.environ, "NANOCHAT_TUI_HOME": str(self._home), "PYTHONSAFEPATH": "1"}
        with (work / "job.out").open("ab") as out:
            job = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=work,
                env=environ,
                start_new_session=True,
            )
        return process.call_id(job.pid)

    def _pid(self, run: Run) -> int | None:
        names = [c.call_id for c in run.calls[-1:]]
        if run.status and run.status.attempt == run.attempt:
            names.append(run.status.call_id)
        return next((pid for name in names if (pid := process.pid_if_alive(name)) is not None), None)

    def poll(self, run: Run) -> Poll:
        if not Path(run.volume).is_dir():
            raise Unreachable(f"the volume folder {run.volume} is gone", "put it back to see its runs")
        alive = self._pid(run) is not None
        status = survey.read_status(self.volume(run.volume), run.id)
        if not alive and status and status.attempt == run.attempt:
            alive = process.pid_if_alive(status.call_id) is not None
        if not alive:
            process.kill_leftover(self._work(run) / engines.CHILD_FILE)
        return Poll(alive, status)

    def cancel(self, run: Run, *, force: bool = False) -> None:
        pid = self._pid(run)
        if pid is None:
            return
        if not force:
            process.stop(pid)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            process.kill_leftover(self._work(run) / engines.CHILD_FILE)

    def pull_log(self, run: Run) -> Path:
        return Path(run.volume) / layout.run_dir(run.id) / layout.LOG_FILE

    def forget(self, run: Run) -> None:
        shutil.rmtree(self._work(run), ignore_errors=True)

    def check(self) -> list[Check]:
        free = shutil.disk_usage(self._home).free
        checks = [Check("disk", free > 2 << 30, f"{free / 2**30:.1f} GiB free under {self._home}", "free some space")]
        checks.append(Check("engine rehearsal", True, "needs nothing else"))
        problem = engines.problem("nanochat", self._home)
        detail = problem[0] if problem else str(engines.nanochat_python(self._home))
        checks.append(Check("engine nanochat", problem is None, detail, problem[1] if problem else ""))
        return checks
