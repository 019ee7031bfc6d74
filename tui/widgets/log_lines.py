"""What a line of a log is, for its colour and its mark in the gutter; and how it is painted."""

import itertools
import re

from rich.cells import cell_len, get_character_cell_size, set_cell_size
from rich.segment import Segment
from rich.style import Style

from runner.logs.search import is_level
from runner.model.events import Noted
from runner.nanochat.grammar import parse

# What every rank says alike: that of the first is enough to read.
_AGAIN = re.compile(r".{0,200}Saved optimizer state to: .{0,400}_rank[1-9]\d*\.pt", re.ASCII)
GLYPHS = {"stage": "▌", "ours": "·", "beat": "♥", "error": "✗", "eval": "▲"}


def line_kind(text: str) -> str:
    """stage, ours, beat, error, eval, again (said by another rank already), or "" for any other."""
    if text.startswith("[HEARTBEAT]"):
        return "beat"
    for level, kind in (("error", "error"), ("stage", "stage"), ("score", "eval")):
        if is_level(text, level):
            return kind
    if "_rank" in text and _AGAIN.match(text):
        return "again"
    return "ours" if text.startswith("[") and parse(text) == Noted("job") else ""


def wrapped(text: str, room: int, most: int) -> list[tuple[int, str]]:
    """A line in pieces of `room` cells, at most so many: where each begins, and the text up to its end."""
    if text.isascii():
        starts = list(range(0, max(1, len(text)), room))
    else:
        starts, used = [0], 0
        for at, char in enumerate(text):
            used += (cells := get_character_cell_size(char))
            if used > room and at > starts[-1]:
                starts.append(at)
                used = cells
    ends = [*starts[1:], len(text)]
    if len(starts) > most:
        # The last row that there is room for says that there is more.
        starts, ends = starts[:most], [*ends[: most - 1], len(text)]
    return [(start, text[:end]) for start, end in zip(starts, ends, strict=True)]


def painted(text: str, base: Style, paint: list[tuple[int, int, Style]], left: int, room: int) -> list[Segment]:
    """What is on screen of a line: from its character `left` on, so many cells; later paint goes over earlier."""
    cut = text
    if cell_len(text[left:]) > room:
        cut = text[:left] + set_cell_size(text[left:], room - 1) + "›"
    edges = sorted({left, len(cut), *(min(max(at, left), len(cut)) for span in paint for at in span[:2])})
    segments = []
    for first, last in itertools.pairwise(edges):
        style = base
        for begins, ends, over in paint:
            if begins <= first < ends:
                style += over
        segments.append(Segment(cut[first:last], style))
    return segments
