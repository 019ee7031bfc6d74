"""When the lines of a log came: a file beside it with a place in the log and a time, about one a second."""

import math
import re
import struct
import time
from array import array
from bisect import bisect_right
from pathlib import Path

from runner.errors import UsageError

RECORD = struct.Struct("<Qd")
EVERY_S = 1.0
_AGO = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Stamper:
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


def cut(path: Path, size: int) -> None:
    """Take out what is said of places beyond `size`, of a log that was cut there."""
    if not path.is_file():
        return
    data = path.read_bytes()
    kept = [r for r in RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size]) if r[0] < size]
    path.write_bytes(b"".join(RECORD.pack(*r) for r in kept))


class LogTimes:
    """The times of a log, as far as they are known; 16 bytes a second of output."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets, self._times = array("Q"), array("d")

    def refresh(self) -> None:
        """Read what was added; a file that is not there has no times."""
        have = len(self._offsets) * RECORD.size
        try:
            with self._path.open("rb") as file:
                file.seek(have)
                data = file.read()
        except FileNotFoundError:
            return
        for offset, at in RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size]):
            # Another thread finds by offset: the time must be there first.
            self._times.append(at)
            self._offsets.append(offset)

    def at(self, offset: int) -> float | None:
        """When the byte at `offset` came, at most a second early; None where nobody noted it."""
        number = bisect_right(self._offsets, offset) - 1
        return self._times[number] if number >= 0 and math.isfinite(self._times[number]) else None

    @property
    def first(self) -> float | None:
        return next((at for at in self._times if math.isfinite(at)), None)

    @property
    def last(self) -> float | None:
        return next((at for at in reversed(self._times) if math.isfinite(at)), None)

    def offset_since(self, then: float) -> int | None:
        """Where the log was at a time; None when that is after everything that is known."""
        return next((place for place, at in zip(self._offsets, self._times, strict=True) if at >= then), None)


def moment(text: str, now: float) -> float:
    """`10m`, `2h`, `30s`, `3d` ago, or `14:05` today, in seconds since the epoch. Raises UsageError."""
    if m := _AGO.fullmatch(text):
        return now - int(m[1]) * _UNITS[m[2]]
    if m := _CLOCK.fullmatch(text):
        hour, minute, second = int(m[1]), int(m[2]), int(m[3] or 0)
        if hour < 24 and minute < 60 and second < 60:
            today = time.localtime(now)
            return time.mktime((today.tm_year, today.tm_mon, today.tm_mday, hour, minute, second, 0, 0, -1))
    raise UsageError(f"--since {text[:20]!r}", "use 10m, 2h, 3d or a time of today as 14:05")
