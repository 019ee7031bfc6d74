"""stdout is data, stderr is for people: tables, JSON, and foreign text made harmless."""

import io
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from runner.terminal import harmless_json, safe
from tui.cells import Cell

REWRITE_EVERY_S = 0.1
TONES = {"success": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m", "dim": "\x1b[2m", "accent": "\x1b[36m"}


def as_json(value: Any) -> None:
    """One JSON document; money as numbers, unknown as null, and no character that a terminal would act on."""
    import msgspec

    encoder = msgspec.json.Encoder(decimal_format="number")
    sys.stdout.write(harmless_json(msgspec.json.format(encoder.encode(value), indent=2).decode()) + "\n")


def write(text: str) -> None:
    """A line of data, made harmless."""
    sys.stdout.write(safe(text) + "\n")


def prepare() -> None:
    """Let no character that the terminal's encoding lacks be an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    sys.stdout.flush()


def note(text: str) -> None:
    """A message for the person, on stderr, on one line."""
    sys.stderr.write(f"{safe(text)}\n")
    sys.stderr.flush()


class Rewritten:
    """One line on stderr that is written over again; nothing where stderr is no terminal, or one that cannot."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._at = 0.0
        self._shown = False

    def put(self, text: str) -> bool:
        """Whether there is a terminal to put it on; it is put there at most so often."""
        now = time.monotonic()
        if self._on and now - self._at > REWRITE_EVERY_S:
            self._at, self._shown = now, True
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{safe(text)[:width]}")
            sys.stderr.flush()
        return self._on

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


def coloured(plain: bool) -> bool:
    return not plain and "NO_COLOR" not in os.environ and sys.stdout.isatty()


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str | Cell]],
    *,
    right: frozenset[str],
    plain: bool,
    optional: Sequence[str] = (),
) -> None:
    """Columns as wide as their widest cell; no lines, so that it reads the same in a file. Tones colour a terminal.

    On a terminal that is too narrow the `optional` columns are left out, the first named first.
    """
    cells = [[Cell(h) for h in head], *([c if isinstance(c, Cell) else Cell(c) for c in row] for row in rows)]
    texts = [[safe(cell.text) for cell in row] for row in cells]
    widths = [max(len(row[i]) for row in texts) for i in range(len(head))]
    colour = coloured(plain)
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sum(widths) + 2 * len(widths)
    left_out: set[str] = set()
    for name in optional:
        if sum(w + 2 for w, h in zip(widths, head, strict=True) if h not in left_out) - 2 > room:
            left_out.add(name)
    for row, words in zip(cells, texts, strict=True):
        line = ""
        for cell, text, width, name in zip(row, words, widths, head, strict=True):
            if name in left_out:
                continue
            padded = text.rjust(width) if name in right else text.ljust(width)
            line += (f"{TONES[cell.tone]}{padded}\x1b[0m" if colour and cell.tone in TONES else padded) + "  "
        sys.stdout.write(line.rstrip() + "\n")


def confirm(question: str) -> bool:
    """Ask on the terminal; anything but yes is no."""
    sys.stderr.write(f"{safe(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
