"""What others put before each line of a log: a container's, a scheduler's, a launcher's mark. Found by what follows it.

A prefix is what stands before a text that nanochat's grammar knows, on two lines alike but for numbers and times.
"""

import re
import time
from collections import deque
from datetime import UTC, datetime

from msgspec import Struct

from runner.model.events import Event, Noted
from runner.nanochat import grammar

# So many lines that say nothing are looked at, so many of them closely, and so many are kept to be read again once a
# prefix is known.
MOST_LOOKED, MOST_TRIED, MOST_KEPT = 20_000, 2000, 4000
# No prefix is longer; so many may be in one log: several machines, several tools.
LONGEST, MOST_PREFIXES = 200, 16
# So many lines that are known as they stand, and what looks like a mere remark is one.
SETTLED = 100
_CUTS = re.compile(r"[ \t:|>\])}]")
_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_ISO = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"
_SYSLOG = rf"(?:{_MONTHS}) [ \d]\d (?:\d{{4}} )?\d\d:\d\d:\d\d(?:\.\d{{1,9}})?"
_UNIX = r"1\d{9}(?:\.\d{1,9})?"
_TIME = re.compile(rf"({_ISO})|({_SYSLOG})|(?<![\w.])({_UNIX})(?![\w.])", re.ASCII)
_TOKEN = re.compile(
    rf"(?P<iso>{_ISO})|(?P<syslog>{_SYSLOG})|(?P<day>Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b|(?P<number>\d+)(?![\w@/-])"
    r"|(?P<word>[\w@/-](?:[\w@/.-]*[\w@/-])?)|(?P<space>[ \t]+)|(?P<other>.)",
    re.ASCII,
)
# What changes from line to line of one prefix: which stream, how grave, whether the line is whole.
_EITHER = (("stdout", "stderr"), ("DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL"), ("F", "P"))
# No name takes in what may stand after it: a pattern made from a hostile line costs what the line costs.
_NAME, _COLOUR = r"[\w@/-](?:[\w@/.-]{0,118}[\w@/-])?", r"(?:\x1b\[[0-9;]{0,40}m){0,8}"
_OWN = re.compile(r"\[rank\d{1,6}\]: ?", re.ASCII)
_RANK = re.compile(
    r"rank\W{0,2}(\d{1,6})|^\s*\[?\w*[a-z](\d{1,6})\]:|^\s*(\d{1,6}): $|^\[\d{1,6},(\d{1,6})\]<",
    re.ASCII | re.IGNORECASE,
)


class PrefixedLine(Struct, frozen=True):
    """A line without its prefix, which is kept beside it; both as they came."""

    prefix: str
    text: str

    @property
    def rank(self) -> int | None:
        """Which of several processes said it."""
        m = _RANK.search(self.prefix)
        return next((int(group) for group in m.groups() if group), None) if m else None

    def at(self, near: float | None = None) -> float | None:
        """When it was said, as far as the prefix tells; one without a year is of the last year before `near`."""
        m = _TIME.search(self.prefix)
        return _seconds(m[1], m[2], m[3], near) if m else None


class Prefixes:
    """Learns from lines, as they come, what stands before them; `split` takes it off."""

    def __init__(self) -> None:
        self._patterns: list[re.Pattern[str]] = []
        self._sources: list[str] = []
        self._seen: dict[str, int] = {}
        self._ranks: set[int] = set()
        self._looked = self._tried = self._known = 0
        # Whether something was learned since it was asked.
        self._learned_now = False
        # The lines that were taken before anything was learned: who has read them reads them again.
        self.kept: deque[bytes] | None = deque()

    @property
    def sources(self) -> tuple[str, ...]:
        """What was learned, as regular expressions."""
        return tuple(self._sources)

    def fresh(self) -> bool:
        """Whether a prefix was learned since this was asked last."""
        fresh, self._learned_now = self._learned_now, False
        return fresh

    def split(self, line: str) -> PrefixedLine:
        """A line with its prefix taken off, when it has one that is known."""
        for pattern in self._patterns:
            if m := pattern.match(line):
                return PrefixedLine(line[: m.end()], line[m.end() :])
        return PrefixedLine("", line)

    def read(self, line: str) -> list[tuple[str, Event | None]]:
        """The lines that a cleaned line is made of, without their prefix, each with what it says.

        Where several ranks speak, each one's lines begin as torchrun's own do.
        """
        if not self._patterns:
            found = grammar.read(line)
            event = found[0][1]
            if line and (event is None or (self._known < SETTLED and type(event) is Noted)):
                if line.startswith("\ufeff"):
                    return self.read(line[1:])
                if self._learn(line):
                    return self.read(line)
            elif self._known < SETTLED:
                self._known += 1
                if self._known == SETTLED:
                    self.kept = None
            return found
        cut = self.split(line)
        if (rank := cut.rank if cut.prefix else None) is not None:
            self._ranks.add(rank)
        several = rank is not None and len(self._ranks) > 1 and not cut.text.startswith("[rank")
        found = grammar.read(f"[rank{rank}]: {cut.text}" if several else cut.text)
        return self.read(line) if not cut.prefix and found[0][1] is None and self._learn(line) else found

    def keep(self, line: bytes) -> None:
        """Remember a line for as long as it may have to be read again."""
        if self.kept is not None:
            self.kept.append(line)
            if len(self.kept) > MOST_KEPT:
                self.kept = None

    def _learn(self, line: str) -> bool:
        """Look at a line that says nothing, or a remark at most; whether one prefix more is known now."""
        self._looked += 1
        full = self._looked > MOST_LOOKED or self._tried > MOST_TRIED or len(self._patterns) >= MOST_PREFIXES
        if full or not grammar.may_hold(line) or "\x1b" in line:
            return False
        self._tried += 1
        for cut in _CUTS.finditer(line, 0, LONGEST):
            # One more blank, where a mark ends with it.
            end = cut.end() + (line[cut.end() : cut.end() + 1] == " " and cut[0] != " ")
            if grammar.is_evidence(line[end:]):
                # The grammar knows torchrun's own mark, and whose it is.
                return not _OWN.fullmatch(line[:end]) and self._learned(_pattern(line[:end]))
        return False

    def _learned(self, source: str) -> bool:
        self._seen[source] = self._seen.get(source, 0) + 1
        if self._seen[source] < 2:
            if len(self._seen) > MOST_KEPT:
                self._seen.clear()
            return False
        self._sources.append(source)
        self._patterns.append(re.compile(source, re.ASCII))
        self._learned_now = True
        return True


def _pattern(prefix: str) -> str:
    """What a prefix is alike in, on every line: its words; not its numbers, times and names with numbers."""
    tokens = [(m.lastgroup or "", m[0]) for m in _TOKEN.finditer(prefix.rstrip(" \t"))]
    found = []
    named = "/" in prefix
    for number, (kind, text) in enumerate(tokens):
        match kind:
            case "iso":
                found.append(_ISO)
            case "syslog":
                found.append(_SYSLOG)
            case "day":
                found.append(r"[A-Z][a-z]{2}")
            case "number":
                found.append(r"\d{1,20}")
            case "space":
                found.append(r"[ \t]*" if number == 0 else r"[ \t]+")
            case "word":
                alike = next((words for words in _EITHER if text in words), None)
                digits = any(c.isdigit() for c in text) or (named and "/" in text)
                found.append(_NAME if digits else f"(?:{'|'.join(alike)})" if alike else re.escape(text))
            case _:
                found.append(re.escape(text))
    if found and tokens[0][0] == "number":
        # srun sets its numbers right.
        found.insert(0, r"[ \t]*")
    blank = re.escape(prefix[len(prefix.rstrip(" \t")) :])
    end = rf"(?:{blank}|[ \t]*$)" if blank else ""
    return _COLOUR + _COLOUR.join(found) + _COLOUR + end + _COLOUR


def _seconds(iso: str | None, syslog: str | None, unix: str | None, near: float | None) -> float | None:
    try:
        if iso:
            text = re.sub(r"[.,](\d{1,6})\d*", r".\1", iso.replace("UTC", "Z"), count=1).replace(" Z", "Z")
            return datetime.fromisoformat(text.replace(" +", "+").replace(" -", "-")).timestamp()
        if unix:
            return float(unix)
        words = (syslog or "").partition(".")[0].split()
        now = datetime.fromtimestamp(time.time() if near is None else near, UTC).astimezone()
        year = int(words[2]) if len(words) == 4 else now.year
        found = datetime.strptime(f"{year} {words[0]} {words[1]} {words[-1]}", "%Y %b %d %H:%M:%S")
        if len(words) == 3 and found.timestamp() > now.timestamp() + 86400:
            found = found.replace(year=year - 1)
        return found.timestamp()
    except (ValueError, OverflowError, OSError):
        return None
