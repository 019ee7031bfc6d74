"""How the loss of each run went, in eight blocks: what a row of a list has room for."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from runner.metrics.series import CurvesReader, Series
from runner.model.run import Run

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 8
# Of a run that is live, so often; of events on this disk that are larger, nothing.
AGAIN_STEPS, MOST_BYTES = 20, 256 << 20


def blocks(series: Series, width: int = WIDTH) -> str:
    """A curve in so many blocks, the lowest and the highest by its own values; "" for one without points."""
    if len(series) < 2:
        return ""
    columns = series.columns(series.steps, series.steps[0], series.steps[-1], width)
    means = [(c.low + c.high) / 2 if c else None for c in columns]
    known = [mean for mean in means if mean is not None]
    low, high = min(known), max(known)
    top = len(BLOCKS) - 1
    return "".join(
        " " if mean is None else BLOCKS[round((mean - low) / (high - low) * top) if high > low else 0] for mean in means
    )


class _Shape(NamedTuple):
    """The blocks of a run's loss, as of a step of an attempt; the reader is kept while the run is live."""

    text: str
    attempt: int
    step: int
    live: bool
    reader: CurvesReader | None = None


class Shapes:
    """What one thread reads, and the screen shows."""

    def __init__(self) -> None:
        self._known: dict[str, _Shape] = {}

    def of(self, run: Run) -> str:
        found = self._known.get(run.id)
        return found.text if found else ""

    def lacks(self, run: Run) -> bool:
        """Whether there is more to read of a run than what is known of it."""
        found, step = self._known.get(run.id), _step(run)
        if found is None or found.attempt != run.attempt or found.live != run.live:
            return True
        return run.live and abs(step - found.step) >= AGAIN_STEPS

    def read(self, run: Run, events: Path) -> None:
        """Read what is new of a run's events, in a thread; what is not on this disk is not fetched."""
        found = self._known.get(run.id)
        reader = (found.reader if found else None) or CurvesReader(events)
        text = ""
        if events.is_file() and events.stat().st_size <= MOST_BYTES:
            while reader.read():
                pass
            text = blocks(reader.series["loss EMA"])
        self._known[run.id] = _Shape(text, run.attempt, _step(run), run.live, reader if run.live else None)


def _step(run: Run) -> int:
    return (run.status.training.step or 0) if run.status else 0
