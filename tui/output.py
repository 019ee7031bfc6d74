"""stdout is data, stderr is for people: tables, JSON, and foreign text made harmless."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from runner.terminal import safe


def as_json(value: Any) -> None:
    """One JSON document; money as numbers, unknown as null."""
    import msgspec

    encoder = msgspec.json.Encoder(decimal_format="number")
    write(msgspec.json.format(encoder.encode(value), indent=2).decode())


def write(text: str) -> None:
    """A line of data."""
    sys.stdout.write(text + "\n")


def flush() -> None:
    sys.stdout.flush()


def note(text: str) -> None:
    """A message for the person, on stderr, on one line."""
    sys.stderr.write(f"{safe(text)}\n")
    sys.stderr.flush()


def coloured(plain: bool) -> bool:
    return not plain and "NO_COLOR" not in os.environ and sys.stdout.isatty()


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[str] = frozenset()) -> None:
    """Columns as wide as their widest cell; no lines, so that it reads the same in a file."""
    cells = [tuple(head), *(tuple(safe(c) for c in row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row in cells:
        padded = [c.rjust(w) if h in right else c.ljust(w) for c, w, h in zip(row, widths, head, strict=True)]
        write("  ".join(padded).rstrip())


def confirm(question: str) -> bool:
    """Ask on the terminal; anything but yes is no."""
    sys.stderr.write(f"{safe(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
