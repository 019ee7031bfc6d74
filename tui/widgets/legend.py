"""The heading of a chart: its title, and of each curve its dash, its name and a value; whole or not there. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from runner.text.sanitize import sanitize_line

# Pieces that belong to no curve.
PLAIN, MISSED, TITLE, NOTE, MORE = -1, -2, -3, -4, -5
NAME, VALUE = 24, 7
GAP = "  "


class CurveEntry(NamedTuple):
    """A curve as the heading tells it: its name ("" where the chart is called by it), its value, its dash."""

    name: str
    value: str
    mark: str = ""


class HeadingPiece(NamedTuple):
    """A piece of a heading, and the number of the curve that it is of, or what it is else."""

    text: str
    of: int


def short(text: str, room: int) -> str:
    """A name in so many cells, with a sign where its end is left out."""
    text = sanitize_line(text)
    return text if cell_len(text) <= room else f"{set_cell_size(text, max(0, room - 1)).rstrip()}…" if room > 0 else ""


def width_of(pieces: Sequence[HeadingPiece]) -> int:
    """How many cells pieces take."""
    return sum(cell_len(piece.text) for piece in pieces)


def entry_pieces(entry: CurveEntry, curve: int, *, named: bool = True) -> list[HeadingPiece]:
    """One curve: its dash, its name where there is room for it, its value."""
    words = (entry.mark, short(entry.name, NAME) if named else "", entry.value)
    return [HeadingPiece(" ".join(filter(None, words)), curve)]


def legend(entries: Sequence[CurveEntry], notes: Sequence[str], missed: str, room: int) -> list[HeadingPiece]:
    """The curves in one row: a number is never cut. Where room is short notes go first, then names, then curves."""
    every = list(enumerate(entries))
    trials = [(every, True, notes[:count]) for count in range(len(notes), -1, -1)]
    trials.append((every, False, ()))
    trials += [(every[:count], False, ()) for count in range(len(every) - 1, -1, -1)]
    for shown, named, told in trials:
        pieces: list[HeadingPiece] = []
        for curve, entry in shown:
            pieces += [HeadingPiece(GAP, PLAIN)] if pieces else []
            pieces += entry_pieces(entry, curve, named=named)
        if 0 < len(shown) < len(every) and len(every) > 2:
            pieces.append(HeadingPiece(f" +{len(every) - len(shown)}", MORE))
        for text, of in (*((note, NOTE) for note in told), *([(missed, MISSED)] if missed else ())):
            pieces += [HeadingPiece(GAP if pieces else "", PLAIN), HeadingPiece(text, of)]
        if width_of(pieces) <= room:
            return pieces
    return []


def rows_wanted(title: str, names: Sequence[str], width: int, most: int) -> int:
    """How many rows a heading takes, by the names alone: it is not to jump with the values."""
    widths = [2 + (min(NAME, cell_len(name)) + 1 if name else 0) + 1 + VALUE + len(GAP) for name in names]
    if most < 2 or cell_len(title) + len(GAP) + sum(widths) <= width:
        return 1
    rows, at = 2, 0
    for one in widths:
        if at and at + one > width:
            rows, at = rows + 1, 0
        at += one
    return min(rows, most)


def heading(
    title: str, entries: Sequence[CurveEntry], notes: Sequence[str], missed: str, width: int, rows: int = 1
) -> list[list[HeadingPiece]]:
    """A heading in so many rows, none of them wider than `width`."""
    title = short(title, width)
    first = [HeadingPiece(title, TITLE)]
    room = width - cell_len(title) - len(GAP)
    if rows < 2:
        beside = legend(entries, notes, missed, room) if room > 0 else []
        return [[*first, HeadingPiece(GAP, PLAIN), *beside] if beside else first]
    beside = legend((), notes, missed, room) if room > 0 else []
    found = [[*first, HeadingPiece(GAP, PLAIN), *beside] if beside else first]
    line: list[HeadingPiece] = []
    for curve, entry in enumerate(entries):
        last, left = len(found) == rows - 1, len(entries) - curve - 1
        pieces = entry_pieces(entry, curve)
        if width_of(pieces) > width:
            pieces = entry_pieces(entry, curve, named=False)
        before = [*line, HeadingPiece(GAP, PLAIN)] if line else []
        more = len(f" +{left}") if last and left else 0
        if width_of(before) + width_of(pieces) + more <= width:
            line = [*before, *pieces]
        elif last or width_of(pieces) > width:
            note = HeadingPiece(f" +{left + 1}", MORE)
            line += [note] if width_of([*line, note]) <= width else []
            break
        else:
            found.append(line)
            line = pieces
    return [*found, line] if line else found


def slider(factor: float, stops: Sequence[float]) -> str:
    """Where a factor stands among its stops: `{──●───} .9`."""
    at = min(range(len(stops)), key=lambda nth: abs(stops[nth] - factor))
    knob = "─" * at + "●" + "─" * (len(stops) - 1 - at)
    return f"{{{knob}}} {f'{factor:g}'.removeprefix('0') if factor else 'off'}"
