"""Search in a log on this disk, of any size and while it grows: what to look for, where it is. No UI in it."""

import re
from array import array
from collections.abc import Callable, Iterator

from msgspec import Struct

from runner.errors import UsageError
from runner.spool import LogFile

SLICE = 1 << 19
LONGEST = 200
# So much of a line without an end is looked at.
UNFINISHED = 16 << 20
# So many finds in a slice, and going from line to line is quicker than from find to find.
DENSE = 128
# What a level means: words to find first, and the pattern that decides. The grammar is for lines that are shown, this
# is for millions of them.
LEVELS = {
    "error": (
        (b"Error", b"Exception", b"Traceback ", b"FAILED", b"nan", b"out of memory"),
        rb"(?:Error|Exception)\b|^Traceback |^\[FAILED\]|FAILED$|loss: -?nan|CUDA out of memory",
    ),
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
# So much of a line is looked at with a regex: what it costs may grow with the square of the length.
REGEX_BYTES = 4096


class Query(Struct, frozen=True):
    """What a person typed, ready to be looked for in bytes. `invert`: lines that do not have it.

    A line has one of `words`, where there are any; that alone decides when `exact`, else `pattern` does. Without
    upper case in what was typed, case does not matter.
    """

    said: str
    pattern: re.Pattern[bytes]
    words: tuple[bytes, ...] = ()
    exact: bool = False
    any_case: bool = False
    invert: bool = False


def query(said: str) -> Query:
    """`text`, `~regex`, `!` before either for the lines without it, `level:error|warning|stage|score`.

    Raises UsageError for a regex that is none, and for nothing at all.
    """
    text, invert = said, said.startswith("!")
    if invert:
        text = text[1:]
    if not text or text == "~" or len(text) > LONGEST:
        raise UsageError("nothing to look for" if not text.strip("~") else "too long to look for", "type a text")
    if text.startswith("level:"):
        level = LEVELS.get(text[6:])
        if level is None:
            raise UsageError(f"unknown level {text[6:20]!r}", f"use one of {', '.join(LEVELS)}")
        return Query(said, re.compile(level[1], re.MULTILINE), level[0], invert=invert)
    any_case = text == text.lower()
    flags = re.MULTILINE | (re.IGNORECASE if any_case else 0)
    if text.startswith("~"):
        if repeats_in_repeat(text[1:]):
            raise UsageError(f"{text[1:40]!r} repeats a repetition, which may never end", "take the inner + or * out")
        try:
            return Query(said, re.compile(text[1:].encode(), flags), any_case=any_case, invert=invert)
        except (re.error, OverflowError, RecursionError) as error:
            raise UsageError(f"{text[1:40]!r} is no regex ({error})", "leave out the ~ for a plain text") from error
    word = text.encode("utf-8", "replace")
    return Query(said, re.compile(re.escape(word), flags), (word,), True, any_case and text.isascii(), invert)


def repeats_in_repeat(pattern: str) -> bool:
    """Whether a group that repeats something is itself repeated, as in `(a+)+`: on some lines that takes for ever."""
    groups, in_class, at = [False], False, 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
            at += pattern[at + 1 : at + 2] in ("^", "]")
        elif char == "(":
            groups.append(False)
        elif char == ")" and len(groups) > 1:
            inner = groups.pop()
            if inner and pattern[at + 1 : at + 2] in ("+", "*", "{"):
                return True
            groups[-1] |= inner
        elif char in "+*{":
            groups[-1] = True
        at += 1
    return False


_LEVEL_QUERIES = {name: query(f"level:{name}") for name in LEVELS}


def is_level(text: str, level: str) -> bool:
    """Whether a line, as it is shown, is one that `level:…` finds."""
    return bool(_LEVEL_QUERIES[level].pattern.search(text.encode("utf-8", "replace")[:REGEX_BYTES]))


def hit_spans(wanted: Query, text: str) -> list[tuple[int, int]]:
    """Where in a line, as it is shown, the query is found; for its colour."""
    if wanted.invert:
        return []
    data = text.encode("utf-8", "replace")
    spans = []
    for m in wanted.pattern.finditer(data):
        if m.end() > m.start():
            spans.append(
                (len(data[: m.start()].decode("utf-8", "replace")), len(data[: m.end()].decode("utf-8", "replace")))
            )
        if len(spans) >= 50:
            break
    return spans


class Scan:
    """All lines that a query finds, from the beginning of a log to its end, a slice at a time; 4 bytes a hit."""

    def __init__(self, log: LogFile, wanted: Query) -> None:
        self.log, self.wanted = log, wanted
        self.hits = array("I")
        self._offset = 0
        self._line = 0

    @property
    def done(self) -> float:
        """Share of the log that was looked at, 0 to 1."""
        return self._offset / self.log.size if self.log.size else 1.0

    def advance(self, slices: int = 1) -> bool:
        """Look at some more whole lines; whether there was anything to look at."""
        looked = False
        if self._offset > self.log.size:
            # The log was cut and written anew.
            self.hits, self._offset, self._line = array("I"), 0, 0
        for _ in range(slices):
            data = whole_lines(self.log, self._offset)
            if not data:
                break
            if found := lines_in(self.wanted, data):
                first = self._line
                self.hits.extend([first + number for number in found])
            self._offset += len(data)
            self._line += data.count(b"\n")
            looked = True
        return looked

    def last(self) -> list[int]:
        """The line that has no newline yet, when all before it were looked at and it has what is looked for."""
        rest = self.log.read(self._offset, min(UNFINISHED, self.log.size - self._offset))
        return [self._line] if rest and b"\n" not in rest and lines_in(self.wanted, rest) else []


def whole_lines(log: LogFile, offset: int) -> bytes:
    """About a slice of whole lines from `offset`, or one longer line; none where only an unfinished line is left."""
    room = min(SLICE, log.size - offset)
    data = log.read(offset, room)
    end = data.rfind(b"\n")
    if end >= 0:
        return data[: end + 1]
    if not data or len(data) < SLICE:
        return b""
    return _long_line(log, offset)


def _long_line(log: LogFile, offset: int) -> bytes:
    """A line longer than a slice, whole: its hits may be anywhere in it."""
    following = log.start(log.line_at(offset) + 1)
    if following >= log.size and log.read(log.size - 1, 1) != b"\n":
        return b""
    return log.read(offset, following - offset)


def lines_in(wanted: Query, data: bytes) -> list[int]:
    """Numbers, within `data`, of the lines that the query is for."""
    found = _having(wanted, data)
    if not wanted.invert:
        return found
    there = set(found)
    return [n for n in range(data.count(b"\n") + (not data.endswith(b"\n"))) if n not in there]


def _having(wanted: Query, data: bytes) -> list[int]:
    folded = data.lower() if wanted.any_case else data
    if wanted.words and not any(word in folded for word in wanted.words):
        return []
    if wanted.words and sum(folded.count(word) for word in wanted.words) <= DENSE:
        at = sorted({line for word in wanted.words for line in _starts(word, folded)})
        return _numbers(
            data, at if wanted.exact else [s for s in at if wanted.pattern.search(_line(data, s)[:REGEX_BYTES])]
        )
    if wanted.exact:
        (word,) = wanted.words
        return [n for n, line in enumerate(folded.split(b"\n")) if word in line]
    search = wanted.pattern.search
    lines = data.split(b"\n")
    if data.endswith(b"\n"):
        lines.pop()
    return [n for n, line in enumerate(lines) if search(line[:REGEX_BYTES])]


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
    while not stop() and (data := whole_lines(log, offset)):
        if found := lines_in(wanted, data):
            return log.line_at(offset) + found[0]
        offset += len(data)
    rest = log.read(offset, min(UNFINISHED, log.size - offset))
    return log.line_at(offset) if rest and lines_in(wanted, rest) else None


def _before(log: LogFile, wanted: Query, line: int, stop: Callable[[], bool]) -> int | None:
    end = log.start(line)
    while end > 0 and not stop():
        first = log.line_at(max(0, end - SLICE))
        start = log.start(first)
        if start >= end:
            first = log.line_at(end - 1)
            start = log.start(first)
        data = log.read(start, end - start)
        if found := lines_in(wanted, data):
            return first + found[-1]
        end = start
    return None
