"""What the last run of the same task that ended well has said: what a failed one says too tells nothing."""

import contextlib
import re
from collections.abc import Iterable

from runner.diagnosis.templates import template
from runner.errors import NanochatError
from runner.model import events, identifiers
from runner.model.run import Run
from runner.model.states import State
from runner.nanochat import grammar, layout
from runner.text.sanitize import strip_ansi
from runner.volumes import run_records
from runner.volumes.base import Volume

# So many runs are looked at, the newest first, and so much of the beginning of a log, and of its end.
MOST_RUNS, MOST_READ, MOST_TEMPLATES = 20, 4 << 20, 20_000


def last_good_templates(volume: Volume, run: Run) -> frozenset[str]:
    """The templates of its log; none where there is no such run, or it cannot be read."""
    with contextlib.suppress(OSError, NanochatError):
        folders = sorted((e for e in volume.list(identifiers.RUNS) if e.is_dir), key=lambda e: e.mtime, reverse=True)
        for folder in folders[:MOST_RUNS]:
            other = run_records.recorded(volume, folder.name)
            if other is None or other.id == run.id or other.spec.task != run.spec.task:
                continue
            status = run_records.read_status(volume, other)
            if status and status.state is State.DONE:
                return templates_of(_lines(volume, f"{other.path}/{layout.LOG_FILE}"))
    return frozenset()


def templates_of(lines: Iterable[str]) -> frozenset[str]:
    """The templates of what a log says beside its numbers."""
    found = set[str]()
    for line in lines:
        event = grammar.parse(line)
        if (event is None or isinstance(event, events.Noted | events.Warned | events.Failed)) and line.strip():
            found.add(template(line))
            if len(found) >= MOST_TEMPLATES:
                break
    return frozenset(found)


def _lines(volume: Volume, path: str) -> list[str]:
    size = volume.stat(path).bytes
    data = volume.read(path, 0, MOST_READ)
    if size > MOST_READ:
        data += volume.read(path, max(MOST_READ, size - MOST_READ), MOST_READ)
    return [strip_ansi(line) for line in re.split(r"[\n\r]", data.decode("utf-8", "replace"))]
