"""Packages of a person's own nanochat that the image has not: brought once while no GPU waits, kept on the volume."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from runner import engines
from runner.diagnosis.advice import CanResume
from runner.job.environment import JobEnvironment
from runner.job.journal import Journal
from runner.job.outcome import cancelled_outcome
from runner.job.own_code import UnpackedCode
from runner.job.stop import Stop
from runner.job.supervise import run_child
from runner.model.code import Code
from runner.model.stages import Part, StageName
from runner.model.states import State
from runner.model.status import Outcome, OutcomeKind
from runner.nanochat import layout, python_project
from runner.source import environment
from runner.source.environment import KeptPackages
from runner.source.unpack import BadArchive
from runner.text.sanitize import sanitize_line, strip_ansi
from runner.volumes.folder import FolderVolume

MEND = "mend its pyproject.toml and uv.lock (`uv sync` tells more), then resume with --code"
AGAIN = "nanochat-tui resume RUN brings them again"
MOST = 300
# What a package that is built has no business with; of Modal it sees nothing either.
_NOT_FOR_BUILDS = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"}
_OF_A_PYTHON = {"PYTHONPATH", "PYTHONSAFEPATH", "PYTHONHOME", "VIRTUAL_ENV"}
_WHERE = "import sysconfig; print(sysconfig.get_path('purelib'))"
_RULE = "\u00d7\u251c\u2500\u25b6\u2570\u2502 "


class OwnEnvironment:
    """Brings the packages of one run's code. `tick` is called while something is waited for, `commit` makes what was
    kept visible to other runs.
    """

    def __init__(
        self,
        site: JobEnvironment,
        volume: FolderVolume,
        work: Path,
        journal: Journal,
        stop: Stop,
        *,
        tick: Callable[[], None],
        commit: Callable[[], None],
        grace_s: float,
    ) -> None:
        self._site, self._volume, self._work = site, volume, work
        self._journal, self._stop = journal, stop
        self._tick, self._commit, self._grace_s = tick, commit, grace_s
        self._home = Path(os.environ["NANOCHAT_TUI_HOME"])
        self._folder = volume.path(layout.OWN_PACKAGES)
        self._heard = list[str]()

    def bring(self, code: Code, unpacked: UnpackedCode, part: Part) -> Path | Outcome | None:
        """The folder of packages that come before the image's own; None where the image has all that is needed.

        What is not there is made by the part that prepares. Raises OSError, NanochatError.
        """
        theirs, baked = environment.files_of(unpacked.top), environment.files_of(engines.nanochat_dir(self._home))
        address = environment.needs(theirs, baked, code.sha)
        if not address:
            return None
        target = self._work / "packages" / address
        found = environment.kept(self._folder, address)
        if found and not (why := self._laid_out(address, found, target)):
            return self._told(found, target)
        if part is not Part.PREPARE:
            what = f"the packages of the code {code} are not on the volume" + (f": {why}" if found else "")
            return _ended(what, AGAIN, again=CanResume.YES)
        if found:
            self._journal.say(f"[ENVIRONMENT] what was kept cannot be used ({why}): it is made anew")
        made = self._alone(unpacked.top, theirs, address, spoilt=found)
        if isinstance(made, Outcome):
            return made
        why = self._laid_out(address, made, target)
        return (
            _ended(f"the packages cannot be laid out: {why}", AGAIN, again=CanResume.YES)
            if why
            else self._told(made, target)
        )

    def _told(self, found: KeptPackages, target: Path) -> Path | None:
        if not found.packages:
            self._journal.say("[ENVIRONMENT] all packages are as in the image")
            return None
        named = sanitize_line(", ".join(found.packages))
        self._journal.say(f"[ENVIRONMENT] before those of the image: {named}")
        if paths := sorted(path.name for path in target.glob("*.pth")):
            self._journal.say(f"[ENVIRONMENT] not followed here: {sanitize_line(', '.join(paths))}")
        return target

    def _laid_out(self, address: str, found: KeptPackages, target: Path) -> str:
        """Put the packages on this disk; why that cannot be, if so."""
        try:
            environment.lay_out(self._folder, address, found, target)
        except FileNotFoundError:
            return "the archive is gone"
        except BadArchive as error:
            return str(error)
        return ""

    def _alone(
        self, top: Path, theirs: dict[str, bytes], address: str, *, spoilt: KeptPackages | None
    ) -> KeptPackages | Outcome:
        """Make what is missing, unless another run does so first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        status = self._journal.status
        status.work.stage, status.state = StageName.PREPARE, State.PREPARING
        self._journal.begin_stage()
        self._journal.write_status()
        with self._site.exclusive_lock(self._folder / f"{address[:16]}.lock", self._waiting) as mine:
            if not mine:
                return cancelled_outcome(status)
            try:
                self._site.reload()
            except OSError as error:
                self._journal.say(f"[VOLUME] {error}")
            found = environment.kept(self._folder, address)
            if found and found != spoilt:
                return found
            self._journal.say(
                f"[ENVIRONMENT] its packages are not the image's: kept as {address[:12]} when they are here"
            )
            making = self._work / "making"
            shutil.rmtree(making, ignore_errors=True)
            try:
                made = self._made(top, theirs, making, address)
            except BadArchive as error:
                made = _ended(f"the packages cannot be kept: {error}", MEND)
            finally:
                shutil.rmtree(making, ignore_errors=True)
            # Before the lock is given back: whoever gets it looks at the volume.
            self._commit()
            return made

    def _made(self, top: Path, theirs: dict[str, bytes], making: Path, address: str) -> KeptPackages | Outcome:
        """Have uv install what differs into an environment that seems to hold what the image has."""
        making.mkdir(parents=True)
        project, venv = making / "project", making / "venv"
        # What uv builds and locks in there is not the code that is trained.
        shutil.copytree(top, project, symlinks=True)
        python = engines.nanochat_python(self._home)
        if wrong := self._uv(["venv", "--quiet", "--no-project", "--python", str(python), str(venv)], making, venv):
            return wrong
        packages = _site_packages(venv / "bin" / "python")
        before = {path.name for path in packages.iterdir()}
        for info in _site_packages(python).glob("*.dist-info"):
            shutil.copytree(info, packages / info.name)
        there = _installed(packages)
        pyproject = theirs[python_project.PROJECT]
        if python_project.is_stale(pyproject, theirs.get(python_project.LOCK, b"")):
            self._journal.say(
                "[ENVIRONMENT] uv.lock is missing, or not of this pyproject.toml: the versions are chosen now"
            )
            if wrong := self._uv(["lock"], project, venv):
                return wrong
        extras = [word for name in python_project.extras(pyproject) for word in ("--extra", name)]
        sync = ["sync", "--frozen", "--inexact", "--no-install-project", "--no-editable", *extras]
        if wrong := self._uv(sync, project, venv):
            return wrong
        now = _installed(packages)
        new = {name for name, state in now.items() if there.get(name) != state}
        names = {path.name for path in packages.iterdir()} - before - (now.keys() - new)
        names = {name for name in names if name != "__pycache__"} if new else set()
        said = [f"{name.replace('_', '-')}=={version}" for name, _, version in sorted(map(_name_and_version, new))]
        return environment.keep(packages, names, self._folder, address, said)

    def _uv(self, words: Sequence[str], folder: Path, venv: Path) -> Outcome | None:
        """Run uv; its own words where that goes wrong."""
        argv = [*_uv_command(), *words]
        env = {name: value for name, value in os.environ.items() if not name.startswith("MODAL_")}
        env = {name: value for name, value in env.items() if name not in _NOT_FOR_BUILDS | _OF_A_PYTHON}
        env |= {"UV_PROJECT_ENVIRONMENT": str(venv), "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
        env |= {"UV_PYTHON_DOWNLOADS": "never", "NANOCHAT_BASE_DIR": str(self._work / "base")}
        if words[0] != "venv":
            # Over the project's own .python-version.
            env["UV_PYTHON"] = str(venv / "bin" / "python")
        self._journal.say(f"[EXEC] {shlex.join(['uv', *words])}")
        self._heard.clear()
        try:
            ended = run_child(
                argv,
                env=env,
                cwd=str(folder),
                note=self._work / engines.CHILD_FILE,
                on_output=self._output,
                on_tick=self._tick,
                stopping=lambda: self._stop.look(self._journal.status),
                grace_s=self._grace_s,
            )
        except OSError as error:
            return _ended(f"uv cannot be started: {error.strerror}", "nanochat-tui doctor")
        self._heard += [line for line, _, _ in self._journal.end_stage()]
        if ended.ok:
            return None
        if self._stop.halt or self._stop.told:
            return self._stop.halt or cancelled_outcome(self._journal.status)
        words_ = uv_reason(self._heard) or f"it ended with {ended.code if ended.signal is None else -ended.signal}"
        return _ended(f"uv cannot install the packages of this code: {words_}", MEND, code=ended.code)

    def _output(self, data: bytes) -> None:
        self._heard += [line for line, _, _ in self._journal.output(data)]

    def _waiting(self) -> bool:
        self._tick()
        return not self._stop.told


def uv_reason(lines: Sequence[str]) -> str:
    """What uv says went wrong, in one line: from its first word of trouble on, without the drawing around it."""
    said = [strip_ansi(line).rstrip() for line in lines]
    begins = (at for at, line in enumerate(said) if line.lstrip().startswith(("error:", "\u00d7")))
    rest = said[next(begins, max(0, len(said) - 3)) :]
    found = ""
    for line in rest:
        text = line.strip(_RULE).removeprefix("error:").strip()
        new = text.startswith(("Caused by:", "cause:", "hint:")) or "\u25b6" in line
        text = text.removeprefix("Caused by:").removeprefix("cause:").strip()
        if text:
            found += (": " if found and new else " " if found else "") + text
    return sanitize_line(found)[:MOST]


def _ended(what: str, do: str, *, code: int | None = None, again: CanResume = CanResume.CHANGED) -> Outcome:
    return Outcome(OutcomeKind.ENVIRONMENT, sanitize_line(what)[:MOST], do, StageName.PREPARE, code, resume=again)


def _uv_command() -> list[str]:
    return [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") else ["uv"]


def _site_packages(python: Path) -> Path:
    """Where a Python keeps its packages. Raises OSError where it does not say."""
    done = subprocess.run([python, "-I", "-c", _WHERE], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise OSError(f"{python} does not say where its packages are: {sanitize_line(done.stderr)[-100:]}")
    return Path(done.stdout.strip())


def _name_and_version(info: str) -> tuple[str, str, str]:
    return info.removesuffix(".dist-info").partition("-")


def _installed(packages: Path) -> dict[str, tuple[int, int]]:
    """The installed packages by the folders of their records, and what changes when one is installed again."""
    found = {}
    for info in packages.glob("*.dist-info"):
        record = info / "RECORD"
        state = record.stat() if record.is_file() else info.stat()
        found[info.name] = (state.st_ino, state.st_mtime_ns)
    return found
