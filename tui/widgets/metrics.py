"""All metrics of a run, or of several on the same axes: charts side by side, or one of them large."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from msgspec import Struct
from rich.style import Style
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll

from runner.metrics.series import METRICS, Curves
from runner.model.run import Run
from runner.monitoring.projection import tokens_per_step
from tui.presentation.bindings import bindings, moves
from tui.widgets.plot import AXES, Layer, Plot, PlotWindow

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
    "SFT loss": ("SFT loss",),
}
# What the smoothed curve is called beside the raw one, and in a title where it is alone.
SHORT = {"loss EMA": "ema"}
CHART_WIDTH, CHART_HEIGHT = 38, 7
STEP = 1 / 60


class RunCurves(Struct, frozen=True):
    """A run and what is known of its curves."""

    run: Run
    curves: Curves


def layers(known: Sequence[RunCurves], chart: str) -> list[Layer]:
    """The curves of one chart: of one run raw and smoothed, of several the smoothed ones alone."""
    names = CHARTS[chart] if len(known) == 1 else CHARTS[chart][-1:]
    found = []
    for one in known:
        rate = float(one.run.status.money.usd_per_hour) if one.run.status else 0.0
        found += [
            Layer(
                one.run.tag if len(known) > 1 else SHORT.get(name, ""),
                one.curves.series[name],
                one.curves.marks if len(known) == 1 else (),
                tokens_per_step(one.run.spec, one.run.backend),
                rate / 3600,
            )
            for name in names
        ]
    return found


class Metrics(VerticalScroll, can_focus=True):
    """Charts that share an axis, a stretch of it and a cursor; keys act on all of them, Enter makes one large."""

    DEFAULT_CSS = """
    Metrics { layout: grid; grid-size: 2; grid-rows: 7; grid-gutter: 0 1; height: 1fr; scrollbar-size-vertical: 1; }
    Metrics Plot { height: 7; }
    Metrics Plot.chosen { background: $surface; }
    Metrics.large { grid-rows: 1fr; }
    Metrics.large Plot { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *moves(
            down="choose(1)",
            up="choose(-1)",
            left="cursor(-1)",
            right="cursor(1)",
            page_up="cursor(-10)",
            page_down="cursor(10)",
        ),
        *bindings("metrics"),
    ]

    def __init__(self, tones: Callable[[str], Style], *, id: str) -> None:
        super().__init__(id=id)
        self._tones = tones
        self.view = PlotWindow()
        self._known: Sequence[RunCurves] = ()
        self.chosen = 0

    def compose(self) -> ComposeResult:
        for number, name in enumerate(CHARTS):
            plot = Plot(name, self._tones, self.view, id=f"plot-{number}")
            plot.tooltip = METRICS[CHARTS[name][-1]]
            yield plot

    def on_mount(self) -> None:
        self._choose(0)

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        """The charts that have something to show, or the large one alone."""
        large = self.has_class("large")
        self.styles.grid_size_columns = 1 if large else max(1, self.size.width // CHART_WIDTH)
        for number, (plot, name) in enumerate(zip(self._plots, CHARTS, strict=True)):
            plot.display = number == self.chosen if large else bool(plot.curves) or name in ("loss", "val bpb")

    def show(self, known: Sequence[RunCurves]) -> None:
        """The curves of these runs; a chart without any is not shown."""
        self._known = known
        for plot, name in zip(self.query(Plot), CHARTS, strict=True):
            smoothed = SHORT.get(CHARTS[name][-1], "") if len(known) > 1 else ""
            plot.show(layers(known, name), f"{name} {smoothed}".rstrip())
        if not self._plots[self.chosen].curves:
            self._choose(0)
        self._lay_out()

    def showing(self, ids: list[str]) -> bool:
        """Whether it is these runs that are shown."""
        return [one.run.id for one in self._known] == ids

    @property
    def _plots(self) -> list[Plot]:
        return list(self.query(Plot))

    @property
    def _whole(self) -> tuple[float, float]:
        """The ends of the axis over all that is shown."""
        every = [layer for plot in self._plots for layer in plot.curves]
        return PlotWindow(axis=self.view.axis).span(every)

    def _redraw(self) -> None:
        for plot in self._plots:
            plot.redraw()

    def _choose(self, number: int) -> None:
        self.chosen = number
        for at, plot in enumerate(self._plots):
            plot.set_class(at == number, "chosen")
        self._lay_out()
        self._plots[number].scroll_visible(animate=False)

    def action_choose(self, by: int) -> None:
        shown = [n for n, plot in enumerate(self._plots) if plot.curves] or [0]
        at = shown.index(self.chosen) if self.chosen in shown else 0
        self._choose(shown[(at + by) % len(shown)])

    def action_large(self) -> None:
        self.toggle_class("large")
        self._lay_out()
        self._redraw()

    def action_axis(self) -> None:
        """The next axis that these runs have: dollars only where something is paid."""
        paid = any(layer.usd_per_s for plot in self._plots for layer in plot.curves)
        known = [name for name in AXES if paid or name != "dollars"]
        self.view.axis = known[(known.index(self.view.axis) + 1) % len(known)]
        self.view.begin = self.view.end = self.view.cursor = None
        self._redraw()

    def action_log(self) -> None:
        self.view.log = not self.view.log
        self._redraw()

    def action_zoom(self, by: float) -> None:
        self.view.zoom(by, self._whole)
        self._redraw()

    def action_cursor(self, by: int) -> None:
        self.view.move(by * STEP, self._whole)
        self._redraw()

    def action_whole(self) -> None:
        self.view.begin = self.view.end = self.view.cursor = None
        self._redraw()

    def take_back(self) -> bool:
        """Undo one thing: the large chart, the cursor, the stretch; whether there was one."""
        if self.has_class("large"):
            self.action_large()
            return True
        if self.view.cursor is not None or self.view.begin is not None:
            self.action_whole()
            return True
        return False

    def on_plot_clicked(self, message: Plot.Clicked) -> None:
        self.view.cursor = message.at
        self._redraw()
