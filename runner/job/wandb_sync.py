"""What a training logs, sent to Weights & Biases beside it: by a process that nothing waits for."""

import contextlib
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from runner import wandb_shadow
from runner.text.sanitize import sanitize_line
from runner.text.secrets import redact

# A container with eight H100 costs about a cent a second.
LAST_S = 20.0
# What sends goes by itself, should the job be killed.
_ORPHAN_S = 60.0
AGAIN_S = 60.0
# Of what the process says: its beginning has the link, its end how it stands.
_READ = 1 << 16
_LINK = re.compile(r"https?://[\w.-]+(?::\d{1,5})?/[\w.~%/-]+/runs/[\w.~%-]+", re.ASCII)
_ID = re.compile(r"[\w.-]{1,120}", re.ASCII)
NO_KEY = "there is no WANDB_API_KEY: what is logged is kept, and not sent"


class Told(Struct, frozen=True):
    """What the process that sends has said of itself so far."""

    link: str = ""
    problem: str = ""
    last_step: int = -1
    done: bool = False


def parse(output: str) -> Told:
    """Lines of the sender -> what they come to; of other lines, and of what is no address of a run, nothing."""
    link, problem, last, done = "", "", -1, False
    for line in output.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if not isinstance(said, dict):
            continue
        found, why, step = said.get("link"), said.get("problem"), said.get("last")
        link = found if isinstance(found, str) and _LINK.fullmatch(found) else link
        problem = sanitize_line(redact(why))[:300] if isinstance(why, str) else problem
        last = step if isinstance(step, int) else last
        done = done or said.get("done") is True
    return Told(link, problem, last, done)


def environment(run_id: str, stage: str, tag: str, project: str, folder: Path) -> dict[str, str]:
    """What a training of one stage gets to see, besides `runner.wandb_shadow.FOLDER` in front on its PYTHONPATH.

    An empty `project` leaves the one that nanochat names.
    """
    env = {
        # Whatever else asks the real package for a run opens no connection.
        "WANDB_MODE": "offline",
        "WANDB_RUN_ID": wandb_id(run_id, stage),
        "WANDB_NAME": f"{tag}-{stage}",
        "WANDB_RUN_GROUP": f"{tag}-{run_id}",
        "NANOCHAT_TUI_WANDB_DIR": str(folder),
    }
    return env | ({"NANOCHAT_TUI_WANDB_PROJECT": project} if project else {})


def wandb_id(run_id: str, stage: str) -> str:
    """The name under which Weights & Biases knows a stage of a run, over all its attempts. Raises ValueError."""
    found = f"{run_id}-{stage}"
    if not _ID.fullmatch(found):
        raise ValueError(f"{found!r} is no id of a run at Weights & Biases")
    return found


def has_key(env: Mapping[str, str]) -> bool:
    """Whether there is a key, in the environment or in the file that `wandb login` writes."""
    if env.get("WANDB_API_KEY", "").strip():
        return True
    import netrc

    host = urlsplit(env.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    path = env.get("NETRC") or Path(env.get("HOME") or os.path.expanduser("~")) / ".netrc"
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return False


def keep(folder: Path, volume_folder: Path) -> int:
    """Copy what trainings have logged; a file that is there as long already is left. How many were copied."""
    import shutil

    copied = 0
    for path in sorted(folder.glob("*.jsonl")):
        target = volume_folder / path.name
        with contextlib.suppress(FileNotFoundError):
            if target.stat().st_size >= path.stat().st_size:
                continue
        volume_folder.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{path.name}.part")
        shutil.copyfile(path, partial)
        partial.replace(target)
        copied += 1
    return copied


def without_key(env: Mapping[str, str]) -> dict[str, str]:
    """An environment for the training: only what sends needs the key."""
    return {name: value for name, value in env.items() if name != "WANDB_API_KEY"}


class WandbSync:
    """The process that sends what is logged in `folder` for one stage; nothing that goes wrong with it is raised."""

    def __init__(self, python: str, folder: Path, run_id: str, env: Mapping[str, str]) -> None:
        """`python` has wandb; `run_id` is that of `wandb_id`; `env` has the key."""
        import subprocess

        self._argv = [python, "-u", str(wandb_shadow.UPLOAD), str(folder), run_id]
        self._folder, self._has_key = folder, has_key(env)
        self._mark = f"NANOCHAT_TUI_WANDB_SENDER={os.getpid()}-{run_id}-{time.monotonic_ns()}"
        name, _, value = self._mark.partition("=")
        # wandb is a stranger's code, and gets to see as little as a training does.
        seen = {k: v for k, v in env.items() if not k.startswith(("MODAL_", "PYTHONPATH", "PYTHONSAFEPATH"))}
        self._env = seen | {name: value, "NANOCHAT_TUI_WANDB_LAST_S": str(_ORPHAN_S)}
        self._process: subprocess.Popen[bytes] | None = None
        self._output = folder / f"upload.{os.getpid()}.{time.monotonic_ns()}.out"
        self._started_at, self._link, self._late = 0.0, "", ""

    def start(self) -> None:
        """Begin to send, where there is a key."""
        if not self._has_key or self._process:
            return
        import subprocess

        self._started_at = time.monotonic()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._output.open("wb") as output:
                self._process = subprocess.Popen(
                    self._argv,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.DEVNULL,
                    cwd=self._folder,
                    env=self._env,
                    start_new_session=True,
                )
        except OSError as error:
            self._late = f"what sends to W&B cannot be started: {error.strerror}"

    def tend(self) -> None:
        """Start it anew where it has ended by itself, once a minute at most; called all the time."""
        if self._process and self._process.poll() is not None and time.monotonic() - self._started_at > AGAIN_S:
            self._end()
            self.start()

    @property
    def link(self) -> str:
        """Where the run is to be seen; empty until the server has told."""
        self._told()
        return self._link

    @property
    def problem(self) -> str:
        """Why nothing is sent, in one line; empty when all is well."""
        return self._late or (self._told().problem if self._has_key else NO_KEY)

    def close(self, within_s: float = LAST_S, *, for_good: bool = True) -> None:
        """Send what is left, `within_s` at most, then end it. `for_good`: no attempt follows that repeats a step."""
        import subprocess

        if not self._process:
            return
        end = time.monotonic() + within_s
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(b"end" if for_good else b"")
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, end - time.monotonic()))
        told = self._told()
        if not told.done and not told.problem:
            self._late = f"W&B had not taken everything after {within_s:.0f} s"
        self._end()

    def _end(self) -> None:
        import signal

        from runner import processes

        process, self._process = self._process, None
        if process is None:
            return
        processes.kill_group(process.pid, signal.SIGKILL)
        # wandb's helper has a session of its own.
        processes.kill_marked(self._mark)
        process.wait()
        if process.stdin:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def _told(self) -> Told:
        """What it has said since it was started last; the link stays."""
        try:
            with self._output.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                output = file.read(_READ)
                if size > _READ:
                    file.seek(max(_READ, size - _READ))
                    output += file.read(_READ)
        except OSError:
            return Told()
        told = parse(output.decode("utf-8", "replace"))
        self._link = told.link or self._link
        return told
