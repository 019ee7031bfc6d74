"""What a run says, brought to this disk and read: its log and its curves."""

from collections.abc import Callable
from pathlib import Path

from runner.errors import NanochatError
from runner.fleet.fleet import Fleet
from runner.metrics.series import Curves, CurvesReader
from runner.model.run import Run


class Feed:
    """The curves of one run as they grow. One thread at a time looks; what it gives is the screen's own."""

    def __init__(self, events: Path) -> None:
        self._reader = CurvesReader(events)
        self._told = ""

    def look(
        self, fleet: Fleet, run: Run, tell: Callable[[str], object], stop: Callable[[], bool] = lambda: False
    ) -> Curves | None:
        """Bring what is new of log and events, where they are elsewhere; the curves, when there is more in them.

        What keeps it from coming is told once; what is here already is shown all the same.
        """
        problem = ""
        try:
            fleet.pull_log(run)
        except (NanochatError, OSError) as error:
            problem = str(error)
        if problem and problem != self._told:
            tell(problem)
        self._told = problem
        grown = False
        while not stop() and self._reader.read():
            grown = True
        return self._reader.curves() if grown else None
