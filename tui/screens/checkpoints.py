"""Checkpoints of all runs: what each is good for; go on from one, bring it home, keep only the best and the last."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input
from textual.worker import get_current_worker

from runner.errors import NanochatError
from runner.model.run import Run, needed_steps
from runner.nanochat.layout import CheckpointKind
from runner.text import units
from runner.text.sanitize import sanitize_line
from runner.volumes.best import prunable, stands_out
from runner.volumes.checkpoint_verdicts import Checkpoint, Verdict
from tui.background import background
from tui.context import VolumeRef
from tui.presentation import run_format
from tui.presentation.bindings import bindings
from tui.presentation.cells import Cell
from tui.presentation.sorting import sorted_by
from tui.screens.cleared import ClearedState
from tui.screens.files import FilesScreen
from tui.widgets.line import Line
from tui.widgets.panel import Panel
from tui.widgets.virtual_list import Column, FileList

COLUMNS = (
    Column("run", 16, keep=0),
    Column("kind", 4, keep=3),
    Column("step", 7, right=True, keep=1),
    Column("val bpb", 15, right=True, keep=4),
    Column("CORE", 6, right=True, keep=8),
    Column("age", 4, right=True, keep=6),
    Column("size", 8, right=True, keep=5),
    Column("ranks", 5, right=True, keep=7),
    Column("verdict", 14, keep=2),
    Column("why", 30, keep=9, grows=True),
)
TONES = {Verdict.COMPLETE: "success", Verdict.WEIGHTS_ONLY: "warning"}
GLYPHS = {Verdict.COMPLETE: "✓", Verdict.WEIGHTS_ONLY: "◐"}
SORTS: dict[str, Callable[[Run, Checkpoint], Any]] = {
    "run": lambda r, c: (-r.created_at, r.id, c.kind, -c.step),
    "val bpb": lambda r, c: c.val_bpb,
    "size": lambda r, c: -c.bytes,
    "age": lambda r, c: -c.saved_at,
    "kind": lambda r, c: (c.kind, r.id, -c.step),
    "step": lambda r, c: -c.step,
    "CORE": lambda r, c: -core if (core := _core(r, c)) is not None else None,
    "ranks": lambda r, c: -c.ranks,
    "verdict": lambda r, c: (c.verdict is not Verdict.COMPLETE, c.verdict),
    "why": lambda r, c: c.reason,
}
# Those that the key goes through.
CYCLE = ("run", "val bpb", "size", "age")


class CheckpointsScreen(FilesScreen):
    """Looks at all runs one after the other; what was found stays until it is looked at again."""

    CSS_PATH: ClassVar[str | Path] = Path(__file__).with_suffix(".tcss")
    BINDINGS: ClassVar[list[BindingType]] = bindings("checkpoints")
    SECTIONS = ("checkpoints", "files")
    TAB = "checkpoints"

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, list[Checkpoint]] = {}
        self._problems: dict[str, str] = {}
        self._rows: dict[str, tuple[Run, Checkpoint]] = {}
        self._sort, self._reverse, self._words = "run", False, ""
        self._best: dict[str, set[tuple[CheckpointKind, int]]] = {}
        self._looked_at, self._wanted, self._wanted_run = 0.0, "", ""
        self._left = 0

    def body(self) -> ComposeResult:
        with Panel(id="all"):
            yield FileList(COLUMNS, self._cells, empty="", tones=self.nanochat.tone, id="list")
            yield Line(id="about")
        yield Line(id="transfers")
        yield Input(id="ask", placeholder="text in the name of a run", compact=True)

    def on_mount(self) -> None:
        self._list.focus()
        self.every(1.0, self._show_title)

    def on_screen_resume(self) -> None:
        if self.is_there:
            self.action_reload()

    def show_checkpoint(self, key: str) -> None:
        """Put the cursor on one, as soon as it is found."""
        self._wanted, self._wanted_run, self._words = key, "", ""
        self._show()

    def begin_at(self, run: Run) -> None:
        """Put the cursor on the best of a run, as soon as all of its own are found."""
        self._wanted_run = run.id
        self._show()

    def _best_or_first(self, run_id: str) -> str:
        own = [key for key, (run, _) in self._rows.items() if run.id == run_id]
        return next((key for key in own if self._is_best(key)), own[0] if own else "")

    def _is_best(self, key: str) -> bool:
        run, one = self._rows[key]
        return (one.kind, one.step) in self._best.get(run.id, ())

    @property
    def _list(self) -> FileList:
        return self.query_one("#list", FileList)

    def action_reload(self) -> None:
        runs = list(self.nanochat.runs)
        self._left = len(runs)
        self._show()
        self._look(runs)

    @background(group="list", doing="looking for checkpoints", exclusive=True)
    def _look(self, runs: list[Run]) -> None:
        worker = get_current_worker()
        for number, run in enumerate(runs):
            if worker.is_cancelled:
                return
            problem, found = "", list[Checkpoint]()
            try:
                found = self.nanochat.fleet.checkpoints(run)
            except (NanochatError, OSError) as error:
                problem = str(error)
            self.app.call_from_thread(self._take, run, found, problem, len(runs) - number - 1)

    def _take(self, run: Run, found: list[Checkpoint], problem: str, left: int) -> None:
        self._left, self._looked_at = left, self.nanochat.fleet.clock()
        if problem:
            self._problems[run.id] = problem
        else:
            self._problems.pop(run.id, None)
            self._found[run.id], self._best[run.id] = found, stands_out(found)
        self._show()

    def show_runs(self, runs: list[Run]) -> None:
        if self.is_there and {r.id for r in runs} != {r.id for r, _ in self._rows.values()}:
            gone = set(self._found) - {r.id for r in runs}
            for run_id in gone:
                del self._found[run_id], self._best[run_id]
            if gone:
                self._show()

    def _show(self) -> None:
        runs = {r.id: r for r in self.nanochat.runs}
        wanted = self._words.lower()
        rows = [
            (runs[run_id], one)
            for run_id, found in self._found.items()
            if run_id in runs and wanted in runs[run_id].tag.lower()
            for one in found
        ]
        rows = sorted_by(rows, lambda row: SORTS[self._sort](*row), reverse=self._reverse)
        self._rows = {f"{one.path}/{one.step}": (run, one) for run, one in rows}
        self._list.empty = "no checkpoint fits" if wanted else "looking …" if self._left else "No checkpoints yet."
        self._list.show(list(self._rows))
        if self._wanted in self._rows:
            self._list.go_to(self._wanted)
            self._wanted = ""
        if self._wanted_run in self._found:
            self._list.go_to(self._best_or_first(self._wanted_run))
            self._wanted_run = ""
        self._show_title()
        self._show_about()

    def _show_title(self) -> None:
        whole = sum(c.verdict is Verdict.COMPLETE for _, c in self._rows.values())
        size = sum(c.bytes for _, c in self._rows.values())
        cells: list[Cell | str] = [f"{len(self._rows)}, {whole} complete", units.size(size)] if self._rows else []
        cells += [Cell(f"by {self._sort}{', reversed' if self._reverse else ''}", "dim")]
        if self._words:
            cells.append(Cell(f"/{self._words}", "warning"))
        if self._list.marked:
            marked = sum(self._rows[k][1].bytes for k in self._list.marked if k in self._rows)
            cells.append(Cell(f"{len(self._list.marked)} marked, {units.size(marked)}", "accent"))
        now = self.nanochat.fleet.clock()
        age = f"looked at {units.age(self._looked_at, now)} ago" if self._looked_at else ""
        cells.append(Cell(f"{units.pluralize(self._left, 'run')} left to look at" if self._left else age, "dim"))
        if self._problems:
            cells.append(Cell(f"! {sanitize_line(next(iter(self._problems.values())))}", "error"))
        self.query_one("#all", Panel).put(["Checkpoints"], cells)

    def _show_about(self) -> None:
        row = self._rows.get(self._list.current)
        if row is None:
            self.query_one("#about", Line).put([])
            return
        run, one = row
        gone = self._expendable(run)
        cells: list[Cell | str] = [Cell(run.tag, "accent"), f"{one.kind} step {one.step:,}"]
        if gone:
            freed = units.size(sum(c.bytes for c in gone))
            cells.append(f"{self.nanochat.key('checkpoints.keep')} keeps best and last, frees {freed}")
        cells.append(one.reason)
        if self._is_best(self._list.current):
            cells.append(f"{run_format.BEST} lowest val bpb of this run's {one.kind} checkpoints")
        if one.measured_at is not None and one.measured_at != one.step:
            cells.append(f"val bpb was measured at step {one.measured_at:,}")
        self.query_one("#about", Line).put(cells)

    def _expendable(self, run: Run) -> list[Checkpoint]:
        return prunable(self._found.get(run.id, []), needed_steps(run, self.nanochat.runs))

    def _cells(self, key: str) -> list[Cell]:
        run, one = self._rows[key]
        tone = TONES.get(one.verdict, "error")
        return [
            Cell(sanitize_line(run.tag)),
            Cell(one.kind),
            Cell(f"{one.step:,}"),
            Cell(f"{run_format.measured(one)} {run_format.BEST if self._is_best(key) else ' '}"),
            Cell(units.decimals(_core(run, one), 4)),
            Cell(units.age(one.saved_at, self.nanochat.fleet.clock())),
            Cell(units.size(one.bytes)),
            Cell(str(one.ranks)),
            Cell(f"{GLYPHS.get(one.verdict, '✗')} {one.verdict}", tone),
            Cell(sanitize_line(one.reason), "dim"),
        ]

    def on_virtual_list_moved(self) -> None:
        self._show_about()

    def on_virtual_list_chosen(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if row := self._rows.get(self._list.current):
            run, one = row
            self.nanochat.browse(VolumeRef(run.backend, run.volume), one.path, next(iter(one.files), ""))

    def action_resume(self) -> None:
        if row := self._rows.get(self._list.current):
            run, one = row
            if one.verdict not in (Verdict.COMPLETE, Verdict.WEIGHTS_ONLY):
                self.notify(sanitize_line(f"it cannot be gone on from: {one.reason}"), severity="warning", markup=False)
            else:
                self.resume_from(run, one.kind, one.step)

    def action_keep(self) -> None:
        """Delete what is neither the best nor the last of the marked runs, or of this one, after asking."""
        keys = self._list.marked or ({self._list.current} if self._list.current else set())
        runs = {run.id: run for run, _ in (self._rows[key] for key in sorted(keys) if key in self._rows)}
        # Of several runs those that train are left alone.
        wanted = [run for run in runs.values() if self._expendable(run) and (len(runs) == 1 or not run.live)]
        if runs and not wanted:
            trains = any(run.live for run in runs.values())
            self.notify("only best and last are there" + " of runs that do not train" * trains, markup=False)
        for place in dict.fromkeys(VolumeRef(run.backend, run.volume) for run in wanted):
            here = [run for run in wanted if (run.backend, run.volume) == place]
            self.files.ask_remove(place, [], self.action_reload, pruned=here)

    def action_filter(self) -> None:
        field = self.query_one("#ask", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._words = event.value
        self._show()

    def on_input_submitted(self) -> None:
        self.query_one("#ask", Input).display = False
        self._list.focus()

    def action_sort(self) -> None:
        at = CYCLE.index(self._sort) if self._sort in CYCLE else -1
        self._sort, self._reverse = CYCLE[(at + 1) % len(CYCLE)], False
        self._show()

    def on_virtual_list_head_clicked(self, message: FileList.HeadClicked) -> None:
        """Sort by a column, and a second time the other way round."""
        self._reverse = not self._reverse if message.column == self._sort else False
        self._sort = message.column
        self._show()

    def action_mark(self) -> None:
        self._list.toggle_mark()
        self._show_title()

    def action_mark_all(self) -> None:
        self.cleared.put(ClearedState(marked=self._list.toggle_all()))
        self._show_title()

    def action_back(self) -> None:
        field = self.query_one("#ask", Input)
        if field.display or self._words:
            self.cleared.put(ClearedState(self._words))
            field.display, field.value, self._words = False, "", ""
            self._list.focus()
            self._show()
        elif self._list.marked:
            self.cleared.put(ClearedState(marked=frozenset(self._list.marked)))
            self._list.marked.clear()
            self._list.refresh()
        else:
            super().action_back()

    def bring_back(self, kept: ClearedState) -> None:
        self.query_one("#ask", Input).value = self._words = kept.words or self._words
        self._list.marked |= kept.marked
        self._show()

    def picked(self) -> dict[VolumeRef, list[str]]:
        keys = self._list.marked or ({self._list.current} if self._list.current else set())
        found: dict[VolumeRef, list[str]] = {}
        for key in keys:
            run, one = self._rows[key]
            found.setdefault(VolumeRef(run.backend, run.volume), []).extend(one.paths)
        return found


def _core(run: Run, one: Checkpoint) -> float | None:
    """The score of a run, which is that of its last checkpoint."""
    status = run.status
    final = status and one.kind is CheckpointKind.BASE and one.step == status.training.total_steps
    return status.training.core if status and final else None
