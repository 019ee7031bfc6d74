"""Several runs side by side: curves on the same axes, final numbers, where their settings differ."""

from pathlib import Path
from typing import ClassVar

from rich.style import Style
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from runner.metrics.compare import UPSTREAM, Row, as_csv, as_svg, differences, final_numbers, thinned_note
from runner.metrics.series import NONE, Curves
from runner.model.run import Run
from runner.nanochat import layout
from runner.system.given_path import begin_in
from runner.system.new_files import new_files
from runner.text.sanitize import sanitize_line
from tui.background import background
from tui.presentation import code_words
from tui.presentation.bindings import bindings
from tui.presentation.cells import Cell
from tui.presentation.code_words import Files
from tui.presentation.keymap import Key
from tui.presentation.phrases import command_line
from tui.presentation.run_format import said
from tui.screens.base import NanochatScreen
from tui.screens.feed import Feed
from tui.widgets.consent import AskPath
from tui.widgets.diff_page import DiffPage, put_down
from tui.widgets.metrics import Metrics
from tui.widgets.panel import Panel
from tui.widgets.plot_window import DASHES, curve_tone, tone_name
from tui.widgets.run_curves import RunCurves

READ_EVERY_S = 2.0
ENDINGS = (".csv", ".svg")


# Not by its colour alone.
BEST, BEST_STYLE = "★ ", Style(bold=True)


class CompareScreen(NanochatScreen):
    """The runs that `app.compared` names."""

    CSS_PATH: ClassVar[str | Path] = Path(__file__).with_suffix(".tcss")
    BINDINGS: ClassVar[list[BindingType]] = bindings("compare")
    SECTIONS = ("compare", "metrics")
    TAB = "runs"

    def __init__(self) -> None:
        super().__init__()
        # The thread that reads has the feeds, the screen what it was given.
        self._feeds: dict[str, Feed] = {}
        self._curves: dict[str, Curves] = {}
        self._every = False
        self._reading = False
        # By ids: how the code of a run differs from that of the first; the pairs that were looked at.
        self._differences: dict[tuple[str, str], tuple[Files, str]] = {}
        self._asked: set[tuple[str, str]] = set()

    def body(self) -> ComposeResult:
        with Panel(id="curves"):
            yield Metrics(self.nanochat.tone, id="metrics")
        with Panel(id="differences"), VerticalScroll(id="tables"):
            yield Static("", markup=False, id="table")
            yield Static("", markup=False, id="code")

    def on_mount(self) -> None:
        self.query_one(Metrics).focus()
        self.every(READ_EVERY_S, self._read)

    @property
    def _runs(self) -> list[Run]:
        by_id = {r.id: r for r in self.nanochat.runs}
        return [by_id[i] for i in self.nanochat.compared if i in by_id]

    def show_runs(self, runs: list[Run]) -> None:
        if not self.is_there:
            return
        chosen = self._runs
        names = [Text(r.tag, style=curve_tone(self.nanochat.tone, n)) for n, r in enumerate(chosen)]
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("")
        for name in names:
            table.add_column(name, justify="right")
        results = final_numbers(chosen, self.nanochat.fleet.clock())
        groups = [
            ("settings" if self._every else "settings that differ", differences(chosen, all_of_it=self._every)),
            ("results", [row for row in results if not row.is_equal]),
            ("results that are equal", [row for row in results if row.is_equal]),
        ]
        for title, rows in groups:
            if title and rows:
                table.add_row(Text(title, style="bold"))
            for row in rows:
                self._add(table, row)
        self.query_one("#table", Static).update(table)
        self.query_one("#curves", Panel).put(
            ["Compare"],
            [
                Cell(f"{DASHES[n % len(DASHES)][0]} {r.tag}", tone_name(self.nanochat.tone, n))
                for n, r in enumerate(chosen)
            ],
        )
        self.query_one("#differences", Panel).put(
            ["Results and settings"], ["all" if self._every else "those that differ"]
        )
        self._show_code(chosen)
        if not self.query_one(Metrics).showing([r.id for r in chosen]):
            self._draw()
        self._read()

    def _add(self, table: Table, row: Row) -> None:
        best = self.nanochat.tone("success") + BEST_STYLE
        cells = [
            Text(f"{BEST if n in row.best else ''}{sanitize_line(said(v, row.digits))}", best if n in row.best else "")
            for n, v in enumerate(row.values)
        ]
        table.add_row(Text(row.label, style="dim"), *cells)

    def _show_code(self, chosen: list[Run]) -> None:
        """Which files differ from those of the first run; those of another pair are read first."""
        said: list[str] = []
        if any(run.spec.code for run in chosen):
            for run in chosen[1:]:
                pair = _pair(chosen[0], run)
                if pair in self._differences:
                    said += code_words.lines(chosen[0], run, self._differences[pair][0])
                elif pair not in self._asked:
                    self._asked.add(pair)
                    self._look_at_code(chosen[0], run)
        self.query_one("#code", Static).update("\n".join(map(sanitize_line, said)))

    @background(group="code", doing="reading the code of two runs")
    def _look_at_code(self, old: Run, new: Run) -> None:
        found = self.nanochat.fleet.code_difference(old, new)
        self.app.call_from_thread(self._know, old, new, found)

    def _know(self, old: Run, new: Run, found: tuple[Files, str]) -> None:
        self._differences[_pair(old, new)] = found
        self._show_code(self._runs)

    def action_diff(self) -> None:
        """The code of the last run against that of the first, line by line."""
        runs = self._runs
        if len(runs) < 2:
            return
        old, new = runs[0], runs[-1]
        if upstream := code_words.upstream_of([old, new]):
            self.notify(f"{' and '.join(upstream)}: {UPSTREAM}, there are no files to compare", severity="warning")
        elif (found := self._differences.get(_pair(old, new))) is None:
            # What kept it from being read was told; it may have gone by now.
            self._look_at_code(old, new)
        elif not found[1]:
            self.notify("both train the same code", markup=False)
        else:
            self._open_diff(old, new, found[1])

    @background(group="diff", doing="showing the difference", exclusive=True)
    def _open_diff(self, old: Run, new: Run, diff: str) -> None:
        file = put_down(diff.encode("utf-8", "surrogateescape"), self.nanochat.fleet.home / "previews")
        title: list[Cell | str] = [Cell(new.tag, "accent"), "against", Cell(old.tag, "accent")]
        self.app.call_from_thread(self.app.push_screen, DiffPage(title, file, f"{new.tag}-code"))

    def _read(self) -> None:
        if not self._reading and self._runs:
            self._reading = True
            self._read_more(self._runs)

    @background(group="curves", doing="reading the curves")
    def _read_more(self, runs: list[Run]) -> None:
        fleet = self.nanochat.fleet
        try:
            for run in runs:
                if run.id not in self._feeds:
                    self._feeds[run.id] = Feed(fleet.log_file(run).with_name(layout.EVENTS_FILE))
                if found := self._feeds[run.id].look(fleet, run, self._tell):
                    self.app.call_from_thread(self._show_curves, run, found)
        finally:
            self._reading = False

    def _tell(self, problem: str) -> None:
        self.notify(sanitize_line(problem), severity="warning", markup=False)

    def _show_curves(self, run: Run, found: Curves) -> None:
        self._curves[run.id] = found
        self._draw()

    def _draw(self) -> None:
        self.query_one(Metrics).show([RunCurves(run, self._curves.get(run.id, NONE)) for run in self._runs])

    def action_scroll(self, by: int) -> None:
        tables = self.query_one("#tables", VerticalScroll)
        (tables.scroll_page_up if by < 0 else tables.scroll_page_down)(animate=False)

    def action_differences(self) -> None:
        self._every = not self._every
        self.show_runs(self.nanochat.runs)

    async def act(self, key: Key) -> None:
        await (self.query_one(Metrics) if key.screen == "metrics" else self).run_action(key.action)

    def action_back(self) -> None:
        if not self.query_one(Metrics).take_back():
            super().action_back()

    def action_export(self) -> None:
        """Ask for a name, then write the curves as they are now."""
        runs = [run for run in self._runs if run.id in self._curves]
        known = [self._curves[run.id] for run in runs]

        def answered(name: str | None) -> None:
            if name:
                path = Path(name)
                self._export(path.with_suffix("") if path.suffix in ENDINGS else path, runs, known)

        command = command_line("compare", *(r.tag for r in runs), "--csv", "compare.csv", "--svg", "compare.svg")
        title = "Curves as CSV and SVG, under which name?"
        self.app.push_screen(AskPath(title, str(begin_in() / "compare"), command), answered)

    @background(group="export", doing="writing the curves", finish=True)
    def _export(self, path: Path, runs: list[Run], known: list[Curves]) -> None:
        """Write the curves to new files; where there are such, with a number in their names."""

        def named(number: int) -> list[Path]:
            return [path.with_name(f"{path.name}{'' if number == 1 else f'-{number}'}{ending}") for ending in ENDINGS]

        with new_files(named) as made:
            for new, pieces in zip(made, (as_csv(runs, known), [as_svg(runs, known)]), strict=True):
                new.file.writelines(piece.encode() for piece in pieces)
        lines = [f"curves are in {made[0].target} and .svg", *thinned_note(runs, known)]
        self.notify(sanitize_line("; ".join(lines)), markup=False)


def _pair(old: Run, new: Run) -> tuple[str, str]:
    """What tells whether their code was compared: a resume may give a run another."""
    return (old.spec.code.sha if old.spec.code else "", new.spec.code.sha if new.spec.code else "")
