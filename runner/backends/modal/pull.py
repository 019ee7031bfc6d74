"""Logs and events of Modal runs, brought to this disk: from the live stream at once, from the volume all of it."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import modal

from runner.backends.modal.errors import translating_errors
from runner.backends.modal.logs import LogStream, fetch_tail
from runner.errors import NanochatError
from runner.logs.mirror import LogMirror, Read
from runner.model.run import Run, calls_of_attempt

EVERY_S = 4.0
# So long Modal keeps what a call has printed, at the least.
KEPT_S = 86400.0
# So much of what was printed before the last status may not have been committed with it.
UNCOMMITTED_S = 120.0


class LogPuller:
    """A spool for each run and a stream for each app. Any thread may ask: the lock is for what is known of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[str, LogStream] = {}
        self._spools: dict[str, LogMirror] = {}
        self._due: dict[str, float] = {}
        self._back_filled: set[str] = set()

    def pull(self, run: Run, folder: Path, app: str, read: Read) -> None:
        """Bring what there is by now; of a live run the volume is looked at every few seconds only."""
        spool, stream, status = self._spool(run, folder), self._stream(app), run.status
        ended = status.updated_at if status and not run.live else None
        if ended is not None and spool.is_whole(ended):
            return
        calls = calls_of_attempt(run)
        if run.live:
            stream.subscribe(calls)
        for call_id in calls:
            spool.add_frames(stream.drain(call_id))
        if (run.live and not self._is_due(run.id)) or status is None or not status.containers.log_offsets:
            return
        if not self._back_fill(spool, calls[-2:], status.updated_at) and time.time() - status.updated_at < KEPT_S:
            # Without it the log may lack its last lines: it is asked for again.
            ended = None
        spool.catch_up(read, status.containers.log_offsets, ended=ended)

    def _spool(self, run: Run, folder: Path) -> LogMirror:
        with self._lock:
            if run.id not in self._spools:
                self._spools[run.id] = LogMirror(folder)
            return self._spools[run.id]

    def _stream(self, app: str) -> LogStream:
        with self._lock:
            return self._streams.setdefault(app, LogStream(app))

    def _is_due(self, run_id: str) -> bool:
        with self._lock:
            now = time.monotonic()
            due = now >= self._due.get(run_id, now)
            if due:
                self._due[run_id] = now + EVERY_S
            return due

    def _back_fill(self, spool: LogMirror, calls: Sequence[str], told_at: float) -> bool:
        """What was printed since about the last commit, also by a container that died before its next.

        False when it could not be asked for; the volume keeps its own log for good, Modal that of a call for a day.
        """
        with self._lock:
            missing = [call_id for call_id in calls if call_id not in self._back_filled]
        for call_id in missing:
            try:
                with translating_errors():
                    frames = fetch_tail(call_id, told_at - UNCOMMITTED_S)
            except NanochatError as error:
                if not isinstance(error.__cause__, modal.exception.NotFoundError | ValueError):
                    return False
            else:
                spool.add_frames(frames)
            with self._lock:
                self._back_filled.add(call_id)
        return True

    def forget(self, run_id: str) -> None:
        with self._lock:
            spool = self._spools.pop(run_id, None)
        if spool:
            spool.close()

    def close(self) -> None:
        with self._lock:
            streams, spools = list(self._streams.values()), list(self._spools.values())
        for stream in streams:
            stream.close()
        for spool in spools:
            spool.close()
