"""A run as it goes on: a look after each change, its log line by line."""

import time
from collections.abc import Callable, Iterator

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


def changes(seen: Iterator[Run]) -> Iterator[Run]:
    """The first look, and those that show something new."""
    last = None
    for run in seen:
        if run != last:
            last = run
            yield run


def lines(log: LogFile, seen: Iterator[object]) -> Iterator[str]:
    """The lines of a log, without terminal escapes; after each look those that came, the unfinished one last."""
    told = 0
    for _ in seen:
        log.refresh()
        for number in range(told, log.whole):
            yield sanitize_line(log.text(number))
        told = max(told, log.whole)
    log.refresh()
    for number in range(told, len(log)):
        yield sanitize_line(log.text(number))
