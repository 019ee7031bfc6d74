"""What a line of a log is, for its colour and its mark in the gutter; and how it is painted."""

import itertools

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from runner.log_search import is_level
from runner.nanochat.events import Noted
from runner.nanochat.grammar import parse

GLYPHS = {"stage": "▌", "ours": "·", "beat": "♥", "error": "✗", "eval": "▲"}


def line_kind(text: str) -> str:
    """stage, ours, beat, error, eval, or "" for any other."""
    if text.startswith("[HEARTBEAT]"):
        return "beat"
    for level, kind in (("error", "error"), ("stage", "stage"), ("score", "eval")):
        if is_level(text, level):
            return kind
    return "ours" if text.startswith("[") and parse(text) == Noted("job") else ""


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
