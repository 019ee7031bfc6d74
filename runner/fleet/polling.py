"""What became of runs: looks at backends and volumes, and what other machines did with a run taken over and told."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from runner.errors import NanochatError, UsageError
from runner.fleet.registry import Registry
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.model.states import TRANSITIONS, UNSURE, State
from runner.model.status import Status
from runner.model.transitions import adopted, apply_poll, found_alive, import_run
from runner.monitoring.heartbeat_age import HeartbeatAges
from runner.system import read_only
from runner.system.client_log import LOG
from runner.system.side_by_side import side_by_side
from runner.text import units

if TYPE_CHECKING:
    from runner.backends.base import Backend

FORCE_AFTER_S = 15.0
# The numbers of a live run are put on record so often; what changes its state, at once.
KEEP_EVERY_S = 5.0
# A run on Modal that has ended is glanced at so often, the newest ones: another machine may have gone on with it.
GLANCE_EVERY_S, MOST_GLANCES = 60.0, 50
# A job beats each second: two beats apart there is another one, if it lives.
TWO_BEATS_S, BEAT_AGE_S = 2.5, 3600.0


class Poller:
    """Looks at runs. `unreachable` says, by run id, what kept the last look from being an answer."""

    def __init__(
        self,
        registry: Registry,
        backend: "Callable[[str], Backend]",
        clock: Callable[[], float],
        say: Callable[[str], None],
    ) -> None:
        self._registry, self._backend, self._clock, self._say = registry, backend, clock, say
        self.unreachable: dict[str, str] = {}
        self.signs = HeartbeatAges()
        self._kept_at: dict[str, float] = {}
        self._forced_at: dict[str, float] = {}
        self._glanced_at: dict[str, float] = {}
        self._beats: dict[str, Status] = {}

    def poll_all(self, runs: Sequence[Run]) -> list[Run]:
        """The same runs after a look at those that may have changed, side by side where a network is asked."""
        ended = [r for r in runs if self._worth_a_glance(r)][:MOST_GLANCES]
        glanced = {r.id for r in ended}
        asked = [r for r in runs if r.live or r.state in UNSURE or r.id in glanced]
        near = [r for r in asked if r.backend is BackendName.LOCAL]
        far = [r for r in asked if r.backend is not BackendName.LOCAL]
        looked = [*map(self.poll_run, near), *side_by_side(self._glance_or_look, far)]
        found = {run.id: run for run in looked}
        return [found.get(run.id, run) for run in runs]

    def poll_run(self, run: Run) -> Run:
        """One run after a fresh look, if it has not ended for good."""
        return self._look(run) if run.live or run.state in UNSURE else run

    def reread(self, run_id: str) -> Run:
        """A run as its volume and its job's heartbeat have it now: on this, and not on memory, decisions are made.

        Raises Unreachable or CredentialsError when they cannot be asked.
        """
        from runner.volumes import run_records

        run = self._registry.get(run_id)
        place = self._backend(run.backend)
        place.check_workspace(run)
        record = run_records.read_run(place.volume(run.volume), run.id)
        if record:
            run = self._adopt(run, record)
        if not run.live and run.state not in UNSURE:
            run = self._if_it_beats(run)
        return self.poll_run(run)

    def record_found(self, run: Run, backend: BackendName, location: str) -> Run:
        """Put a run that was found on a volume on record."""
        found = import_run(run, backend, location)
        try:
            self._registry.add(found)
        except UsageError:
            found = msgspec.structs.replace(found, tag=found.id)
            self._registry.add(found)
        return self._look(found)

    def _worth_a_glance(self, run: Run) -> bool:
        resumable = not run.live and run.backend is not BackendName.LOCAL and State.LAUNCHING in TRANSITIONS[run.state]
        due = time.monotonic() - self._glanced_at.get(run.id, -GLANCE_EVERY_S) >= GLANCE_EVERY_S
        return resumable and run.state not in UNSURE and due

    def _glance_or_look(self, run: Run) -> Run:
        return self._look(run) if run.live or run.state in UNSURE else self._glance(run)

    def _glance(self, run: Run) -> Run:
        """A run that has ended, unless its heartbeat tells of a later attempt, or beats on."""
        self._glanced_at[run.id] = time.monotonic()
        try:
            told = self._backend(run.backend).last_heartbeat(run)
            before = self._beats.get(run.id)
            if told is None:
                return run
            self._beats[run.id] = told
            if told.attempt > run.attempt:
                return self.reread(run.id)
            new = found_alive(run, before, told)
        except (NanochatError, OSError) as error:
            self.unreachable[run.id] = str(error)
            return run
        self.unreachable.pop(run.id, None)
        return run if new is run else self._look(self._found_alive(run, before, told))

    def _if_it_beats(self, run: Run) -> Run:
        """Two looks at the heartbeat of a run that has ended without its job's last word."""
        place = self._backend(run.backend)
        before = place.last_heartbeat(run)
        if before is None or before.attempt != run.attempt or abs(self._clock() - before.updated_at) > BEAT_AGE_S:
            return run
        if found_alive(run, before, msgspec.structs.replace(before, updated_at=-1.0)) is run:
            return run
        time.sleep(TWO_BEATS_S)
        return self._found_alive(run, before, place.last_heartbeat(run))

    def _found_alive(self, run: Run, before: Status | None, now: Status | None) -> Run:
        new = self._registry.update(run.id, lambda r: found_alive(r, before, now))
        if new.state is not run.state:
            self._say(f"{run.tag} was taken for {run.state}, and its job lives")
        return new

    def _adopt(self, run: Run, record: Run) -> Run:
        new = self._registry.update(run.id, lambda r: adopted(r, record))
        if new.attempt > run.attempt:
            when = units.moment(record.asked_at, self._clock()) if record.asked_at else "some time"
            self._say(f"{run.tag} was resumed on {record.host or 'another machine'} at {when}: attempt {new.attempt}")
        return new

    def _look(self, run: Run) -> Run:
        try:
            poll = self._backend(run.backend).poll(run)
        except (NanochatError, OSError) as error:
            if self.unreachable.get(run.id) != str(error):
                LOG.warning("looking at %s (%s): %s", run.tag, run.id, error)
            self.unreachable[run.id] = str(error)
            return run
        self.unreachable.pop(run.id, None)
        LOG.debug("%s (%s): alive %s, job says %s", run.tag, run.id, poll.alive, poll.status and poll.status.state)
        now = self._clock()
        if poll.alive and run.cancel_requested_at and not 0 <= now - run.cancel_requested_at <= FORCE_AFTER_S:
            self._force(run, now)
        new = apply_poll(run, poll, now)
        self.signs.note(new)
        if new == run:
            return run
        if (new.state, new.calls) == (run.state, run.calls) and now - self._kept_at.get(run.id, 0.0) < KEEP_EVERY_S:
            # Numbers alone: they are read again at the next look, whoever looks.
            return new
        self._kept_at[run.id] = now
        return self._registry.update(run.id, lambda r: apply_poll(r, poll, now) if r.attempt == run.attempt else r)

    def _force(self, run: Run, now: float) -> None:
        """End what was asked to stop and has not; tried again after a while, and what goes wrong is told."""
        if read_only.is_set() or 0 <= now - self._forced_at.get(run.id, -FORCE_AFTER_S) < FORCE_AFTER_S:
            return
        self._forced_at[run.id] = now
        try:
            self._backend(run.backend).cancel(run, force=True)
        except (NanochatError, OSError) as error:
            self.unreachable[run.id] = str(error)
