"""Every run a person has, and what can be done with them: the one core under the app and the command line."""

import contextlib
import math
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from runner import processes, settings
from runner.backends.base import Backend
from runner.backends.local import LocalBackend
from runner.backends.modal.loading import modal_backend
from runner.errors import CredentialsError, NanochatError, Unreachable, UsageError, VolumeGone
from runner.fleet.discovery import Discovery
from runner.fleet.polling import Poller
from runner.fleet.registry import Registry
from runner.logs import cache
from runner.model.identifiers import MAX_TAG, check_tag, new_run_id
from runner.model.pricing import Prices
from runner.model.run import Run, named
from runner.model.spec import BackendName, RunSpec, on_gpus
from runner.model.states import TRANSITIONS, UNSURE, State
from runner.model.status import Outcome, OutcomeKind, Status
from runner.model.transitions import cancel_requested, in_attempt, next_attempt, transition, with_call
from runner.monitoring import ledger
from runner.monitoring.liveness import BEATS_S
from runner.monitoring.projection import spent_usd
from runner.nanochat import layout
from runner.paths import has_modal_token
from runner.planning import budget as budgets
from runner.planning import estimate, grounds
from runner.planning.plan import Plan, make_plan
from runner.system.given_path import given_path
from runner.system.side_by_side import side_by_side
from runner.text import units
from runner.volumes import checkpoints, deletion, holdings, known_volumes, run_records
from runner.volumes.base import Volume
from runner.volumes.best import with_measures
from runner.volumes.checkpoints import Checkpoint, newest_complete

BACKENDS = (BackendName.LOCAL, BackendName.MODAL)
LOOK_AGE_S = 30.0
# The longest call there is lasts a day; of what has said nothing for so long, none is left.
NO_CALL_LASTS_S = 2 * 86_400.0


class Fleet:
    """Launch, resume, cancel, delete and refresh runs. Its methods do I/O: call them from a worker, not from a UI loop.

    `say` is told at once what takes long or should be known; without it, `notices` collects that. With `or_copy` it
    works, without a memory, where the data folder takes nothing: what is running can still be seen and ended.
    """

    def __init__(
        self,
        home: Path,
        *,
        volume: str = "",
        clock: Callable[[], float] = time.time,
        say: Callable[[str], None] | None = None,
        or_copy: bool = False,
    ) -> None:
        self.home = home
        self.notices: list[str] = []
        self.say = say or self.notices.append
        self._looks: dict[tuple[object, ...], tuple[float, layout.Inventory, list[Checkpoint]]] = {}
        set_here = settings.read(home)
        self.settings = set_here.settings
        self._named_volume = volume
        if "/" in volume or volume.startswith("~"):
            # No volume of Modal is called so.
            self._volume_here()
        self.clock = clock
        self._making = threading.Lock()
        self._backends: dict[str, Backend] = {BackendName.LOCAL: LocalBackend(home)}
        self.registry = Registry(home, or_copy=or_copy)
        self._polls = Poller(self.registry, self.backend, lambda: self.clock(), lambda text: self.say(text))
        # What deleted runs have paid, as of the last look.
        self.deleted_accounts = self.registry.saved_accounts()
        self._discovery = Discovery(self.registry, self._polls, self.backend)
        self.registry.restored_by(self._rebuild)
        if self.registry.borrowed:
            self.say(f"{self.registry.borrowed}; what is done now is not written down here")
        self._say_what_is_not_obeyed(set_here)

    def backend(self, name: str) -> Backend:
        """The backend of that name. Raises CredentialsError where Modal's client cannot be loaded."""
        if name not in self._backends:
            if name == BackendName.UNKNOWN:
                raise UsageError("its backend is one that only a newer nanochat-tui knows", "upgrade, and look again")
            if name != BackendName.MODAL:
                raise UsageError(f"unknown backend {name!r}", f"choose one of {', '.join(BACKENDS)}", field="backend")
            with self._making:
                if name not in self._backends:
                    self._backends[name] = modal_backend()(self.home, lambda text: self.say(text))
        return self._backends[name]

    def volume_location(self, backend: str, engine: str) -> str:
        """Where a new run would keep its files: the volume given with --volume, else the engine's own."""
        given = self._volume_here() if backend == BackendName.LOCAL else self._named_volume
        return given or self.backend(backend).default_volume(engine)

    def _volume_here(self) -> str:
        """The folder that was given or set as the volume of this machine; empty for none. Raises UsageError."""
        given = self._named_volume or self.settings.volume
        if not given:
            return ""
        path = str(given_path(given, field="volume"))
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise UsageError("the volume's name is not UTF-8", "give another --volume", field="volume") from error
        return path

    def volume_of(self, run: Run) -> Volume:
        """A run's volume. Raises Unreachable for a run of another workspace: a volume of that name is not its own."""
        place = self.backend(run.backend)
        place.check_workspace(run)
        return place.volume(run.volume)

    @property
    def unreachable(self) -> dict[str, str]:
        """By run id, what kept the last look at it from being an answer."""
        return self._polls.unreachable

    def _say_what_is_not_obeyed(self, found: settings.LoadedSettings) -> None:
        """Of the settings. Names of a newer release are told once and kept; what is wrong, until it is mended."""
        if found.damage:
            self.say(f"{found.damage}; until then all settings are as if never set")
        if found.odd:
            self.say(f"{settings.FILE}: the values of {', '.join(found.odd)} make no sense; their defaults are used")
        unknown = ", ".join(name[:40] for name in found.unknown[:8])
        if unknown and self.registry.mark_sent(f"settings/{unknown}"):
            self.say(f"{settings.FILE}: {unknown} mean nothing to this release; they are kept")

    def _rebuild(self, lost: str) -> None:
        """Bring back, from the records on all known volumes, what the registry has lost."""
        known, given = self.registry.all(), ""
        with contextlib.suppress(UsageError):
            # It is told where it is asked for.
            given = self._volume_here()
        own = {str(p) for p in (self.home / "volumes").glob("*")}
        found = self._discovery.in_folders(sorted({*own, *known_volumes.known(self.home), given} - {""}))
        if found or known or self.registry.set_aside:
            self.say(f"{lost}; {units.pluralize(len({run.id for run in found}), 'run')} came back from the volumes")

    def discover(self) -> list[Run]:
        """Runs on the known Modal volumes that this machine has never seen, such as those of another laptop."""
        return self._discovery.on_modal(self._named_volume)

    def _location(self, spec: RunSpec, backend: str) -> str:
        """Where a run of this spec keeps its files: beside the run that it continues, if it continues one."""
        return self.registry.get(spec.source).volume if spec.source else self.volume_location(backend, spec.engine)

    def plan(self, spec: RunSpec, backend: str) -> Plan:
        """What a launch would do now. An unreachable or new volume counts as empty."""
        own = estimate.matching_past_run(self.registry.all(), spec, backend)
        whose = self.registry.get(spec.source).tag if spec.source else ""
        if backend == BackendName.MODAL and not has_modal_token():
            return make_plan(spec, layout.Inventory(), backend=backend, own=own, whose=whose)
        place = self.backend(backend)
        location = self._location(spec, backend)
        key = (backend, location, spec.source, spec.source_step, spec.task == "eval")
        age, inventory, continued = self._looks.get(key, (-math.inf, layout.Inventory(), []))
        if backend == BackendName.LOCAL or time.monotonic() - age > LOOK_AGE_S:
            volume = place.volume(location)
            try:
                inventory = holdings.inventory(volume, spec.engine)
                continued = run_records.source_checkpoints(volume, spec) if spec.source else []
            except (Unreachable, CredentialsError):
                inventory, continued = layout.Inventory(), []
            self._looks[key] = (time.monotonic(), inventory, continued)
        prices = self._prices(place)
        return make_plan(spec, inventory, backend=backend, prices=prices, checkpoints=continued, own=own, whose=whose)

    def _prices(self, place: Backend) -> Prices:
        return msgspec.structs.replace(place.prices(), local=self.settings.local_usd_per_hour)

    def confirmation_reason(self, spec: RunSpec, likely: Decimal) -> str:
        """Why a launch of that likely cost should ask first; empty when it need not. A budget is the most it can be."""
        month = live = Decimal(0)
        if self.settings.monthly_limit_usd and likely:
            self._look_for_others()
            runs, now = self.poll_all(), self.clock()
            month, live = ledger.month_so_far(runs, self.deleted_accounts, now), ledger.committed_usd(runs, now)
        return ledger.confirmation_reason(self.settings, likely, spec.budget_usd, month, live)

    def _look_for_others(self) -> None:
        """Runs of another laptop spend the same money."""
        if has_modal_token():
            # What cannot be reached is not known now, and a launch there will say so.
            with contextlib.suppress(Unreachable, CredentialsError):
                self.discover()

    def confirmation_reason_for_resume(self, run: Run, budget: Decimal | None = None) -> str:
        """Why a resume should ask first: what the rest is likely to cost; empty when it need not."""
        cap = budget if budget is not None else run.spec.budget_usd
        left = None if cap is None else max(cap - spent_usd(run), Decimal(0))
        return self.confirmation_reason(msgspec.structs.replace(run.spec, budget_usd=left), self.remaining_usd(run))

    def remaining_usd(self, run: Run) -> Decimal:
        """What the rest of a run that goes on is likely to cost."""
        whole = run.estimate.usd.likely if run.estimate else Decimal(0)
        return max(whole - spent_usd(run), whole / 10)

    def launch(self, spec: RunSpec, *, backend: str, tag: str = "", force_restart: bool = False) -> Run:
        """Start a new run. The intent is on record before anything is spawned, so no run can get lost."""
        place = self.backend(backend)
        location = self._location(spec, backend)
        if place.make_volume(location):
            self.say(f"made the volume folder {location}")
        volume = place.volume(location)
        planned = self.plan(spec, backend)
        if spec.source:
            grounds.check_source(volume, self.registry.get(spec.source), spec)
        budgets.check_new(spec, backend, self._prices(place))
        if planned.too_long:
            raise UsageError(*planned.too_long, field="overrides")
        tags = {r.tag for r in self.registry.all()}
        if tag:
            check_tag(tag)
        run_records.check_engine(volume, spec.engine)
        renamed = self._renamed(tag, tags) if force_restart and tag in tags else None
        app = place.ensure_deployed(spec.engine, live=self._live_on(backend))
        where = place.current_workspace()
        run = Run(
            id=new_run_id(),
            tag=tag,
            spec=spec,
            backend=place.name,
            volume=location,
            created_at=self.clock(),
            prices=self._prices(place),
            estimate=planned.estimate,
            workspace=where.name,
            environment=where.environment,
            app=app,
            host=socket.gethostname(),
        )
        run = self.registry.add(named(run, tag) if tag else run, renamed)
        if renamed:
            run_records.write_run(self.volume_of(renamed), renamed)
            frees = f"nanochat-tui rm {renamed.tag} frees its files"
            self.say(f"the earlier run {renamed.id} is kept and now called {renamed.tag}; {frees}")
        if backend == BackendName.LOCAL:
            known_volumes.remember(self.home, location)
        return self._spawn(run, first=True)

    def _live_on(self, backend: str) -> list[Run]:
        return [r for r in self.registry.all() if r.live and r.backend == backend]

    def _renamed(self, tag: str, tags: set[str]) -> Run:
        """The run that has a tag, under another one; it is put down together with the run that takes the tag over."""
        old = self._polls.reread(next(r.id for r in self.registry.all() if r.tag == tag))
        if old.live:
            raise UsageError(f"{tag} ({old.id}) is {old.state}", f"nanochat-tui cancel {tag} first", field="tag")
        numbered = (f"{tag[: MAX_TAG - len(str(n)) - 1]}.{n}" for n in range(1, len(tags) + 2))
        return msgspec.structs.replace(old, tag=next(name for name in numbered if name not in tags))

    def _spawn(self, run: Run, *, first: bool) -> Run:
        try:
            run_records.write_run(self.volume_of(run), run)
            call_id = self.backend(run.backend).launch(run)
        except (OSError, NanochatError) as error:
            unsure = run.backend is not BackendName.LOCAL and isinstance(error, Unreachable)
            if first and not unsure:
                self._unlaunch(run)
            else:
                self._not_spawned(run, str(error), State.INTERRUPTED if unsure else State.FAILED)
            if isinstance(error, NanochatError):
                raise
            raise Unreachable(f"{run.tag} could not be started ({error})", "put that right, then try again") from error
        started = self.registry.update(run.id, lambda r: with_call(r, call_id, self.clock()))
        with contextlib.suppress(OSError, NanochatError):
            # For other machines; without it they know of the call when its job has begun.
            run_records.write_run(self.volume_of(started), started)
        if started.cancel_requested_at:
            # Somebody cancelled between the intent and the spawn: they saw nothing to stop, so it is done here.
            self.backend(run.backend).cancel(started, force=True)
        return started

    def _unlaunch(self, run: Run) -> None:
        """Take back a launch of which nothing was spawned."""
        self.registry.remove(run.id)
        with contextlib.suppress(OSError, NanochatError):
            self.volume_of(run).remove(run.path)

    def _not_spawned(self, run: Run, why: str, state: State) -> None:
        """A run that was not spawned keeps everything it had. INTERRUPTED is looked at again: the call may be there."""
        now = self.clock()
        status = run.status or Status(run.attempt, state, "", now, now)
        outcome = Outcome(OutcomeKind.LAUNCH, why[:300], "put that right, then resume")
        failed = msgspec.structs.replace(in_attempt(status, run), state=state, outcome=outcome)
        self.registry.update(
            run.id, lambda r: msgspec.structs.replace(transition(r, state), status=failed, ended_at=now)
        )

    def resume(
        self, run: Run, *, gpus: int | None = None, budget: Decimal | None = None, step: int | None = None
    ) -> Run:
        """Start the next attempt of a run that has ended without being done, if need be on other GPUs, with more money.

        With `step` it goes back to that checkpoint; what was saved later is put aside. Raises UsageError when its
        checkpoint is of another number of GPUs or not whole, or when its budget is spent.
        """

        def again(current: Run) -> Run:
            if current.state is State.UNKNOWN:
                raise UsageError(
                    f"it is not known whether {current.tag} still trains",
                    f"see modal.com/apps; nanochat-tui cancel {current.tag} ends what may be left, then resume",
                )
            if current.live:
                where = processes.host_of(current.calls[-1].call_id) if current.calls else ""
                away = f" on {where}" if where and not processes.is_here(current.calls[-1].call_id) else ""
                raise UsageError(f"{current.tag} is {current.state}{away} already", f"nanochat-tui watch {current.tag}")
            if State.LAUNCHING not in TRANSITIONS[current.state]:
                raise UsageError(f"{current.tag} is {current.state}", "launch a new run")
            again = msgspec.structs.replace(
                next_attempt(current, self.clock(), step),
                prices=self._prices(self.backend(current.backend)),
                app=app,
                host=socket.gethostname(),
            )
            spec = again.spec if gpus is None else on_gpus(again.spec, gpus)
            if budget is not None:
                spec = msgspec.structs.replace(spec, budget_usd=budget)
            return msgspec.structs.replace(again, spec=spec)

        if run.newer:
            raise UsageError(f"{run.tag} was asked for with a newer nanochat-tui", "go on with it there")
        self.volume_of(run).list("")
        current = self._polls.reread(run.id)
        if current.attempt > run.attempt and not current.live:
            raise UsageError(
                f"{current.tag} was resumed on {current.host or 'another machine'} meanwhile, and is {current.state}",
                f"nanochat-tui show {current.tag}, then resume again",
            )
        if step is not None:
            grounds.check_step(current, self.checkpoints(current), step)
        elif current.resume_step is not None and not grounds.went_back(self.volume_of(current), current):
            # The attempt that was to go back ended before it could.
            step = current.resume_step
        if current.spec.source and not newest_complete(self.checkpoints(current)):
            source = self.registry.get(current.spec.source)
            grounds.check_source(self.volume_of(current), source, current.spec)
        prices = self._prices(self.backend(current.backend))
        cap = budget if budget is not None else current.spec.budget_usd
        budgets.check_again(current.tag, current.spec, current.backend, prices, cap, spent_usd(current))
        if gpus is not None and State.LAUNCHING in TRANSITIONS[current.state]:
            grounds.check_gpus(self.volume_of(current), current, on_gpus(current.spec, gpus))
        app = self.backend(run.backend).ensure_deployed(run.spec.engine, live=self._live_on(run.backend))
        return self._spawn(self.registry.update(run.id, again), first=False)

    def cancel(self, run: Run) -> Run:
        """Ask a live run to stop and keep what is saved; one that does not answer is ended by force later.

        Whatever else cannot be reached, what is known to run is ended. Raises Unreachable when something may go on.
        """

        def stop(current: Run) -> Run:
            if current.state in UNSURE and current.backend is not BackendName.LOCAL:
                # A call that nobody knows of may still be waiting for its machine.
                return msgspec.structs.replace(transition(current, State.CANCELLED), cancel_requested_at=self.clock())
            if not current.live:
                raise UsageError(f"{current.tag} is not running", f"it is {current.state}")
            return current if current.cancel_requested_at else cancel_requested(current, self.clock())

        place = self.backend(run.backend)
        place.check_workspace(run)
        with contextlib.suppress(Unreachable, CredentialsError, OSError):
            self._polls.reread(run.id)
        wanted = stop(self.registry.get(run.id))

        def record(current: Run) -> Run:
            return stop(current) if current.live or current.state in UNSURE else current

        try:
            place.cancel(wanted)
        except NanochatError:
            if wanted.live:
                # Whoever looks at it next tries again.
                self.registry.update(run.id, record)
            raise
        return self.registry.update(run.id, record)

    def delete(self, run: Run, *, forget: bool = False) -> None:
        """Remove a run that is not live: its folder on the volume, its work space, its record.

        `forget` removes the record although the volume cannot be reached, of a run whose calls have verifiably ended.
        """
        place = self.backend(run.backend)
        place.check_workspace(run)
        try:
            current = self._polls.reread(run.id)
        except VolumeGone:
            if not forget:
                raise
            current = self.registry.get(run.id)
        if forget and current.live and self._ended(current):
            current = self.registry.update(run.id, lambda r: transition(r, State.INTERRUPTED))

        def claim(now: Run) -> Run:
            if now.live:
                raise UsageError(f"{now.tag} is {now.state}", f"nanochat-tui cancel {now.tag} first")
            return transition(now, State.DELETING)

        claim(current)
        if not forget:
            self._check_users(current)
        state = current.state
        current = self.registry.update(run.id, claim)
        try:
            place.volume(current.volume).remove(current.path)
        except FileNotFoundError:
            self.say(f"{current.tag} had no files on its volume")
        except (NanochatError, OSError) as error:
            if not (forget and isinstance(error, VolumeGone)):
                self.registry.update(run.id, lambda r: transition(r, state))
                raise
        with contextlib.suppress(NanochatError, OSError):
            # For other machines, and for this one if its registry is lost.
            run_records.write_account(place.volume(current.volume), ledger.account(current))
        place.forget(current)
        if current.backend is not BackendName.LOCAL:
            shutil.rmtree(self._log_folder(current), ignore_errors=True)
        self.registry.remove(current.id)

    def _ended(self, run: Run) -> bool:
        """Whether nothing of a run can still work, as far as its calls tell; silent for days, no call lives."""
        silent = self.clock() - (run.last_sign_of_life or run.asked_at or run.created_at)
        return silent > NO_CALL_LASTS_S or not self.backend(run.backend).may_be_running(run)

    def _check_users(self, run: Run) -> None:
        """Raises UsageError when a live run goes on from this one, also one of another machine."""
        if run.backend is not BackendName.LOCAL:
            self.discover()
        against = deletion.plan_deletion([run.path], (), self.runs_on_volume(run.backend, run.volume)).blockers
        if against:
            raise UsageError(f"{run.tag} is needed: {against[0]}", "let that end, or cancel it first")

    def runs_on_volume(self, backend: str, location: str) -> list[Run]:
        """The runs of a volume as they are now: what is to be deleted from it is judged by them."""
        runs = [r for r in self.registry.all() if (r.backend, r.volume) == (backend, location)]
        known = self._polls.poll_all(runs)
        far = known if backend != BackendName.LOCAL else []
        ended = [r for r in far if not r.live and State.LAUNCHING in TRANSITIONS[r.state]]
        again = {r.id: r for r in side_by_side(lambda r: self._polls.reread(r.id), ended)}
        return [again.get(r.id, r) for r in known]

    def poll_all(self, backend: str = "") -> list[Run]:
        """Every run, newest first, after a fresh look at those that may have changed, on one backend or all."""
        runs = self.registry.all()
        self.deleted_accounts = self.registry.saved_accounts()
        looked = {r.id: r for r in self._polls.poll_all([r for r in runs if backend in ("", r.backend)])}
        return [looked.get(r.id, r) for r in runs]

    def poll_run(self, run: Run) -> Run:
        """One run after a fresh look."""
        return self._polls.poll_run(run)

    def time_for(self, run: Run) -> float:
        """What time it is for a run: its sign of life is of another clock than ours."""
        return self._polls.signs.now(run, self.clock())

    def poll_until_certain(self, runs: Sequence[Run]) -> list[Run]:
        """The same runs, after so many looks as it takes to know whether those live whose clock is another than ours.

        For who looks once; whoever looks again and again sees it.
        """
        found, until = {run.id: run for run in runs}, time.monotonic() + 2 * BEATS_S
        while doubtful := [r for r in found.values() if self._polls.signs.doubtful(r, self.clock())]:
            if time.monotonic() > until:
                break
            time.sleep(BEATS_S / 4)
            found |= {run.id: run for run in self._polls.poll_all(doubtful)}
        return list(found.values())

    def close(self) -> None:
        """Let go of connections; runs are not touched."""
        for place in self._backends.values():
            place.close()
        if BackendName.MODAL in self._backends:
            self.trim_logs()
        self.registry.close()

    def checkpoints(self, run: Run) -> list[Checkpoint]:
        """A run's checkpoints as they are on its volume now, with what was measured where."""
        volume = self.volume_of(run)
        found = checkpoints.scan(volume, run.id, run.path, run.spec.model, run.spec.gpus)
        return with_measures(found, run_records.measured(volume, run)) if found else found

    def log_file(self, run: Run) -> Path:
        """The file on this disk that holds the run's log, its events beside it; `pull_log` brings it up to date."""
        return self._log_folder(run) / layout.LOG_FILE

    def _log_folder(self, run: Run) -> Path:
        return Path(run.volume) / run.path if run.backend is BackendName.LOCAL else self.home / "logs" / run.id

    def pull_log(self, run: Run) -> None:
        self.backend(run.backend).pull_log(run, self._log_folder(run))

    def trim_logs(self) -> int:
        """Keep no more logs of Modal runs on this disk than is set; bytes that went."""
        live = {run.id for run in self.registry.all() if run.live}
        return cache.trim(self.home / "logs", int(self.settings.keep_logs_gb * 10**9), live)

    def put_setting(self, name: str, value: str) -> None:
        self.settings = settings.put(self.home, name, value)

    def billed(self, run: Run) -> dict[str, Decimal] | None:
        """What was billed for the run's app in the hours of the run; None where nobody tells."""
        return self.backend(run.backend).billed(run)
