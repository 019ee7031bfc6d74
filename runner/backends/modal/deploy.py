"""Which deployed app a run is spawned in; `modal deploy` where there is none of this source."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import modal

from runner.backends.modal import names
from runner.backends.modal.errors import error_text, redact_credentials, translating_errors
from runner.backends.modal.names import APPS, TAG
from runner.errors import NanochatError
from runner.model.run import Run
from runner.model.stages import Part
from runner.system import atomic
from runner.text.sanitize import strip_ansi


class Deployments:
    """The apps of an engine: one by its plain name, and one a source beside it while runs live in the plain one.

    A call that is preempted or hands over starts in the newest version of its app, so an app is never deployed anew
    under a live run.
    """

    def __init__(self, home: Path, say: Callable[[str], None]) -> None:
        self._home, self._say = home, say
        self._deploying: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End a deployment that is under way: whoever leaves does not wait for an image."""
        deploying = self._deploying
        if deploying:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(deploying.pid, signal.SIGTERM)

    def ensure(self, engine: str, live: Sequence[Run]) -> str:
        """The name of an app that was deployed from this very source; `live` are the runs that may be in one."""
        plain, source = APPS[engine], names.source_fingerprint()
        with translating_errors():
            deployed = _source_of(plain)
            if deployed == source:
                return plain
            if deployed is None:
                self._say(f"deploying {plain}; the first time its image is built, which takes minutes")
                return self._deploy(engine, plain)
            inside = [r.tag for r in live if (r.app or plain) == plain and r.spec.engine == engine]
            if not inside and not _busy(plain):
                self._say(f"deploying {plain} anew, its source has changed")
                return self._deploy(engine, plain)
            beside = f"{plain}-{source[:6]}"
            if _source_of(beside) != source:
                whose = f"{inside[0]} is" if len(inside) == 1 else f"{len(inside) or 'other'} runs are"
                self._say(f"deploying {beside}: {whose} live in {plain}, whose source must not change under them")
                self._deploy(engine, beside)
            return beside

    def _deploy(self, engine: str, name: str) -> str:
        argv = [sys.executable, "-m", "modal", "deploy", "--name", name, "-m", names.REFERENCES[engine]]
        package = Path(__file__).parents[3]
        # What the client prints is read here, whatever this terminal can show.
        env = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"}
        with subprocess.Popen(
            argv,
            cwd=package,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as deploying:
            self._deploying = deploying
            try:
                output = deploying.communicate()[0]
            except BaseException:
                self.close()
                raise
            finally:
                self._deploying = None
        if deploying.returncode == 0:
            return name
        if deploying.returncode < 0:
            raise NanochatError(f"the deployment of {name} was stopped", "the same again begins it anew")
        log = self._home / f"deploy-{engine}.log"
        said = redact_credentials(output.decode("utf-8", "replace"))
        atomic.write(log, said.encode(), atomic.PRIVATE)
        raise NanochatError(f"the app could not be deployed: {_last_words(said)}", f"all of it is in {log}")


def _source_of(name: str) -> str | None:
    """Which source an app was deployed from; None when it is not deployed."""
    try:
        return modal.App.lookup(name).get_tags().get(TAG, "")
    except modal.exception.NotFoundError as error:
        if "nvironment" in error_text(error) and name not in error_text(error):
            raise
        return None


def _busy(name: str) -> bool:
    """Whether any call of an app runs or waits, whoever asked for it."""
    for part in Part:
        stats = modal.Function.from_name(name, part).get_current_stats()
        if stats.backlog or stats.num_total_runners:
            return True
    return False


def _last_words(output: str) -> str:
    """The end of a failed deployment's output, from its last error on."""
    lines = [" ".join(strip_ansi(line).strip("│╭╮╰╯─┃ ").split()) for line in output.split("\n")]
    telling = [line for line in lines if line] or ["no output"]
    errors = [n for n, line in enumerate(telling) if "rror" in line or "ailed" in line]
    return " ".join(telling[errors[-1] if errors else -1 :])[:400]
