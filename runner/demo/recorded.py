"""Logs of real runs, and files of real checkpoints, as they come with the package."""

import gzip
import re
from datetime import datetime
from importlib import resources

from runner.model.events import Step
from runner.nanochat import grammar

# A line of a log, and the seconds that pass before it.
Timed = tuple[float, str]

STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}")
STAMP_FORMAT = "%Y-%m-%d %H:%M:%S,%f"
# What is not told by a time or a step: a line of a header comes at once.
AT_ONCE_S = 0.02


def data(name: str) -> bytes:
    """A file of the package, unpacked."""
    return gzip.decompress((resources.files("runner.demo") / "data" / f"{name}.gz").read_bytes())


def log(name: str) -> list[Timed]:
    """A recorded log, each line with the time that passed before it, by the times and steps that it tells."""
    lines = data(f"{name}.log").decode("utf-8", "replace").split("\n")
    found: list[Timed] = []
    at, passed = None, 0.0
    for line in filter(None, lines):
        seconds = _step_seconds(line) or AT_ONCE_S
        if told := STAMP.match(line):
            now = datetime.strptime(told[0], STAMP_FORMAT).timestamp()
            seconds = max(0.0, now - at - passed) if at is not None else AT_ONCE_S
            at, passed = now, 0.0
        else:
            passed += seconds
        found.append((seconds, line))
    return found


def part(lines: list[Timed], begin: str, end: str = "") -> list[Timed]:
    """The lines of a recorded log from the first that begins so to the next one that begins so; to its end without."""
    at = next(i for i, (_, line) in enumerate(lines) if line.startswith(begin))
    until = next((i for i, (_, line) in enumerate(lines) if i > at and end and line.startswith(end)), len(lines))
    return lines[at:until]


def _step_seconds(line: str) -> float:
    event = grammar.parse(line) if line.startswith("step ") else None
    return event.dt_ms / 1000 if isinstance(event, Step) and event.dt_ms else 0.0
