"""Which workspace and environment this machine's token speaks for; a run belongs to the one that it was launched in."""

import contextlib
import hashlib
import threading
import time
from pathlib import Path
from typing import Any

import modal
import msgspec

from runner.backends.base import Workspace
from runner.backends.modal.errors import translating_errors
from runner.errors import Unreachable
from runner.model.run import Run
from runner.system import atomic

KEPT_S = 24 * 3600.0
FILE = "modal-workspaces.json"


class _Kept(msgspec.Struct, frozen=True):
    where: Workspace
    at: float


class Identity:
    """Asked for once; kept on this disk for a day, by a digest of the token's id, as each command would ask again."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE
        self._asking = threading.Lock()
        self._where: Workspace | None = None

    def current(self) -> Workspace:
        with self._asking:
            if self._where is None:
                self._where = self._kept() or self._ask()
            return self._where

    def check_workspace(self, run: Run) -> None:
        """Raises Unreachable when a run belongs to another workspace or environment: nothing here is about it."""
        if not run.workspace:
            return
        here, there = self.current(), Workspace(run.workspace, run.environment)
        if here == there:
            return
        if here.name != there.name:
            what, do = f"workspace {there.name}, and this is {here.name}", f"MODAL_PROFILE={there.name}"
        else:
            what = f"environment {there.environment} of {there.name}, and this is {here.environment}"
            do = f"MODAL_ENVIRONMENT={there.environment}"
        raise Unreachable(f"{run.tag} is in {what}", f"set {do} to see it and to act on it")

    def _ask(self) -> Workspace:
        with translating_errors():
            workspace: Any = modal.Workspace.from_context().hydrate()
            environment: Any = modal.Environment.from_context().hydrate()
        where = Workspace(str(workspace.name or ""), str(environment.name or ""))
        key = _key()
        if key:
            kept = {**self._all(), key: _Kept(where, time.time())}
            with contextlib.suppress(OSError):
                # A disk that is full costs a question each time, not what was just told.
                atomic.write(self._file, msgspec.json.encode(kept), atomic.PRIVATE)
        return where

    def _kept(self) -> Workspace | None:
        found = self._all().get(_key())
        return found.where if found and 0 <= time.time() - found.at < KEPT_S else None

    def _all(self) -> dict[str, _Kept]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, _Kept])
        except (OSError, msgspec.MsgspecError):
            return {}


def _key() -> str:
    """Names a token, a server and an environment without telling them; empty where there is no token with an id."""
    config = modal.config.config
    parts = [str(config.get(name) or "") for name in ("token_id", "server_url", "environment")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24] if parts[0] else ""
