"""When what a job wrote to the volume becomes visible to others: now and then, and at the end."""

import threading
import time
from collections.abc import Callable

EVERY_S = 10.0
# One that takes longer does not come through.
SLOW_S = 120.0


class Commits:
    """Commits the volume. What cannot be committed is said and tried again: it is no reason to stop training."""

    def __init__(self, commit: Callable[[], None], say: Callable[[str], None]) -> None:
        self._commit, self._say = commit, say
        self._at = time.monotonic()
        self._problem = ""
        self._under_way: dict[int, float] = {}

    @property
    def due(self) -> bool:
        return time.monotonic() - self._at > EVERY_S and not self._under_way

    @property
    def problem(self) -> str:
        """Why nothing gets to the volume, as far as the last commits tell; empty when all is well."""
        slow = any(time.monotonic() - began > SLOW_S for began in list(self._under_way.values()))
        return "a commit of the volume does not end" if slow else self._problem

    def commit(self) -> None:
        """Commit now. Raises OSError where that cannot be done."""
        self._under_way[threading.get_ident()] = time.monotonic()
        try:
            self._commit()
        except OSError as error:
            self._problem = str(error)
            raise
        else:
            self._problem = ""
        finally:
            self._under_way.pop(threading.get_ident(), None)

    def commit_now(self) -> None:
        self._at = time.monotonic()
        if problem := self._try():
            self._say(f"[VOLUME] {problem}")

    def commit_in_background(self) -> None:
        """Commit without making the child's output wait."""
        self._at = time.monotonic()
        threading.Thread(target=self.commit_now, name="commit", daemon=True).start()

    def commit_last(self, within_s: float | None) -> str:
        """Commit once more and wait for it, for so long at most; what went wrong, in a line."""
        problems: list[str] = []
        last = threading.Thread(target=lambda: problems.append(self._try()), name="commit", daemon=True)
        last.start()
        last.join(within_s)
        return problems[0] if problems else "the last commit did not end in time"

    def _try(self) -> str:
        try:
            self.commit()
        except OSError as error:
            return str(error)
        return ""
