"""Modal from this side: deploy, spawn, poll call ids, cancel; everything a run needs that happens elsewhere."""

import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path, PurePosixPath

import modal
import msgspec
from msgspec import Struct

from runner.backends.base import Check, Workspace
from runner.backends.modal import calls, keys, names
from runner.backends.modal.billing import Billing
from runner.backends.modal.calls import CallEnd, CallResult
from runner.backends.modal.deploy import Deployments
from runner.backends.modal.errors import translating_errors
from runner.backends.modal.identity import Identity
from runner.backends.modal.live_dict import LiveDict
from runner.backends.modal.names import APPS, LIVE_DICT, TAG, VOLUMES, train_key
from runner.backends.modal.pull import LogPuller
from runner.backends.modal.token import has_credentials, require_token
from runner.backends.modal.volume import ModalVolume
from runner.diagnosis.advice import ADVICE, Cause
from runner.errors import NanochatError, Unreachable, VolumeGone
from runner.logs.mirror import Read
from runner.model.backend_name import BackendName
from runner.model.code import Code
from runner.model.pricing import Prices
from runner.model.run import Poll, Run, calls_of_attempt
from runner.model.spec import RunSpec
from runner.model.stages import Part
from runner.model.states import LIVE, State
from runner.model.status import Outcome, OutcomeKind, Status, resume_begins
from runner.paths import modal_command
from runner.system import read_only
from runner.volumes import run_records

POLL_EVERY_S, POLL_ENDED_EVERY_S, MAX_BACK_OFF_S = 2.0, 30.0, 30.0
FRESH_S = 15.0
_WORKING = (State.PREPARING, State.RUNNING, State.STOPPING)
LAST_RESORT = f"end it at modal.com/apps, or: {modal_command('container', 'stop')} ID, as container list names it"


class _Seen(Struct):
    """The last look at a run, kept for a moment: front ends look far more often than the network should be asked."""

    key: tuple[int, int, bool]
    until: float
    poll: Poll | None
    error: NanochatError | None
    failures: int


class ModalBackend:
    """The Backend Protocol on Modal. Deploys once per version of the source; every call is detached."""

    name = BackendName.MODAL

    def __init__(self, home: Path, say: Callable[[str], None]) -> None:
        self._home, self._say = home, say
        self._apps, self._identity, self._billing = Deployments(home, say), Identity(home), Billing(home)
        self._live = LiveDict(LIVE_DICT)
        self._volumes: dict[str, ModalVolume] = {}
        self._seen: dict[str, _Seen] = {}
        self._pulls = LogPuller()

    def volume(self, location: str) -> ModalVolume:
        return self._volumes.setdefault(location, ModalVolume(location))

    def default_volume(self, engine: str) -> str:
        return VOLUMES[engine]

    def make_volume(self, location: str) -> bool:
        read_only.refuse("make a volume")
        self.volume(location).make()
        return False

    def current_workspace(self) -> Workspace:
        require_token()
        return self._identity.current()

    def check_workspace(self, run: Run) -> None:
        require_token()
        self._identity.check_workspace(run)

    def ensure_deployed(self, engine: str, *, live: Sequence[Run], code: Code | None = None) -> str:
        read_only.refuse("deploy an app")
        require_token()
        return self._apps.ensure(engine, live)

    def check_keys(self, spec: RunSpec) -> None:
        require_token()
        keys.check(spec.secrets)

    def launch(self, run: Run) -> str:
        read_only.refuse("launch a run")
        self.check_workspace(run)
        with translating_errors():
            for call in run.calls:
                # An earlier attempt that still breathes must not train beside this one.
                calls.terminate(call.call_id)
            return self._spawn(run)

    @staticmethod
    def _spawn(run: Run) -> str:
        mounted: dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount]
        mounted = {names.MOUNT: modal.Volume.from_name(run.volume)}
        options = {"volumes": mounted, **keys.options(run)}
        function = modal.Function.from_name(app_name(run), Part.PREPARE).with_options(**options)
        return str(function.spawn(run.id, run.attempt, run.volume).object_id)

    def poll(self, run: Run) -> Poll:
        key, now = (run.attempt, len(run.calls), run.cancel_requested_at is not None), time.monotonic()
        seen = self._seen.get(run.id)
        if seen and seen.key == key and now < seen.until:
            if seen.error:
                raise seen.error
            if seen.poll:
                return seen.poll
        failures = seen.failures if seen else 0
        try:
            self.check_workspace(run)
            with translating_errors():
                poll = self._look(run)
        except NanochatError as error:
            wait = min(MAX_BACK_OFF_S, POLL_EVERY_S * 2**failures)
            self._seen[run.id] = _Seen(key, time.monotonic() + wait, None, error, failures + 1)
            raise
        self._seen[run.id] = _Seen(key, time.monotonic() + poll_interval_s(run, time.time()), poll, None, 0)
        return poll

    def _look(self, run: Run) -> Poll:
        status, gone = self._told(run)
        mine = status if status and status.attempt == run.attempt else None
        if mine and mine.state not in LIVE:
            return Poll(False, mine)
        beating = mine is not None and abs(time.time() - mine.updated_at) < FRESH_S
        if beating and mine and mine.state not in (State.QUEUED, State.PREEMPTED) and not run.cancel_requested_at:
            return Poll(True, mine)
        known = calls_of_attempt(msgspec.structs.replace(run, status=mine) if mine else run)
        if not known:
            if gone and not run.cancel_requested_at:
                raise gone
            return Poll(False, mine)
        ended = calls.call_result(known[-1], look_closer=not beating)
        if ended and ended.kind is CallEnd.RETURNED and ended.state == State.QUEUED.value:
            later = [call for call in self._spawned(run, mine) if call not in known]
            ended = calls.call_result(later[-1], look_closer=True) if later else None
        leaving = beating and mine is not None and mine.state in _WORKING
        if ended is None or (leaving and ended.kind is CallEnd.TERMINATED):
            # A container that is told to go still closes its books; it must not meet the next attempt.
            return Poll(True, mine)
        return self._over(run, ended)

    def _over(self, run: Run, ended: CallResult) -> Poll:
        """The call has ended: the job's last word is on the volume, unless it could not say one."""
        status, gone = self._told(run, record_first=True)
        mine = status if status and status.attempt == run.attempt else None
        if mine and mine.state not in LIVE:
            return Poll(False, mine)
        if gone and not run.cancel_requested_at:
            raise gone
        return Poll(False, mine, _outcome(run, ended))

    def _told(self, run: Run, *, record_first: bool = False) -> tuple[Status | None, VolumeGone | None]:
        """The job's heartbeat, forgotten after a week, or its record, in either order; and whether the volume is gone.

        Whatever else stands in the way is raised: nobody has said anything then.
        """
        if not record_first and (heard := self._heard(run)):
            return heard, None
        record: Status | None = None
        gone: VolumeGone | None = None
        try:
            record = run_records.read_status(self.volume(run.volume), run)
        except VolumeGone as error:
            gone = error
        return record or (self._heard(run) if record_first else None), gone

    def _heard(self, run: Run) -> Status | None:
        told = self._live.get(run.id)
        return run_records.status_of(told) if isinstance(told, bytes) else None

    def last_heartbeat(self, run: Run) -> Status | None:
        self.check_workspace(run)
        with translating_errors():
            return self._heard(run)

    def may_be_running(self, run: Run) -> bool:
        """Every call that is known is asked. Of one that is unknown here nothing is known, so it may."""
        self.check_workspace(run)
        with translating_errors():
            for call_id in self._all_calls(run):
                ended = calls.call_result(call_id, look_closer=True)
                if ended is None or ended.kind is CallEnd.UNKNOWN:
                    return True
        return False

    def _all_calls(self, run: Run) -> list[str]:
        """The calls of an attempt, also those that a container has spawned."""
        return list(dict.fromkeys([*calls_of_attempt(run), *self._spawned(run, run.status)]))

    def _spawned(self, run: Run, status: Status | None) -> list[str]:
        """The calls that containers of this attempt have spawned, from the leg on that the job last told."""
        leg = status.containers.leg if status and status.attempt == run.attempt else 1
        found: list[str] = []
        while isinstance(call := self._live.get(train_key(run.id, run.attempt, leg + len(found))), str):
            found.append(call)
        return found

    def cancel(self, run: Run, *, force: bool = False) -> None:
        """End every call that is known, containers and all; then leave the mark that turns away one that is not."""
        read_only.refuse("cancel a run")
        self.check_workspace(run)
        self._seen.pop(run.id, None)
        known, found = calls_of_attempt(run), False
        problem: NanochatError | None = None
        try:
            with translating_errors():
                known = self._all_calls(run)
        except NanochatError as error:
            problem = error
        for call_id in known:
            try:
                with translating_errors():
                    found |= calls.terminate(call_id)
            except NanochatError as error:
                problem = error
        if problem:
            raise Unreachable(f"{run.tag} may still run on paid GPUs ({problem.what})", LAST_RESORT) from problem
        if known and not found and not run.workspace:
            raise Unreachable(
                f"this workspace knows no call of {run.tag}, which may run in another one",
                f"set MODAL_PROFILE to the workspace that it was launched in; or {LAST_RESORT}",
            )
        try:
            run_records.mark_cancelled(self.volume(run.volume), run)
        except NanochatError as error:
            if not found:
                raise
            self._say(f"the calls of {run.tag} were ended, but its volume could not be told ({error.what})")

    def pull_log(self, run: Run, folder: Path) -> None:
        self._pulls.pull(run, folder, app_name(run), self._reader(run))

    def _reader(self, run: Run) -> Read:
        volume, folder = self.volume(run.volume), run.path

        def read(name: str, offset: int, length: int) -> bytes:
            try:
                return volume.read(f"{folder}/{name}", offset, length)
            except FileNotFoundError:
                return b""

        return read

    def forget(self, run: Run) -> None:
        self._pulls.forget(run.id)

    def prices(self) -> Prices:
        return self._billing.prices()

    def billed(self, run: Run) -> dict[str, Decimal] | None:
        return self._billing.billed(run, app_name(run))

    def close(self) -> None:
        self._apps.close()
        self._pulls.close()

    def check(self) -> list[Check]:
        if not has_credentials():
            return [Check("modal token", False, "none on this machine", modal_command("setup"), optional=True)]
        checks = []
        try:
            require_token()
            with translating_errors():
                workspace = modal.Workspace.from_context().hydrate()
                environment = modal.config.config.get("environment") or "default environment"
                checks.append(Check("modal token", True, f"workspace {workspace.name}, {environment}"))
                modal.Dict.from_name(LIVE_DICT, create_if_missing=True).hydrate()
                checks.append(Check("modal access", True, "may make and read what a run needs"))
                checks += [self._check_app(engine) for engine in APPS]
                checks += [self._check_volume(engine) for engine in APPS]
        except NanochatError as error:
            return [*checks, Check("modal", False, error.what, error.hint)]
        return [*checks, *self._billing.checks()]

    def _check_app(self, engine: str) -> Check:
        name = APPS[engine]
        try:
            current = modal.App.lookup(name).get_tags().get(TAG) == names.source_fingerprint()
        except modal.exception.NotFoundError:
            return Check(f"modal {engine}", True, f"{name} is not deployed yet; the first launch does it")
        return Check(f"modal {engine}", True, f"{name} is deployed" + ("" if current else "; a launch renews it"))

    def _check_volume(self, engine: str) -> Check:
        name = VOLUMES[engine]
        try:
            self.volume(name).check_exists()
        except VolumeGone:
            return Check(f"modal {engine} files", True, f"there is no volume {name} yet; the first launch makes it")
        except Unreachable as error:
            return Check(f"modal {engine} files", False, error.what, error.hint)
        return Check(f"modal {engine} files", True, f"volume {name}, version 2")


def poll_interval_s(run: Run, now: float) -> float:
    """How long a look at a run is good for: what has just been taken for ended may be found alive any moment."""
    if run.live:
        return POLL_EVERY_S
    ago = abs(now - (run.ended_at or run.asked_at or run.created_at))
    return min(POLL_ENDED_EVERY_S, max(POLL_EVERY_S, ago / 10))


def app_name(run: Run) -> str:
    """The app that a run's calls are in."""
    return run.app or APPS[run.spec.engine]


def _outcome(run: Run, ended: CallResult) -> Outcome:
    resume = f"nanochat-tui {resume_begins(run.status, run.id)}"
    match ended.kind:
        case CallEnd.TERMINATED:
            by = "cancelled" if run.cancel_requested_at else "stopped from outside: a person, or the workspace's limit"
            return Outcome(OutcomeKind.CANCELLED, by, resume)
        case CallEnd.TIMEOUT:
            return Outcome(OutcomeKind.TIMEOUT, f"Modal's time limit for one call was reached ({ended.text})", resume)
        case CallEnd.EXPIRED:
            return Outcome(
                OutcomeKind.KILLED, "Modal has forgotten the call, and the volume has no last word of it", resume
            )
        case CallEnd.UNKNOWN:
            return Outcome(
                OutcomeKind.UNKNOWN,
                "this workspace knows no call of it, and the volume has no last word of it",
                f"see modal.com/apps, also of other workspaces; nanochat-tui cancel {run.tag} ends what may be left",
            )
        case CallEnd.RETURNED:
            return Outcome(OutcomeKind.LAUNCH, ended.text or "the job ended without a word", resume)
    return _crash(run, ended.text, resume)


def _crash(run: Run, text: str, resume: str) -> Outcome:
    """What a body raised, or how its container died: by the words of that, as far as they name a cause."""
    from runner.diagnosis.lines import named_cause

    cause = named_cause(text)
    advice = ADVICE[cause or Cause.CRASH]
    do = advice.text.replace("RUN", run.id) if cause else resume
    # A call that died is over, whoever ended it.
    kind = OutcomeKind.CRASH if advice.kind in (OutcomeKind.KILLED, OutcomeKind.CANCELLED) else advice.kind
    logs = f"{modal_command('app', 'logs', app_name(run))} shows more"
    return Outcome(kind, text, f"{logs}; {do}", resume=advice.resume if cause else "")
