"""Tracebacks in lines as they come, also of several ranks between each other -> the exceptions that ended them."""

import re
from enum import StrEnum

from msgspec import Struct, field

TITLE = "Traceback (most recent call last):"
# The same in a frame that is drawn around it.
_BOXED, _INSIDE = "Traceback (most recent call last)", " \t│╰"
RANK = re.compile(r"\[rank(\d{1,6})\]: ?", re.ASCII)
_FRAME = re.compile(r'\s*File "([^"]{1,4000})", line \d{1,9}(?:, in (.{1,400}))?')
# The class is what stands before the colon, however it is called; a module's path before it, `<locals>` in it.
_ENDS = re.compile(r"((?:[A-Za-z_][\w<>]{0,99}\.){0,12}[A-Za-z_]\w{0,99})(?::(?: (.*))?)?", re.ASCII)
_NAME = re.compile(
    r"(?:[A-Za-z_]\w{0,80}\.){1,9}[A-Za-z_]\w{0,80}|\w{0,80}(?:Error|Exception|Interrupt|Exit|Iteration)"
)
_LOGGED = re.compile(r"(?:\[rank\d{1,6}\]:)?\[?[EWIDVCF]\d{4} \d\d:|\d{4}-\d\d-\d\d[ T]\d\d:|[EWI]\d{4} ")
# What is said above a traceback that ends nothing: Python itself, asyncio and logging go on after it.
_NO_END = ("Exception ignored ", "--- Logging error ---", "Error in atexit", "WON'T CONVERT")
_IN_THREAD = "Exception in thread "
_NEVER_RETRIEVED = " exception was never retrieved"
_CODE = ("<frozen runpy>", "/runpy.py", "-packages/", "/nanochat/", "/scripts/", "/torch/", "/lib/python")
_OUTERMOST = ("<module>", "_run_module_as_main", "_run_code", "_wrap")
_TEXT = "<|bos|>"
_BAR = re.compile(r"^ {1,40}\| ?")
MOST_OPEN, MOST_LINKS, MOST_BELOW, MOST_STRAYS = 64, 8, 12, 40


class Link(StrEnum):
    """How an exception follows from the one before it."""

    FIRST = "first"
    HANDLING = "while it was handled"
    CAUSED = "caused by it"


class Raised(Struct):
    """The line that ends a traceback: `name` the class as it was printed, `below` the rest of its message.

    `outer` is the function in which it would have ended the process, `files` those of its frames; `rank` is known
    where the process said it, which it does of what nobody caught.
    """

    name: str
    message: str
    line: int
    rank: int | None
    outer: str = ""
    files: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    link: Link = Link.FIRST
    # The numbers of the lines `below`.
    below_at: list[int] = field(default_factory=list)
    # Whether it ended a thread beside the one that ends the process.
    in_thread: bool = False

    @property
    def text(self) -> str:
        """All that it says."""
        return "\n".join((self.message, *self.below))

    @property
    def of_code(self) -> bool:
        """Whether a frame of it is of code that runs here, which a model that writes a traceback does not name."""
        return any(known in file for file in self.files for known in _CODE)


class _Open(Struct):
    """One traceback that is being told, or whose message may go on."""

    rank: int | None
    dropped: bool = False
    link: Link = Link.FIRST
    outer: str | None = None
    files: list[str] = field(default_factory=list)
    chain: list[Raised] = field(default_factory=list)
    told: bool = False
    lines: int = 0
    code: bool = False
    in_thread: bool = False


class Tracebacks:
    """Feed it cleaned lines; each exception comes out in the chain that it belongs to."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._above: dict[str, str] = {}
        # What stood before the title of the line before: a prefix of all its lines, or of that one.
        self._guessed = ""

    @property
    def open(self) -> bool:
        """Whether what comes next may belong to a traceback."""
        return bool(self._open)

    def take(self, line: str, number: int, *, known: bool = False) -> list[Raised] | None:
        """One line more; None where it is of no traceback, else the chain that it has ended or grown, the newest last.

        `known`: nanochat's own words.
        """
        rank = None
        if self._guessed and not line.startswith(self._guessed.rstrip()):
            # It stood before the title alone.
            self._open[""] = self._open.pop(self._guessed)
        self._guessed = ""
        if m := RANK.match(line):
            rank, prefix = int(m[1]), m[0].rstrip() + " "
            line = line[m.end() :]
        else:
            prefix = self._prefix_of(line)
            line = line[len(prefix) :]
        if line.endswith(TITLE) or (line.startswith("╭") and _BOXED in line):
            self._begin(line if line.endswith(TITLE) else TITLE, prefix, rank)
            return []
        # Groups of exceptions stand behind bars.
        line = _BAR.sub("", line, count=1)
        found = self._open.get(prefix)
        if found is None:
            if line.startswith('  File "') and not known:
                self._begin(line, prefix, rank)
                found = self._open[prefix]
            else:
                self._above[prefix] = line[:200] if line.strip() else self._above.get(prefix, "")
                return None
        return self._go_on(found, line, number, known=known)

    def _prefix_of(self, line: str) -> str:
        for prefix in self._open:
            if prefix and line.startswith(prefix.rstrip()) and not RANK.match(prefix):
                return prefix if line.startswith(prefix) else prefix.rstrip()
        return ""

    def _begin(self, line: str, prefix: str, rank: int | None) -> None:
        before = line[: -len(TITLE)] if line.endswith(TITLE) else ""
        before = before.removesuffix("Exception Group ")
        if m := re.search(r"\[rank(\d{1,6})\]: ?$", before):
            rank, prefix, before = int(m[1]), f"[rank{m[1]}]: ", ""
        elif before.strip() and not prefix:
            prefix = self._guessed = before.replace("+", "|")
        was = self._open.get(prefix)
        made = _Open(rank)
        if was and was.told and was.link is not Link.FIRST and not was.dropped:
            made.chain, made.link = was.chain, was.link
        elif was and was.dropped and was.told and was.link is not Link.FIRST:
            made.dropped = True
        else:
            above = self._above.get(prefix, "") or self._above.get("", "")
            made.in_thread = above.startswith(_IN_THREAD)
            made.dropped = above.startswith(_NO_END) or above.endswith(_NEVER_RETRIEVED)
        # A model's text begins so.
        made.dropped = made.dropped or _TEXT in before
        if len(self._open) >= MOST_OPEN:
            self._open.pop(next(iter(self._open)))
        self._above.pop(prefix, None)
        self._open[prefix] = made

    def _go_on(self, found: _Open, line: str, number: int, *, known: bool) -> list[Raised] | None:
        if line.startswith("During handling of the above exception"):
            found.link = Link.HANDLING
            return []
        if line.startswith("The above exception was the direct cause"):
            found.link = Link.CAUSED
            return []
        if known:
            # A line of another process in between; behind the message it is its end.
            if found.told or exception_without_traceback(line):
                self._close(found)
            return None
        if found.told:
            return self._below(found, line, number)
        found.lines += 1
        m = _FRAME.match(line)
        if m or (found.code and not exception_without_traceback(line)) or not line.strip() or line[0] in _INSIDE:
            # Where the indentation was lost, the line below a frame is its code.
            found.code = m is not None and line.startswith("File")
            if m:
                found.outer = m[2] or "" if found.outer is None else found.outer
                if len(found.files) < 200:
                    found.files.append(m[1])
            return []
        if m := _ENDS.fullmatch(line):
            found.told, found.lines = True, 0
            one = Raised(
                m[1], m[2] or "", number, found.rank, found.outer or "", found.files, [], found.link,
                in_thread=found.in_thread,
            )  # fmt: skip
            found.link = Link.FIRST
            found.chain = [*found.chain[: MOST_LINKS - 1], one]
            return [] if found.dropped else found.chain
        if found.lines > MOST_STRAYS + len(found.files) * 8:
            self._close(found)
        return None

    def _below(self, found: _Open, line: str, number: int) -> list[Raised] | None:
        if _LOGGED.match(line) or len(found.chain[-1].below) >= MOST_BELOW:
            if found.link is Link.FIRST:
                self._close(found)
            return None
        if line.strip():
            found.chain[-1].below.append(line.strip()[:1000])
            found.chain[-1].below_at.append(number)
        return [] if found.dropped else found.chain

    def _close(self, found: _Open) -> None:
        for prefix in [prefix for prefix, one in self._open.items() if one is found]:
            del self._open[prefix]


def ends_process(one: Raised) -> bool:
    """Whether nobody caught it, as far as its frames show: its outermost one is the program's own."""
    return one.rank is not None or not one.outer or one.outer in _OUTERMOST


def exception_without_traceback(line: str) -> re.Match[str] | None:
    """An exception's line without its traceback above it, as when the beginning of a log was cut off."""
    m = _ENDS.fullmatch(line)
    return m if m and m[2] and _NAME.fullmatch(m[1]) else None
