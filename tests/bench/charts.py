"""Eight charts of 100,000 points each drawn anew as they grow and as a cursor moves, beside the floor: the same points
looked at once by `min` and `max`.

python -m tests.bench.charts
"""

import asyncio
import math
import random
import time

from textual.app import App, ComposeResult

from runner.metrics.series import METRICS, Curves, Series
from tests.test_run import run
from tui.app.base_app import TerminalApp
from tui.widgets.metrics import Metrics
from tui.widgets.plot import Plot
from tui.widgets.run_curves import RunCurves

POINTS, ROUNDS = 100_000, 30


def made() -> Curves:
    dice, found = random.Random(1), {name: Series() for name in METRICS}
    for step in range(POINTS):
        for name, series in found.items():
            series.add(step, step * 1.3, 10 / math.log(step + 3) + dice.gauss(0, 0.1) + len(name))
    return Curves(found, [])


class Bench(TerminalApp):
    def compose(self) -> ComposeResult:
        yield Metrics(self.tone, id="metrics")


async def main() -> None:
    began = time.perf_counter()
    known = made()
    print(f"points      {POINTS * len(METRICS):,} added in {time.perf_counter() - began:.2f} s")
    app: App[int] = Bench()
    async with app.run_test(size=(160, 50)) as pilot:
        metrics = app.query_one(Metrics)
        metrics.show([RunCurves(run(), known)])
        await pilot.pause(0.2)
        plots = [p for p in metrics.query(Plot) if p.curves][:8]
        grown, moved = [], []
        for nth in range(ROUNDS):
            began = time.perf_counter()
            for plot in plots:
                plot.show(plot.curves)
                plot.render_line(0)
            grown.append((time.perf_counter() - began) * 1000)
            metrics.view.cursor = nth * POINTS / ROUNDS
            began = time.perf_counter()
            for plot in plots:
                plot.redraw()
                plot.render_line(0)
            moved.append((time.perf_counter() - began) * 1000)
        grown.sort()
        middle, widths = grown[len(grown) // 2], {plot.size.width for plot in plots}
        print(f"ours        {len(plots)} charts, {widths} cells wide: median {middle:.1f} ms, most {grown[-1]:.1f}")
        print(f"cursor      moved over them: median {sorted(moved)[len(moved) // 2]:.1f} ms, most {max(moved):.1f}")
        floor = []
        for _ in range(5):
            began = time.perf_counter()
            for plot in plots:
                for layer in plot.curves:
                    min(layer.series.values), max(layer.series.values)
            floor.append((time.perf_counter() - began) * 1000)
        least = min(floor)
        print(f"floor       every point looked at once: {least:.1f} ms; ours is {middle / least:.2f} of that")


if __name__ == "__main__":
    asyncio.run(main())
