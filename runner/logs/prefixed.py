"""A log on this disk whose lines have something before them: found at its beginning, taken off, its times used."""

from runner.logs.log_file import LogFile
from runner.logs.prefix import LONGEST, Prefixes
from runner.logs.search import slice_at
from runner.logs.timestamps import LogTimes
from runner.nanochat import grammar, layout
from runner.text.sanitize import strip_ansi

# So much of a log's beginning is looked at for what is before all its lines; so many lines for one with a time.
HEAD, NEAR = 1 << 20, 50


class PrefixFinder:
    """Looks for the prefixes of a log on this disk at its beginning, as far as that is there."""

    def __init__(self, log: LogFile) -> None:
        self._log, self._of, self._offset = log, log.anew, 0
        self.prefixes = Prefixes()

    def advance(self) -> bool:
        """Look at what came, and tell the log; whether a prefix is known now that was not before."""
        if self._of != self._log.anew:
            self._of, self._offset, self.prefixes, self._log.cut = self._log.anew, 0, Prefixes(), None
        while self._offset < HEAD:
            data, following = slice_at(self._log, self._offset)
            if not data:
                break
            self._offset = following
            for line in data[:-1].split(b"\n"):
                text = strip_ansi(line[: grammar.MAX_LINE].decode("utf-8", "replace"))
                self.prefixes.read(text)
        found = self.prefixes.fresh()
        if found:
            self._log.cut = self._text
        return found

    @property
    def times(self) -> "PrefixTimes | None":
        """When the lines came, where their prefixes tell it."""
        times = PrefixTimes(self._log, self.prefixes)
        return times if self._log.cut and times.first is not None else None

    def _text(self, line: str) -> str:
        return self.prefixes.split(line).text


class PrefixTimes(LogTimes):
    """The times that the prefixes of a log tell, instead of those that were noted beside it."""

    def __init__(self, log: LogFile, prefixes: Prefixes) -> None:
        super().__init__(log.path.with_name(layout.TIMES_FILE))
        self._log, self._prefixes = log, prefixes

    def refresh(self) -> None:
        """The lines tell it themselves."""

    def at(self, offset: int) -> float | None:
        return self._of(self._log.line_at(offset))

    @property
    def first(self) -> float | None:
        return self._near(0, len(self._log))

    @property
    def last(self) -> float | None:
        there = len(self._log)
        return next((at for n in range(1, min(there, NEAR) + 1) if (at := self._of(there - n)) is not None), None)

    def offset_since(self, then: float) -> int | None:
        low, high = 0, len(self._log)
        while low < high:
            middle = (low + high) // 2
            at = self._near(middle, high)
            if at is None or at >= then:
                high = middle
            else:
                low = middle + 1
        return self._log.start(low) if low < len(self._log) else None

    def _near(self, line: int, end: int) -> float | None:
        """When the first line from one on came that says so."""
        return next((at for n in range(line, min(end, line + NEAR)) if (at := self._of(n)) is not None), None)

    def _of(self, line: int) -> float | None:
        start = self._log.start(line)
        head = self._log.read(start, min(LONGEST, self._log.start(line + 1) - start)).decode("utf-8", "replace")
        return self._prefixes.split(head.rstrip("\n")).at(self._log.changed_at)
