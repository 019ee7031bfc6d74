"""Where the modules of an engine are: which Python, which folder, and what is missing for it."""

import os
import shutil
import sys
from pathlib import Path

from msgspec import Struct

from runner import processes
from runner.errors import UsageError
from runner.model.code import Code
from runner.nanochat.command_lines import COMMIT, REPOSITORY, Argv
from runner.system.given_path import given_path

CHILD_FILE = "child"


def end_leftovers(work: Path) -> bool:
    """End what a dead job's stages left running: the noted child group, and whatever trains in its base folder."""
    noted = processes.kill_leftover(work / CHILD_FILE)
    return processes.kill_marked(f"NANOCHAT_BASE_DIR={work / 'base'}") or noted


class EngineCommand(Struct, frozen=True):
    """How `python` and `torchrun` of a plan are really started."""

    python: str
    folder: str

    def resolve(self, argv: Argv) -> list[str]:
        """A plan's argv -> one that can be executed."""
        if argv[0] == "torchrun":
            return [self.python, "-m", "torch.distributed.run", *argv[1:]]
        return [self.python, *argv[1:]] if argv[0] == "python" else list(argv)


def nanochat_dir(home: Path) -> Path:
    """`$NANOCHAT_DIR`, else the checkout that a job clones into the home folder."""
    given = os.environ.get("NANOCHAT_DIR")
    return given_path(given) if given else home / "nanochat" / COMMIT[:12]


def nanochat_python(home: Path, code: Code | None = None) -> Path:
    """`$NANOCHAT_PYTHON`, else the .venv of the folder that the code came from or of the checkout, else this Python."""
    given = os.environ.get("NANOCHAT_PYTHON")
    if given:
        return given_path(given)
    own = (Path(code.origin) if code else nanochat_dir(home)) / ".venv" / "bin" / "python"
    return own if own.exists() else Path(sys.executable)


def problem(engine: str, home: Path, code: Code | None = None) -> tuple[str, str] | None:
    """What is missing before a run of this engine can start on this machine: (what, what to do)."""
    if engine == "rehearsal":
        return None
    import subprocess

    try:
        python, checkout = nanochat_python(home, code), nanochat_dir(home)
    except UsageError as error:
        return error.what, f"set NANOCHAT_DIR and NANOCHAT_PYTHON right: {error.hint}"
    probe = "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is None)"
    try:
        found = subprocess.run([python, "-c", probe], capture_output=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{python} does not start ({error})", "set NANOCHAT_PYTHON to a Python 3.10 or newer that has torch"
    if found.returncode:
        return f"{python} has no torch", "set NANOCHAT_PYTHON to a Python that has nanochat's dependencies"
    if code:
        return None
    if "NANOCHAT_DIR" in os.environ and not (checkout / "scripts" / "base_train.py").exists():
        return f"NANOCHAT_DIR {checkout} is not a nanochat checkout", f"clone {REPOSITORY} at {COMMIT[:12]} there"
    if not checkout.exists() and not shutil.which("git"):
        return "git is not installed", "install it, or set NANOCHAT_DIR to a checkout of nanochat"
    return None


def engine_command(engine: str, home: Path, code: Code | None = None, folder: Path | None = None) -> EngineCommand:
    """The interpreter of an engine on this machine; `folder` is where a person's own code was laid out."""
    if engine == "rehearsal":
        import runner.rehearsal

        return EngineCommand(sys.executable, str(Path(runner.rehearsal.__file__).parent / "stand_in"))
    return EngineCommand(str(nanochat_python(home, code)), str(folder or nanochat_dir(home)))


def clone_commands(home: Path) -> list[Argv]:
    """What brings the pinned checkout when it is not there; empty when it is."""
    target = nanochat_dir(home)
    if target.exists():
        return []
    url = os.environ.get("NANOCHAT_URL", REPOSITORY)
    partial = f"{target}.part"
    shutil.rmtree(partial, ignore_errors=True)
    return [
        ("git", "clone", "--quiet", "--", url, partial),
        ("git", "-C", partial, "checkout", "--quiet", "--detach", COMMIT),
        ("mv", partial, str(target)),
    ]
