"""Search in a log on this disk, of any size and while it grows: what to look for, where it is. No UI in it."""

import re
import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from msgspec import Struct

from runner.diagnosis.lines import ANY_WORD, tells_failure
from runner.errors import UsageError
from runner.logs.log_file import LogFile
from runner.text.sanitize import strip_ansi

SLICE = 1 << 19
LONGEST = 200
# So much of a line is looked at.
LONGEST_LINE = 4 << 20
# So many places of a line are marked.
MOST_SPANS = 50
# So much of a line can tell a failure.
LONGEST_TOLD = 4096
# So many hits are kept of one query.
MOST_HITS = 1 << 26
# So many finds in a slice, and going from line to line is quicker than from find to find.
DENSE = 128
# What a level means: words to find first, and the pattern that decides; `error` is what the diagnosis makes of a line.
# The grammar is for lines that are shown, this is for millions of them.
LEVELS = {
    "warning": (
        (b"WARNING", b"Warning: ", b"[HEARTBEAT]", b"[VOLUME]", b"[PREEMPTED]"),
        rb"WARNING|Warning: |^\[HEARTBEAT\]|^\[VOLUME\]|^\[PREEMPTED\]",
    ),
    "stage": ((b"[STAGE] ", b"[ATTEMPT "), rb"^\[(?:STAGE|ATTEMPT \d{1,6})\] "),
    "score": (
        (b"Step ", b" bpb: ", b"CORE metric: ", b" accuracy: "),
        rb"^Step \d+ \||^(?:val|train) bpb: |CORE metric: | accuracy: ",
    ),
}
# What looks beyond its line, where it is given more than one.
_OF_A_TEXT = re.compile(r"\\[Az]|\(\?\w*-")


class Pattern(Protocol):
    """A regular expression over bytes, of `re` or of RE2."""

    def search(self, text: bytes, /, pos: int = 0) -> "Match | None": ...

    def finditer(self, text: bytes, /) -> "Iterator[Match]": ...


class Match(Protocol):
    """A place in a line."""

    def start(self) -> int: ...

    def end(self) -> int: ...


class Query(Struct, frozen=True):
    """What a person typed, ready to be looked for in bytes. `invert`: lines that do not have it.

    A line has one of `words`, where there are any; that alone decides when `exact`, else `pattern` does. Without
    upper case in what was typed, case does not matter. `by_line`: the pattern must be given each line alone. `first`
    finds the lines that are worth to be given to it, where words are too many.
    """

    said: str
    pattern: Pattern
    words: tuple[bytes, ...] = ()
    exact: bool = False
    any_case: bool = False
    invert: bool = False
    by_line: bool = True
    first: Pattern | None = None


class _Whole(Struct, frozen=True):
    """A line that is found as a whole."""

    length: int

    def start(self) -> int:
        return 0

    def end(self) -> int:
        return self.length


class _Failures:
    """The lines that tell a failure, as the diagnosis has it: one line at a time, with what stands `before` it."""

    def __init__(self, before: Sequence[str]) -> None:
        self._before = re.compile("|".join(before) or "(?!)", re.ASCII)

    def search(self, text: bytes, /, pos: int = 0) -> Match | None:
        line = text[pos:LONGEST_TOLD].decode("utf-8", "replace")
        m = self._before.match(line)
        return _Whole(len(text)) if tells_failure(strip_ansi(line[m.end() :] if m else line)) else None

    def finditer(self, text: bytes, /) -> Iterator[Match]:
        return iter([])


def parse_query(said: str, before: Sequence[str] = ()) -> Query:
    """`text`, `~regex`, `!` before either for the lines without it, `level:error|warning|stage|score`.

    A level knows what stands `before` the lines of a log, as regular expressions.

    Raises UsageError for a regex that is none, and for nothing at all.
    """
    text, invert = said, said.startswith("!")
    if invert:
        text = text[1:]
    if not text or text == "~" or len(text) > LONGEST:
        raise UsageError("nothing to look for" if not text.strip("~") else "too long to look for", "type a text")
    if text.startswith("level:"):
        if text == "level:error":
            return Query(said, _Failures(before), invert=invert, first=compile_regex(ANY_WORD, any_case=False))
        level = LEVELS.get(text[6:])
        if level is None:
            raise UsageError(f"unknown level {text[6:20]!r}", f"use one of error, {', '.join(LEVELS)}")
        start = b"^(?:%s)?" % "|".join(before).encode() if before else b"^"
        return Query(said, re.compile(level[1].replace(b"^", start), re.MULTILINE), level[0], invert=invert)
    any_case = text == text.lower()
    if text.startswith("~"):
        by_line = bool(_OF_A_TEXT.search(text))
        return Query(
            said, compile_regex(text[1:], any_case=any_case), any_case=any_case, invert=invert, by_line=by_line
        )
    word = text.encode("utf-8", "replace")
    pattern = re.compile(re.escape(word), re.IGNORECASE if any_case else 0)
    return Query(said, pattern, (word,), True, any_case and text.isascii(), invert)


def compile_regex(text: str, *, any_case: bool) -> Pattern:
    """A regular expression that a person typed, in time that grows with the line alone: it is RE2's.

    Raises UsageError.
    """
    try:
        import re2
    except ImportError as error:
        raise UsageError(
            "a regex needs the package google-re2", "install nanochat-tui anew, or leave out the ~"
        ) from error
    options = re2.Options()
    options.case_sensitive, options.never_nl, options.log_errors = not any_case, True, False
    try:
        found: Pattern = re2.compile(b"(?m)" + text.encode("utf-8", "replace"), options)
    except re2.error as error:
        why = error.args[0].decode("utf-8", "replace") if error.args else "?"
        raise UsageError(f"{text[:40]!r} is no regex ({why})", "leave out the ~ for a plain text") from error
    return found


def exact_query(text: str) -> Query:
    """The lines that have a text, whatever it looks like."""
    word = text.encode("utf-8", "replace")
    return Query(text, re.compile(re.escape(word)), (word,), exact=True)


_LEVEL_QUERIES = {name: parse_query(f"level:{name}") for name in LEVELS}


def is_level(text: str, level: str) -> bool:
    """Whether a line, as it is shown, is one that `level:…` finds."""
    if level == "error":
        return tells_failure(text[:LONGEST_TOLD])
    return bool(_LEVEL_QUERIES[level].pattern.search(text.encode("utf-8", "replace")))


def hit_spans(wanted: Query, text: str) -> list[tuple[int, int]]:
    """Where in a line, as it is shown, the query is found; for its colour."""
    if wanted.invert:
        return []
    data = text.encode("utf-8", "replace")

    def place(end: int) -> int:
        return len(data[:end].decode("utf-8", "replace"))

    found = islice(wanted.pattern.finditer(data), MOST_SPANS)
    return [(place(m.start()), place(m.end())) for m in found if m.end() > m.start()]


class Scan:
    """All lines that a query finds, from the beginning of a log to its end, a slice at a time; 4 bytes a hit.

    One thread lets it go on, any thread asks it.
    """

    def __init__(self, log: LogFile, wanted: Query) -> None:
        self.log, self.wanted = log, wanted
        self._lock = threading.Lock()
        self._hits, self._unfinished = array("I"), array("I")
        self._of, self._offset, self._line = log.anew, 0, 0
        # The size of the log when all its whole lines, and when the one without a newline was looked at.
        self._whole_at = self._unfinished_at = -1

    @property
    def fraction_scanned(self) -> float:
        """Share of the log that was looked at, 0 to 1."""
        return 1.0 if self.is_full or not self.log.size else min(1.0, self._offset / self.log.size)

    @property
    def is_full(self) -> bool:
        """Whether there are more hits than are kept; then the first ones are."""
        return len(self._hits) >= MOST_HITS

    def advance(self, slices: int = 1) -> bool:
        """Look at some more whole lines; whether there was anything to look at."""
        if self._of != self.log.anew:
            # The log was cut and written anew.
            with self._lock:
                self._hits, self._unfinished = array("I"), array("I")
            self._of, self._offset, self._line = self.log.anew, 0, 0
            self._whole_at = self._unfinished_at = -1
        looked = False
        for _ in range(slices):
            size = self.log.size
            data, following = slice_at(self.log, self._offset)
            if not data or self.is_full:
                self._whole_at = size
                break
            found, first = lines_in(self.wanted, data), self._line
            with self._lock:
                del self._unfinished[:]
                self._hits.extend([first + number for number in found][: MOST_HITS - len(self._hits)])
            self._offset, self._unfinished_at = following, -1
            self._line += data.count(b"\n")
            looked = True
        return looked

    def look_at_unfinished(self) -> bool:
        """Look at the line that has no newline yet, once all before it were looked at; whether there was anything."""
        size = self.log.size
        if self._whole_at != size or self._unfinished_at == size:
            return False
        rest = self.log.read(self._offset, min(LONGEST_LINE, size - self._offset))
        found = bool(rest) and b"\n" not in rest and bool(lines_in(self.wanted, rest))
        with self._lock:
            self._unfinished = array("I", [self._line] if found else [])
        self._unfinished_at = size
        return True

    @property
    def count(self) -> int:
        """How many lines were found so far."""
        with self._lock:
            return len(self._hits) + len(self._unfinished)

    def lines(self) -> "array[int]":
        """The numbers of all lines found so far."""
        with self._lock:
            return self._hits + self._unfinished

    def line(self, nth: int) -> int | None:
        """The number of the nth line that was found."""
        with self._lock:
            if nth < len(self._hits):
                return self._hits[nth]
            return self._unfinished[0] if self._unfinished else None

    def before(self, line: int) -> int:
        """How many lines were found before this one."""
        with self._lock:
            return bisect_left(self._hits, line) + bisect_left(self._unfinished, line)

    def nearest(self, line: int, *, forward: bool) -> tuple[int | None, bool]:
        """The next line found after or before one, and whether that was round the end of the log."""
        at, count = self.before(line + 1) if forward else self.before(line) - 1, self.count
        return (self.line(at % count) if count else None), not 0 <= at < count


def slice_at(log: LogFile, offset: int) -> tuple[bytes, int]:
    """About a slice of whole lines from `offset`, or one longer line, and where the next ones begin.

    Of a line that is longer still, its beginning; nothing where only an unfinished line is left.
    """
    data = log.read(offset, min(SLICE, log.size - offset))
    end = data.rfind(b"\n") + 1
    if end:
        return data[:end], offset + end
    if len(data) < SLICE:
        return b"", offset
    following = log.start(log.line_at(offset) + 1)
    if following <= offset or (following >= log.size and log.read(log.size - 1, 1) != b"\n"):
        return b"", offset
    return log.read(offset, min(LONGEST_LINE, following - 1 - offset)) + b"\n", following


def lines_in(wanted: Query, data: bytes) -> list[int]:
    """Numbers, within `data`, of the lines that the query is for."""
    found = _having(wanted, data)
    if not wanted.invert:
        return found
    there = set(found)
    return [n for n in range(data.count(b"\n") + (not data.endswith(b"\n"))) if n not in there]


def _having(wanted: Query, data: bytes) -> list[int]:
    if wanted.first:
        worth = _lines_of(wanted.first.search, data)
        return _numbers(data, [start for start in worth if wanted.pattern.search(_line(data, start))])
    folded = data.lower() if wanted.any_case else data
    if wanted.words and not any(word in folded for word in wanted.words):
        return []
    if wanted.words and sum(folded.count(word) for word in wanted.words) <= DENSE:
        at = sorted({line for word in wanted.words for line in _starts(word, folded)})
        return _numbers(data, at if wanted.exact else [s for s in at if wanted.pattern.search(_line(data, s))])
    if wanted.exact:
        (word,) = wanted.words
        return [n for n, line in enumerate(folded.split(b"\n")) if word in line]
    search = wanted.pattern.search
    if not wanted.by_line:
        return _numbers(data, list(_lines_of(search, data)))
    lines = data.split(b"\n")
    if data.endswith(b"\n"):
        lines.pop()
    return [n for n, line in enumerate(lines) if search(line)]


def _lines_of(search: Callable[[bytes, int], Match | None], data: bytes) -> Iterator[int]:
    """Where the lines begin that have a match: from one to the next, as most lines have none."""
    at = 0
    while at < len(data) and (found := search(data, at)):
        # An empty match behind the last newline is of no line.
        if found.start() == len(data) and data.endswith(b"\n"):
            return
        yield data.rfind(b"\n", 0, found.start()) + 1
        at = data.find(b"\n", found.start()) + 1
        if not at:
            return


def _starts(word: bytes, data: bytes) -> Iterator[int]:
    """Where the lines begin that have a word."""
    at = data.find(word)
    while at >= 0:
        yield data.rfind(b"\n", 0, at) + 1
        end = data.find(b"\n", at)
        if end < 0:
            return
        at = data.find(word, end)


def _line(data: bytes, start: int) -> bytes:
    end = data.find(b"\n", start)
    return data[start:] if end < 0 else data[start:end]


def _numbers(data: bytes, starts: list[int]) -> list[int]:
    """Offsets of lines -> their numbers."""
    numbers, line, last = [], 0, 0
    for start in starts:
        line += data.count(b"\n", last, start)
        last = start
        numbers.append(line)
    return numbers


def next_hit(
    log: LogFile, wanted: Query, line: int, *, forward: bool, stop: Callable[[], bool] = lambda: False
) -> int | None:
    """The nearest line after, or before, `line` that has it; None when there is none. Looks no further than it must."""
    return _after(log, wanted, line + 1, stop) if forward else _before(log, wanted, line, stop)


def _after(log: LogFile, wanted: Query, line: int, stop: Callable[[], bool]) -> int | None:
    offset = log.start(line)
    while not stop():
        data, following = slice_at(log, offset)
        if not data:
            rest = log.read(offset, min(LONGEST_LINE, log.size - offset))
            return log.line_at(offset) if rest and lines_in(wanted, rest) else None
        if found := lines_in(wanted, data):
            return log.line_at(offset) + found[0]
        offset = following
    return None


def _before(log: LogFile, wanted: Query, line: int, stop: Callable[[], bool]) -> int | None:
    end = log.start(line)
    while end > 0 and not stop():
        first = log.line_at(max(0, end - SLICE))
        start = log.start(first)
        if start < end - SLICE and (following := log.start(first + 1)) < end:
            # A long line before them has its own turn.
            first, start = first + 1, following
        if start >= end:
            # The file was cut meanwhile.
            return None
        data = log.read(start, min(end - start, LONGEST_LINE))
        if found := lines_in(wanted, data):
            return first + found[-1]
        end = start
    return None
