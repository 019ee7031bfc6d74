"""What a line of a log is, for its colour and its mark in the gutter; and how it is painted."""

import itertools

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

STAGE = ("[STAGE]", "[ATTEMPT")
OURS = ("[EXEC]", "[PLAN]", "[JOB]", "[PUBLISH]", "[DEVICE]", "[COMPILE]", "[PREPARED]", "[DONE]", "[CANCELLED]")
GLYPHS = {"stage": "▌", "ours": "·", "beat": "♥", "error": "✗", "eval": "▲"}


def line_kind(text: str) -> str:
    """stage, ours, beat, error, eval, or "" for any other."""
    if text.startswith("[HEARTBEAT]"):
        return "beat"
    if text.startswith(STAGE):
        return "stage"
    if text.startswith(OURS):
        return "ours"
    if text.startswith(("Traceback", "[FAILED]")) or "Error: " in text[:120] or "loss: nan" in text:
        return "error"
    if text.startswith("Step ") or " accuracy: " in text[:40] or "CORE metric" in text[:20]:
        return "eval"
    return ""


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
