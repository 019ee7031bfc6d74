"""A run's log brought to this disk: frames of a live stream and bytes of the volume, joined without gap or double."""

import contextlib
import fcntl
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from runner.frames import Frame
from runner.log_times import Stamper, cut
from runner.nanochat import layout

MAX_WAITING = 20_000
READ_BYTES = 4 << 20
OVERLAP = 64

# Bytes of a file on the volume from an offset on, at most so many; none where the file is not that long, or not there.
Read = Callable[[str, int, int], bytes]


class _Place(Struct):
    """How far the spool is: which container's part, how many bytes of it, and bytes of the whole file.

    `seen` is how much of the volume's own log is in it.
    """

    part: int = 0
    have: int = 0
    size: int = 0
    whole: bool = False
    seen: int = 0


class Spool:
    """The log and events of one run in a folder of this machine. `log` only ever grows; one process writes it.

    Each container writes a part of the log. What a killed container had printed but not committed is missing on the
    volume, so a part may be longer here than there; `bases` says where on the volume each part begins.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log, self.events = folder / layout.LOG_FILE, folder / layout.EVENTS_FILE
        self._record, self._owner = folder / "place.json", (folder / "lock").open("a")
        self._lock = threading.Lock()
        self._waiting: dict[tuple[int, int], bytes] = {}
        self._at: _Place | None = None
        self._closed = False
        self.times = folder / layout.TIMES_FILE
        self._stamper: Stamper | None = None
        self._unknown = False
        self.log.touch()

    @contextlib.contextmanager
    def _mine(self) -> Iterator[_Place | None]:
        """Hold the spool for writing; None when another process fills it, which is as good."""
        with self._lock:
            if self._closed:
                yield None
                return
            if self._at is None:
                try:
                    fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield None
                    return
                self._at = self._load()
            at = self._at
            before = msgspec.structs.astuple(at)
            yield at
            if msgspec.structs.astuple(at) != before:
                self._save(at)

    @property
    def whole(self) -> bool:
        """Whether the run has ended and everything of it is here."""
        with self._mine() as at:
            return at is not None and at.whole

    def close(self) -> None:
        """Let another process fill it."""
        with self._lock:
            self._at, self._closed = None, True
            self._owner.close()

    def again(self) -> None:
        """The run goes on after all: it was resumed."""
        with self._mine() as at:
            if at:
                at.whole = False

    def _load(self) -> _Place:
        """Where the spool was left; what was appended after that was noted is cut off and comes again."""
        try:
            at = msgspec.json.decode(self._record.read_bytes(), type=_Place)
        except (OSError, msgspec.MsgspecError):
            at = _Place()
        if self.log.stat().st_size < at.size:
            at = _Place()
        os.truncate(self.log, at.size)
        cut(self.times, at.size)
        return at

    def _save(self, at: _Place) -> None:
        partial = self._record.with_suffix(".part")
        partial.write_bytes(msgspec.json.encode(at))
        partial.replace(self._record)

    def take(self, frames: list[Frame]) -> None:
        """Add what connects; what comes early waits, what is known already is dropped."""
        with self._mine() as at:
            if at is None or at.whole:
                return
            for frame in frames:
                if (frame.part, frame.offset + len(frame.data)) > (at.part, at.have):
                    self._waiting[(frame.part, frame.offset)] = frame.data
            while len(self._waiting) > MAX_WAITING:
                del self._waiting[max(self._waiting)]
            self._connect(at)

    def catch_up(self, read: Read, bases: list[int], *, ended: bool) -> None:
        """Fill from the volume what the stream has not brought. `ended`: nothing more will be written."""
        with self._mine() as at:
            if at is None or at.whole:
                return
            while at.part < len(bases):
                self._fill(at, read, bases)
                self._connect(at)
                if at.part == len(bases) - 1:
                    break
                if not ended and at.have < bases[at.part + 1] - bases[at.part]:
                    # The next container began behind more than the volume shows so far: it comes with a later look.
                    break
                self._move_on(at, bases[at.part + 1])
            if ended:
                self._waiting.clear()
                at.whole = True

    def _fill(self, at: _Place, read: Read, bases: list[int]) -> None:
        end = bases[at.part + 1] if at.part + 1 < len(bases) else None
        while True:
            start = bases[at.part] + at.have
            length = READ_BYTES if end is None else min(READ_BYTES, end - start)
            data = read(layout.LOG_FILE, start, length) if length > 0 else b""
            if not data:
                return
            self._append(at, data)
            at.seen = start + len(data)

    def _connect(self, at: _Place) -> None:
        joined = bytearray()
        have = at.have
        while self._waiting:
            part, offset = min(self._waiting)
            if (part, offset) > (at.part, have):
                break
            data = self._waiting.pop((part, offset))
            if part == at.part and offset + len(data) > have:
                joined += data[have - offset :]
                have = offset + len(data)
        if joined:
            self._append(at, bytes(joined), time.time())

    def _move_on(self, at: _Place, base: int) -> None:
        """Begin with the next container's part, on a line of its own; `base` is where it begins on the volume.

        The volume may have shown the beginning of it before anybody knew that there is one.
        """
        known = max(0, at.seen - base)
        if at.have and not known:
            with self.log.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                ends_a_line = file.read(1) == b"\n"
            if not ends_a_line:
                self._append(at, b"\n")
        at.part, at.have = at.part + 1, known
        self._connect(at)

    def _append(self, at: _Place, data: bytes, now: float = math.nan) -> None:
        """Put bytes at the end; when they came is known of the live stream alone."""
        if self._stamper is None or math.isnan(now) != self._unknown:
            self._stamper, self._unknown = Stamper(at.size), math.isnan(now)
        if record := self._stamper.stamp(len(data), now):
            with self.times.open("ab") as file:
                file.write(record)
        with self.log.open("ab") as file:
            file.write(data)
        at.have += len(data)
        at.size += len(data)

    def mirror_events(self, read: Read) -> None:
        """Bring what is new of the events; a container that was killed may have taken some back."""
        size = self.events.stat().st_size if self.events.exists() else 0
        back = min(size, OVERLAP)
        data = read(layout.EVENTS_FILE, size - back, READ_BYTES)
        with self.events.open("r+b" if size else "w+b") as file:
            file.seek(size - back)
            if back and file.read(back) != data[:back]:
                data, back = read(layout.EVENTS_FILE, 0, READ_BYTES), 0
                file.truncate(0)
                file.seek(0)
            file.write(data[back:])
