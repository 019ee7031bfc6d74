"""A loss curve as SVG: the training loss on the left scale, val bpb on the right."""

import math

WIDTH, HEIGHT = 760, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 56, 24, 40
MAX_POINTS = 600
LARGEST = 1e6
LOSS, BPB, INK = "#2f7ed8", "#e08a00", "#808080"


def loss_svg(loss: dict[int, float], val: dict[int, float]) -> str:
    """Curves by step; empty when there is nothing to draw. Gray on no background, so that light and dark pages do."""
    points, marks = _drawable(loss), _drawable(val)
    if not points:
        return ""
    points = points[:: max(1, len(points) // MAX_POINTS)] + points[-1:]
    last = max(s for s, _ in [*points, *marks]) or 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<g fill="{INK}" stroke="none">{_steps(last)}</g>',
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="{INK}"/>',
    ]
    parts += _scale(points, last, LOSS, "training loss", left=True)
    if marks:
        parts += _scale(marks, last, BPB, "val bpb", left=False)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _drawable(values: dict[int, float]) -> list[tuple[int, float]]:
    return [(s, v) for s, v in sorted(values.items()) if math.isfinite(v) and abs(v) <= LARGEST]


def _x(step: int, last: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / last


def _steps(last: int) -> str:
    ticks = sorted({round(last * part / 4) for part in range(5)})
    y = HEIGHT - BOTTOM + 18
    labels = "".join(f'<text x="{_x(t, last):.1f}" y="{y}" text-anchor="middle">{t:,}</text>' for t in ticks)
    return f'{labels}<text x="{WIDTH / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">step</text>'


def _scale(points: list[tuple[int, float]], last: int, colour: str, name: str, *, left: bool) -> list[str]:
    """One curve with the scale that it is read on."""
    low, high = min(v for _, v in points), max(v for _, v in points)
    room = (high - low) * 0.05 or 0.5
    low, high = low - room, high + room
    height = HEIGHT - TOP - BOTTOM

    def y(value: float) -> float:
        return TOP + height * (high - value) / (high - low)

    at, anchor = (LEFT - 6, "end") if left else (WIDTH - RIGHT + 6, "start")
    ticks = [low + (high - low) * part / 4 for part in range(5)]
    digits = 2 if high - low > 0.5 else 4
    labels = "".join(f'<text x="{at}" y="{y(t) + 4:.1f}" text-anchor="{anchor}">{t:.{digits}f}</text>' for t in ticks)
    edge, side = (LEFT, "start") if left else (WIDTH - RIGHT, "end")
    head = f'<text x="{edge}" y="{TOP - 8}" text-anchor="{side}">{name}</text>'
    line = " ".join(f"{_x(s, last):.1f},{y(v):.1f}" for s, v in points)
    found = [f'<g fill="{colour}">{labels}{head}</g>', f'<polyline points="{line}" fill="none" stroke="{colour}"/>']
    if not left:
        dots = "".join(f'<circle cx="{_x(s, last):.1f}" cy="{y(v):.1f}" r="2.5"/>' for s, v in points)
        found.append(f'<g fill="{colour}">{dots}</g>')
    return found
