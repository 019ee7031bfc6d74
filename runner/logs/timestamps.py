"""When the lines of a log came: a file beside it with a place in the log and a time, about one a second."""

import contextlib
import math
import os
import re
import struct
import threading
import time
from array import array
from bisect import bisect_right
from datetime import datetime
from pathlib import Path

from runner.errors import UsageError
from runner.system import atomic
from runner.system.same_file import FileIdentity

RECORD = struct.Struct("<Qd")
EVERY_S = 1.0
# So many are kept: seven weeks of output without a pause. What is later than LATEST, or before 1970, is no time.
MOST, LATEST = 1 << 22, 1e11
_AGO = re.compile(r"(?:\d{1,6}[smhdw])+", re.ASCII)
_PART = re.compile(r"(\d+)([smhdw])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_WHEN = re.compile(
    r"(?:(\d{4})-(\d\d?)-(\d\d?)|(today)|(yesterday))?(?:(?:^|[T ])(\d\d?):(\d\d)(?::(\d\d))?)?",
    re.ASCII | re.IGNORECASE,
)


class TimestampWriter:
    """Makes the records of a log that is written now: `stamp(bytes, now)` before each piece of it."""

    def __init__(self, offset: int) -> None:
        self._offset, self._at = offset, -math.inf

    def stamp(self, count: int, now: float) -> bytes:
        """The record that belongs before the next `count` bytes; none when the last one is recent."""
        record = b""
        if not 0 <= now - self._at < EVERY_S:
            record, self._at = RECORD.pack(self._offset, now), now
        self._offset += count
        return record


def truncate(path: Path, size: int) -> None:
    """Take out what is said of places beyond `size`, of a log that was cut there."""
    if not path.is_file():
        return
    data = path.read_bytes()
    kept = [r for r in RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size]) if r[0] < size]
    atomic.write(path, b"".join(RECORD.pack(*r) for r in kept))


def drop_torn_record(path: Path) -> None:
    """Take off a record that a killed job left half written: all later ones would be read wrong."""
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        if size % RECORD.size:
            os.truncate(path, size - size % RECORD.size)


class LogTimes:
    """The times of a log, as far as they are known; 16 bytes a second of output.

    One thread may refresh while others ask: the lock is for what they share.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._offsets, self._times = array("Q"), array("d")
        self._known, self._identity = FileIdentity(), (0, 0)

    def refresh(self) -> None:
        """Read what was added; a file that is not there has no times, one that is another by now is read anew."""
        try:
            with self._path.open("rb") as file:
                now = os.fstat(file.fileno())
                identity, known = (now.st_dev, now.st_ino), self._known
                same = identity == self._identity and known.is_still(lambda at, n: os.pread(file.fileno(), n, at))
                known = known if same else FileIdentity()
                file.seek(known.size)
                data = file.read(max(0, min(now.st_size, MOST * RECORD.size) - known.size))
        except FileNotFoundError:
            return
        data = data[: len(data) // RECORD.size * RECORD.size]
        known.took(known.size, data)
        with self._lock:
            if not same:
                self._offsets, self._times = array("Q"), array("d")
            self._known, self._identity = known, identity
            for offset, at in RECORD.iter_unpack(data):
                # A log that was cut goes on from there: what was told of later places was of those that are gone.
                while self._offsets and self._offsets[-1] > offset:
                    self._offsets.pop()
                    self._times.pop()
                self._offsets.append(offset)
                self._times.append(at if 0 <= at < LATEST else math.nan)

    def at(self, offset: int) -> float | None:
        """When the byte at `offset` came, at most a second early; None where nobody noted it."""
        with self._lock:
            number = bisect_right(self._offsets, offset) - 1
            return self._times[number] if number >= 0 and math.isfinite(self._times[number]) else None

    @property
    def first(self) -> float | None:
        with self._lock:
            return next(filter(math.isfinite, self._times), None)

    @property
    def last(self) -> float | None:
        with self._lock:
            return next(filter(math.isfinite, reversed(self._times)), None)

    def offset_since(self, then: float) -> int | None:
        """Where the log was at a time; None when that is after everything that is known."""
        with self._lock:
            return next((place for place, at in zip(self._offsets, self._times, strict=True) if at >= then), None)


def parse_time(text: str, now: float) -> float:
    """A time of the past, in seconds since the epoch. Raises UsageError.

    `10m`, `2h`, `1d12h` ago; the last `14:05`; `today`, `yesterday`, `2026-11-25`, each also with a time behind it.
    """
    said = text.strip()
    if _AGO.fullmatch(said):
        return now - sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(said))
    at = _at(said, now)
    if at is None:
        raise UsageError(f"--since {text[:20]!r}", "use 10m, 2h, 3d, 14:05, yesterday, 2026-11-25, 2026-11-25T14:05")
    if at > now:
        raise UsageError(f"--since {text[:20]!r} is yet to come", "give a time of the past")
    return at


def _at(said: str, now: float) -> float | None:
    """A day, a time or both; a time alone is the last one past."""
    m = _WHEN.fullmatch(said)
    if m is None or not said:
        return None
    here = time.localtime(now)
    year, month, day = (int(m[1]), int(m[2]), int(m[3])) if m[1] else (here.tm_year, here.tm_mon, here.tm_mday)
    try:
        datetime(year, month, day, int(m[6] or 0), int(m[7] or 0), int(m[8] or 0))
        clock = (int(m[6] or 0), int(m[7] or 0), int(m[8] or 0), 0, 0, -1)
        at = time.mktime((year, month, day - bool(m[5]), *clock))
        if at > now and not (m[1] or m[4] or m[5]):
            at = time.mktime((year, month, day - 1, *clock))
    except (ValueError, OverflowError):
        return None
    return at
