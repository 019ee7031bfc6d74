"""An app that is nothing but charts of a made-up run, for tests and to look at: python -m tests.chart_app [RUNS]."""

import math
import random
import sys

from textual.app import ComposeResult

from runner.metrics.series import EMA, METRICS, Curves, Mark, MarkKind, Series
from tests.test_run import run
from tui.app.base_app import TerminalApp
from tui.widgets.metrics import Metrics
from tui.widgets.run_curves import RunCurves


def curves(seed: int = 0, steps: int = 1200, *, begins_s: float = 40.0) -> Curves:
    """A run whose loss falls from 11, at a pace that hardly changes."""
    dice, found = random.Random(seed), {name: Series() for name in METRICS}
    ema = weight = 0.0
    for step in range(steps):
        seconds = begins_s + step * 1.3
        loss = 2.4 + seed * 0.1 + 8 * math.exp(-step / 60) + dice.gauss(0, 0.04)
        ema, weight = EMA * ema + (1 - EMA) * loss, EMA * weight + (1 - EMA)
        for name, value in (
            ("loss", loss),
            ("loss EMA", ema / weight),
            ("tok/s", 1276 + dice.uniform(-2, 2)),
            ("MFU", 54.0),
        ):
            found[name].add(step, seconds, value)
        if step % 100 == 0:
            found["val bpb"].add(step, seconds, 0.76 + 2.4 * math.exp(-step / 90))
    return Curves(found, [Mark(MarkKind.SAVE, 500, begins_s + 650), Mark(MarkKind.PREEMPTION, 700, begins_s + 910)])


class ChartApp(TerminalApp):
    """Metrics of so many runs, and no other screen."""

    def __init__(self, runs: int = 1) -> None:
        super().__init__()
        self.known = [RunCurves(run(tag=f"run-{n}", id=f"run000{n}"), curves(n, 1200 - 200 * n)) for n in range(runs)]

    def compose(self) -> ComposeResult:
        yield Metrics(self.tone, id="metrics")

    def on_mount(self) -> None:
        metrics = self.query_one(Metrics)
        metrics.show(self.known)
        metrics.focus()


if __name__ == "__main__":
    ChartApp(int(sys.argv[1]) if len(sys.argv) > 1 else 1).run()
