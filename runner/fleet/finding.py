"""A search over all that a fleet knows: names at once, then files, then logs, a batch at a time."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from runner import settings
from runner.errors import NanochatError
from runner.finding import log_lines, names
from runner.finding.hits import Batch, Kind
from runner.finding.names import Named
from runner.logs.search import Query
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.text import units
from runner.volumes.base import Entry

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet

# So many files of all volumes are known to a search, and so many are looked at before anybody may want to leave.
MOST_FILES, AT_ONCE = 200_000, 2000
WAIT_S = 0.1

Stop = Callable[[], bool]


class _Listing:
    """The files of one volume as they come: what one search has listed, the next one has, and goes on from there."""

    def __init__(self, entries: Iterator[list[Entry]]) -> None:
        self._coming = entries
        self._lock = threading.Lock()
        self.entries: list[Entry] = []
        self.problem, self.done = "", False

    def more(self, stop: Stop) -> bool:
        """Wait for some more; whether there may be."""
        while not self._lock.acquire(timeout=WAIT_S):
            if stop():
                return False
        try:
            if not self.done:
                self.entries += next(self._coming)
        except StopIteration:
            self.done = True
        except (NanochatError, OSError) as error:
            self.problem, self.done = getattr(error, "strerror", "") or str(error), True
        finally:
            self._lock.release()
        return not self.done


class Finder:
    """Searches for one text after the other. What it has listed of volumes it keeps, as long as it is kept.

    `commands` are those of the front end; `only` one kind is looked for, where it is given. A search is run in a
    thread; another may begin while one is told to stop.
    """

    def __init__(self, fleet: "Fleet", commands: Sequence[Named] = (), *, only: Kind | None = None) -> None:
        self._fleet, self._commands, self._only = fleet, commands, only
        self._listings: dict[tuple[str, str], _Listing] = {}

    def search(self, text: str, stop: Stop = lambda: False) -> Iterator[Batch]:
        """What fits, the cheap before the dear; ends early when told to stop. Raises UsageError for a bad regex."""
        wanted = log_lines.query_of(text)
        runs = self._fleet.registry.all()
        by_name = log_lines.is_for_names(text)
        if by_name and self._wants(Kind.RUN):
            yield names.runs(runs, text)
        if by_name and self._wants(Kind.SETTING):
            yield names.named(Kind.SETTING, self._settings(), text)
        if by_name and self._wants(Kind.COMMAND):
            yield names.named(Kind.COMMAND, self._commands, text)
        by_name = by_name and self._wants(Kind.CHECKPOINT, Kind.FILE)
        if by_name:
            here = [(BackendName.LOCAL, folder) for folder in self._fleet.local_folders()]
            yield from self._files(here, runs, text, stop)
        if self._wants(Kind.LOG):
            yield from self._logs(runs, wanted, stop)
        if by_name and not stop():
            # A network may take its time.
            far = dict.fromkeys((r.backend, r.volume) for r in runs if r.backend is BackendName.MODAL)
            yield from self._files(list(far), runs, text, stop)

    def _wants(self, *kinds: Kind) -> bool:
        return self._only is None or self._only in kinds

    def _settings(self) -> list[Named]:
        shown = settings.setting_text(self._fleet.settings)
        return [Named(n, n, f"{settings.typed(value) or '–'}: {settings.MEANING[n]}") for n, value in shown.items()]

    def _files(
        self, places: Sequence[tuple[BackendName, str]], runs: Sequence[Run], text: str, stop: Stop
    ) -> Iterator[Batch]:
        for number, (backend, location) in enumerate(places):
            progress = f"files of volume {number + 1} of {len(places)}"
            yield Batch(Kind.FILE, progress=progress)
            known = {r.path: r for r in runs if (r.backend, r.volume) == (backend, location)}
            try:
                listing = self._listing(backend, location)
            except (NanochatError, OSError) as error:
                yield Batch(Kind.FILE, problem=f"{location}: {error}")
                continue
            at, may_be_more = 0, True
            while not stop():
                piece = listing.entries[at : at + AT_ONCE]
                at += len(piece)
                if piece:
                    if self._wants(Kind.CHECKPOINT):
                        yield names.checkpoints(piece, text, known)
                    if self._wants(Kind.FILE):
                        yield names.files(piece, text, backend, location)
                    yield Batch(Kind.FILE, progress=f"{progress}: {at:,}")
                elif not may_be_more:
                    break
                elif sum(len(one.entries) for one in self._listings.values()) > MOST_FILES:
                    yield Batch(Kind.FILE, problem=f"only the first {MOST_FILES:,} files were looked at")
                    break
                else:
                    may_be_more = listing.more(stop)
            if listing.problem:
                yield Batch(Kind.FILE, problem=f"{location}: {listing.problem}")
            if stop():
                return

    def _listing(self, backend: str, location: str) -> _Listing:
        key = (backend, location)
        if key not in self._listings:
            volume = self._fleet.backend(backend).volume(location)
            self._listings[key] = _Listing(iter(volume.scan("", deep=True, left_out=[])))
        return self._listings[key]

    def _logs(self, runs: Sequence[Run], wanted: Query, stop: Stop) -> Iterator[Batch]:
        """Logs on this disk, those written last first."""
        there = []
        for run in runs:
            path = self._fleet.log_file(run)
            with contextlib.suppress(OSError):
                there.append((path.stat().st_mtime, run, path))
        there.sort(key=lambda one: -one[0])
        for number, (_, run, path) in enumerate(there):
            said = f"logs {number + 1} of {len(there)}"
            yield Batch(Kind.LOG, progress=said)
            try:
                for batch, share in log_lines.lines_of(path, wanted, run.id, run.tag, stop):
                    yield batch
                    if share < 1.0:
                        yield Batch(Kind.LOG, progress=f"{said} ({share:.0%})")
            except OSError as error:
                yield Batch(Kind.LOG, problem=f"the log of {run.tag}: {error.strerror or error}")
            if stop():
                return
        yield Batch(Kind.LOG, progress=units.pluralize(len(there), "log"))
