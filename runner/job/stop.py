"""Whether a job is to stop, why, and how long what it still has to do may take."""

import time

from runner.job.limits import LimitMonitor
from runner.model.status import Outcome, Status
from runner.planning.budget import CLOSING_S

# Kept back for the last word and the last commit when the container is about to be killed.
LAST_S, COMMIT_S = 4.0, 6.0


class Stop:
    """Told to stop from outside, or by its own guard. `killed_after_s`: from a signal on, None where nobody kills."""

    def __init__(self, guard: LimitMonitor, killed_after_s: float | None) -> None:
        self._guard, self._killed_after_s = guard, killed_after_s
        self._told_at: float | None = None
        self.halt: Outcome | None = None

    def tell(self) -> None:
        """From a signal handler."""
        if self._told_at is None:
            self._told_at = time.monotonic()

    @property
    def told(self) -> bool:
        return self._told_at is not None

    def look(self, status: Status) -> bool:
        """Called often while a stage runs: whether it must stop now."""
        self.halt = self.halt or self._guard.stop_reason(status)
        return self.told or self.halt is not None

    def keeping_s(self, status: Status) -> float | None:
        """How long checkpoints may still be brought to the volume; None for as long as it takes."""
        left = self._killed_in()
        if left is not None:
            return max(0.0, left - LAST_S - COMMIT_S)
        return self._guard.keeping_s(status) if self.halt else None

    def closing_s(self) -> float | None:
        """How long the last commit may take; None for as long as it takes."""
        left = self._killed_in()
        if left is not None:
            return max(1.0, left - LAST_S)
        return CLOSING_S / 2 if self.halt else None

    def _killed_in(self) -> float | None:
        if self._told_at is None or self._killed_after_s is None:
            return None
        return self._told_at + self._killed_after_s - time.monotonic()
