"""How long a job has been silent, by whether its heartbeat changes: clocks of two machines need not agree."""

import time
from collections.abc import Callable

from msgspec import Struct

from runner.model.run import Run

# A heartbeat that is not older than this, and not newer by so much, is of clocks that agree.
AGREES_S, AHEAD_S = 30.0, 5.0
# A job beats once a second, and is looked at every two: one that lives has changed by then.
BEATS_S = 4.0


class _Seen(Struct, frozen=True):
    sign: float
    since: float
    changed: bool


class HeartbeatAges:
    """When the heartbeat of each run was last seen to change, by a clock that nobody sets and that does not jump."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def note(self, run: Run) -> None:
        sign, known = run.last_heartbeat, self._seen.get(run.id)
        if sign is not None and (known is None or known.sign != sign):
            self._seen[run.id] = _Seen(sign, self._clock(), known is not None)

    def now(self, run: Run, ours: float) -> float:
        """What the clock that gives the run's heartbeat shows now, where ours shows `ours`.

        Of a run that was seen once, clocks that disagree say nothing: it may be silent, or one of them be wrong. Only
        when its sign has not changed for a few beats is it as old as our clock says.
        """
        seen = self._seen.get(run.id)
        if seen is None or seen.sign != run.last_heartbeat:
            return ours
        here = seen.sign + self._clock() - seen.since
        age = ours - seen.sign
        if not seen.changed and (-AHEAD_S <= age <= AGREES_S or not run.live):
            # Nothing more is to come of one that has ended: there is no silence to doubt.
            return ours
        return max(here, ours) if self._is_silent(seen) and not seen.changed else here

    def doubtful(self, run: Run, ours: float) -> bool:
        """Whether another look, within BEATS_S, would tell more of how the run is."""
        seen = self._seen.get(run.id)
        if not run.live or seen is None or seen.changed or self._is_silent(seen):
            return False
        return not -AHEAD_S <= ours - seen.sign <= AGREES_S

    def _is_silent(self, seen: _Seen) -> bool:
        return self._clock() - seen.since >= BEATS_S
