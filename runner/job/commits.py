"""When what a job wrote to the volume becomes visible to others: now and then, and at the end."""

import threading
import time
from collections.abc import Callable

EVERY_S = 10.0


class Commits:
    """Commits the volume. What cannot be committed is said and tried again: it is no reason to stop training."""

    def __init__(self, commit: Callable[[], None], say: Callable[[str], None]) -> None:
        self._commit, self._say = commit, say
        self._at = time.monotonic()

    @property
    def due(self) -> bool:
        return time.monotonic() - self._at > EVERY_S

    def now(self) -> None:
        self._at = time.monotonic()
        if problem := self._try():
            self._say(f"[VOLUME] {problem}")

    def later(self) -> None:
        """Commit without making the child's output wait."""
        self._at = time.monotonic()
        threading.Thread(target=self.now, name="commit", daemon=True).start()

    def last(self, within_s: float | None) -> str:
        """Commit once more and wait for it, for so long at most; what went wrong, in a line."""
        problems: list[str] = []
        last = threading.Thread(target=lambda: problems.append(self._try()), name="commit", daemon=True)
        last.start()
        last.join(within_s)
        return problems[0] if problems else "the last commit did not end in time"

    def _try(self) -> str:
        try:
            self._commit()
        except OSError as error:
            return str(error)
        return ""
