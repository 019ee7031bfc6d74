"""All metrics of a run, or of several on the same axes: charts side by side, or one of them large."""

import os
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll

from runner.metrics.series import EMA, NONE
from tui.presentation import terminal_images
from tui.presentation.bindings import bindings, moves
from tui.widgets.chart_image import can_draw
from tui.widgets.metric_list import MetricList
from tui.widgets.plot import Plot
from tui.widgets.plot_window import AXES, FACTORS, PlotWindow
from tui.widgets.run_curves import CHARTS, SHORT, TITLES, RunCurves, layers

CHART_WIDTH, LEAST_ROWS, MOST_ROWS = 38, 7, 18
# Those that stand there until there is something to show.
FIRST = ("loss", "val bpb")
STEP = 1 / 60


class Metrics(VerticalScroll, can_focus=True):
    """Charts that share an axis, a stretch of it and a cursor; keys act on all of them, Enter makes one large."""

    DEFAULT_CSS = """
    Metrics { layout: grid; grid-size: 2; grid-gutter: 0 1; height: 1fr; scrollbar-size-vertical: 1; }
    Metrics Plot { height: 100%; }
    Metrics Plot.chosen { background: $surface; }
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
        # Charts that nobody wants to see, until the app is left.
        self.unwanted: frozenset[str] = frozenset()

    def compose(self) -> ComposeResult:
        for number, name in enumerate(CHARTS):
            yield Plot(name, self._tones, self.view, id=f"plot-{number}")

    def on_mount(self) -> None:
        self._choose(0)

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        """The charts that have something to show and are wanted, or the large one alone."""
        large = self.has_class("large")
        columns = 1 if large else max(1, self.size.width // CHART_WIDTH)
        rows = 1 if large else -(-len(self._shown) // columns)
        # As many in each row: none is left alone in a row that it does not fill.
        self.styles.grid_size_columns = 1 if large else max(1, -(-len(self._shown) // max(1, rows)))
        # They share the height that there is; where it is too little, they scroll.
        self.styles.grid_rows = str(max(LEAST_ROWS, min(MOST_ROWS, self.size.height // rows)) if not large else "1fr")
        for number, plot in enumerate(self._plots):
            plot.display = number == self.chosen if large else number in self._shown

    @property
    def _shown(self) -> list[int]:
        """The numbers of the charts that are to be seen; of what has nothing to show yet those that say so."""
        charts = list(zip(self._plots, CHARTS, strict=True))
        full = [n for n, (plot, name) in enumerate(charts) if plot.curves and name not in self.unwanted]
        return full or [n for n, (_, name) in enumerate(charts) if name in FIRST]

    def show(self, known: Sequence[RunCurves]) -> None:
        """The curves of these runs; a chart without any is not shown."""
        self._known = known
        for plot, name in zip(self.query(Plot), CHARTS, strict=True):
            smoothed = SHORT.get(CHARTS[name][-1], "") if len(known) > 1 else ""
            title = f"{TITLES.get(name, name)} {smoothed}".rstrip()
            plot.show(layers(known, name), title, coming=any(one.curves is NONE for one in known))
        if self.chosen not in self._shown:
            self._choose(self._shown[0])
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
        shown = self._shown
        at = shown.index(self.chosen) if self.chosen in shown else 0
        self._choose(shown[(at + by) % len(shown)])

    def action_large(self) -> None:
        self.toggle_class("large")
        self.view.image = self.view.image and self.has_class("large")
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
        self.view.show_all()
        self._redraw()

    def action_smooth(self, by: int) -> None:
        """The next stop of the slider; the first time it begins where curves are smoothed by themselves."""
        now = EMA if self.view.smoothing is None else self.view.smoothing
        self.view.smoothing = FACTORS[max(0, min(len(FACTORS) - 1, FACTORS.index(now) + by))]
        self._redraw()

    def action_raw(self) -> None:
        """What is smoothed alone, or what it is of behind it; of several runs it is alone at first."""
        several = len(self._known) > 1
        self.view.raw = several if self.view.raw is None else not self.view.raw
        self._redraw()

    def action_range(self) -> None:
        self.view.whole_range = not self.view.whole_range
        self._redraw()

    def action_image(self) -> None:
        """The large chart as a picture, and back; one that is small becomes large first."""
        if terminal_images.protocol(os.environ) is None:
            self.notify("this terminal, or what is between it and here, takes no pictures", severity="warning")
        elif not can_draw():
            self.notify("pictures need Pillow: pip install 'nanochat-tui[images]'", severity="warning")
        else:
            self.view.image = not (self.view.image and self.has_class("large"))
            if self.view.image and not self.has_class("large"):
                self.action_large()
            self._redraw()

    def action_choose_charts(self) -> None:
        """A list of the charts that have something to show, each with a mark."""
        known = [name for plot, name in zip(self._plots, CHARTS, strict=True) if plot.curves]

        def answered(wanted: frozenset[str] | None) -> None:
            if wanted is not None:
                self.unwanted = self.unwanted - frozenset(known) | (frozenset(known) - wanted)
                if self.chosen not in self._shown:
                    self._choose(self._shown[0])
                self._lay_out()

        if known:
            self.app.push_screen(MetricList({name: name not in self.unwanted for name in known}), answered)

    def take_back(self) -> bool:
        """Undo one thing: the large chart, the cursor, the stretch; whether there was one."""
        if self.has_class("large"):
            self.action_large()
            return True
        if self.view.cursor is not None or self.view.begin is not None:
            self.action_whole()
            return True
        return False

    def on_plot_clicked(self) -> None:
        self._redraw()

    def on_plot_moved(self) -> None:
        self._redraw()
