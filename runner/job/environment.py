"""What a job needs of the place it runs in, besides a folder and processes."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from runner.job.compile_cache import CompileCache
from runner.model.paid import PaidInterval
from runner.model.run import Run
from runner.model.stages import Part
from runner.model.states import State
from runner.model.status import Status
from runner.system import locks
from runner.volumes.folder import FolderVolume

LOOK_S = 0.2


class JobEnvironment(Protocol):
    """What a job needs of its place. `state_when_stopped` is that of a run told to stop: its end, or a pause.

    `holds_files` says whether files on the volume may stay open; `killed_after_s` how long after it was told to stop
    a container is killed, None where nobody does that; `call_limit_s` how long its call may take, `leg` which of an
    attempt's calls it is; `before_s` how long the container ran before the job did, as far as is known. What did not
    arrive is asked for so many `tries`, `try_again_s` apart.
    """

    call_id: str
    state_when_stopped: State
    holds_files: bool
    killed_after_s: float | None
    call_limit_s: float | None
    leg: int
    before_s: float
    tries: int
    try_again_s: float

    def usd_per_hour(self, run: Run, part: Part | None) -> Decimal:
        """Price of the container that the job runs in."""
        ...

    def interval_begun(self, run: Run, part: Part | None, now: float) -> PaidInterval:
        """The row of what the container takes, which begins now."""
        ...

    def last_status(self, run: Run) -> Status | None:
        """The last status that an earlier container told, which may be newer than the volume's."""
        ...

    def stop_requested_at(self, run: Run) -> float | None:
        """When a container of this call was last told to stop, which it may not have lived to write down."""
        ...

    def device(self) -> str:
        """What the hardware calls itself; empty where that says nothing."""
        ...

    def compile_cache(self, volume: FolderVolume, run: Run, work: Path) -> CompileCache | None:
        """Where what is compiled is kept between runs; None where nothing is."""
        ...

    def commit(self) -> None:
        """Make what was written to the volume visible to others; a failure is an OSError."""
        ...

    def send_heartbeat(self, status: Status, *, last: bool = False) -> None:
        """Tell those who watch how it stands; never blocks, unless it is the last word."""
        ...

    def emit(self, line: str) -> None:
        """One line of the framed log, for those who follow it live."""
        ...

    def exclusive_lock(self, shared: Path, waiting: Callable[[], bool]) -> contextlib.AbstractContextManager[bool]:
        """Hold `shared` for this job alone; False when `waiting` said to give up."""
        ...

    def reload(self) -> None:
        """See what others have written to the volume; nothing of ours may be open. A failure is an OSError."""
        ...

    def spawn_leg(self, run: Run, leg: int) -> str:
        """Start a leg of the part that trains, and return its call id."""
        ...


def local_gpus() -> str:
    """GPU names as the driver says, as `8 × NVIDIA H100`: Modal may give a better one than was asked for."""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        return ""
    names = [n.strip() for n in said if n.strip()]
    return f"{len(names)} × {names[0]}" if names else ""


class LocalEnvironment:
    """A process on this machine: the volume is a folder that everybody sees."""

    state_when_stopped = State.CANCELLED
    holds_files = True
    killed_after_s: float | None = None
    call_limit_s: float | None = None
    leg = 1
    before_s = 0.0
    # Somebody is there to see to the network.
    tries, try_again_s = 1, 0.0

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id

    def usd_per_hour(self, run: Run, part: Part | None) -> Decimal:
        return run.prices.local

    def interval_begun(self, run: Run, part: Part | None, now: float) -> PaidInterval:
        return PaidInterval(now, now, 0.0, Decimal(0), place="local")

    def last_status(self, run: Run) -> Status | None:
        return None

    def stop_requested_at(self, run: Run) -> float | None:
        return None

    def device(self) -> str:
        return ""

    def compile_cache(self, volume: FolderVolume, run: Run, work: Path) -> CompileCache | None:
        return None

    def commit(self) -> None:
        return

    def send_heartbeat(self, status: Status, *, last: bool = False) -> None:
        return

    def emit(self, line: str) -> None:
        return

    @contextlib.contextmanager
    def exclusive_lock(self, shared: Path, waiting: Callable[[], bool]) -> Iterator[bool]:
        with shared.open("a") as lock:
            while waiting():
                if locks.take(lock, shared):
                    yield True
                    return
                time.sleep(LOOK_S)
            yield False

    def reload(self) -> None:
        return

    def spawn_leg(self, run: Run, leg: int) -> str:
        raise NotImplementedError("one process does all parts on this machine")
