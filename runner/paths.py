"""The folder on this machine that holds the registry, local volumes and work space."""

import contextlib
import os
import shlex
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from runner.errors import NanochatError, Unreachable, UsageError
from runner.system.atomic import PRIVATE_FOLDER
from runner.system.given_path import begin_in, given_path

VARIABLE = "NANOCHAT_TUI_HOME"
# A data folder that has this file is a demo: what is done in it stays in it.
DEMO_MARK = "demo.txt"


def _where() -> Path:
    """`$NANOCHAT_TUI_HOME`, else the platform's data folder. Raises UsageError where that names none."""
    given = os.environ.get(VARIABLE)
    if not given:
        from platformdirs import user_data_dir

        try:
            given = user_data_dir("nanochat-tui", appauthor=False)
        except RuntimeError:
            # Some releases of it refuse a user without a home, others answer with the tilde.
            given = "~/.local/share/nanochat-tui"
    try:
        return given_path(given)
    except UsageError as error:
        raise UsageError(f"no data folder: {error.what}", f"set {VARIABLE} to a folder you own") from error


@contextlib.contextmanager
def readable_data_dir() -> Iterator[tuple[Path, NanochatError | None]]:
    """The data folder for who only looks. Where it cannot be used: one with its settings that is soon gone, and why."""
    try:
        found = data_dir()
    except (UsageError, Unreachable) as error:
        import shutil
        import tempfile

        with tempfile.TemporaryDirectory(prefix="nanochat-tui-") as folder:
            for name in ("settings.toml", "settings.json"):
                with contextlib.suppress(OSError, UsageError):
                    shutil.copyfile(_where() / name, Path(folder) / name)
            yield Path(folder), error
    else:
        yield found, None


def data_dir(*, to_write: bool = True) -> Path:
    """The data folder, made if missing. Raises UsageError where there can be none, Unreachable if not writable.

    Who need not write (`to_write`) is content with one that is there.
    """
    path = _where()
    try:
        is_new = not path.exists()
        path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    except OSError as error:
        raise Unreachable(f"cannot make {path} ({error.strerror})", f"set {VARIABLE} to a folder you own") from error
    if to_write and not os.access(path, os.W_OK | os.X_OK):
        raise Unreachable(f"{path} is not writable", f"set {VARIABLE} to a folder you own")
    if not is_new and (path / "registry.db").exists():
        _tighten(path)
    return path


def is_demo(home: Path) -> bool:
    """Whether a data folder is a demo, in which nothing is launched but rehearsals and nothing outside is reached."""
    return (home / DEMO_MARK).exists()


def data_dir_if_any() -> Path | None:
    """The data folder where there is one; nothing is made or changed."""
    try:
        found = _where()
    except UsageError:
        return None
    return found if found.is_dir() else None


def _tighten(path: Path) -> None:
    """Let nobody else look into a data folder; one that serves others too, as /tmp does, is left as it is."""
    found = path.stat()
    if found.st_uid == os.geteuid() and found.st_mode & 0o077 and not found.st_mode & stat.S_ISVTX:
        path.chmod(PRIVATE_FOLDER)


def modal_command(*words: str) -> str:
    """A command of Modal's client as it can be typed here: it need not be on the PATH of who runs ours."""
    import shutil

    beside = Path(sys.executable).with_name("modal")
    here = begin_in()
    if shutil.which("modal"):
        argv = ["modal"]
    elif beside.is_file():
        argv = [str(beside.relative_to(here)) if beside.is_relative_to(here) else str(beside)]
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
