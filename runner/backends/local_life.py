"""Whether the job of a run lives, and where: its lock and its heartbeat are asked, not its pid alone.

Several machines or containers may share a data folder. A pid means something in one of them only; the lock, which a job
holds for as long as it lives, in all that share a kernel, and on most disks that are shared; a heartbeat everywhere.
"""

import contextlib
import time
from pathlib import Path

from msgspec import Struct

from runner import processes
from runner.model.run import Run
from runner.model.states import LIVE
from runner.model.status import Status
from runner.monitoring.heartbeat_age import AHEAD_S
from runner.system import locks

# So long a job elsewhere may take until it has its lock, and be silent: what it writes may take a minute to be seen.
BEGINS_S, SILENT_S = 15.0, 90.0


class LiveJob(Struct, frozen=True):
    """A job that lives: its pid here, or the host on which it is out of reach, which may have no name."""

    pid: int | None = None
    host: str = ""


def find_live_job(run: Run, status: Status | None, work: Path) -> LiveJob | None:
    """The job of a run while it lives; None when it is gone, or nothing says that it is not."""
    lock = work / processes.LOCK_FILE
    called = [run.calls[-1].call_id] if run.calls else []
    if status and status.attempt == run.attempt and status.call_id:
        called.append(status.call_id)
    holder = _holder(lock)
    for name in (*called, holder):
        pid = processes.pid_if_alive(name)
        # A call id names a process; only one that runs this run is believed.
        if pid is not None and processes.runs(pid, ("runner.job", run.id)):
            return LiveJob(pid)
    away = [name for name in (*called, holder) if name and not processes.is_here(name)]
    held = _is_held(lock)
    if away and held:
        return LiveJob(host=processes.host_of(away[-1]))
    for name in called:
        # A lock that is free is the last word on this machine; another may have locks of its own on the same disk.
        asks_nobody = held is None or not processes.is_on_this_machine(name)
        if not processes.is_here(name) and (_begins(run, status) or (asks_nobody and _beats(run, status))):
            return LiveJob(host=processes.host_of(name))
    return None


def _holder(lock: Path) -> str:
    """Who has put his name into a lock, maybe long ago."""
    with contextlib.suppress(OSError):
        return lock.read_bytes()[:200].decode("ascii", "replace")
    return ""


def _is_held(lock: Path) -> bool | None:
    """Whether a lock is held; None where it cannot be asked."""
    try:
        return locks.is_held(lock) if lock.exists() else None
    except (OSError, locks.NoLocks):
        return None


def _begins(run: Run, status: Status | None) -> bool:
    """Whether a job was started so lately that it may not have its lock yet."""
    silent = status is None or status.attempt != run.attempt
    return silent and bool(run.calls) and 0 <= time.time() - run.calls[-1].spawned_at < BEGINS_S


def _beats(run: Run, status: Status | None) -> bool:
    """Whether the job of this attempt has told something lately."""
    if status is None or status.attempt != run.attempt or status.state not in LIVE:
        return False
    return -AHEAD_S <= time.time() - status.updated_at < SILENT_S
