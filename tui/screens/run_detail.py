"""The run under the cursor of a list, as far as there is room: how it is, its loss, its last lines, its checkpoints."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from textual.app import ComposeResult
from textual.timer import Timer
from textual.widgets import Static
from textual.worker import get_current_worker

from runner.errors import NanochatError
from runner.logs.log_file import LogFile
from runner.metrics.series import NONE, Curves
from runner.model.run import Run
from runner.nanochat import layout
from runner.text import units
from runner.text.sanitize import sanitize_line
from runner.volumes.best import stands_out
from runner.volumes.checkpoint_verdicts import Checkpoint, Verdict
from tui.background import background
from tui.presentation import run_format, run_summary
from tui.presentation.cells import Cell
from tui.screens.feed import Feed
from tui.screens.first_steps import first_steps
from tui.widgets.line import Line
from tui.widgets.panel import Panel
from tui.widgets.plot import Plot, PlotWindow
from tui.widgets.run_curves import RunCurves, layers
from tui.widgets.tail import Tail

if TYPE_CHECKING:
    from tui.context import AppContext

# Nobody waits for what they scroll past; one that is live is read again so often; runs that are kept as they were read.
REST_S, READ_EVERY_S, KEPT = 0.25, 1.0, 8
MOST_LINES, MOST_TAIL, MOST_CHECKPOINTS = 3, 60, 6
# Rows of a curve that says something, and of the end of a log.
CHART_ROWS, TAIL_ROWS = 7, 4
# Cells in which stages have their times, too.
BROAD = 100


class _Read(NamedTuple):
    """What was read of a run, and as of when: its curves and last lines, and of checkpoints those complete."""

    feed: Feed
    curves: Curves = NONE
    tail: Sequence[str] = ()
    checkpoints: Sequence[Checkpoint] = ()
    as_of: tuple[object, ...] = ()
    saved: tuple[object, ...] = ()


class RunDetail(Panel):
    """Shows the run that it is given; what has to be read of it comes once it has been shown for a moment."""

    DEFAULT_CSS = """
    RunDetail Line { padding: 0 1; }
    RunDetail #stages, RunDetail #kept { color: $text-muted; }
    RunDetail #first { padding: 1 1 0 1; }
    RunDetail #loss { height: 2fr; min-height: 5; padding: 0 1; }
    RunDetail #tail { height: 1fr; padding: 0 1; border-top: solid $panel; }
    """

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._run: Run | None = None
        self._known: OrderedDict[str, _Read] = OrderedDict()
        self._resting: Timer | None = None
        self._reading, self._has_curve = False, True

    def compose(self) -> ComposeResult:
        for name in ("about", "why", "stages", "kept"):
            yield Line(id=name)
        yield Static("", markup=False, id="first")
        yield Plot("loss", self._app.tone, PlotWindow(), id="loss")
        yield Tail(self._app.tone, id="tail")

    def on_mount(self) -> None:
        self.set_interval(READ_EVERY_S, self._read_again)

    @property
    def _app(self) -> AppContext:
        return cast("AppContext", self.app)

    def on_resize(self) -> None:
        super().on_resize()
        self._lay_out()

    def forget_checkpoints(self) -> None:
        """They may be others: this comes back from screens that delete them."""
        for run_id, known in self._known.items():
            self._known[run_id] = known._replace(saved=(), as_of=())

    def _lay_out(self) -> None:
        """A curve where there is one, and room for it; in what is left, or without a curve, the end of the log."""
        said = sum(line.size.height or 1 for line in self.query(Line).results(Line) if line.display)
        left = self.content_size.height - said if self._run else 0
        known = self._known.get(self._run.id) if self._run else None
        # Until it is read, as for the run before: what comes and goes with each move is laid out anew each time.
        has_curve = bool(self.query_one(Plot).curves) if known else self._has_curve
        self._has_curve = has_curve
        drawn = left >= CHART_ROWS and has_curve
        self.query_one("#loss").display = drawn
        self.query_one("#tail").display = left - (CHART_ROWS if drawn else 0) >= TAIL_ROWS

    def show(self, run: Run | None, now: float) -> None:
        """Another run, or the same a moment later."""
        before, self._run = self._run, run
        self._show_said(run, now)
        if run is None or before is None or before.id != run.id:
            self._show_read()
            if self._resting:
                self._resting.stop()
            self._resting = self.set_timer(REST_S, self._read) if run else None
        self._lay_out()

    def _show_said(self, run: Run | None, now: float) -> None:
        if run is None:
            is_first = not self._app.runs
            self.put(["First steps" if is_first else "no run"])
            self.query_one("#first", Static).update(first_steps(self._app) if is_first else "")
            self.query_one("#first").display = is_first
            for name in ("about", "why", "stages"):
                self._put(name, [], 1)
            return
        self.query_one("#first").display = False
        self.put([Cell(run.tag, "accent")], [run_format.state(run), Cell(run.id, "dim")])
        self._put("about", [Cell(run_format.progress(run, 10), "accent"), *run_summary.about(run, now)], 2)
        self._put("why", run_summary.verdict(run), MOST_LINES)
        self._put("stages", run_format.stages(run, now, brief=self.size.width < BROAD), 2)

    def _put(self, name: str, cells: Sequence[Cell | str], most: int) -> None:
        line = self.query_one(f"#{name}", Line)
        line.display = bool(cells)
        line.put(cells, most=most)

    def _read_again(self) -> None:
        run = self._run
        if run and run.id in self._known and self._known[run.id].as_of != _as_of(run):
            self._read()

    @property
    def _has_room(self) -> bool:
        return self.query_one("#loss").display or self.query_one("#tail").display

    def _read(self) -> None:
        if self._run and not self._reading and self.app.screen is self.screen and self._has_room:
            self._reading = True
            self._look(self._run, self._known.get(self._run.id))

    @background(group="detail", doing="reading the run under the cursor", failed=lambda panel, error: None)
    def _look(self, run: Run, known: _Read | None) -> None:
        """Its curves, the end of its log, its checkpoints; what keeps them from coming its own screens tell."""
        try:
            fleet, worker = self._app.fleet, get_current_worker()
            file = fleet.log_file(run)
            known = known or _Read(Feed(file.with_name(layout.EVENTS_FILE)))
            curves = known.feed.look(fleet, run, lambda problem: None, lambda: worker.is_cancelled) or known.curves
            log = LogFile(file)
            log.refresh(0)
            tail = [sanitize_line(line) for line in log.tail(MOST_TAIL)]
            checkpoints, saved = known.checkpoints, _saved(run)
            if saved != known.saved:
                try:
                    checkpoints = [one for one in fleet.checkpoints(run) if one.verdict is Verdict.COMPLETE]
                except (NanochatError, OSError):
                    saved = ()
            self.app.call_from_thread(self._take, run, _Read(known.feed, curves, tail, checkpoints, _as_of(run), saved))
        finally:
            self._reading = False

    def _take(self, run: Run, read: _Read) -> None:
        self._known[run.id] = read
        self._known.move_to_end(run.id)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        if self._run and self._run.id == run.id:
            self._show_read()
            self._lay_out()
        else:
            self.call_later(self._read)

    def _show_read(self) -> None:
        run = self._run
        known = self._known.get(run.id) if run else None
        curves = known.curves if known else NONE
        self.query_one(Plot).show(layers([RunCurves(run, curves)], "loss") if run else [], coming=known is None)
        self.query_one(Tail).show(known.tail if known else ())
        found = known.checkpoints if known else ()
        cells: list[Cell | str] = [f"{units.pluralize(len(found), 'checkpoint')} complete"] if found else []
        newest = sorted(found, key=lambda one: -one.saved_at)[:MOST_CHECKPOINTS]
        best = stands_out(found)
        for one in newest:
            star = f" {run_format.BEST}" if (one.kind, one.step) in best else ""
            cells.append(Cell(f"{one.kind} {one.step:,} {run_format.measured(one)}".rstrip(" –") + star, "dim"))
        if known or not run:
            self._put("kept", cells, 1)
        else:
            self.query_one("#kept", Line).put([])


def _as_of(run: Run) -> tuple[object, ...]:
    return run.state, run.attempt, run.status.updated_at if run.status else 0.0


def _saved(run: Run) -> tuple[object, ...]:
    return run.state, run.attempt, run.status.training.saved_step if run.status else None
