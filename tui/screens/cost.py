"""What runs cost: each held against its estimate, and all of them by day, month and model."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Static

from runner.errors import NanochatError
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.monitoring.ledger import per_hour, spending, today
from runner.monitoring.projection import is_free, project, spent_usd
from runner.text import units
from runner.text.sanitize import sanitize_line
from tui.background import background
from tui.presentation import run_format
from tui.presentation.bindings import bindings
from tui.presentation.cells import Cell
from tui.presentation.sorting import sorted_by
from tui.screens.base import NanochatScreen
from tui.widgets.panel import Panel
from tui.widgets.virtual_list import Column, VirtualList

COLUMNS = (
    Column("run", 16, keep=0),
    Column("state", 17, keep=2),
    Column("$/h", 8, right=True, keep=3),
    Column("estimated", 24, right=True, keep=6),
    Column("likely", 10, right=True, keep=4),
    Column("spent", 10, right=True, keep=1),
    Column("billed", 10, right=True, keep=5),
    Column("model", 5, keep=7),
    Column("on", 7, keep=8),
    Column("prices of", 26, keep=9),
)
DAYS, BAR, BROAD = 8, 10, 100
# By column, the first to be shown lowest; None is not known, and goes last.
SORTS: dict[str, Callable[[Run, float], Any]] = {
    "started": lambda r, now: -r.created_at,
    "run": lambda r, now: r.tag,
    "state": lambda r, now: (not r.live, r.state),
    "$/h": lambda r, now: -rate if (rate := per_hour([r])) else None,
    "estimated": lambda r, now: -r.estimate.usd.likely if r.estimate else None,
    "likely": lambda r, now: -found.usd.likely if (found := project(r, now)) else None,
    "spent": lambda r, now: -spent_usd(r, now),
    "model": lambda r, now: r.spec.depth,
    "on": lambda r, now: run_format.hardware(r),
    "prices of": lambda r, now: (r.prices.source, r.prices.date),
}
CYCLE = ("started", "$/h", "spent", "likely", "run")
# What only runs that are live have, and what only Modal tells.
OF_LIVE, OF_MODAL = frozenset({"$/h", "likely"}), frozenset({"billed"})


class CostScreen(NanochatScreen):
    """Money, and nothing else."""

    CSS_PATH: ClassVar[str | Path] = Path(__file__).with_suffix(".tcss")
    BINDINGS: ClassVar[list[BindingType]] = bindings("cost")
    SECTIONS = ("cost",)
    TAB = "cost"

    def __init__(self) -> None:
        super().__init__()
        self._by_id: dict[str, Run] = {}
        self._billed: dict[str, Decimal | None] = {}
        self._sort, self._reverse = "started", False

    def body(self) -> ComposeResult:
        with Panel(id="list"):
            yield VirtualList(
                COLUMNS, self._cells, empty="No run has cost anything yet.", tones=self.nanochat.tone, id="runs"
            )
        with Panel(id="totals"):
            yield Static("", markup=False, id="sums")

    def on_mount(self) -> None:
        self.query_one(VirtualList).focus()

    def show_runs(self, runs: list[Run]) -> None:
        if not self.is_there:
            return
        now = self.nanochat.fleet.clock()
        self._by_id = {r.id: r for r in runs if not is_free(r)}
        shown = self.query_one(VirtualList)
        shown.hide_columns(hidden := self._of_no_run())
        if self._sort in hidden:
            self._sort, self._reverse = CYCLE[0], False
        shown.show([r.id for r in self._sorted(now)])
        found, rate = spending(runs, self.nanochat.fleet.deleted_accounts, now), per_hour(runs)
        cells: list[Cell | str] = [f"{units.money(found.total)} in all"]
        cells += [f"{units.money(rate)}/h now"] if rate else []
        cells += [f"{units.money(found.deleted_usd)} of deleted runs"] if found.deleted else []
        cells += [Cell(f"sorted by {self._sort}{', reversed' if self._reverse else ''}", "dim")]
        self.query_one("#list", Panel).put(["Cost"], cells)
        self.query_one("#totals", Panel).put(["Totals"])
        self._show_current()
        day = today(now)
        table = Table.grid(padding=(0, 3))
        columns = (
            ("by day", [(("today" if name == day else name), usd) for name, usd in found.days.items()][:DAYS]),
            ("by month", list(found.months.items())[:DAYS]),
            ("by model", sorted(found.models.items(), key=lambda item: -item[1])[:DAYS]),
        )
        for _ in columns:
            table.add_column()
        table.add_row(*(Text(head, style="bold") for head, _ in columns))
        for number in range(max((len(rows) for _, rows in columns), default=0)):
            table.add_row(*(self._sum(rows, number) if number < len(rows) else "" for _, rows in columns))
        self.query_one("#sums", Static).update(table)
        self._ask()

    def _of_no_run(self) -> frozenset[str]:
        """Columns in which no run has anything."""
        paid = self._by_id.values()
        live = any(run.live for run in paid)
        on_modal = any(run.backend is BackendName.MODAL for run in paid)
        return (frozenset() if live else OF_LIVE) | (frozenset() if on_modal else OF_MODAL)

    def _sum(self, rows: list[tuple[str, Decimal]], number: int) -> Text:
        """A row of sums, with a bar as long as its share of the largest."""
        name, usd = rows[number]
        most = max(usd for _, usd in rows)
        bar = units.bar(float(usd / most), BAR) if most and self.size.width >= BROAD else ""
        return Text.assemble(f"{name:<11}{units.money(usd):>10}  ", (bar.rstrip("·"), self.nanochat.tone("accent")))

    def _sorted(self, now: float) -> list[Run]:
        return sorted_by(self._by_id.values(), lambda run: self._value(run, now), reverse=self._reverse)

    def _value(self, run: Run, now: float) -> Any:
        if self._sort == "billed":
            return -usd if (usd := self._billed.get(run.id)) is not None else None
        return SORTS[self._sort](run, now)

    def action_sort(self) -> None:
        cycle = [column for column in CYCLE if column not in self._of_no_run()]
        at = cycle.index(self._sort) if self._sort in cycle else -1
        self._sort, self._reverse = cycle[(at + 1) % len(cycle)], False
        self.show_runs(self.nanochat.runs)

    def on_virtual_list_head_clicked(self, message: VirtualList.HeadClicked) -> None:
        """Sort by a column, and a second time the other way round."""
        self._reverse = not self._reverse if message.column == self._sort else False
        self._sort = message.column
        self.show_runs(self.nanochat.runs)

    def _cells(self, run_id: str) -> list[Cell]:
        run = self._by_id[run_id]
        now = self.nanochat.fleet.time_for(run)
        found = project(run, now)
        billed = self._billed.get(run_id)
        return [
            Cell(sanitize_line(run.tag)),
            run_format.state(run),
            Cell(units.money(rate) if (rate := per_hour([run])) else ""),
            Cell(units.money_range(run.estimate.usd) if run.estimate else units.UNKNOWN),
            Cell(units.money(found.usd.likely) if found else units.UNKNOWN),
            Cell(units.money(spent_usd(run, now))),
            Cell(units.money(billed)),
            Cell(run.spec.model),
            Cell(run_format.hardware(run)),
            Cell("your own" if run.backend is BackendName.LOCAL else f"{run.prices.source} {run.prices.date}", "dim"),
        ]

    def _ask(self) -> None:
        """Bills come from Modal, for runs that have ended; each is asked for once."""
        wanted = [
            r
            for r in self._by_id.values()
            if r.backend is BackendName.MODAL and not r.live and r.id not in self._billed
        ]
        if wanted:
            self._billed |= {r.id: None for r in wanted}
            self._ask_bills(wanted)

    @background(group="bills", doing="asking for bills")
    def _ask_bills(self, runs: list[Run]) -> None:
        for run in runs:
            try:
                billed = self.nanochat.fleet.billed(run)
            except (NanochatError, OSError):
                # The column stays a dash: what is not known is not shown.
                continue
            if billed:
                self._billed[run.id] = sum(billed.values(), Decimal(0))

    def _show_current(self) -> None:
        run = self.run_in_hand()
        self.mute_keys([run] if run else [])

    def on_virtual_list_moved(self) -> None:
        self._show_current()

    def run_in_hand(self) -> Run | None:
        return self._by_id.get(self.query_one(VirtualList).current)

    def action_watch(self) -> None:
        if run := self.run_in_hand():
            self.nanochat.watch_run(run)

    def action_cancel(self) -> None:
        if run := self.run_in_hand():
            self.nanochat.ask_cancel([run])

    def on_virtual_list_chosen(self) -> None:
        self.action_watch()
