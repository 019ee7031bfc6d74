"""What ends runs: cancelled, while they are live; deleted, once they are not."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from runner.errors import CredentialsError, NanochatError, Unreachable, UsageError, VolumeGone
from runner.fleet import trashing
from runner.fleet.core import Core
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.model.states import TRANSITIONS, UNSURE, State
from runner.model.transitions import cancel_requested, transition
from runner.monitoring import ledger
from runner.system.side_by_side import side_by_side
from runner.volumes import deletion, run_records
from runner.volumes.trash import Trashed

# The longest call there is lasts a day; of what has said nothing for so long, none is left.
NO_CALL_LASTS_S = 2 * 86_400.0


def cancel(core: Core, run: Run) -> Run:
    """Ask a live run to stop and keep what is saved; one that does not answer is ended by force later.

    Whatever else cannot be reached, what is known to run is ended. Raises Unreachable when something may go on.
    """

    def stop(current: Run) -> Run:
        if current.state in UNSURE and current.backend is not BackendName.LOCAL:
            # A call that nobody knows of may still be waiting for its machine.
            return msgspec.structs.replace(transition(current, State.CANCELLED), cancel_requested_at=core.clock())
        if not current.live:
            raise UsageError(f"{current.tag} is not running", f"it is {current.state}")
        return current if current.cancel_requested_at else cancel_requested(current, core.clock())

    place = core.places.backend(run.backend)
    place.check_workspace(run)
    with contextlib.suppress(Unreachable, CredentialsError, OSError):
        core.polls.reread(run.id)
    wanted = stop(core.registry.get(run.id))

    def record(current: Run) -> Run:
        return stop(current) if current.live or current.state in UNSURE else current

    try:
        place.cancel(wanted)
    except NanochatError:
        if wanted.live:
            # Whoever looks at it next tries again.
            core.registry.update(run.id, record)
        raise
    return core.registry.update(run.id, record)


def delete(
    core: Core,
    run: Run,
    log_folder: Path,
    discover: Callable[[], object],
    *,
    forget: bool = False,
    now: bool = False,
) -> Trashed | None:
    """Remove a run that is not live: its folder on the volume, its work space, its record.

    What it can be brought back by, where its volume has a trash; `now` deletes for good. `forget` removes the record
    although the volume cannot be reached, of a run whose calls have verifiably ended.
    """
    place = core.places.backend(run.backend)
    place.check_workspace(run)
    try:
        current = core.polls.reread(run.id)
    except VolumeGone:
        if not forget:
            raise
        current = core.registry.get(run.id)
    if forget and current.live and _has_ended(core, current):
        current = core.registry.update(run.id, lambda r: transition(r, State.INTERRUPTED))

    def claim(one: Run) -> Run:
        if one.live:
            raise UsageError(f"{one.tag} is {one.state}", f"nanochat-tui cancel {one.tag} first")
        return transition(one, State.DELETING)

    claim(current)
    if not forget:
        _check_users(core, discover, current)
    state, as_it_was, kept = current.state, current, None
    current = core.registry.update(run.id, claim)
    try:
        volume = place.volume(current.volume)
        volume.stat(current.path)
        kept = trashing.remove(core, volume, run.backend, [current.path], now=now, run=as_it_was)
    except FileNotFoundError:
        core.say(f"{current.tag} had no files on its volume")
    except (NanochatError, OSError) as error:
        if not (forget and isinstance(error, VolumeGone)):
            core.registry.update(run.id, lambda r: transition(r, state))
            raise
    with contextlib.suppress(NanochatError, OSError):
        # For other machines, and for this one if its registry is lost.
        run_records.write_account(place.volume(current.volume), ledger.account(current))
    place.forget(current)
    if current.backend is not BackendName.LOCAL:
        shutil.rmtree(log_folder, ignore_errors=True)
    core.registry.remove(current.id)
    return kept


def _has_ended(core: Core, run: Run) -> bool:
    """Whether nothing of a run can still work, as far as its calls tell; silent for days, no call lives."""
    silent = core.clock() - (run.last_heartbeat or run.asked_at or run.created_at)
    return silent > NO_CALL_LASTS_S or not core.places.backend(run.backend).may_be_running(run)


def _check_users(core: Core, discover: Callable[[], object], run: Run) -> None:
    """Raises UsageError when a live run goes on from this one, also one of another machine."""
    if run.backend is not BackendName.LOCAL:
        discover()
    blockers = deletion.plan_deletion([run.path], (), runs_on_volume(core, run.backend, run.volume)).blockers
    if blockers:
        raise UsageError(f"{run.tag} is needed: {blockers[0]}", "let that end, or cancel it first")


def runs_on_volume(core: Core, backend: str, location: str) -> list[Run]:
    """The runs of a volume as they are now: what is to be deleted from it is judged by them."""
    runs = [r for r in core.registry.all() if (r.backend, r.volume) == (backend, location)]
    known = core.polls.poll_all(runs)
    far = known if backend != BackendName.LOCAL else []
    ended = [r for r in far if not r.live and State.LAUNCHING in TRANSITIONS[r.state]]
    again = {r.id: r for r in side_by_side(lambda r: core.polls.reread(r.id), ended)}
    return [again.get(r.id, r) for r in known]
