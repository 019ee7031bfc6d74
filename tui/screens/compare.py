"""Several runs side by side: curves on the same axes, final numbers, where their settings differ."""

from pathlib import Path
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from runner.compare import Row, as_csv, as_svg, differences, final
from runner.errors import NanochatError
from runner.nanochat import layout
from runner.run import Run
from runner.series import Curves, curves
from runner.terminal import safe
from tui.background import background
from tui.keys import Key, bindings
from tui.looks import said
from tui.screens.base import Line, NanochatScreen
from tui.widgets.key_line import KeyLine
from tui.widgets.metrics import Known, Metrics
from tui.widgets.plot import TONES


class CompareScreen(NanochatScreen):
    """The runs that `app.compared` names."""

    CSS_PATH: ClassVar[str | Path] = Path(__file__).with_suffix(".tcss")
    BINDINGS: ClassVar[list[BindingType]] = bindings("compare")
    SECTIONS = ("compare", "metrics")

    def __init__(self) -> None:
        super().__init__()
        self._curves: dict[str, Curves] = {}
        self._every = False
        self._reading = False

    def compose(self) -> ComposeResult:
        yield Line(id="title")
        yield Metrics(self.nanochat.tone, id="metrics")
        with VerticalScroll(id="tables"):
            yield Static("", markup=False, id="table")
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(Metrics).focus()
        self.set_interval(2.0, self._read)

    @property
    def _runs(self) -> list[Run]:
        by_id = {r.id: r for r in self.nanochat.runs}
        return [by_id[i] for i in self.nanochat.compared if i in by_id]

    def show_runs(self, runs: list[Run]) -> None:
        if not self.is_there:
            return
        chosen = self._runs
        names = [Text(r.tag, style=self.nanochat.tone(TONES[n % len(TONES)])) for n, r in enumerate(chosen)]
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("")
        for name in names:
            table.add_column(name, justify="right")
        for row in final(chosen, self.nanochat.fleet.clock()):
            self._add(table, row)
        differ = differences(chosen, all_of_it=self._every)
        table.add_row(Text("settings" if self._every else "settings that differ", style="bold"))
        for row in differ:
            self._add(table, row)
        self.query_one("#table", Static).update(table)
        self.query_one("#title", Line).put(["Compare", *(r.tag for r in chosen)])
        self._read()

    def _add(self, table: Table, row: Row) -> None:
        best = self.nanochat.tone("success")
        cells = [Text(safe(said(v, row.digits)), style=best if n in row.best else "") for n, v in enumerate(row.values)]
        table.add_row(Text(row.label, style="dim"), *cells)

    def _read(self) -> None:
        if not self._reading and self._runs:
            self._reading = True
            self._read_more(self._runs)

    @background(group="curves", doing="reading the curves")
    def _read_more(self, runs: list[Run]) -> None:
        fleet = self.nanochat.fleet
        try:
            grown = False
            for run in runs:
                if run.id not in self._curves:
                    try:
                        fleet.pull_log(run)
                    except (NanochatError, OSError) as error:
                        self.notify(safe(str(error)), severity="warning", markup=False)
                    self._curves[run.id] = curves(fleet.log_file(run).with_name(layout.EVENTS_FILE))
                    grown = True
                while self._curves[run.id].read():
                    grown = True
            if grown or not self.query_one(Metrics).showing([r.id for r in runs]):
                self.app.call_from_thread(self._show_curves, runs)
        finally:
            self._reading = False

    def _show_curves(self, runs: list[Run]) -> None:
        self.query_one(Metrics).show([Known(run, self._curves[run.id]) for run in runs])

    def action_differences(self) -> None:
        self._every = not self._every
        self.show_runs(self.nanochat.runs)

    async def act(self, key: Key) -> None:
        await (self.query_one(Metrics) if key.screen == "metrics" else self).run_action(key.action)

    def action_back(self) -> None:
        if not self.query_one(Metrics).take_back():
            super().action_back()

    @background(group="export", doing="writing the curves", exclusive=True, finish=True)
    def action_export(self) -> None:
        runs = [r for r in self._runs if r.id in self._curves]
        known = [self._curves[r.id] for r in runs]
        number = next(n for n in range(1, 10_000) if not Path(f"compare-{n}.csv").exists())
        for suffix, text in ((".csv", as_csv(runs, known)), (".svg", as_svg(runs, known))):
            with Path(f"compare-{number}{suffix}").open("x", encoding="utf-8") as file:
                file.write(text)
        self.notify(safe(f"curves are in {Path.cwd()}/compare-{number}.csv and .svg"), markup=False)
