"""All runs: what each is doing, what it has cost, when it last gave a sign."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.widgets import Input

from runner.model.run import Run
from runner.model.states import State
from runner.monitoring.ledger import per_hour
from runner.monitoring.progress import progress_of
from runner.monitoring.projection import is_free, project, spent_usd
from runner.nanochat import layout
from runner.system import read_only
from runner.text import units
from runner.text.sanitize import sanitize_line
from tui.background import background
from tui.presentation import run_format
from tui.presentation.app_style import WIDE
from tui.presentation.bindings import bindings
from tui.presentation.cells import Cell
from tui.presentation.sorting import sorted_by
from tui.screens.base import NanochatScreen
from tui.screens.cleared import ClearedState
from tui.screens.loss_shapes import Shapes
from tui.screens.run_detail import RunDetail
from tui.widgets.panel import Panel
from tui.widgets.virtual_list import Column, VirtualList

NO_RUNS = "No runs yet. Press {} to plan one: a rehearsal is free and takes a minute."
MOST_COMPARED = 6
# Beside the rows of a list: its head and the borders around it.
LEAST_ROWS, HEAD_ROWS = 2, 3
DRAW_EVERY_S = 0.9
FILTER_HINT = "text in tag, id, task, model, GPU, state or reason; Enter keeps it, Esc clears"
NO_FIT = "Nothing fits the filter. Esc clears it."
COLUMNS = (
    Column("run", 16, keep=0),
    Column("task", 8, keep=13),
    Column("model", 5, keep=8),
    Column("on", 7, keep=14),
    Column("state", 17, keep=1),
    Column("progress", 8, keep=10),
    Column("step", 13, right=True, keep=2),
    Column("curve", 8, keep=11),
    Column("loss", 6, right=True, keep=3),
    Column("val bpb", 7, right=True, keep=9),
    Column("tok/s", 6, right=True, keep=12),
    Column("eta", 6, right=True, keep=6),
    Column("cost", 9, right=True, keep=4),
    Column("$/h", 6, right=True, keep=7),
    Column("updated", 7, right=True, keep=5),
    Column("id", 8, keep=15),
)
# What only runs that are live have.
OF_LIVE = frozenset({"tok/s", "eta", "$/h"})
# By column, the first to be shown lowest; None is not known, and goes last either way.
SORTS: dict[str, Callable[[Run, float], Any]] = {
    "started": lambda r, now: -r.created_at,
    "run": lambda r, now: r.tag,
    "state": lambda r, now: (not r.live, r.state),
    "loss": lambda r, now: progress_of(r).loss,
    "curve": lambda r, now: progress_of(r).loss,
    "cost": lambda r, now: -spent_usd(r, now),
    "$/h": lambda r, now: -rate if (rate := per_hour([r])) else None,
    "step": lambda r, now: -share if (share := progress_of(r).share) is not None else None,
    "progress": lambda r, now: -share if (share := progress_of(r).share) is not None else None,
    "updated": lambda r, now: -r.last_heartbeat if r.last_heartbeat is not None else None,
    "task": lambda r, now: r.spec.task,
    "model": lambda r, now: r.spec.depth,
    "on": lambda r, now: run_format.hardware(r),
    "val bpb": lambda r, now: r.status.training.val_bpb if r.status else None,
    "tok/s": lambda r, now: (
        -r.status.training.tokens_per_s if r.status and r.live and r.status.training.tokens_per_s else None
    ),
    "eta": lambda r, now: left.left.likely if (left := project(r, now)) and r.status else None,
    "id": lambda r, now: r.id,
}
# Those that the key goes through.
CYCLE = ("started", "run", "state", "loss", "cost", "$/h")


def ordered(runs: Sequence[Run], column: str, now: float, *, reverse: bool = False) -> list[Run]:
    """Runs by a column; where it has no value they come last, newest first."""
    return sorted_by(runs, lambda run: SORTS[column](run, now), reverse=reverse)


class RunsScreen(NanochatScreen):
    """The list of runs with a line on the one under the cursor."""

    CSS_PATH: ClassVar[str | Path] = Path(__file__).with_suffix(".tcss")
    BINDINGS: ClassVar[list[BindingType]] = bindings("runs")
    SECTIONS = ("runs",)
    TAB = "runs"

    def __init__(self) -> None:
        super().__init__()
        self._by_id: dict[str, Run] = {}
        self._filter = ""
        self._sort, self._reverse = "started", False
        self._states: list[tuple[str, State]] = []
        self._drawn_at = 0.0
        self._shapes = Shapes()
        self._drawing_shapes = False

    @property
    def _no_runs(self) -> str:
        """What stands in the place of the first run: how to get one, for who may."""
        return "No runs yet." if read_only.is_set() else NO_RUNS.format(self.nanochat.key("runs.new"))

    def body(self) -> ComposeResult:
        with Container(id="both"):
            with Panel(id="list"):
                yield VirtualList(COLUMNS, self._cells, empty=self._no_runs, tones=self.nanochat.tone, id="runs")
                yield Input(
                    placeholder="text in tag, id, task, model or state; Enter keeps it, Esc clears", id="filter"
                )
            yield RunDetail(id="detail")

    def on_mount(self) -> None:
        self.query_one(VirtualList).focus()

    @property
    def _list(self) -> VirtualList:
        return self.query_one("#runs", VirtualList)

    def on_screen_resume(self) -> None:
        if self.is_there:
            self.query_one(RunDetail).forget_checkpoints()

    def show_runs(self, runs: list[Run]) -> None:
        """Numbers are drawn once a second, whatever else changes at once."""
        self._by_id = {r.id: r for r in runs}
        states = [(r.id, r.state) for r in runs]
        if states != self._states or time.monotonic() - self._drawn_at > DRAW_EVERY_S:
            self._arrange(runs)

    def _arrange(self, runs: list[Run]) -> None:
        if not self.is_there:
            return
        self._states, self._drawn_at = [(r.id, r.state) for r in runs], time.monotonic()
        self._by_id = {r.id: r for r in runs}
        wanted = self._filter.lower().split()
        matching = [r for r in runs if _fits(r, wanted)] if wanted else runs
        live = any(r.live for r in runs)
        if not live and self._sort in OF_LIVE:
            self._sort, self._reverse = CYCLE[0], False
        rows = ordered(matching, self._sort, self.nanochat.fleet.clock(), reverse=self._reverse)
        self._list.hide_columns(frozenset() if live else OF_LIVE)
        self._list.empty = NO_FIT if self._filter and runs else self._no_runs
        self._list.show([r.id for r in rows])
        self._show_title(runs, len(rows))
        self._share_room(len(rows))
        self._show_current()
        self._draw_shapes()

    def _draw_shapes(self) -> None:
        """How the loss of those runs went that can be seen, read beside the screen."""
        wanted = [self._by_id[key] for key in self._list.on_screen if self._shapes.lacks(self._by_id[key])]
        if wanted and not self._drawing_shapes and self._list.shows("curve"):
            self._drawing_shapes = True
            self._read_shapes(wanted)

    @background(group="shapes", doing="reading the curves of runs")
    def _read_shapes(self, runs: list[Run]) -> None:
        fleet = self.nanochat.fleet
        try:
            for run in runs:
                self._shapes.read(run, fleet.log_file(run).with_name(layout.EVENTS_FILE))
        finally:
            self._drawing_shapes = False

    def on_resize(self) -> None:
        self._share_room(len(self._by_id))

    def _share_room(self, rows: int) -> None:
        """Beside each other where that is broad enough; else the list takes what it needs, and the run the rest."""
        panel = self.query_one("#list", Panel)
        if not panel.dragged:
            needed = max(LEAST_ROWS, rows) + HEAD_ROWS + self.query_one("#filter", Input).display
            # By the size itself: below a question the class comes after it.
            panel.styles.max_height = None if self.app.size.width >= WIDE else needed

    def _show_title(self, runs: Sequence[Run], shown: int) -> None:
        state: list[Cell | str] = (
            [f"{shown} of {len(runs)}" if shown < len(runs) else units.pluralize(len(runs), "run")] if runs else []
        )
        state += [Cell(f"/{self._filter}", "warning")] if self._filter else []
        state += [Cell(f"{len(self._list.marked)} marked", "accent")] if self._list.marked else []
        state.append(Cell(f"sorted by {self._sort}{', reversed' if self._reverse else ''}", "dim"))
        if self.nanochat.files.busy:
            state.append(Cell(f"files on their way, {self.nanochat.key('app.volume')} shows them", "accent"))
        self.query_one("#list", Panel).put(["Runs"], state)

    def _cells(self, run_id: str) -> list[Cell]:
        run = self._by_id[run_id]
        now = self.nanochat.fleet.time_for(run)
        status = run.status
        share = progress_of(run).share
        return [
            Cell(sanitize_line(run.tag)),
            Cell(run.spec.task),
            Cell(run.spec.model),
            Cell(run_format.hardware(run)),
            run_format.state(run),
            Cell(units.bar(share, 8) if share is not None else "", "accent" if run.live else "dim"),
            Cell(run_format.steps(run)),
            Cell(self._shapes.of(run), "accent" if run.live else "dim"),
            Cell(run_format.loss(run)),
            Cell(units.decimals(status.training.val_bpb if status else None, 4)),
            Cell(units.count(status.training.tokens_per_s if status and run.live else None)),
            Cell(units.duration(left.left.likely) if (left := project(run, now)) and status else units.UNKNOWN),
            Cell("free" if is_free(run) else _cost(run, now)),
            Cell(units.money(rate) if (rate := per_hour([run])) else ""),
            Cell(units.age(run.last_heartbeat, now)),
            Cell(run.id, "dim"),
        ]

    def _show_current(self) -> None:
        run = self._by_id.get(self._list.current)
        fleet = self.nanochat.fleet
        self.query_one(RunDetail).show(run, fleet.time_for(run) if run else fleet.clock())
        self.mute_keys(self._picked())

    def on_virtual_list_moved(self) -> None:
        self._show_current()
        self._draw_shapes()

    def on_virtual_list_chosen(self) -> None:
        self.action_watch()

    def _picked(self) -> list[Run]:
        """The marked runs, or the one under the cursor."""
        ids = self._list.marked or ({self._list.current} if self._list.current else set())
        return [self._by_id[i] for i in self._by_id if i in ids]

    def run_in_hand(self) -> Run | None:
        return self._by_id.get(self._list.current)

    def action_watch(self) -> None:
        if self._list.current:
            self.nanochat.watch_run(self._by_id[self._list.current])

    def action_new(self) -> None:
        self.nanochat.new_run()

    def action_cancel(self) -> None:
        self.nanochat.ask_cancel(self._picked())

    def action_resume(self) -> None:
        if picked := self._picked():
            self.nanochat.ask_resume(picked)

    def action_delete(self) -> None:
        self.nanochat.ask_delete(self._picked())

    def action_compare(self) -> None:
        runs = self._picked()
        if len(runs) < 2:
            key = self.nanochat.key("runs.mark")
            self.notify(f"mark two runs or more with {key}, then compare them", severity="warning")
        else:
            if len(runs) > MOST_COMPARED:
                said = f"{MOST_COMPARED} of {len(runs)} are compared: more lines could not be told apart"
                self.notify(said, severity="warning")
            self.nanochat.compare(runs[:MOST_COMPARED])

    def action_mark(self) -> None:
        self._list.toggle_mark()
        self._arrange(self.nanochat.runs)

    def action_mark_all(self) -> None:
        self.cleared.put(ClearedState(marked=self._list.toggle_all()))
        self._arrange(self.nanochat.runs)

    def action_sort(self) -> None:
        cycle = [one for one in CYCLE if one not in OF_LIVE or any(r.live for r in self.nanochat.runs)]
        at = cycle.index(self._sort) if self._sort in cycle else -1
        self._sort, self._reverse = cycle[(at + 1) % len(cycle)], False
        self._arrange(self.nanochat.runs)

    def on_virtual_list_head_clicked(self, message: VirtualList.HeadClicked) -> None:
        """Sort by a column, and a second time the other way round."""
        self._reverse = not self._reverse if message.column == self._sort else False
        self._sort = message.column
        self._arrange(self.nanochat.runs)

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._filter = event.value
        self._arrange(self.nanochat.runs)

    def on_input_submitted(self) -> None:
        self.query_one("#filter", Input).display = bool(self._filter)
        self._list.focus()

    def action_clear(self) -> None:
        self.cleared.put(ClearedState(self._filter, marked=frozenset(self._list.marked)))
        field = self.query_one("#filter", Input)
        field.value, self._filter = "", ""
        field.display = False
        self._list.marked.clear()
        self._list.focus()
        self._arrange(self.nanochat.runs)

    def bring_back(self, kept: ClearedState) -> None:
        field = self.query_one("#filter", Input)
        field.value = self._filter = kept.words
        field.display = bool(kept.words)
        self._list.marked |= kept.marked
        self._list.focus()
        self._arrange(self.nanochat.runs)


def _fits(run: Run, wanted: Sequence[str]) -> bool:
    words = f"{run.words} {run_format.state(run).text.lower()}"
    return all(word in words for word in wanted)


def _cost(run: Run, now: float) -> str:
    """`$72.10`, and of a live run in whole dollars also where it will end: `$72→104`."""
    spent, found = spent_usd(run, now), project(run, now)
    if found is None or found.usd.likely < 1:
        return units.money(spent)
    return f"${spent:,.0f}→{found.usd.likely:,.0f}"
