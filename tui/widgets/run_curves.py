"""Which curves stand in which chart, of one run or of several."""

from collections.abc import Sequence

from msgspec import Struct

from runner.metrics.series import EMA, MEASURED, SFT, Curves
from runner.model.run import Run
from tui.widgets.plot_window import Layer

# The charts, and the curves in each, the later one in front.
CHARTS: dict[str, tuple[str, ...]] = {
    "loss": ("loss", "loss EMA"),
    "val bpb": ("val bpb",),
    "CORE": ("CORE",),
    "tok/s": ("tok/s",),
    "MFU": ("MFU",),
    "lr": ("lr",),
    "GPU GB": ("GPU GB",),
    "GPU %": ("GPU %",),
    SFT: (SFT,),
}
# What stands over a chart that is not its name.
TITLES = {"lr": "lr multiplier"}
# What the smoothed curve is called beside the raw one, and in a title where it is alone.
SHORT = {"loss EMA": "ema"}
# From step to step these only waver: what is looked for is how they go.
WAVERING = {"tok/s", "MFU", "GPU %"}
# What is measured seldom, or set, is as it is.
UNSMOOTHED = {*MEASURED, "lr"}


class RunCurves(Struct, frozen=True):
    """A run and what is known of its curves."""

    run: Run
    curves: Curves


def _ends(curves: Curves, chart: str) -> dict[str, tuple[float, float]]:
    """The first and last step and second of what is trained with a chart: one axis for all of them.

    Fine-tuning counts its steps anew.
    """
    known = {name: series for every in CHARTS.values() for name in every if len(series := curves.series[name])}
    along = [series for name, series in known.items() if (name == SFT) == (chart == SFT)]
    if not along:
        return {}
    return {
        "steps": (min(one.steps[0] for one in along), max(one.steps[-1] for one in along)),
        "seconds": (min(one.seconds[0] for one in known.values()), max(one.seconds[-1] for one in known.values())),
    }


def layers(known: Sequence[RunCurves], chart: str) -> list[Layer]:
    """The curves of one chart: of one run raw and smoothed, of several the smoothed ones alone."""
    names = CHARTS[chart] if len(known) == 1 else CHARTS[chart][-1:]
    found = []
    for one in known:
        rate = float(one.run.status.money.usd_per_hour) if one.run.status else 0.0
        ends = _ends(one.curves, chart)
        found += [
            Layer(
                one.run.tag if len(known) > 1 else SHORT.get(name, ""),
                one.curves.series[name],
                one.curves.marks if len(known) == 1 else (),
                one.curves.tokens_per_step,
                rate / 3600,
                raw=one.curves.series[CHARTS[chart][0]] if name in SHORT else None,
                measured=name in UNSMOOTHED,
                usual=EMA if name in WAVERING else 0.0,
                **ends,
            )
            for name in names
        ]
    return found
