"""stdout is data, stderr is for people: tables, JSON, and foreign text made harmless."""

import io
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol, TextIO

from runner.text.sanitize import sanitize_json, sanitize_line
from tui.presentation import ascii_signs, first_ink
from tui.presentation.cells import Cell

REWRITE_EVERY_S = 0.1
# Columns and lines of a terminal that does not say.
USUAL = (80, 24)
# No column of words is made narrower than this.
FOLDED = 16
TONES = {"success": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m", "dim": "\x1b[2m", "accent": "\x1b[36m"}


def as_json(value: Any) -> None:
    """One JSON document; money as numbers, unknown as null, and no character that a terminal would act on."""
    import msgspec

    encoder = msgspec.json.Encoder(decimal_format="number")
    make_way()
    write_json(msgspec.json.format(encoder.encode(value), indent=2).decode() + "\n")


def write_json(text: str) -> None:
    """JSON that says the same in characters that the terminal has, none of which it would act on."""
    text = sanitize_json(text)
    sys.stdout.write(text if text.isascii() or not ascii_signs.here() else _escaped(text))


def _escaped(text: str) -> str:
    """JSON in ASCII."""
    import json

    return re.sub(r"[^\x00-\x7f]+", lambda found: json.dumps(found[0])[1:-1], text)


def write(text: str) -> None:
    """A line of data, made harmless."""
    make_way()
    sys.stdout.write(_said(text) + "\n")


def in_terminal(text: str) -> str:
    """Our own text, in characters that the terminal has."""
    return text if text.isascii() or not ascii_signs.here() else ascii_signs.in_words(text, sys.stdout.encoding)


def _said(text: str) -> str:
    """Text made harmless, in characters that the terminal has."""
    return in_terminal(sanitize_line(text))


def prepare(*, plain: bool = False) -> None:
    """Let no character that the terminal's encoding lacks be an error; with `plain` nothing is written over again."""
    StatusLine.allowed = not plain
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class OnFile(Protocol):
    """What lies on a file of the system, as a stream does."""

    def fileno(self) -> int: ...


def terminal_size(*streams: OnFile | None) -> tuple[int, int]:
    """Columns and lines of the first of these that is a terminal and knows them, whatever COLUMNS and LINES say."""
    for stream in filter(None, streams):
        try:
            columns, lines = os.get_terminal_size(stream.fileno())
        except OSError:
            continue
        if columns and lines:
            return columns, lines
    return USUAL


def obeys(stream: TextIO) -> bool:
    """Whether a stream is a terminal that understands more than text."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")


def flush() -> None:
    """Hand on what was written so far."""
    sys.stdout.flush()


def message(text: str) -> None:
    """A message for the person, on stderr, on one line."""
    make_way()
    sys.stderr.write(f"{_said(text)}\n")
    sys.stderr.flush()


class StatusLine:
    """One line on stderr that is written over again, below all that is printed.

    Nothing where stderr is no terminal, or one that cannot, or a person wants it plain, or it is not `wanted`.
    """

    allowed = True
    shown: ClassVar[list["StatusLine"]] = []

    def __init__(self, *, wanted: bool = True) -> None:
        self._on = wanted and self.allowed and obeys(sys.stderr)
        self._at, self._drawn = 0.0, ("", 0)

    @property
    def width(self) -> int:
        """How many cells it has now."""
        return terminal_size(sys.stderr)[0] - 1

    def put(self, text: str) -> bool:
        """Whether there is a terminal to put it on; it is put there at most so often."""
        now = time.monotonic()
        drawn = text, self.width
        stands = self in self.shown and drawn == self._drawn
        if self._on and not stands and now - self._at > REWRITE_EVERY_S:
            self._at, self._drawn = now, drawn
            self.shown[:] = [self]
            # The cursor waits at its beginning: however a terminal folds the line when it becomes narrower, all of
            # it lies at and below the cursor.
            sys.stderr.write(f"\r\x1b[J{fitting(_said(text), self.width)}\r")
            sys.stderr.flush()
        return self._on

    def clear(self) -> bool:
        """Take it away; whether it was there."""
        if self not in self.shown:
            return False
        self.shown.clear()
        self._at = 0.0
        sys.stderr.write("\r\x1b[J")
        sys.stderr.flush()
        return True


def make_way() -> None:
    """What is printed goes above the line that is written over again, and into no picture of the app."""
    first_ink.withdraw()
    for line in list(StatusLine.shown):
        line.clear()


def coloured(plain: bool) -> bool:
    """Whether stdout takes colours."""
    return not plain and not os.environ.get("NO_COLOR") and sys.stdout.isatty()


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str | Cell]],
    *,
    right: frozenset[str],
    plain: bool,
    optional: Sequence[str] = (),
) -> None:
    """Columns as wide as their widest cell; no lines, so that it reads the same in a file. Tones colour a terminal.

    On a terminal that is too narrow the `optional` columns are left out, the first named first; where that is not
    enough, the widest column of words is folded.
    """
    shown = [[Cell(h) for h in head], *([c if isinstance(c, Cell) else Cell(c) for c in row] for row in rows)]
    texts = [[_said(cell.text) for cell in row] for row in shown]
    widths = [max(cells(row[i]) for row in texts) for i in range(len(head))]
    colour = coloured(plain)
    room = terminal_size(sys.stdout)[0] if sys.stdout.isatty() else sum(widths) + 2 * len(widths)
    left_out: set[str] = set()
    for name in optional:
        if sum(w + 2 for w, h in zip(widths, head, strict=True) if h not in left_out) - 2 > room:
            left_out.add(name)
    kept = [n for n, name in enumerate(head) if name not in left_out]
    widest = max((n for n in kept if head[n] not in right), key=lambda n: widths[n], default=kept[0])
    over = sum(widths[n] + 2 for n in kept) - 2 - room
    if over > 0:
        widths[widest] = max(FOLDED, widths[widest] - over)
    make_way()
    for row, words in zip(shown, texts, strict=True):
        folded = _folded(words[widest], widths[widest]) if over > 0 else [words[widest]]
        for number, part in enumerate(folded):
            line = ""
            for n in kept:
                text = part if n == widest else words[n] if not number else ""
                space = " " * (widths[n] - cells(text))
                padded = space + text if head[n] in right else text + space
                tone = row[n].tone
                line += (f"{TONES[tone]}{padded}\x1b[0m" if colour and text and tone in TONES else padded) + "  "
            sys.stdout.write(line.rstrip() + "\n")


def _folded(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width) or [text]


def fitting(text: str, width: int) -> str:
    """As much of a line as so many cells hold."""
    while cells(text) > width:
        text = text[:-1]
    return text


def cells(text: str) -> int:
    """How many cells of a terminal a text takes: two for wide characters, none for marks upon the one before."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def confirm(question: str) -> bool:
    """Ask on the terminal; anything but yes is no. What was typed before the question was there is no answer."""
    from runner.planning.confirmation import forget_typed_ahead

    make_way()
    forget_typed_ahead()
    sys.stderr.write(f"{_said(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
