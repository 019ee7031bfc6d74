"""Runs that volumes know and this machine does not: those of other machines, or those that the registry has lost."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from runner.backends.base import Backend
from runner.errors import NanochatError, Unreachable
from runner.fleet.polling import Poller
from runner.fleet.registry import Registry
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.model.spec import ENGINES
from runner.volumes import run_records
from runner.volumes.base import Volume


class Discovery:
    """Looks at volumes, and puts on record what is new to this machine."""

    def __init__(self, registry: Registry, polls: Poller, backend: Callable[[str], Backend]) -> None:
        self._registry, self._polls, self._backend = registry, polls, backend

    def in_folders(self, folders: Iterable[str]) -> list[Run]:
        """Runs in folders that have served as volumes; one of others, or one that is gone, has none now."""
        known = {run.id for run in self._registry.all()}
        found: list[tuple[str, Run]] = []
        for folder in folders:
            with contextlib.suppress(OSError, NanochatError):
                if Path(folder).is_dir():
                    volume = self._backend(BackendName.LOCAL).volume(folder)
                    found += [(folder, run) for run in run_records.runs_on(volume, known)]
                    self._keep_accounts(volume)
        return [self._polls.record_found(run, BackendName.LOCAL, folder) for folder, run in found]

    def on_modal(self, named: str) -> list[Run]:
        """Runs on the known Modal volumes, and on the `named` one, such as those of another laptop."""
        place, runs = self._backend(BackendName.MODAL), self._registry.all()
        known = {run.id for run in runs}
        locations = {place.default_volume(engine) for engine in ENGINES} | ({named} - {""})
        found = []
        for location in sorted(locations | {run.volume for run in runs if run.backend is BackendName.MODAL}):
            try:
                new = run_records.runs_on(place.volume(location), known)
                self._keep_accounts(place.volume(location))
            except Unreachable:
                continue
            found += [self._polls.record_found(run, BackendName.MODAL, location) for run in new]
        return found

    def _keep_accounts(self, volume: Volume) -> None:
        """What runs have paid that were deleted, maybe by another machine."""
        known = {one.id for one in self._registry.saved_accounts()}
        if found := run_records.accounts_on(volume, known):
            self._registry.save_accounts(found)
