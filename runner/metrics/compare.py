"""Several runs side by side: their final numbers, where their specs differ, their curves as CSV and SVG. Pure."""

import csv
import html
import io
from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec
from msgspec import Struct

from runner.metrics.series import Curves, Series
from runner.model.run import Run
from runner.monitoring.projection import spent_usd
from runner.nanochat import flops

COLOURS = ("#2f7ed8", "#e08a00", "#3a9d5d", "#c8463c", "#7b5fb8", "#808080")
WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 240, 64, 28, 44
POINTS = 400
UPSTREAM = "the pinned upstream"


# What differs by less is chance: one machine is not as fast as the next.
PACE = 0.01


class Row(Struct, frozen=True):
    """One thing that is compared: a value for each run, None where it is unknown; `best` are the places of the best.

    `note` says what else there is to the name, `digits` how many behind the point mean something.
    """

    name: str
    values: tuple[str | int | float | Decimal | None, ...]
    best: tuple[int, ...] = ()
    note: str = ""
    digits: int = 4

    @property
    def is_equal(self) -> bool:
        """Whether it is the same of all runs."""
        return len(set(self.values)) == 1

    @property
    def label(self) -> str:
        return f"{self.name}, {self.note}" if self.note else self.name


def final_numbers(runs: Sequence[Run], now: float) -> list[Row]:
    """The numbers that runs ended with, or have now; first those in which they differ."""
    statuses = [run.status for run in runs]
    # Who did less of the work is not the faster one.
    as_far = len({s.training.step if s else None for s in statuses}) == 1
    rows = [
        Row("state", tuple(run.state.value for run in runs)),
        Row("step", tuple(s.training.step if s else None for s in statuses)),
        _best("loss", [s.training.loss if s else None for s in statuses], low=True, note="last step"),
        _best("val bpb", [s.training.val_bpb if s else None for s in statuses], low=True),
        _above_best("val bpb", [s.training.val_bpb if s else None for s in statuses]),
        _best("CORE", [s.training.core if s else None for s in statuses]),
        _best("ChatCORE", [s.training.chatcore if s else None for s in statuses]),
        _best("tok/s", [s.training.tokens_per_s if s else None for s in statuses], by=PACE),
        _best("MFU %", [s.training.mfu if s else None for s in statuses], digits=1, by=PACE),
        Row("MFU % printed", tuple(s.training.mfu_printed if s else None for s in statuses), note=flops.WHY, digits=1),
        _best("seconds", [s.spent_s if s else None for s in statuses], low=True, digits=1, by=PACE, shown=as_far),
        _best("dollars", [spent_usd(run, now) for run in runs], low=True, by=PACE, shown=as_far),
        Row("preemptions", tuple(s.containers.preemptions if s else None for s in statuses)),
    ]
    return sorted((row for row in rows if any(v is not None for v in row.values)), key=lambda row: row.is_equal)


def _best(
    name: str,
    values: Sequence[float | Decimal | None],
    *,
    low: bool = False,
    note: str = "",
    digits: int = 4,
    by: float = 0.0,
    shown: bool = True,
) -> Row:
    """A row with its best, where that is `shown`, and better than the worst by more than this share of it."""
    known = [v for v in values if v is not None and v == v]
    wanted = (min(known) if low else max(known)) if len(set(known)) > 1 else None
    if wanted is not None and float(max(known)) - float(min(known)) <= by * abs(float(wanted)):
        wanted = None
    best = tuple(n for n, v in enumerate(values) if shown and wanted is not None and v == wanted)
    return Row(name, tuple(values), best, note, digits)


def _above_best(name: str, values: Sequence[float | None]) -> Row:
    """By how much each is above the lowest, where there are several."""
    known = [v for v in values if v is not None and v == v]
    least = min(known) if len(set(known)) > 1 else None
    above = tuple(f"+{v - least:.4f}" if least is not None and v is not None and v > least else None for v in values)
    return Row(name, above, note="above the best")


def differences(runs: Sequence[Run], *, all_of_it: bool = False) -> list[Row]:
    """Where the specs of runs differ, every override by its name; `all_of_it` names what they share, too."""
    flat = [_flat(run) for run in runs]
    names = list(dict.fromkeys(name for one in flat for name in one))
    rows = [Row(name, tuple(one.get(name) for one in flat)) for name in names]
    return [row for row in rows if all_of_it or not row.is_equal]


def _flat(run: Run) -> dict[str, str]:
    spec = msgspec.to_builtins(run.spec)
    overrides = spec.pop("overrides")
    own = {"code": str(run.spec.code) if run.spec.code else UPSTREAM if run.spec.engine == "nanochat" else None}
    own |= {f"{one.stage}.{one.name}": one.value for one in run.spec.flags}
    own |= {name: " ".join(getattr(run.spec, name)) for name in ("secrets", "pass_env")}
    own |= {"wandb": run.spec.wandb if run.spec.wandb is None else run.spec.wandb or "on"}
    plain = {"backend": run.backend, **{n: v for n, v in spec.items() if n not in (*own, "flags")}, **overrides, **own}
    return {name: str(value) for name, value in plain.items() if value not in (None, "")}


def as_csv(runs: Sequence[Run], curves: Sequence[Curves]) -> Iterator[str]:
    """Every point that is kept of every curve, a line each: run, metric, step, seconds of container time, value."""
    out = io.StringIO()
    writer = csv.writer(out)

    def line(*values: str) -> str:
        out.seek(0)
        out.truncate()
        writer.writerow(values)
        return out.getvalue()

    yield line("run", "metric", "step", "seconds", "value")
    for run, found in zip(runs, curves, strict=True):
        for name, series in found.series.items():
            for step, seconds, value in zip(series.steps, series.seconds, series.values, strict=True):
                yield line(run.tag, name, f"{step:.0f}", f"{seconds:.1f}", repr(value))


def thinned_note(runs: Sequence[Run], curves: Sequence[Curves]) -> list[str]:
    """Which curves had more points than are kept, for people."""
    return [
        f"{run.tag}: of {name} at places one point in {2**series.halved} is kept"
        for run, found in zip(runs, curves, strict=True)
        for name, series in found.series.items()
        if series.halved
    ]


def as_svg(runs: Sequence[Run], curves: Sequence[Curves]) -> str:
    """Smoothed loss and val bpb of all runs by step; gray ink on no background, for light pages and dark ones."""
    charts = [name for name in ("loss EMA", "val bpb") if any(len(c.series[name]) for c in curves)]
    height = TOP + len(charts) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"',
        ' font-size="12" fill="#808080">',
    ]
    at = LEFT
    for number, run in enumerate(runs):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<text x="{at}" y="16" fill="{colour}">{html.escape(run.tag)}</text>')
        at += 12 + 8 * len(run.tag)
    for number, name in enumerate(charts):
        parts += _chart(name, [c.series[name] for c in curves], TOP + number * (HEIGHT + GAP))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _chart(name: str, every: Sequence[Series], top: float) -> list[str]:
    shown = [s for s in every if len(s)]
    last = max(s.steps[-1] for s in shown) or 1.0
    extents = [s.extent(0, len(s)) for s in shown]
    low, high = min(e[0] for e in extents), max(e[1] for e in extents)
    high = high if high > low else low + 1.0
    room = WIDTH - LEFT - 16

    def at(step: float, value: float) -> str:
        return f"{LEFT + room * step / last:.1f},{top + 12 + (HEIGHT - 12) * (high - value) / (high - low):.1f}"

    bottom = top + HEIGHT
    parts = [
        f'<path d="M{LEFT} {top + 12}V{bottom}H{WIDTH - 16}" fill="none" stroke="#808080"/>',
        f'<text x="{LEFT}" y="{top + 6}">{name}</text>',
        f'<text x="{LEFT - 6}" y="{top + 20}" text-anchor="end">{high:.4g}</text>',
        f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end">{low:.4g}</text>',
        f'<text x="{LEFT}" y="{bottom + 16}">step 0</text>',
        f'<text x="{WIDTH - 16}" y="{bottom + 16}" text-anchor="end">{last:,.0f}</text>',
    ]
    for number, series in enumerate(every):
        columns = [(n, c) for n, c in enumerate(series.columns(series.steps, 0.0, last, POINTS)) if c]
        points = [point for n, c in columns for point in (at(last * n / POINTS, c.low), at(last * n / POINTS, c.high))]
        line = " ".join(dict.fromkeys(points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[number % len(COLOURS)]}"/>')
    return parts
