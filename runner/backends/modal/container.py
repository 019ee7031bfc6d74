"""The job's side of Modal: what a function's body does, in its container."""

import contextlib
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import modal
import msgspec

from runner import processes
from runner.backends.modal.errors import error_text, is_transient, retry_transient, translate_error, translating_errors
from runner.backends.modal.names import lease_key, stop_key, train_key
from runner.errors import NanochatError
from runner.job.compile_cache import CompileCache, compile_cache_of
from runner.job.environment import local_gpus
from runner.job.job import Job
from runner.job.outcome import outcome_of_error
from runner.job.restarts import never_began
from runner.model import pricing
from runner.model.backend_name import BackendName
from runner.model.paid import PaidInterval
from runner.model.run import Run
from runner.model.stages import Part
from runner.model.states import State
from runner.model.status import Status
from runner.nanochat import layout
from runner.volumes import run_records
from runner.volumes.folder import FolderVolume

# Where Modal says that a container runs.
PLACE = ("MODAL_CLOUD_PROVIDER", "MODAL_REGION")
MOUNT = os.environ.get("NANOCHAT_TUI_MOUNT", "/vol")
BEAT_EVERY_S = 1.0
LOCK_STALE_S = 90.0
# A container takes no longer to get here: a system that says so counts otherwise.
MOST_BEFORE_S = 1800.0
LAST_WORD_S = 8.0
GRACE_S = 2.5
# So long is trouble on the way to Modal waited out: an attempt has cost a queue and a start.
PATIENCE_S = 300.0


class ModalEnvironment:
    """JobEnvironment in a Modal container: told to stop, its call will start again elsewhere."""

    state_when_stopped = State.PREEMPTED
    holds_files = False
    # Modal's grace between the signal and the end of a container.
    killed_after_s: float | None = 30.0
    # Limits on downloads are counted by five minutes, and nobody may be there to resume; a CPU waits for cents.
    tries, try_again_s = 6, 300.0

    def __init__(
        self,
        volume: modal.Volume,
        live: modal.Dict,
        call_id: str,
        hand_over: Callable[[Run, int], str],
        *,
        leg: int = 1,
        call_limit_s: float | None = None,
    ) -> None:
        self.call_id, self.leg, self.call_limit_s = call_id, leg, call_limit_s
        # The client, its mounts and this package are loaded first, on paid GPUs.
        age = processes.age_s()
        self.before_s = age if age < MOST_BEFORE_S else 0.0
        self._volume, self._live, self._hand_over = volume, live, hand_over
        self._committing = threading.Lock()
        self._latest: tuple[str, bytes] | None = None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beats, name="beat", daemon=True)
        self._thread.start()
        # A signal handler may do no more than put something here: it comes in the middle of anything.
        self._told: queue.SimpleQueue[float] = queue.SimpleQueue()
        threading.Thread(target=self._note_told, name="told", daemon=True).start()

    def usd_per_hour(self, run: Run, part: Part | None) -> Decimal:
        holds = pricing.resources_for(part, run.spec.engine, gpu=run.spec.gpu, gpus=run.spec.gpus)
        return pricing.hourly_rate(BackendName.MODAL, holds, run.prices)

    def interval_begun(self, run: Run, part: Part | None, now: float) -> PaidInterval:
        holds = pricing.resources_for(part, run.spec.engine, gpu=run.spec.gpu, gpus=run.spec.gpus)
        place = " ".join(["modal", *(os.environ.get(name, "") for name in PLACE)]).strip()
        return PaidInterval(now, now, 0.0, Decimal(0), holds.gpu, holds.gpus, place)

    def last_status(self, run: Run) -> Status | None:
        told = retry_transient(lambda: self._live.get(run.id), PATIENCE_S)
        return run_records.status_of(told) if isinstance(told, bytes) else None

    def stop_requested_at(self, run: Run) -> float | None:
        at = retry_transient(lambda: self._live.get(stop_key(self.call_id)), PATIENCE_S)
        return at if isinstance(at, float) else None

    def tell_stop(self) -> None:
        """Called by the signal handler: the next container is to know it, however this one ends."""
        self._told.put(time.time())

    def _note_told(self) -> None:
        at = self._told.get()
        # For as long as this container lives: without it the next one takes this one for dead.
        with contextlib.suppress(NanochatError):
            retry_transient(lambda: self._live.put(stop_key(self.call_id), at), PATIENCE_S)

    def device(self) -> str:
        return local_gpus()

    def compile_cache(self, volume: FolderVolume, run: Run, work: Path) -> CompileCache | None:
        return compile_cache_of(volume, run, work)

    def commit(self) -> None:
        with self._committing:
            try:
                self._volume.commit()
            except Exception as error:
                # The commit comes first; only the reload after it minds that training reads its data.
                if "open files" not in str(error):
                    raise OSError(f"the volume could not be committed: {error_text(error)}") from error

    def send_heartbeat(self, status: Status, *, last: bool = False) -> None:
        if self._stop.is_set():
            # After a failed hand-over there is one more last word.
            self._latest = (self._run_id, msgspec.json.encode(status))
            self._send()
            return
        # The run's id is the key; the latest word replaces one that has not been sent yet.
        self._latest = (self._run_id, msgspec.json.encode(status))
        self._wake.set()
        if last:
            self._stop.set()
            self._thread.join(LAST_WORD_S)

    def watch_over(self, run_id: str) -> None:
        self._run_id = run_id

    def _beats(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            self._send()
            self._stop.wait(BEAT_EVERY_S)
        self._send()

    def _send(self) -> None:
        latest, self._latest = self._latest, None
        if latest:
            # The status on the volume is the record; a beat that is lost is followed by another.
            with contextlib.suppress(Exception):
                self._live.put(*latest)

    def emit(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    @contextlib.contextmanager
    def exclusive_lock(self, shared: Path, waiting: Callable[[], bool]) -> Iterator[bool]:
        """A lock in the Dict, as no file of a volume can be one; kept fresh, and taken over from a holder that died."""
        key = f"lock/{self._volume.object_id}/{shared.name}"
        if not self._taken(key, waiting):
            yield False
            return
        done = threading.Event()

        def keep() -> None:
            while not done.wait(LOCK_STALE_S / 4):
                with contextlib.suppress(Exception):
                    self._keep(key)

        keeper = threading.Thread(target=keep, name="lock", daemon=True)
        keeper.start()
        try:
            yield True
        finally:
            done.set()
            keeper.join(5)
            # One that cannot be given back now goes stale.
            with contextlib.suppress(Exception):
                self._removed(key, lambda held: held[0] == self.call_id)

    def _keep(self, key: str) -> None:
        """Say that the holder lives, unless another has taken the lock over meanwhile."""
        found = self._live.get(key)
        if found and found[0] == self.call_id:
            self._live.put(key, [self.call_id, time.time()])

    def _taken(self, key: str, waiting: Callable[[], bool]) -> bool:
        """Wait for the lock; whether it is ours now. Trouble on the way is waited out, and then raised."""
        until = time.monotonic() + PATIENCE_S
        while waiting():
            try:
                if self._try_to_take(key):
                    return True
                until = time.monotonic() + PATIENCE_S
            except Exception as error:
                if not is_transient(error) or time.monotonic() > until:
                    raise translate_error(error) from error
            time.sleep(1.0)
        return False

    def _try_to_take(self, key: str) -> bool:
        if self._live.put(key, [self.call_id, time.time()], skip_if_exists=True):
            return True
        found = self._live.get(key)
        # Ours already: of an earlier container of this call, or of a try whose answer was lost.
        free = not found or found[0] == self.call_id or time.time() - found[1] > LOCK_STALE_S
        if not free or not self._removed(key, lambda held: held == found):
            return False
        return bool(self._live.put(key, [self.call_id, time.time()], skip_if_exists=True))

    def _removed(self, key: str, meant: Callable[[list[Any]], bool]) -> bool:
        """Take a lock away from its holder; one that somebody else got meanwhile is put back."""
        held = self._live.pop(key, None)
        if held is None or meant(held):
            return True
        self._live.put(key, held, skip_if_exists=True)
        return False

    def reload(self) -> None:
        with self._committing:
            try:
                self._volume.reload()
            except Exception as error:
                raise OSError(f"the volume could not be looked at anew: {error_text(error)}") from error

    def spawn_leg(self, run: Run, leg: int) -> str:
        """Spawn a leg of the part that trains, once: an earlier container of this call may have done so."""
        key = train_key(run.id, run.attempt, leg)
        try:
            spawned = retry_transient(lambda: self._live.get(key), PATIENCE_S)
            if not spawned:
                # The client asks again by itself, in a way that spawns once; another spawn would be a second call.
                with translating_errors():
                    spawned = self._hand_over(run, leg)
                retry_transient(lambda: self._live.put(key, spawned), PATIENCE_S)
        except NanochatError as error:
            why = error_text(error.__cause__ or error)
            raise NanochatError(f"the GPUs could not be asked for ({why})", "put that right, then resume") from error
        return str(spawned)


class CallRequest(NamedTuple):
    """What a call was made for: a part of an attempt, which leg of it, and how long the call may take."""

    part: Part
    run_id: str
    attempt: int
    leg: int = 1
    limit_s: float | None = None

    @property
    def next_leg(self) -> int:
        """The leg that comes next."""
        return 1 if self.part is Part.PREPARE else self.leg + 1


def run_call(
    asked: CallRequest, *, volume: modal.Volume, live: modal.Dict, hand_over: Callable[[Run, int], str]
) -> dict[str, str]:
    """The body of a function. Returns how it ended, whatever happens.

    Raises KeyboardInterrupt when the container was told to stop, so that Modal starts the call again elsewhere.
    """
    try:
        return _attend(asked, volume, live, hand_over)
    except Exception as error:  # noqa: BLE001 - a TimeoutError that gets out would look like a call that still runs
        return {"state": "failed", "error": f"{type(error).__name__}: {error}"[:500]}


def _attend(
    asked: CallRequest, volume: modal.Volume, live: modal.Dict, hand_over: Callable[[Run, int], str]
) -> dict[str, str]:
    call_id = modal.current_function_call_id() or ""
    mount = FolderVolume(MOUNT)
    run = run_records.read_run(mount, asked.run_id)
    refused = _refused(mount, run, asked, call_id, live)
    if refused or run is None:
        print(f"nanochat-tui: {asked.run_id} attempt {asked.attempt} does not start here: {refused}")  # noqa: T201
        return {"state": "refused", "error": refused}
    if retry_transient(lambda: live.get(train_key(run.id, asked.attempt, asked.next_leg)), PATIENCE_S):
        # An earlier container of this call got that far: the files are the next call's now.
        return {"state": State.QUEUED.value}
    work = Path(tempfile.gettempdir()) / "nanochat-tui" / run.id
    work.mkdir(parents=True, exist_ok=True)
    os.environ["HF_HOME"] = str(mount.path(layout.HF_CACHE))
    os.environ.setdefault("NANOCHAT_TUI_HOME", str(work))
    site = ModalEnvironment(volume, live, call_id, hand_over, leg=asked.leg, call_limit_s=asked.limit_s)
    site.watch_over(run.id)
    try:
        job = Job(mount, run, work, site, part=asked.part, grace_s=GRACE_S)
    except (OSError, NanochatError) as error:
        if never_began(mount, run, call_id, outcome_of_error(error), time.time()):
            site.commit()
        raise
    told: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        told.append(signum)
        job.request_stop(signum, frame)
        site.tell_stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        job.main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told and job.stopped:
        raise KeyboardInterrupt
    return {"state": job.state.value}


def _refused(mount: FolderVolume, run: Run | None, asked: CallRequest, call_id: str, live: modal.Dict) -> str:
    """Why this call must not run; empty when it may. One call holds the lease of each part, and leg, of an attempt."""
    if run is None:
        return "its record is not on the volume"
    if run.newer:
        return "it was asked for with a newer nanochat-tui"
    if run.attempt != asked.attempt:
        return f"attempt {run.attempt} has begun"
    if run_records.cancelled_attempt(mount, run) >= run.attempt:
        return "it was cancelled before it began"
    key = lease_key(run.id, run.attempt, asked.part, asked.leg)
    if not retry_transient(lambda: live.put(key, call_id, skip_if_exists=True), PATIENCE_S):
        holder = retry_transient(lambda: live.get(key), PATIENCE_S)
        if holder != call_id:
            return f"{holder} has it"
    saved = run_records.read_status(mount, run)
    if saved and saved.attempt == run.attempt:
        if saved.state in (State.DONE, State.FAILED, State.CANCELLED, State.OUT_OF_BUDGET):
            return f"it is {saved.state} already"
        # The lease may have expired with the Dict's entry; the volume remembers who had it.
        if asked.part is Part.TRAIN and saved.work.stage and saved.call_id != call_id and saved.state is State.RUNNING:
            return f"{saved.call_id} has it"
    return ""
