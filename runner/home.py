"""The folder on this machine that holds the registry, local volumes and work space."""

import os
import shlex
import shutil
import stat
import sys
from pathlib import Path

from runner.atomic import PRIVATE_FOLDER
from runner.errors import Unreachable

VARIABLE = "NANOCHAT_TUI_HOME"


def home() -> Path:
    """`$NANOCHAT_TUI_HOME`, else the platform's data folder; made if missing. Raises Unreachable if not writable."""
    given = os.environ.get(VARIABLE)
    if given:
        path = Path(os.path.expanduser(given)).absolute()
    else:
        from platformdirs import user_data_path

        path = user_data_path("nanochat-tui", appauthor=False)
    try:
        is_new = not path.exists()
        path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    except OSError as error:
        raise Unreachable(f"cannot make {path} ({error.strerror})", f"set {VARIABLE} to a folder you own") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise Unreachable(f"{path} is not writable", f"set {VARIABLE} to a folder you own")
    if not is_new and (path / "registry.db").exists():
        _tighten(path)
    return path


def _tighten(path: Path) -> None:
    """Let nobody else look into a data folder; one that serves others too, as /tmp does, is left as it is."""
    found = path.stat()
    if found.st_uid == os.geteuid() and found.st_mode & 0o077 and not found.st_mode & stat.S_ISVTX:
        path.chmod(PRIVATE_FOLDER)


def modal_command(*words: str) -> str:
    """A command of Modal's client as it can be typed here: it need not be on the PATH of who runs ours."""
    beside = Path(sys.executable).with_name("modal")
    if shutil.which("modal"):
        argv = ["modal"]
    elif beside.is_file():
        argv = [str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)]
    else:
        argv = [sys.executable, "-m", "modal"]
    return shlex.join([*argv, *words])


def no_modal_token() -> tuple[str, str]:
    """What there is to say, and to do, where there are no credentials for Modal."""
    return "no Modal token on this machine", modal_command("setup")


def has_modal_token() -> bool:
    """Whether there may be credentials for Modal on this machine, without loading Modal's client."""
    config = os.environ.get("MODAL_CONFIG_PATH") or os.path.expanduser("~/.modal.toml")
    signs = ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "MODAL_OAUTH_", "MODAL_IS_REMOTE")
    return any(value and name.startswith(signs) for name, value in os.environ.items()) or Path(config).is_file()
