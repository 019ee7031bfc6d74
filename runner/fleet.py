"""Every run a person has, and what can be done with them: the one core under the app and the command line."""

import contextlib
import os
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec

from runner import checkpoints, cost, survey
from runner.backends.base import Backend, Volume
from runner.backends.local import LocalBackend
from runner.checkpoints import Checkpoint
from runner.errors import CredentialsError, NanochatError, Unreachable, UsageError
from runner.nanochat import layout
from runner.plan import Plan, plan
from runner.registry import Registry
from runner.run import (
    TRANSITIONS,
    Outcome,
    Run,
    State,
    Status,
    cancel_requested,
    check_tag,
    found_on_volume,
    move,
    new_run_id,
    new_tag,
    observed,
    relaunched,
    spawned,
)
from runner.spec import RunSpec

BACKENDS = ("local", "modal")
FORCE_AFTER_S = 15.0
VOLUMES_FILE = "volumes.txt"


class Fleet:
    """Launch, resume, cancel, delete and refresh runs. Its methods do I/O: call them from a worker, not from a UI loop.

    `notices` collects what a person should be told once, such as a registry that had to be rebuilt.
    """

    def __init__(self, home: Path, *, volume: str = "", clock: Callable[[], float] = time.time) -> None:
        self.home = home
        self.notices: list[str] = []
        self.unreachable: dict[str, str] = {}
        self._volume_given = str(Path(os.path.expanduser(volume)).absolute()) if volume else ""
        try:
            self._volume_given.encode()
        except UnicodeEncodeError as error:
            raise UsageError("the volume's name is not UTF-8", "give another --volume", field="volume") from error
        self.clock = clock
        self._backends: dict[str, Backend] = {"local": LocalBackend(home)}
        self.registry = Registry(home)
        if self.registry.set_aside or self.registry.is_new:
            self._rebuild()

    def backend(self, name: str) -> Backend:
        """The backend of that name. Raises UsageError when this version has none."""
        if name not in self._backends:
            raise UsageError(f"the {name} backend is not part of this version", "use --backend local", field="backend")
        return self._backends[name]

    def volume_location(self, backend: str, engine: str) -> str:
        return self._volume_given or self.backend(backend).default_volume(engine)

    def volume_of(self, run: Run) -> Volume:
        return self.backend(run.backend).volume(run.volume)

    def _noted_volumes(self) -> list[str]:
        """Folders given with --volume at a launch: the registry alone could not be rebuilt without them."""
        noted = self.home / VOLUMES_FILE
        return noted.read_text("utf-8", "replace").splitlines() if noted.is_file() else []

    def _note_volume(self, location: str) -> None:
        if location not in self._noted_volumes():
            with (self.home / VOLUMES_FILE).open("a") as file:
                file.write(location + "\n")

    def _rebuild(self) -> None:
        """Fill a registry that is new, or that had to be set aside, from the records on all known volumes."""
        own = {str(p) for p in (self.home / "volumes").glob("*")}
        folders = sorted(p for p in {*own, *self._noted_volumes(), self._volume_given} if p and Path(p).is_dir())
        runs = [(folder, r) for folder in folders for r in survey.runs_on(self.backend("local").volume(folder))]
        for folder, run in runs:
            found = found_on_volume(run, "local", folder)
            try:
                self.registry.add(found)
            except UsageError:
                self.registry.add(msgspec.structs.replace(found, tag=found.id))
            self._look(found)
        came = f"{len(runs)} run{'' if len(runs) == 1 else 's'} came back from the volumes"
        if self.registry.set_aside:
            kept = self.registry.set_aside
            self.notices.append(f"the registry was {self.registry.why}; it is kept as {kept}, and {came}")
        elif runs:
            self.notices.append(f"there was no registry: {came}")

    def plan(self, spec: RunSpec, backend: str) -> Plan:
        """What a launch would do now. An unreachable or new volume counts as empty."""
        if backend not in self._backends:
            return plan(spec, layout.Inventory(), backend=backend)
        volume = self.backend(backend).volume(self.volume_location(backend, spec.engine))
        try:
            inventory = survey.inventory(volume)
        except Unreachable:
            inventory = layout.Inventory()
        return plan(spec, inventory, backend=backend)

    def launch(self, spec: RunSpec, *, backend: str, tag: str = "", force_restart: bool = False) -> Run:
        """Start a new run. The intent is on record before anything is spawned, so no run can get lost."""
        place = self.backend(backend)
        location = self.volume_location(backend, spec.engine)
        if backend == "local" and not Path(location).is_dir():
            self._make_volume(location)
        volume = place.volume(location)
        self.plan(spec, backend)
        tags = {r.tag for r in self.registry.all()}
        tag = check_tag(tag) if tag else new_tag(spec.model, tags)
        survey.check_engine(volume, spec.engine)
        if force_restart and tag in tags:
            self._release_tag(tag, tags)
        run = Run(id=new_run_id(), tag=tag, spec=spec, backend=backend, volume=location, created_at=self.clock())
        self.registry.add(run)
        self._note_volume(location)
        return self._spawn(run, first=True)

    def _make_volume(self, location: str) -> None:
        try:
            Path(location).mkdir(parents=True)
        except OSError as error:
            raise UsageError(
                f"cannot make the volume folder {location} ({error.strerror})", "give another --volume", field="volume"
            ) from error
        self.notices.append(f"made the volume folder {location}")

    def _release_tag(self, tag: str, tags: set[str]) -> None:
        old = self.refreshed(self.registry.find(tag))
        if old.live:
            raise UsageError(f"{tag} ({old.id}) is {old.state}", f"nanochat-tui cancel {tag} first", field="tag")
        number = next(n for n in range(1, len(tags) + 2) if f"{tag}.{n}" not in tags)
        renamed = self.registry.update(old.id, lambda r: msgspec.structs.replace(r, tag=f"{tag}.{number}"))
        survey.write_run(self.volume_of(renamed), renamed)
        self.notices.append(f"the earlier run {old.id} is now called {renamed.tag}; its files are kept")

    def _spawn(self, run: Run, *, first: bool) -> Run:
        try:
            survey.write_run(self.volume_of(run), run)
            call_id = self.backend(run.backend).launch(run)
        except (OSError, NanochatError) as error:
            if first:
                self._unlaunch(run)
            else:
                self._not_resumed(run, str(error))
            if isinstance(error, NanochatError):
                raise
            raise Unreachable(f"{run.tag} could not be started ({error})", "put that right, then try again") from error
        started = self.registry.update(run.id, lambda r: spawned(r, call_id, self.clock()))
        if started.cancel_requested_at:
            # Somebody cancelled between the intent and the spawn: they saw nothing to stop, so it is done here.
            self.backend(run.backend).cancel(started, force=True)
        return started

    def _unlaunch(self, run: Run) -> None:
        """Take back a launch of which nothing was spawned."""
        self.registry.remove(run.id)
        with contextlib.suppress(OSError, NanochatError):
            self.volume_of(run).remove(layout.run_dir(run.id))

    def _not_resumed(self, run: Run, why: str) -> None:
        """A resume that was not spawned leaves the run failed, with everything it had."""
        now = self.clock()
        status = run.status or Status(run.attempt, State.FAILED, "", now, now)
        outcome = Outcome("launch", why[:300], "put that right, then resume")
        failed = msgspec.structs.replace(status, attempt=run.attempt, state=State.FAILED, outcome=outcome)
        self.registry.update(
            run.id, lambda r: msgspec.structs.replace(move(r, State.FAILED), status=failed, ended_at=now)
        )

    def resume(self, run: Run) -> Run:
        """Start the next attempt of a run that has ended without being done."""

        def again(current: Run) -> Run:
            if current.live:
                raise UsageError(f"{current.tag} is {current.state} already", f"nanochat-tui watch {current.tag}")
            if State.LAUNCHING not in TRANSITIONS[current.state]:
                raise UsageError(f"{current.tag} is {current.state}", "launch a new run")
            return relaunched(current, self.clock())

        self.volume_of(run).list("")
        self.refreshed(self.registry.get(run.id))
        return self._spawn(self.registry.update(run.id, again), first=False)

    def cancel(self, run: Run) -> Run:
        """Ask a live run to stop and keep what is saved; one that does not answer is ended by force later."""

        def stop(current: Run) -> Run:
            if not current.live:
                raise UsageError(f"{current.tag} is not running", f"it is {current.state}")
            return current if current.cancel_requested_at else cancel_requested(current, self.clock())

        self.refreshed(self.registry.get(run.id))
        asked = self.registry.update(run.id, stop)
        self.backend(run.backend).cancel(asked)
        return asked

    def delete(self, run: Run, *, forget: bool = False) -> None:
        """Remove a run that is not live: its folder on the volume, its work space, its record.

        `forget` removes the record although the volume cannot be reached.
        """

        def claim(current: Run) -> Run:
            if current.live:
                raise UsageError(f"{current.tag} is {current.state}", f"nanochat-tui cancel {current.tag} first")
            return move(current, State.DELETING)

        self.refreshed(self.registry.get(run.id))
        if not forget:
            self.volume_of(run).list("")
        current = self.registry.update(run.id, claim)
        try:
            self.volume_of(current).remove(layout.run_dir(current.id))
        except FileNotFoundError:
            self.notices.append(f"{current.tag} had no files on its volume")
        except Unreachable:
            if not forget:
                raise
        self.backend(current.backend).forget(current)
        self.registry.remove(current.id)

    def refresh(self) -> list[Run]:
        """Every run, newest first, after a fresh look at the backend of those that may have changed."""
        return [self.refreshed(run) for run in self.registry.all()]

    def refreshed(self, run: Run) -> Run:
        """One run after a fresh look."""
        return self._look(run) if run.live or run.state is State.INTERRUPTED else run

    def _look(self, run: Run) -> Run:
        try:
            poll = self.backend(run.backend).poll(run)
        except (Unreachable, CredentialsError, OSError) as error:
            self.unreachable[run.id] = str(error)
            return run
        self.unreachable.pop(run.id, None)
        now = self.clock()
        if poll.alive and run.cancel_requested_at and not 0 <= now - run.cancel_requested_at <= FORCE_AFTER_S:
            self.backend(run.backend).cancel(run, force=True)
        if observed(run, poll, now) == run:
            return run
        return self.registry.update(run.id, lambda r: observed(r, poll, now) if r.attempt == run.attempt else r)

    def checkpoints(self, run: Run) -> list[Checkpoint]:
        """A run's checkpoints as they are on its volume now."""
        return checkpoints.scan(self.volume_of(run), run.id, run.spec.model, run.spec.gpus)

    def log_path(self, run: Run) -> Path:
        return self.backend(run.backend).pull_log(run)


def spent_usd(run: Run) -> Decimal:
    """Dollars that a run has cost so far, over all attempts; exact to a hundredth of a cent."""
    if run.status is None:
        return Decimal(0)
    rate = cost.hourly_rate(run.backend, gpu=run.spec.gpu, gpus=run.spec.gpus)
    return cost.dollars(run.status.spent_s, rate).quantize(Decimal("0.0001"))
