"""What takes how much of a volume, the largest first, and what of it could go."""

import time
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.worker import get_current_worker

from runner.errors import NanochatError
from runner.model.backend_name import BackendName
from runner.text import filenames, units
from runner.text.sanitize import sanitize_line
from runner.volumes import disk_usage, trash
from runner.volumes.base import TRASH
from runner.volumes.disk_usage import DiskUsage, FolderUsage, Suggestion
from tui.background import background
from tui.context import VolumeRef
from tui.presentation.bindings import bindings
from tui.presentation.cells import Cell
from tui.presentation.phrases import trash_text
from tui.screens.files import FilesScreen
from tui.widgets.line import Line
from tui.widgets.panel import Panel
from tui.widgets.virtual_list import Column, FileList

SHOW_EVERY_S = 0.3
FOLDERS = (
    Column("size", 9, right=True, keep=0),
    Column("", 12, keep=3),
    Column("share", 5, right=True, keep=2),
    Column("files", 8, right=True, keep=4),
    Column("name", 30, keep=1, grows=True),
    Column("run", 16, keep=5),
)
COULD_GO = (
    Column("size", 9, right=True, keep=0),
    Column("could go", 30, keep=1, grows=True),
    Column("comes back", 10, keep=2),
    Column("but", 50, keep=3, grows=True),
)
HERE = "."


class SizesScreen(FilesScreen):
    """Adds up a whole volume in a worker and shows what it has so far."""

    CSS_PATH: ClassVar[str | Path] = Path(__file__).with_suffix(".tcss")
    BINDINGS: ClassVar[list[BindingType]] = bindings("sizes")
    SECTIONS = ("sizes", "files")
    TAB = "volume"

    def __init__(self) -> None:
        super().__init__()
        self._usage = DiskUsage()
        self._folder = ""
        self._rows: dict[str, FolderUsage] = {}
        self._advice: dict[str, Suggestion] = {}
        self._problem, self._done_at, self._wanted = "", 0.0, ""

    def body(self) -> ComposeResult:
        with Panel(id="folders"):
            yield FileList(FOLDERS, self._cells, empty="adding up …", tones=self.nanochat.tone, id="list")
        with Panel(id="could-go"):
            yield FileList(COULD_GO, self._advice_cells, empty="nothing", tones=self.nanochat.tone, id="advice")
        yield Line(id="transfers")

    def on_mount(self) -> None:
        self._list.focus()
        self.every(1.0, self._show_title)
        if self.place.location:
            self.action_reload()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        if self.is_there and self._done_at and self.place not in self.nanochat.usages:
            self.action_reload()

    @property
    def _list(self) -> FileList:
        return self.query_one("#list", FileList)

    @property
    def _could_go(self) -> FileList:
        return self.query_one("#advice", FileList)

    def open_at(self, place: VolumeRef, path: str) -> None:
        """Show a folder of a volume; the volume is added up anew when it is another one."""
        other = place != self.place
        self.place, self._folder = place, path
        self._list.focus()
        if other:
            self._usage, self._done_at, self._advice = DiskUsage(), 0.0, {}
            for one in (self._list, self._could_go):
                one.marked.clear()
                one.show([])
        if self.is_there:
            if not self._done_at:
                self.action_reload()
            else:
                self._show()

    def action_next_volume(self) -> None:
        self.open_at(self.files.after(self.place), "")

    def action_reload(self) -> None:
        self._done_at, self._problem = 0.0, ""
        self._list.begin()
        self._add_up(self.place)

    @background(group="list", doing="adding up the volume", exclusive=True)
    def _add_up(self, place: VolumeRef) -> None:
        worker, found, show_at, problem = get_current_worker(), DiskUsage(), 0.0, ""
        left_out: list[str] = []
        try:
            for batch in self.files.volume(place).scan("", deep=True, left_out=left_out):
                if worker.is_cancelled:
                    return
                found.add(batch)
                if (began := time.monotonic()) > show_at:
                    self.app.call_from_thread(self._take, place, found.copy(), [], "", False)
                    # Copies of very many folders take their time, which the adding up should have.
                    show_at = time.monotonic() + max(SHOW_EVERY_S, 5 * (time.monotonic() - began))
        except (NanochatError, OSError) as error:
            problem = getattr(error, "strerror", "") or str(error)
        if left_out:
            problem = f"{len(left_out)} folders may not be read, as {filenames.path_for_terminal(left_out[0])}"
        could_go = disk_usage.suggestions(found, self.files.runs_on(place))
        held = trash.usage(self.files.volume(place), lambda: worker.is_cancelled)
        if said := trash_text(held, self.nanochat.fleet.clock()):
            lost = Suggestion(said, "what was deleted cannot be brought back then", held.bytes, (TRASH,))
            could_go = disk_usage.in_turn([*could_go, lost])
        if not worker.is_cancelled:
            self.app.call_from_thread(self._take, place, found, could_go, problem, True)

    def _take(self, place: VolumeRef, found: DiskUsage, could_go: list[Suggestion], problem: str, whole: bool) -> None:
        if place != self.place:
            return
        self._usage, self._problem = found, problem
        if whole:
            self._done_at = self.nanochat.fleet.clock()
            self.nanochat.usages[self.place] = found
            # By what it is: a mark stays with it, wherever it stands then.
            self._advice = {one.what: one for one in could_go}
            self._could_go.show(list(self._advice))
        self._show()

    def _show(self) -> None:
        if self._done_at and self._folder not in self._usage.folders:
            self._folder = ""
        own = self._usage.own(self._folder)
        rows = [*self._usage.children(self._folder), *([own] if own.files else [])]
        rows.sort(key=lambda t: -t.bytes)
        self._rows = {HERE if t is own else t.path: t for t in rows}
        self._list.empty = self._problem or ("empty" if self._done_at else "adding up …")
        self._list.show(list(self._rows))
        if self._wanted in self._rows:
            self._list.go_to(self._wanted)
            self._wanted = ""
        self._show_title()

    def _show_title(self) -> None:
        whole, here = self._usage.at(""), self._usage.at(self._folder)
        title = ["Sizes", filenames.path_for_terminal(self._folder) or f"all of {self.files.named(self.place)}"]
        cells: list[Cell | str] = [f"{units.size(here.bytes)} in {units.pluralize(here.files, 'file')}"]
        if self.place.backend == BackendName.MODAL:
            free = units.size(disk_usage.free_tier())
            cells.append(f"{units.money(disk_usage.per_month(whole.bytes))} a month but for the first {free}")
        if other := self.which_volume():
            cells.append(f"volume {other}: next")
        age = units.age(self._done_at, self.nanochat.fleet.clock())
        cells.append(Cell(f"added up {age} ago" if self._done_at else "adding up …", "dim"))
        if self._problem:
            cells.append(Cell(f"! {self._problem}: {self.nanochat.key('files.reload')} tries again", "error"))
        self.query_one("#folders", Panel).put(title, cells)
        self._show_advice()

    def _show_advice(self) -> None:
        """What is lost with the one under the cursor, where its column has no room; how much is marked."""
        free, one = self._could_go, self._advice.get(self._could_go.current)
        cells: list[Cell | str] = []
        if free.marked:
            size = units.size(sum(self._advice[key].bytes for key in free.marked))
            most = "at most " if any(self._advice[key].run for key in free.marked) else ""
            cells.append(Cell(f"{len(free.marked)} marked, {most}{size}", "accent"))
        elif one and not free.shows("but"):
            cells.append(Cell(sanitize_line(one.why), "dim"))
        self.query_one("#could-go", Panel).put(["What could go"], cells)

    def _cells(self, key: str) -> list[Cell]:
        total, here = self._rows[key], self._usage.at(self._folder)
        share = total.bytes / here.bytes if here.bytes else 0.0
        tags = {r.path: r.tag for r in self.files.runs_on(self.place)}
        name = "(files here)" if key == HERE else filenames.path_for_terminal(key.rpartition("/")[2]) + "/"
        return [
            Cell(units.size(total.bytes)),
            Cell(units.bar(share, 12), "accent"),
            Cell(f"{share:.0%}"),
            Cell(f"{total.files:,}"),
            Cell(name, "dim" if key == HERE else ""),
            Cell(sanitize_line(tags.get(key, "")), "accent"),
        ]

    def _advice_cells(self, key: str) -> list[Cell]:
        one = self._advice[key]
        back = Cell("yes", "success") if one.again else Cell("no", "warning")
        return [Cell(units.size(one.bytes)), Cell(sanitize_line(one.what)), back, Cell(sanitize_line(one.why), "dim")]

    def on_virtual_list_moved(self) -> None:
        self._show_advice()

    def on_virtual_list_chosen(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if self._could_go.has_focus:
            self._look_at(self._advice.get(self._could_go.current))
        elif self._list.has_focus and self._list.current == HERE:
            self.action_browse()
        elif self._list.has_focus and self._list.current:
            self._folder = self._list.current
            self._list.begin()
            self._show()

    def _look_at(self, one: Suggestion | None) -> None:
        """Where it lies, or the checkpoints that the run has saved."""
        if one is not None and one.paths:
            folder, _, name = one.paths[0].rpartition("/")
            self.nanochat.browse(self.place, folder, name)
        elif one is not None and (run := next((r for r in self.files.runs_on(self.place) if r.path == one.run), None)):
            self.nanochat.show_checkpoints(run)

    def action_up(self) -> None:
        if self._folder:
            self._wanted, self._folder = self._folder, self._folder.rpartition("/")[0]
            self._show()

    def action_browse(self) -> None:
        self.nanochat.browse(self.place, self._folder)

    def action_sort(self) -> None:
        """The largest is first, always."""

    def action_mark(self) -> None:
        if focused := self._marked_alone():
            focused.toggle_mark()
            self._show_advice()

    def action_mark_all(self) -> None:
        if focused := self._marked_alone():
            focused.toggle_all()
            # What was deleted already is no part of what goes.
            focused.marked -= {TRASH, *(key for key, one in self._advice.items() if one.paths == (TRASH,))}
            self._show_advice()

    def _marked_alone(self) -> FileList | None:
        """The list that has the keys, whose marks are the only ones: one question is about one list."""
        focused = self.focused
        if not isinstance(focused, FileList):
            return None
        other = self._list if focused is self._could_go else self._could_go
        other.marked.clear()
        other.refresh()
        return focused

    def action_back(self) -> None:
        if self._folder:
            self.action_up()
        else:
            super().action_back()

    def picked(self) -> dict[VolumeRef, list[str]]:
        if self._advised:
            paths = [path for one in self._advised for path in one.paths]
            if not paths:
                self.notify(f"{self.nanochat.key('sizes.open')} shows them, each to be chosen", markup=False)
        else:
            wanted = self._list.marked or {self._list.current}
            paths = sorted(wanted - {HERE, ""})
            if HERE in wanted and not paths:
                self.notify(f"{self.nanochat.key('sizes.open')} shows these files, each to be marked", markup=False)
        return {self.place: paths} if paths else {}

    @property
    def _advised(self) -> list[Suggestion]:
        """What is marked of what could go, or under the cursor; nothing where the question is about the folders."""
        free = self._could_go
        here = free.has_focus and not self._list.marked and free.current
        return [self._advice[key] for key in sorted(free.marked or ({free.current} if here else ()))]

    def action_remove(self) -> None:
        pruned = {one.run for one in self._advised if one.run}
        if not pruned:
            super().action_remove()
            return
        paths = [path for one in self._advised for path in one.paths]
        runs = [run for run in self.files.runs_on(self.place) if run.path in pruned]
        self.files.ask_remove(self.place, paths, self.action_reload, pruned=runs)
