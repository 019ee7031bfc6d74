"""Starts runs, and the next attempts of runs: the intent first, then the call, then its record."""

import contextlib
import socket
from decimal import Decimal
from pathlib import Path

import msgspec

from runner import processes
from runner.errors import NanochatError, Unreachable, UsageError
from runner.fleet.core import Core
from runner.fleet.planner import Planner
from runner.fleet.registry import Check
from runner.model.backend_name import BackendName
from runner.model.code import Code, EarlierCode
from runner.model.identifiers import MAX_TAG, check_tag, new_run_id
from runner.model.run import Run, named, of_schema
from runner.model.spec import RunSpec, on_gpus
from runner.model.states import TRANSITIONS, State
from runner.model.status import Outcome, OutcomeKind, Status
from runner.model.transitions import in_attempt, next_attempt, transition, with_call
from runner.monitoring.projection import spent_usd
from runner.nanochat import layout
from runner.planning import budget as budgets
from runner.planning import grounds
from runner.recipes import recipe, recipe_text
from runner.volumes import known_volumes, run_records
from runner.volumes.checkpoint_verdicts import newest_complete


class Launcher:
    """Launches and resumes. Whatever dies in between leaves no run, or one that the next look finds."""

    def __init__(self, core: Core, planner: Planner, home: Path) -> None:
        self._core, self._planner, self._home = core, planner, home

    def launch(
        self, spec: RunSpec, *, backend: str, tag: str = "", force_restart: bool = False, check: Check | None = None
    ) -> Run:
        """Start a new run; `check` judges it as it is put down."""
        self._core.places.check_engine(spec)
        place = self._core.places.backend(backend)
        location = self._planner.location(spec, backend)
        if place.make_volume(location):
            self._core.say(f"made the volume folder {location}")
        volume = place.volume(location)
        planned = self._planner.plan(spec, backend)
        if spec.source:
            grounds.check_source(volume, self._core.registry.get(spec.source), spec)
        if spec.tokenizer_from:
            grounds.check_tokenizer(volume, self._core.polls.reread(spec.tokenizer_from))
        budgets.check_new(spec, backend, self._core.places.prices(place))
        if planned.too_long:
            raise UsageError(*planned.too_long, field="overrides")
        tags = {r.tag for r in self._core.registry.all()}
        if tag:
            check_tag(tag)
        run_records.check_engine(volume, spec.engine)
        renamed = self._renamed(tag, tags) if force_restart and tag in tags else None
        place.check_keys(spec)
        app = place.ensure_deployed(spec.engine, live=self._live_on(backend), code=spec.code)
        where = place.current_workspace()
        run = Run(
            id=new_run_id(),
            tag=tag,
            spec=spec,
            backend=place.name,
            volume=location,
            created_at=self._core.clock(),
            prices=self._core.places.prices(place),
            estimate=planned.estimate,
            workspace=where.name,
            environment=where.environment,
            app=app,
            host=socket.gethostname(),
        )
        run = self._core.registry.add(of_schema(named(run, tag) if tag else run), renamed, check)
        if renamed:
            run_records.write_run(self._core.places.volume_of(renamed), renamed)
            frees = f"nanochat-tui rm {renamed.tag} frees its files"
            self._core.say(f"the earlier run {renamed.id} is kept and now called {renamed.tag}; {frees}")
        if backend == BackendName.LOCAL:
            known_volumes.remember(self._home, location)
        return self._spawn(run, first=True)

    def _live_on(self, backend: str) -> list[Run]:
        return [r for r in self._core.registry.all() if r.live and r.backend == backend]

    def _renamed(self, tag: str, tags: set[str]) -> Run:
        """The run that has a tag, under another one; it is put down together with the run that takes the tag over."""
        old = self._core.polls.reread(next(r.id for r in self._core.registry.all() if r.tag == tag))
        if old.live:
            raise UsageError(f"{tag} ({old.id}) is {old.state}", f"nanochat-tui cancel {tag} first", field="tag")
        numbered = (f"{tag[: MAX_TAG - len(str(n)) - 1]}.{n}" for n in range(1, len(tags) + 2))
        return msgspec.structs.replace(old, tag=next(name for name in numbered if name not in tags))

    def _spawn(self, run: Run, *, first: bool) -> Run:
        try:
            volume = self._core.places.volume_of(run)
            run_records.write_run(volume, run)
            asked = recipe.of_spec(run.spec, run.backend, f"what {run.tag} was launched with")
            volume.write(f"{run.path}/{layout.SPEC_FILE}", recipe_text.write(asked).encode("utf-8", "replace"))
            self._core.code.bring(volume, run)
            call_id = self._core.places.backend(run.backend).launch(run)
        except (OSError, NanochatError) as error:
            unsure = run.backend is not BackendName.LOCAL and isinstance(error, Unreachable)
            if first and not unsure:
                self._unlaunch(run)
            else:
                self._not_spawned(run, str(error), State.INTERRUPTED if unsure else State.FAILED)
            if isinstance(error, NanochatError):
                raise
            raise Unreachable(f"{run.tag} could not be started ({error})", "put that right, then try again") from error
        started = self._core.registry.update(run.id, lambda r: with_call(r, call_id, self._core.clock()))
        with contextlib.suppress(OSError, NanochatError):
            # For other machines; without it they know of the call when its job has begun.
            run_records.write_run(self._core.places.volume_of(started), started)
        if started.cancel_requested_at:
            # Somebody cancelled between the intent and the spawn: they saw nothing to stop, so it is done here.
            self._core.places.backend(run.backend).cancel(started, force=True)
        return started

    def _unlaunch(self, run: Run) -> None:
        """Take back a launch of which nothing was spawned."""
        self._core.registry.remove(run.id)
        with contextlib.suppress(OSError, NanochatError):
            self._core.places.volume_of(run).remove(run.path)

    def _not_spawned(self, run: Run, why: str, state: State) -> None:
        """A run that was not spawned keeps everything it had. INTERRUPTED is looked at again: the call may be there."""
        now = self._core.clock()
        status = run.status or Status(run.attempt, state, "", now, now)
        outcome = Outcome(OutcomeKind.LAUNCH, why[:300], "put that right, then resume")
        failed = msgspec.structs.replace(in_attempt(status, run), state=state, outcome=outcome)
        self._core.registry.update(
            run.id, lambda r: msgspec.structs.replace(transition(r, state), status=failed, ended_at=now)
        )

    def resume(
        self,
        run: Run,
        *,
        gpus: int | None = None,
        budget: Decimal | None = None,
        step: int | None = None,
        code: Code | None = None,
        check: Check | None = None,
    ) -> Run:
        """Start the next attempt of a run that has ended; `check` judges it as it is put down."""

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
                next_attempt(current, self._core.clock(), step),
                prices=self._core.places.prices(self._core.places.backend(current.backend)),
                app=app,
                host=socket.gethostname(),
            )
            spec = again.spec if gpus is None else on_gpus(again.spec, gpus)
            if budget is not None:
                spec = msgspec.structs.replace(spec, budget_usd=budget)
            if code is not None and code != spec.code:
                earlier = (*again.earlier_code, EarlierCode(current.attempt, spec.code))
                spec = msgspec.structs.replace(spec, code=code)
                again = msgspec.structs.replace(again, earlier_code=earlier)
            return of_schema(msgspec.structs.replace(again, spec=spec))

        self._core.places.check_engine(run.spec)
        if run.newer:
            raise UsageError(f"{run.tag} was asked for with a newer nanochat-tui", "go on with it there")
        self._core.places.volume_of(run).list("")
        current = self._core.polls.reread(run.id)
        if current.attempt > run.attempt and not current.live:
            raise UsageError(
                f"{current.tag} was resumed on {current.host or 'another machine'} meanwhile, and is {current.state}",
                f"nanochat-tui show {current.tag}, then resume again",
            )
        if step is not None:
            grounds.check_step(
                current, run_records.own_checkpoints(self._core.places.volume_of(current), current), step
            )
        elif current.resume_step is not None and not grounds.went_back(self._core.places.volume_of(current), current):
            # The attempt that was to go back ended before it could.
            step = current.resume_step
        if current.spec.source and not newest_complete(
            run_records.own_checkpoints(self._core.places.volume_of(current), current)
        ):
            source = self._core.registry.get(current.spec.source)
            grounds.check_source(self._core.places.volume_of(current), source, current.spec)
        prices = self._core.places.prices(self._core.places.backend(current.backend))
        cap = budget if budget is not None else current.spec.budget_usd
        budgets.check_again(current.tag, current.spec, current.backend, prices, cap, spent_usd(current))
        if gpus is not None and State.LAUNCHING in TRANSITIONS[current.state]:
            grounds.check_gpus(self._core.places.volume_of(current), current, on_gpus(current.spec, gpus))
        if code is not None and run.spec.engine == "rehearsal":
            raise UsageError("a rehearsal trains a stand-in, never your code", "leave --code out", field="code")
        self._core.places.backend(run.backend).check_keys(current.spec)
        app = self._core.places.backend(run.backend).ensure_deployed(
            run.spec.engine, live=self._live_on(run.backend), code=code or run.spec.code
        )
        return self._spawn(self._core.registry.update(run.id, again, check), first=False)
