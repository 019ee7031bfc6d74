"""A run's log brought to this disk: frames of a live stream and bytes of the volume, joined without gap or double."""

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from runner.logs.frames import Frame
from runner.logs.timestamps import TimestampWriter, truncate
from runner.nanochat import layout
from runner.system import atomic, locks

MAX_WAITING = 20_000
READ_BYTES = 4 << 20
# So much of the end of the events must be the same on the volume, or they are brought anew: several lines with times.
OVERLAP = 4096
# So long another process that fills the same spool is waited for.
PATIENCE_S = 2.0

# Bytes of a file on the volume from an offset on, at most so many; none where the file is not that long, or not there.
Read = Callable[[str, int, int], bytes]


class _MirrorPosition(Struct):
    """How far the spool is: which container's part, how many bytes of it, and bytes of the whole file.

    `seen` is how much of the volume's own log is in it; `ended` is set when everything is here, log and events, of
    the run as it was when its job wrote its last status at that time.
    """

    part: int = 0
    have: int = 0
    size: int = 0
    seen: int = 0
    ended: float | None = None


class LogMirror:
    """The log and events of one run in a folder of this machine. `log` only ever grows; processes take turns.

    Each container writes a part of the log. What a killed container had printed but not committed is missing on the
    volume, so a part may be longer here than there; `bases` says where on the volume each part begins.
    """

    def __init__(self, folder: Path) -> None:
        self._owner = _held(folder)
        self._turn = _Lock(folder / "turn")
        self.log, self.events = folder / layout.LOG_FILE, folder / layout.EVENTS_FILE
        self._record = folder / "place.json"
        self._lock = threading.Lock()
        self._waiting: dict[tuple[int, int], bytes] = {}
        self._closed = False
        self.times = folder / layout.TIMES_FILE
        self._stamper: TimestampWriter | None = None
        self._stamped_to, self._unknown = 0, False
        self.log.touch()
        self.events.touch()

    @contextlib.contextmanager
    def _mine(self) -> Iterator[_MirrorPosition | None]:
        """Hold the spool for writing; None when another process fills it meanwhile, which is as good."""
        with self._lock:
            if self._closed or not locks.take_within(self._turn.fileno(), self._turn.path, PATIENCE_S):
                yield None
                return
            try:
                at = self._load()
                before = msgspec.structs.astuple(at)
                try:
                    yield at
                finally:
                    if msgspec.structs.astuple(at) != before:
                        self._save(at)
            finally:
                locks.give_back(self._turn.fileno())

    def is_whole(self, ended: float) -> bool:
        """Whether everything is here of a run that has ended with a status of that time."""
        with self._mine() as at:
            return at is not None and at.ended == ended

    def close(self) -> None:
        """Let it be removed."""
        with self._lock:
            self._closed = True
            self._turn.close()
            self._owner.close()

    def _load(self) -> _MirrorPosition:
        """Where the spool was left; what was appended after that was noted is cut off and comes again."""
        try:
            at = msgspec.json.decode(self._record.read_bytes(), type=_MirrorPosition)
        except (OSError, msgspec.MsgspecError):
            at = _MirrorPosition()
        size = self.log.stat().st_size
        if size < at.size:
            at = _MirrorPosition()
        if size != at.size:
            os.truncate(self.log, at.size)
            truncate(self.times, at.size)
        return at

    def _save(self, at: _MirrorPosition) -> None:
        atomic.write(self._record, msgspec.json.encode(at), atomic.PRIVATE)

    def add_frames(self, frames: list[Frame]) -> None:
        """Add what connects; what comes early waits, what is known already is dropped."""
        with self._mine() as at:
            if at is None:
                return
            for frame in frames:
                if (frame.part, frame.offset + len(frame.data)) > (at.part, at.have):
                    self._waiting[(frame.part, frame.offset)] = frame.data
            while len(self._waiting) > MAX_WAITING:
                del self._waiting[max(self._waiting)]
            self._connect(at)

    def catch_up(self, read: Read, bases: list[int], *, ended: float | None = None) -> None:
        """Fill from the volume what the stream has not brought, and the events.

        `ended` is the time of the last status of a run that has ended: then nothing more will be written.
        """
        with self._mine() as at:
            if at is None or (ended is not None and at.ended == ended):
                return
            at.ended = None
            while at.part < len(bases):
                self._fill(at, read, bases)
                self._connect(at)
                if at.part == len(bases) - 1:
                    break
                if ended is None and at.have < bases[at.part + 1] - bases[at.part]:
                    # The next container began behind more than the volume shows so far: it comes with a later look.
                    break
                self._move_on(at, bases[at.part + 1])
            if self._mirror_events(read) and ended is not None:
                self._waiting.clear()
                at.ended = ended

    def _fill(self, at: _MirrorPosition, read: Read, bases: list[int]) -> None:
        end = bases[at.part + 1] if at.part + 1 < len(bases) else None
        while True:
            start = bases[at.part] + at.have
            length = READ_BYTES if end is None else min(READ_BYTES, end - start)
            data = read(layout.LOG_FILE, start, length) if length > 0 else b""
            if not data:
                return
            self._append(at, data)
            at.seen = start + len(data)

    def _connect(self, at: _MirrorPosition) -> None:
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

    def _move_on(self, at: _MirrorPosition, base: int) -> None:
        """Begin with the next container's part, on a line of its own; `base` is where it begins on the volume.

        The volume may have shown the beginning of it before anybody knew that there is one.
        """
        known = max(0, at.seen - base)
        if at.have and not known and _end(self.log, 1) != b"\n":
            self._append(at, b"\n")
        at.part, at.have = at.part + 1, known
        self._connect(at)

    def _append(self, at: _MirrorPosition, data: bytes, now: float = math.nan) -> None:
        """Put bytes at the end; when they came is known of the live stream alone."""
        if self._stamper is None or at.size != self._stamped_to or math.isnan(now) != self._unknown:
            self._stamper, self._unknown = TimestampWriter(at.size), math.isnan(now)
        record = self._stamper.stamp(len(data), now)
        self._stamped_to = at.size + len(data)
        try:
            _put(self.log, at.size, data)
            if record:
                _put(self.times, self.times.stat().st_size if self.times.exists() else 0, record)
        except OSError:
            self._stamper = None
            raise
        at.have += len(data)
        at.size += len(data)

    def _mirror_events(self, read: Read) -> bool:
        """Bring all that is new of the events; a container that was killed may have taken some back.

        False when they are not the same from one look to the next.
        """
        target, size = self.events, self.events.stat().st_size
        while True:
            back = min(size, OVERLAP)
            data = read(layout.EVENTS_FILE, size - back, READ_BYTES)
            if not data and target is not self.events and not size:
                # They were deleted there: what is here is all there is.
                return True
            if data[:back] != _end(target, back):
                if target is not self.events:
                    return False
                # Brought anew beside the old ones, which are read meanwhile.
                target, size = self.events.with_suffix(".part"), 0
                target.write_bytes(b"")
            elif len(data) == back:
                break
            else:
                _put(target, size, data[back:])
                size += len(data) - back
        if target is not self.events:
            target.replace(self.events)
        return True


class _Lock:
    """A file that processes lock; it is let go when it is closed, or when nobody refers to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    __del__ = close


def _held(folder: Path) -> _Lock:
    """A lock that keeps others from removing the folder, which is made if need be."""
    while True:
        folder.mkdir(parents=True, exist_ok=True, mode=atomic.PRIVATE_FOLDER)
        lock = _Lock(folder / "lock")
        held = locks.take_within(lock.fileno(), lock.path, PATIENCE_S, shared=True)
        if held and os.fstat(lock.fileno()).st_nlink:
            return lock
        # It was being removed.
        lock.close()


def _put(path: Path, size: int, data: bytes) -> None:
    """Append to a file of that size: all of the data, or on a full disk none of it."""
    try:
        with path.open("ab", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
    except OSError:
        os.truncate(path, size)
        raise


def _end(path: Path, count: int) -> bytes:
    """The last bytes of a file."""
    with path.open("rb") as file:
        file.seek(-count, os.SEEK_END)
        return file.read(count)
