"""The clock of a job: it begins with the time of day, and then neither jumps nor counts a machine's sleep."""

import time


class Clock:
    """Seconds since the epoch as they were when it began, plus the seconds since. Money and patience go by it."""

    def __init__(self) -> None:
        self._began, self._ticks = time.time(), time.monotonic()

    def __call__(self) -> float:
        return self._began + time.monotonic() - self._ticks
