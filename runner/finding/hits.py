"""What a search finds, of which kind; the best of each are kept, all are counted. No I/O."""

import threading
from bisect import insort
from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

# So many of a kind are kept.
KEPT = 500


class Kind(StrEnum):
    """What a hit is, in the order in which they are shown."""

    RUN = "run"
    CHECKPOINT = "checkpoint"
    SETTING = "setting"
    COMMAND = "command"
    FILE = "file"
    LOG = "log"


class Hit(Struct, frozen=True, order=False):
    """One thing that was found, by the text of whoever wrote it; the lowest `rank` is the best of its kind.

    `run` is the id of the run that it is of, `path` a place on the volume `location` of `backend`. A line of a log has
    its number, from 0 on, and when it came, as far as anybody noted.
    """

    kind: Kind
    key: str
    name: str
    about: str = ""
    rank: tuple[float, ...] = ()
    run: str = ""
    tag: str = ""
    backend: str = ""
    location: str = ""
    path: str = ""
    bytes: int | None = None
    step: int | None = None
    line: int | None = None
    at: float | None = None


class Batch(Struct, frozen=True):
    """What was found since the last one: hits, how many there were of that kind, how far the search is, what failed."""

    kind: Kind
    hits: Sequence[Hit] = ()
    count: int = 0
    progress: str = ""
    problem: str = ""


class Group(Struct, frozen=True):
    """The best hits of a kind, and how many there are besides."""

    kind: Kind
    hits: Sequence[Hit]
    more: int


class Results:
    """What one search has found so far. One thread adds, any thread asks."""

    def __init__(self, kept: int = KEPT) -> None:
        self._lock, self._kept = threading.Lock(), kept
        self._hits: dict[Kind, list[Hit]] = {kind: [] for kind in Kind}
        self._counts = dict.fromkeys(Kind, 0)
        self.progress = ""
        self.problems: list[str] = []

    def add(self, batch: Batch) -> None:
        with self._lock:
            best = self._hits[batch.kind]
            for hit in batch.hits:
                if len(best) < self._kept or hit.rank < best[-1].rank:
                    insort(best, hit, key=lambda h: h.rank)
                    del best[self._kept :]
            self._counts[batch.kind] += batch.count
            self.progress = batch.progress or self.progress
            if batch.problem and batch.problem not in self.problems:
                self.problems.append(batch.problem)

    @property
    def count(self) -> int:
        with self._lock:
            return sum(self._counts.values())

    def groups(self, most: Mapping[Kind, int]) -> list[Group]:
        """The best so many of each kind that has any."""
        with self._lock:
            found = []
            for kind, hits in self._hits.items():
                shown = hits[: most.get(kind, self._kept)]
                if shown:
                    found.append(Group(kind, tuple(shown), self._counts[kind] - len(shown)))
            return found
