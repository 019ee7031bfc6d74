"""Where runs happen and keep their files: the backends of this machine, and the volumes on them."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from runner.errors import UsageError
from runner.model.backend_name import BackendName
from runner.model.pricing import Prices
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.paths import has_modal_token, is_demo
from runner.settings import ON_MODAL, Settings
from runner.system.given_path import given_path

if TYPE_CHECKING:
    from runner.backends.base import Backend
    from runner.volumes.base import Volume

BACKENDS = (BackendName.LOCAL, BackendName.MODAL)
OUT_OF_DEMO = "outside of the demo nanochat-tui does it with your own runs"


class Places:
    """Backends by name, each made when it is first asked for. `named` is the volume that was given for all of them.

    `settings` are those of the person, and may be replaced. Safe for several threads.
    """

    def __init__(self, home: Path, named: str, settings: Settings, say: Callable[[str], None]) -> None:
        self.named, self.settings = named, settings
        self._home, self._say = home, say
        self.is_demo = is_demo(home)
        self._making = threading.Lock()
        self._backends: dict[str, Backend] = {}
        if "/" in named or named.startswith("~"):
            # No volume of Modal is called so.
            self.folder_given()

    def backend(self, name: str) -> "Backend":
        """The backend of that name. Raises CredentialsError where Modal's client cannot be loaded."""
        if name not in self._backends:
            if name == BackendName.UNKNOWN:
                raise UsageError("its backend is one that only a newer nanochat-tui knows", "upgrade, and look again")
            if name not in BACKENDS:
                raise UsageError(f"unknown backend {name!r}", f"choose one of {', '.join(BACKENDS)}", field="backend")
            with self._making:
                if name not in self._backends:
                    self._backends[name] = self._modal() if name == BackendName.MODAL else self._local()
        return self._backends[name]

    @property
    def reaches_modal(self) -> bool:
        """Whether Modal can be asked at all, as far as that is known without asking it."""
        return not self.is_demo and has_modal_token()

    def check_engine(self, spec: RunSpec) -> None:
        """Raises UsageError for what a demo does not start."""
        if self.is_demo and spec.engine != "rehearsal":
            raise UsageError(
                "a demo starts rehearsals only", f"--engine rehearsal starts one; {OUT_OF_DEMO}", field="engine"
            )

    def kept_days(self, backend: str) -> int:
        """For how many days what is deleted there can be brought back; 0 where it is gone at once."""
        return self.settings.trash_days if backend == BackendName.LOCAL else 0

    def _local(self) -> "Backend":
        # Where no run is live nothing is asked of it.
        from runner.backends.local import LocalBackend

        return LocalBackend(self._home)

    def _modal(self) -> "Backend":
        if self.is_demo:
            raise UsageError("this is a demo: Modal is out of its reach", OUT_OF_DEMO, field="backend")
        from runner.backends.modal.loading import modal_backend

        self._choose_environment()
        return modal_backend()(self._home, self._say)

    def _choose_environment(self) -> None:
        """Modal's client takes it from a variable of its own, which counts where it is set."""
        if self.settings.env:
            os.environ.setdefault("MODAL_ENVIRONMENT", self.settings.env)

    def volume_location(self, backend: str, engine: str) -> str:
        """Where a new run would keep its files: the volume given with --volume, else the one set, else the engine's."""
        given = self.folder_given() if backend == BackendName.LOCAL else self.named_on_modal()
        return given or self.backend(backend).default_volume(engine)

    def folder_given(self) -> str:
        """The folder that was given or set as the volume of this machine; empty for none. Raises UsageError."""
        given = self.named or self.settings.volume
        if not given or (not self.named and given.startswith(ON_MODAL)):
            return ""
        path = str(given_path(given, field="volume"))
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise UsageError("the volume's name is not UTF-8", "give another --volume", field="volume") from error
        return path

    def named_on_modal(self) -> str:
        """The volume on Modal that was given or set; empty for none."""
        is_set = self.settings.volume.startswith(ON_MODAL)
        return self.named or (self.settings.volume.removeprefix(ON_MODAL) if is_set else "")

    def volume_of(self, run: Run) -> "Volume":
        """A run's volume. Raises Unreachable for a run of another workspace: a volume of that name is not its own."""
        place = self.backend(run.backend)
        place.check_workspace(run)
        return place.volume(run.volume)

    def prices(self, place: "Backend") -> Prices:
        """What a backend charges, with what an hour of this machine costs the person."""
        return msgspec.structs.replace(place.prices(), local=self.settings.local_usd_per_hour)

    def used(self) -> list[str]:
        """The backends that were asked for."""
        return list(self._backends)

    def close(self) -> None:
        """Let go of connections; runs are not touched."""
        for place in self._backends.values():
            place.close()
