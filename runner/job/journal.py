"""What a job writes down: the log (bytes), the events (JSON lines) and its status, all on the volume."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from runner.errors import NanochatError
from runner.job.line_splitter import LineSplitter
from runner.job.status_tracker import Tracker
from runner.logs.frames import Framer
from runner.logs.prefix import Prefixes
from runner.logs.timestamps import RECORD, TimestampWriter, drop_torn_record
from runner.model import events
from runner.model.events import Event
from runner.model.stages import StageName
from runner.model.status import Status
from runner.nanochat import layout
from runner.system.atomic import ends_a_line
from runner.volumes.folder import FolderVolume

# A change of phase is told sooner: whoever watches sees the log at once.
STATUS_EVERY_S, PHASE_S = 1.0, 0.2
LINE_S = 0.5
MAX_UNWRITTEN = 8 << 20


# A line as it is shown, what nanochat says with it, and its number among those that this journal has written.
Line = tuple[str, Event | None, int]


class Journal:
    """Log, events and status of one run. A full disk never stops training: what cannot be written waits."""

    def __init__(
        self,
        volume: FolderVolume,
        folder: str,
        status: Status,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        *,
        hold_open: bool = True,
        emit: Callable[[str], None] = lambda line: None,
        send_heartbeat: Callable[[Status], None] = lambda status: None,
        compiles: bool = True,
        wall: Callable[[], float] | None = None,
    ) -> None:
        self._volume = volume
        self._folder, self._hold_open = folder, hold_open
        self.tracker = Tracker(status, compiles=compiles)
        self._clock, self._ticks, self._wall = clock, ticks, wall or clock
        self._log, self._times = self._open(layout.LOG_FILE), self._open(layout.TIMES_FILE)
        self._stamper = TimestampWriter(self._log.size)
        self._newlines = 0
        status.containers.log_offsets = [*status.containers.log_offsets, self._log.size]
        self._framer = Framer(len(status.containers.log_offsets) - 1)
        self._emit, self._send_heartbeat = emit, send_heartbeat
        self._events = self._open(layout.EVENTS_FILE)
        self._lines, self._prefixes = LineSplitter(), Prefixes()
        # An earlier job may have been killed in the middle of a line.
        self._at_line_start = not self._log.torn
        self._written_at, self._told = 0.0, self._phase
        self._stage_began = self._silent_since = self._spoke_at = ticks()
        self.status_problem = ""

    @property
    def status(self) -> Status:
        return self.tracker.status

    @property
    def _phase(self) -> tuple[str, str, str]:
        return self.status.state, self.status.work.stage, self.status.work.phase

    def say(self, line: str) -> None:
        """A line of the job's own, on a line of its own."""
        data = line.encode("utf-8", "replace") + b"\n"
        self._write_log(data if self._at_line_start else b"\n" + data)
        self._at_line_start = True

    def _write_log(self, data: bytes) -> None:
        if record := self._stamper.stamp(len(data), self._wall()):
            self._times.write(record)
        self._log.write(data)
        self._newlines += data.count(b"\n")
        for line in self._framer.feed(data):
            self._emit(line)

    @property
    def mid_line(self) -> bool:
        """Whether the child is in the middle of a line that it will end in a moment."""
        return not self._at_line_start and self._ticks() - self._silent_since < LINE_S

    def now(self) -> float:
        """What the job's clock shows."""
        return self._clock()

    def begin_stage(self) -> None:
        self._stage_began = self._silent_since = self._spoke_at = self._ticks()
        self._lines = LineSplitter()
        self.tracker.begin_stage(self._clock())

    def lines_before(self) -> int:
        """Lines that the log had before this journal wrote any."""
        left, count = self.status.containers.log_offsets[-1], 0
        with contextlib.suppress(OSError), self._volume.path(f"{self._folder}/{layout.LOG_FILE}").open("rb") as file:
            while data := file.read(min(left, 1 << 20)):
                left, count = left - len(data), count + data.count(b"\n")
        return count

    def output(self, data: bytes) -> list[Line]:
        """Tee a child's bytes to the log; the lines they complete, each with its event."""
        now, before = self._clock(), self._newlines
        self._write_log(data)
        self._at_line_start = data.endswith(b"\n")
        self._silent_since = self._spoke_at = self._ticks()
        self.tracker.heard(now)
        numbered = ((before + after + 1, line) for after, line in self._lines.feed(data))
        return [said for number, line in numbered for said in self._line(line, now, number)]

    def end_stage(self) -> list[Line]:
        number = self._newlines + 1
        return [said for _, line in self._lines.rest() for said in self._line(line, self._clock(), number)]

    def _line(self, line: str, now: float, number: int) -> list[Line]:
        found = self._prefixes.read(line)
        for said, event in found:
            if event is None:
                self.status.work.unknown_lines += bool(said.strip())
            elif not isinstance(event, events.Noted):
                self.tracker.take(event, now)
                self.event(event, now)
        return [(said, event, number) for said, event in found]

    def event(self, event: Event | dict[str, object], now: float | None = None) -> None:
        """Append an event with its time, attempt and stage."""
        said = msgspec.to_builtins(event)
        head = {"t": round(now or self._clock(), 3), "attempt": self.status.attempt, "stage": self.status.work.stage}
        self._events.write(msgspec.json.encode({**head, **said}) + b"\n")

    def tick(self, heartbeat_s: float) -> None:
        """Called often: say a heartbeat after a silence, and keep the status fresh."""
        now = self._ticks()
        if now - self._spoke_at >= LINE_S:
            self._flush_frames()
        if now - self._spoke_at >= heartbeat_s:
            self._spoke_at = now
            silent, total = now - self._silent_since, now - self._stage_began
            self.say(f"[HEARTBEAT] silent {silent:.0f}s / total {total:.0f}s{self._where()}")
        if now - self._written_at >= (STATUS_EVERY_S if self._phase == self._told else PHASE_S):
            self.flush()
            self.write_status()

    def _flush_frames(self) -> None:
        for line in self._framer.flush():
            self._emit(line)

    def _where(self) -> str:
        work, base = self.status.work, self.status.training
        known = work.stage is StageName.BASE and base.step and base.total_steps
        return f" · {work.stage} · step {base.step:,} of {base.total_steps:,}" if known else f" · {work.stage}"

    def write_status(self, *, heartbeat: bool = True) -> None:
        """Replace the status on the volume; a failure is remembered, not raised, and tried again at the next tick."""
        self._written_at, self._told = self._ticks(), self._phase
        self.status.tell(round(max(0.0, self._clock() - self.status.started_at), 3), self._wall())
        self.status.containers.lost_log_bytes = self._log.lost
        if heartbeat:
            self._send_heartbeat(self.status)
        try:
            self._volume.write(f"{self._folder}/{layout.STATUS_FILE}", msgspec.json.encode(self.status))
            self.status_problem = ""
        except (OSError, NanochatError) as error:
            self.status_problem = str(error)

    def flush(self) -> None:
        """Put everything on the volume, as before a commit."""
        self._log.flush()
        self._times.flush()
        self._events.flush()

    def reopen(self, status: Status) -> None:
        """Go on after all, with this status."""
        self.tracker = Tracker(status)
        self._log, self._events = self._open(layout.LOG_FILE), self._open(layout.EVENTS_FILE)
        self._times = self._open(layout.TIMES_FILE)

    def _open(self, name: str) -> "_Appender":
        if name == layout.TIMES_FILE:
            drop_torn_record(self._volume.path(f"{self._folder}/{name}"))
        record = {layout.TIMES_FILE: RECORD.size, layout.EVENTS_FILE: None}.get(name, 1)
        return _Appender(self._volume.path(f"{self._folder}/{name}"), hold=self._hold_open, record=record)

    def close(self) -> None:
        self._flush_frames()
        self.write_status(heartbeat=False)
        self._log.close()
        self._times.close()
        self._events.close()


class _Appender:
    """Append-only file that outlives a full disk: unwritten bytes wait in memory, up to MAX_UNWRITTEN.

    Without `hold` it is open only while it is written, at a `flush`: a Modal volume leaves open files out of a commit.
    `torn` says that what was there does not end with a line. A `record` is of so many bytes, or with None a line, which
    then begins on its own whatever was before it; what is lost are whole records.
    """

    def __init__(self, path: Path, *, hold: bool, record: int | None = 1) -> None:
        self._path, self._hold, self._record = path, hold, record
        self._file: BinaryIO | None = None
        self._waiting = bytearray()
        # Whether we have written a part of a line, the rest of which waits.
        self._mid_line = False
        self.size = self.lost = 0
        self.torn = False
        self.flush()
        with contextlib.suppress(OSError), path.open("rb") as file:
            self.size = file.seek(0, os.SEEK_END)
            self.torn = not ends_a_line(file)

    def write(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) > MAX_UNWRITTEN:
            self._lose(len(self._waiting) - MAX_UNWRITTEN)
        if self._hold:
            self.flush()

    def _lose(self, count: int) -> None:
        """Let go of so many bytes that wait, and of the rest of the record that they end in."""
        if self._record:
            count += -count % self._record
        else:
            count = self._waiting.find(b"\n", count - 1) + 1 or len(self._waiting)
        self.lost += count
        del self._waiting[:count]
        if self._record is None and self._mid_line:
            self._waiting[:0] = b"\n"
            self._mid_line = False

    def flush(self) -> None:
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("a+b", buffering=0)
                if self._record is None and not self._mid_line and not ends_a_line(self._file):
                    self._waiting[:0] = b"\n"
            while self._waiting:
                written = self._file.write(self._waiting) or 0
                self._mid_line = written > 0 and self._waiting[written - 1] != ord("\n")
                del self._waiting[:written]
        except OSError:
            # A full disk: what could not be written waits for the next time.
            pass
        if not self._hold:
            self._release()

    def _release(self) -> None:
        file, self._file = self._file, None
        if file:
            # A disk that does not take what was written says so again at the next write, of the status at the latest.
            with contextlib.suppress(OSError), file:
                os.fsync(file.fileno())

    def close(self) -> None:
        self.flush()
        self._release()
