"""A run as it goes on: one look after the other, and what came of its log since."""

import time
from collections.abc import Callable, Iterable, Iterator

from runner.logs.log_file import LogFile
from runner.model.run import Run
from runner.text.sanitize import sanitize_line


def looks(run: Run, poll: Callable[[Run], Run], every_s: float) -> Iterator[Run]:
    """The run at each look, until it has ended."""
    while True:
        run = poll(run)
        yield run
        if not run.live:
            return
        time.sleep(every_s)


def changes(seen: Iterable[Run]) -> Iterator[Run]:
    """The first look, and those that show something new."""
    last = None
    for run in seen:
        if run != last:
            last = run
            yield run


class NewLines:
    """The lines of a log from one on, each once; all of them again where the log was written anew."""

    def __init__(self, log: LogFile, first: int = 0) -> None:
        self._log, self._next, self._anew = log, first, log.anew

    def take(self, *, ended: bool) -> range:
        """The numbers of those that came; a line still being written waits until the log has `ended`."""
        self._log.refresh()
        if self._anew != self._log.anew:
            self._anew, self._next = self._log.anew, 0
        first, self._next = self._next, len(self._log) if ended else max(self._next, self._log.whole)
        return range(first, self._next)


def lines(log: LogFile, ends: Iterable[bool]) -> Iterator[str]:
    """The lines of a log, made harmless; after each look, which says whether it is the last, those that came."""
    new = NewLines(log)
    for ended in ends:
        for number in new.take(ended=ended):
            yield sanitize_line(log.text(number))
