"""One prompt for everything: what is typed is looked for in the background, and shown as it is found, by kind."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.timer import Timer
from textual.widgets import Input
from textual.worker import get_current_worker

from runner.errors import NanochatError
from runner.finding.hits import KEPT, Batch, Group, Hit, Kind, Results
from runner.text.sanitize import sanitize_line
from tui.background import background
from tui.presentation.cells import Cell
from tui.presentation.found import TITLES, when, where
from tui.widgets.consent import still
from tui.widgets.dialogs import Window
from tui.widgets.line import Line
from tui.widgets.virtual_list import Column, VirtualList

# So many of a kind are shown before more are asked for; of log lines, the last kind, what the list takes.
FEW: dict[Kind, int] = {kind: 6 for kind in Kind} | {Kind.LOG: 60}
# Nobody reads what a letter finds that is followed by another; so often what was found is shown.
PAUSE_S, SHOW_EVERY_S = 0.12, 0.1
COLUMNS = (
    Column("", 11, keep=3),
    Column("of", 14, keep=1),
    Column("what", 32, keep=0, grows=True),
    Column("when", 9, right=True, keep=2),
)
MORE = "more/"
HINT = "letters of a name, text of a log, ~regex"
Search = Callable[[str, Callable[[], bool]], Iterator[Batch]]


class FindPrompt(Window[Hit]):
    """Answers with the hit that was chosen. The search is that of the last text; the one before is told to stop."""

    CSS = """
    FindPrompt { align: center top; }
    FindPrompt > Vertical { width: 100%; max-width: 150; height: 90%; background: $surface; padding: 0 1;
                            border-left: thick $accent; }
    FindPrompt VirtualList > .list--blurred { background: $cursor; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close"),
        Binding("down,ctrl+n", "move(1)", show=False, priority=True),
        Binding("up,ctrl+p", "move(-1)", show=False, priority=True),
        Binding("pagedown", "page(1)", show=False, priority=True),
        Binding("pageup", "page(-1)", show=False, priority=True),
    ]

    def __init__(self, search: Search, tones: Callable[[str], Style], clock: Callable[[], float]) -> None:
        super().__init__()
        self._search, self._tones, self._clock = search, tones, clock
        self._results = Results()
        self._most = dict(FEW)
        self._rows: dict[str, tuple[str, Group, Hit | None]] = {}
        self._soon: Timer | None = None
        self._stop = threading.Event()
        self._under_way, self._text = False, ""

    def compose(self) -> ComposeResult:
        with Vertical():
            yield still(Input(placeholder=HINT, compact=True))
            yield Line(id="found")
            rows = VirtualList(COLUMNS, self._cells, empty="", tones=self._tones, id="hits")
            rows.can_focus = False
            yield rows

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._show_line()

    def on_unmount(self) -> None:
        self._stop.set()

    @property
    def is_busy(self) -> bool:
        """Whether more may be found."""
        return self._under_way

    @property
    def typed(self) -> str:
        """What was looked for last."""
        return self._text

    @property
    def _list(self) -> VirtualList:
        return self.query_one(VirtualList)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._stop.set()
        self._most = dict(FEW)
        if self._soon:
            self._soon.stop()
        if event.value.strip():
            self._under_way = True
            self._soon = self.set_timer(PAUSE_S, self._begin)
        else:
            self._under_way, self._results = False, Results()
            self._show()

    def _begin(self) -> None:
        self._stop, self._results = threading.Event(), Results()
        self._list.begin()
        self._text = self.query_one(Input).value
        self._look(self._text, self._results, self._stop)

    def _failed(self, error: NanochatError) -> None:
        self._under_way = False
        self._results.add(Batch(Kind.LOG, problem=str(error)))
        self._show()

    @background(group="find_all", doing="searching", exclusive=True, failed=_failed)
    def _look(self, text: str, results: Results, stopped: threading.Event) -> None:
        worker, show_at = get_current_worker(), 0.0

        def stop() -> bool:
            return stopped.is_set() or worker.is_cancelled

        for batch in self._search(text, stop):
            if stop():
                return
            results.add(batch)
            if time.monotonic() >= show_at:
                self.app.call_from_thread(self._take, results, True)
                show_at = time.monotonic() + SHOW_EVERY_S
        if not stop():
            self.app.call_from_thread(self._take, results, False)

    def _take(self, results: Results, more: bool) -> None:
        if results is self._results:
            self._under_way = more
            self._show()

    def _show(self) -> None:
        if not self.is_attached:
            return
        self._rows = {}
        for group in self._results.groups(self._most):
            for number, hit in enumerate(group.hits):
                self._rows[f"{hit.kind}/{hit.key}"] = ("" if number else TITLES[group.kind], group, hit)
            if group.more:
                self._rows[f"{MORE}{group.kind}"] = ("", group, None)
        typed = self.query_one(Input).value.strip()
        self._list.empty = "nothing fits" if typed and not self._under_way else ""
        self._list.show(list(self._rows))
        self._show_line()

    def _show_line(self) -> None:
        results = self._results
        cells: list[Cell | str] = [Cell("Search", "accent")]
        if not self.query_one(Input).value.strip():
            cells.append(Cell("runs, checkpoints, settings, commands, files, log lines", "dim"))
        else:
            cells.append(f"{results.count:,} found")
            cells.append(Cell(f"{results.progress} …" if self._under_way else f"{results.progress}", "dim"))
        cells += [Cell(f"! {sanitize_line(problem)}", "warning") for problem in results.problems[:1]]
        self.query_one("#found", Line).put(cells)

    def _cells(self, key: str) -> list[Cell]:
        title, group, hit = self._rows[key]
        if hit is None:
            can = "Enter shows more" if len(group.hits) < KEPT else "say more of it"
            return [Cell(""), Cell("", "dim"), Cell(f"… {group.more:,} more: {can}", "dim"), Cell("")]
        place, what = where(hit)
        return [Cell(title, "accent"), Cell(place), Cell(what), Cell(when(hit, self._clock(), brief=True), "dim")]

    def action_move(self, by: int) -> None:
        self._list.action_move(by)

    def action_page(self, by: int) -> None:
        self._list.action_page(by)

    def action_leave(self) -> None:
        self.dismiss(None)

    def on_input_submitted(self) -> None:
        self._choose()

    def on_virtual_list_chosen(self) -> None:
        self._choose()

    def _choose(self) -> None:
        """Answer with the hit under the cursor, or show more of its kind."""
        row = self._rows.get(self._list.current)
        if row is None:
            return
        _, group, hit = row
        if hit is None:
            self._most[group.kind] = KEPT
            self._show()
        else:
            self.dismiss(hit)
