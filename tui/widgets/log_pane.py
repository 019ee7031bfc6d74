"""A log with its title and its prompt: what a screen puts where a log is to be read."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from runner.errors import UsageError
from runner.logs.log_file import LogFile
from runner.logs.scans import VisibleLines
from runner.logs.search import Query
from runner.system.given_path import begin_in
from runner.system.new_files import new_files
from runner.text import units
from runner.text.filenames import safe_filename
from runner.text.sanitize import sanitize_line
from tui.background import background
from tui.presentation.cells import Cell
from tui.widgets.consent import AskPath
from tui.widgets.log_view import WINDOWS_S, LogView
from tui.widgets.panel import Panel

if TYPE_CHECKING:
    from tui.context import TerminalContext

HINTS = {"search": "text, or ~regex, or level:error", "filter": "text, ~regex, !without, level:error"}


class Prompt(Input):
    """The line in which a text to look for is typed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def action_leave(self) -> None:
        self.display = False
        self.screen.query_one(LogView).focus()


class LogPane(Panel):
    """A log, and the prompt while something is asked for."""

    DEFAULT_CSS = """
    LogPane Prompt { display: none; background: $surface; }
    """

    def __init__(self, *, id: str, title: str = "Log") -> None:
        super().__init__(id=id)
        self._words = title
        self._asked = "search"
        self._live = False
        self._called = "log"

    def compose(self) -> ComposeResult:
        yield LogView(self.ask, id="log")
        yield Prompt(id="prompt", compact=True)

    @property
    def view(self) -> LogView:
        return self.query_one(LogView)

    def open(self, log: LogFile, name: str) -> None:
        """Show another log; `name` is what a saved copy is called by."""
        self._called = name
        self.view.open(log)

    def put_title(self, *, live: bool) -> None:
        """Say how long the log is, and what of it is shown."""
        self._live, view = live, self.view
        count = units.pluralize(view.lines, "line")
        if view.reading:
            done = f" ({view.counted:.0%}, {view.counted_lines:,} so far)" if view.counted else ""
            count = f"the end of it; counting its lines{done}"
        cells: list[Cell | str] = [count]
        cells += [view.clock] if view.clock else []
        if view.errors:
            cells.append(Cell(f"✗ {view.errors:,}", "error"))
        if view.filter:
            share = (
                " and more"
                if view.filter.is_full
                else ""
                if view.filter.fraction_scanned >= 1
                else f" ({view.filter.fraction_scanned:.0%})"
            )
            cells.append(Cell(f"only {view.filter.wanted.said!r}: {view.rows:,}{share}", "warning"))
        if view.window:
            cells.append(Cell(f"the last {units.duration(WINDOWS_S[view.window])}", "warning"))
        if view.search:
            share = "" if view.search.fraction_scanned >= 1 else f" so far ({view.search.fraction_scanned:.0%})"
            more = " and more" if view.search.is_full else ""
            cells.append(Cell(f"{view.search.wanted.said!r} in {view.search.count:,} lines{more}{share}", "warning"))
        if view.following:
            cells.append(Cell("following" if live else "at the end", "success"))
        elif view.here is not None:
            cells.append(f"line {view.here + 1:,}")
        if not view.following and view.unseen:
            follows = cast("TerminalContext", self.app).key("move.bottom", last=True)
            cells.append(Cell(f"{view.unseen:,} new lines below, {follows} follows", "warning"))
        self.put([self._words], cells)

    def on_log_search_changed(self) -> None:
        self.put_title(live=self._live)

    def ask(self, what: str) -> None:
        """Open the prompt for a search or a filter, or save what is shown. The prompt has the focus on return."""
        if what == "save":
            if self.view.scans:
                self._ask_where(self.view.scans.visible_lines())
            return
        self._asked = what
        prompt = self.query_one(Prompt)
        scan = self.view.search if what == "search" else self.view.filter
        prompt.value = scan.wanted.said if scan else ""
        prompt.placeholder = f"{what}: {HINTS[what]}"
        prompt.display = True
        self.screen.set_focus(prompt)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        prompt = self.query_one(Prompt)
        wanted: Query | None = None
        if event.value:
            try:
                wanted = self.view.parse_query(event.value)
            except UsageError as error:
                self.notify(sanitize_line(str(error)), severity="error", markup=False)
                return
        prompt.action_leave()
        if self._asked == "filter":
            self.view.set_filter(wanted)
        elif wanted:
            self.view.search_for(wanted)
        else:
            self.view.action_clear()

    def _ask_where(self, kept: VisibleLines) -> None:
        name = safe_filename(self._called)

        def answered(path: str | None) -> None:
            if path:
                self._save(kept, Path(path))

        title = f"{units.pluralize(len(kept.lines), 'line')}, to which file?"
        command = f"nanochat-tui logs {name} > {name}.log"
        self.app.push_screen(AskPath(title, str(begin_in() / f"{name}.log"), command), answered)

    @background(group="save", doing="saving the log", finish=True)
    def _save(self, kept: VisibleLines, path: Path) -> None:
        """Write what was shown to a new file; where there is one, with a number in its name."""
        numbered = path.with_suffix("") if path.suffix == ".log" else path

        def named(number: int) -> list[Path]:
            return [path if number == 1 else numbered.with_name(f"{numbered.name}.{number}{path.suffix}")]

        with new_files(named) as (new,):
            kept.write_to(new.file.write)
        self.notify(sanitize_line(f"{len(kept.lines):,} lines are in {new.target}"), markup=False)
