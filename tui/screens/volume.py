"""Files of a volume: folders on the left, one folder's entries beside them, what is in the file under the cursor."""

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.timer import Timer
from textual.widgets import Input, Tree
from textual.worker import get_current_worker

from runner.errors import NanochatError
from runner.model import identifiers
from runner.model.run import Run
from runner.nanochat import layout
from runner.preview.build import PreviewContent, build_preview
from runner.text import filenames, units
from runner.volumes import directory_cache
from runner.volumes.base import Entries, Entry
from runner.volumes.directory_cache import DirectoryCache, DirectoryListing
from tui.background import background
from tui.context import VolumeRef
from tui.presentation.bindings import bindings
from tui.presentation.cells import Cell
from tui.screens.cleared import ClearedState
from tui.screens.files import FilesScreen
from tui.widgets.folder_tree import FolderTree, way
from tui.widgets.line import Line
from tui.widgets.panel import Panel
from tui.widgets.preview import Preview
from tui.widgets.virtual_list import Column, FileList

FIRST, AT_ONCE, PREVIEW_AFTER_S = 200, 5000, 0.12
WIDE, TINY = 110, 60
COLUMNS = (
    Column("name", 20, keep=0, grows=True),
    Column("size", 9, right=True, keep=1),
    Column("age", 4, right=True, keep=2),
)
PROMPTS = {"find": "letters of a path, as mdl75", "filter": "text in the name"}


class VolumeScreen(FilesScreen):
    """Looks at one folder at a time, in a worker; what was looked at stays known, with its age."""

    CSS_PATH: ClassVar[str | Path] = Path(__file__).with_suffix(".tcss")
    BINDINGS: ClassVar[list[BindingType]] = bindings("volume")
    SECTIONS = ("volume", "files")
    TAB = "volume"

    def __init__(self) -> None:
        super().__init__()
        self._shelves: dict[VolumeRef, DirectoryCache] = {}
        self._folder = ""
        self._entries: dict[str, Entry] = {}
        self._sort, self._reverse = "name", False
        self._words, self._letters, self._asked = "", "", ""
        self._looking, self._count = False, 0
        self._known: dict[VolumeRef, Entries] = {}
        self._learned = 1
        self._wanted = ""
        self._resting: Timer | None = None
        self._tags: dict[str, str] = {}

    def body(self) -> ComposeResult:
        with Horizontal():
            with Panel(id="folders"):
                yield FolderTree(self.nanochat.tone, id="tree")
            with Panel(id="files"):
                yield FileList(COLUMNS, self._cells, empty="", tones=self.nanochat.tone, id="list")
            yield Preview(self.nanochat.tone, id="preview")
        yield Line(id="transfers")
        yield Input(id="ask", compact=True)

    def on_mount(self) -> None:
        self._list.focus()
        self._choose()
        self.every(1.0, self._show_title)

    def on_screen_resume(self) -> None:
        self._choose()
        if self.is_there:
            self._list.refresh()

    def on_resize(self) -> None:
        self.set_class(self.size.width < WIDE, "narrow")
        self.set_class(self.size.width < TINY, "tiny")

    @property
    def _list(self) -> FileList:
        return self.query_one("#list", FileList)

    @property
    def _shelf(self) -> DirectoryCache:
        return self._shelves.setdefault(self.place, DirectoryCache())

    @property
    def _current(self) -> Entry | None:
        return self._entries.get(self._list.current)

    def _choose(self) -> None:
        """Begin with the volume of the run that is watched, unless one was chosen."""
        places = self.files.places()
        if self.is_there and self.place not in places:
            self.open_at(places[0], "")

    def open_at(self, place: VolumeRef, path: str, name: str = "") -> None:
        """Show a folder of a volume, with the cursor on one of its entries."""
        if place != self.place:
            self.place = place
            self.query_one(FolderTree).begin_anew()
        self._wanted = f"{path}/{name}".lstrip("/") if name else ""
        self._go(path)

    def action_next_volume(self) -> None:
        self.open_at(self.files.after(self.place), "")

    def _go(self, path: str) -> None:
        """Another folder: what is known of it at once, and a fresh look if it was never looked at."""
        self._folder, self._letters = path, ""
        self._words = ""
        self._list.marked.clear()
        self.cleared.forget()
        self._list.begin()
        known = self._shelf.get(path)
        self._looking = known is None or bool(known.problem)
        self._count = 0
        self._again()
        self.query_one(FolderTree).show(path)
        if self._looking:
            self._look(self.place, path)

    def action_reload(self) -> None:
        self._looking, self._count = True, 0
        self._known.pop(self.place, None)
        self._learned = 1
        self._look(self.place, self._folder)

    @background(group="list", doing="looking at the volume", exclusive=True)
    def _look(self, place: VolumeRef, path: str) -> None:
        """Read a folder; its first entries are shown before the rest has come."""

        worker = get_current_worker()
        found: Entries = []
        problem = ""
        try:
            for batch in self.files.volume(place).scan(path):
                if worker.is_cancelled:
                    return
                if batch and not found and not self._shelf.get(path):
                    self.app.call_from_thread(self._came, place, path, directory_cache.ordered(batch[:FIRST], "name"))
                found += batch
                self._count = len(found)
        except (NanochatError, OSError) as error:
            problem = getattr(error, "strerror", "") or str(error)
        found = directory_cache.ordered(found, "name")
        if not worker.is_cancelled:
            listing = DirectoryListing(found, self.nanochat.fleet.clock(), problem)
            self.app.call_from_thread(self._looked, place, path, listing)
            if not problem:
                self._look_above(place, path)

    def _look_above(self, place: VolumeRef, path: str) -> None:
        """The folders over one that was opened by its path: the tree shows the way to it."""
        worker, shelf = get_current_worker(), self._shelves[place]
        for above in way(path)[:-1]:
            if shelf.get(above) is None:
                try:
                    found = [entry for batch in self.files.volume(place).scan(above) for entry in batch]
                except (NanochatError, OSError):
                    # Whoever goes there is told why.
                    return
                if worker.is_cancelled:
                    return
                listing = DirectoryListing(directory_cache.ordered(found, "name"), self.nanochat.fleet.clock(), "")
                self.app.call_from_thread(self._looked, place, above, listing)

    def _came(self, place: VolumeRef, path: str, entries: Entries) -> None:
        """The first entries of a folder that was never looked at."""
        if (place, path) == (self.place, self._folder):
            self._show(entries)

    def _looked(self, place: VolumeRef, path: str, found: DirectoryListing) -> None:
        shelf = self._shelves.setdefault(place, DirectoryCache())
        shelf.put(path, found)
        if (place, path) == (self.place, self._folder):
            self._looking = False
            self._again()
        if place == self.place:
            tree, tags = self.query_one(FolderTree), {r.path: r.tag for r in self.files.runs_on(place)}
            for folder in way(self._folder):
                if known := shelf.get(folder):
                    tree.grow(folder, known.entries, tags)
            tree.show(self._folder)

    def _again(self) -> None:
        """Show what is known of the folder, sorted and filtered anew: in a worker, where that takes its time."""
        known = self._shelf.get(self._folder)
        if self._letters or (
            known and len(known.entries) > AT_ONCE and (self._words or self._sort != "name" or self._reverse)
        ):
            everything = self._known.get(self.place) or list(self._shelf.everything())
            called = self._called()
            self._arrange(everything if self._letters else known.entries if known else [], self._letters, called)
        else:
            self._show(self._ordered(known.entries) if known else [])

    @background(group="arrange", doing="sorting the files", exclusive=True)
    def _arrange(self, entries: Entries, letters: str, called: dict[str, str]) -> None:
        worker = get_current_worker()
        found = directory_cache.fuzzy(entries, letters, called=called) if letters else self._ordered(entries)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._show, found)

    def _ordered(self, entries: Entries) -> Entries:
        return directory_cache.ordered(entries, self._sort, self._words, reverse=self._reverse)

    def _called(self) -> dict[str, str]:
        """Tags of runs, by their folders, where the name of the folder does not say them."""
        runs = self.files.runs_on(self.place)
        return {r.path: r.tag for r in runs if r.path != identifiers.run_dir(identifiers.folder_name(r.tag, r.id))}

    def _show(self, found: Entries) -> None:
        self._tags = self._called()
        self._entries = {e.path: e for e in found}
        problem = look_.problem if (look_ := self._shelf.get(self._folder)) else ""
        again = f"{problem}: {self.nanochat.key('files.reload')} tries again"
        self._list.empty = again if problem else "" if self._looking else "empty"
        if self._letters or self._words:
            self._list.empty = "nothing fits; Esc takes it back"
        self._list.show(list(self._entries))
        if self._wanted in self._entries:
            self._list.go_to(self._wanted)
            self._wanted = ""
        self._show_title()
        self._preview_soon()

    def _show_title(self) -> None:
        known = self._shelf.get(self._folder)
        where = self.which_volume()
        named = Cell(self.files.named(self.place), "dim")
        self.query_one("#folders", Panel).put(["Volume"], [*([where] if where else []), named])
        path = filenames.path_for_terminal(self._folder or self.place.location)
        run = self._run_of(self._folder)
        title: list[Cell | str] = [path, *([Cell(run.tag, "accent")] if run else [])]
        cells: list[Cell | str] = []
        if known and known.problem:
            cells.append(Cell(f"! {known.problem}", "error"))
        if self._letters:
            learned = len(self._known.get(self.place, []))
            of = f"{learned:,} files and folders" + (
                ", and there are more" if learned > directory_cache.MOST_KNOWN else ""
            )
            title = [Cell(f"find {self._letters!r}: {len(self._entries):,} of {of}", "warning")]
        elif self._words:
            cells.append(Cell(f"only {self._words!r}: {len(self._entries):,}", "warning"))
        else:
            cells.append(f"{len(self._entries):,}")
        cells.append(Cell(f"by {self._sort}{', reversed' if self._reverse else ''}", "dim"))
        if self._list.marked:
            size = sum(self._entries[p].bytes for p in self._list.marked if p in self._entries)
            cells.append(Cell(f"{len(self._list.marked)} marked, {units.size(size)}", "accent"))
        if self._looking:
            cells.append(Cell(f"looking … {self._count:,}" if self._count else "looking …", "dim"))
        elif known:
            cells.append(Cell(f"looked at {units.age(known.at, self.nanochat.fleet.clock())} ago", "dim"))
        self.query_one("#files", Panel).put(title, cells)

    def _cells(self, path: str) -> list[Cell]:
        entry = self._entries[path]
        added_up = self.nanochat.usages.get(self.place)
        total = added_up.folders.get(path) if added_up and entry.is_dir else None
        size = units.size(total.bytes if total else None) if entry.is_dir else units.size(entry.bytes)
        name = filenames.path_for_terminal(entry.path if self._letters else entry.name)
        name += "/" if entry.is_dir else ""
        name += f"  {filenames.path_for_terminal(self._tags[path])}" if path in self._tags else ""
        return [
            Cell(name, "accent" if entry.is_dir else ""),
            Cell(size),
            Cell(units.age(entry.mtime, self.nanochat.fleet.clock()) if entry.mtime else units.UNKNOWN),
        ]

    def _run_of(self, path: str) -> Run | None:
        """The run whose folder a path is in, or is."""
        return next((r for r in self.files.runs_on(self.place) if f"{path}/".startswith(f"{r.path}/")), None)

    def on_virtual_list_moved(self) -> None:
        self._preview_soon()

    def on_virtual_list_chosen(self) -> None:
        self.action_open()

    def _preview_soon(self) -> None:
        """A preview when the cursor rests: nobody waits for what they scroll past."""
        entry = self._current
        self.query_one(Preview).clear(filenames.path_for_terminal(entry.name) + "/" * entry.is_dir if entry else "")
        if self._resting:
            self._resting.stop()
        self._resting = self.set_timer(PREVIEW_AFTER_S, self._preview_now)

    def _preview_now(self) -> None:
        entry = self._current
        self.workers.cancel_group(self, "preview")
        if entry is not None:
            self._preview(self.place, entry, self._run_of(entry.path))

    def _no_preview(self, error: NanochatError) -> None:
        self.query_one(Preview).clear(words=f"cannot be shown: {error}"[:200], tone="warning")

    @background(group="preview", doing="looking at what is under the cursor", exclusive=True, failed=_no_preview)
    def _preview(self, place: VolumeRef, entry: Entry, run: Run | None) -> None:
        worker = get_current_worker()
        seen = build_preview(self.files.volume(place), entry, self.nanochat.fleet.home / "previews", run)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._show_preview, entry, seen)

    def _show_preview(self, entry: Entry, seen: PreviewContent) -> None:
        if self._current == entry:
            self.query_one(Preview).show(filenames.path_for_terminal(entry.name) + "/" * entry.is_dir, seen)

    def on_tree_node_selected(self, event: Tree.NodeSelected[str]) -> None:
        if event.control.id == "tree" and event.node.data is not None and event.node.data != self._folder:
            self._go(str(event.node.data))

    def on_tree_node_expanded(self, event: Tree.NodeExpanded[str]) -> None:
        if event.control.id == "tree" and event.node.data and not event.node.children:
            self._go(str(event.node.data))

    def action_open(self) -> None:
        entry = self._current
        if entry is None:
            return
        if entry.is_dir:
            self._go(entry.path)
            return
        self.set_class(True, "reading")
        content = self.query_one(Preview).content
        if content:
            content.focus()

    def action_up(self) -> None:
        """The folder above, with the cursor on where we come from."""
        if self._folder:
            above, _, name = self._folder.rpartition("/")
            self.open_at(self.place, above, name)

    def action_back(self) -> None:
        if self.has_class("reading"):
            self.remove_class("reading")
            self._list.focus()
        elif self.query_one("#ask", Input).display or self._words or self._letters:
            self.cleared.put(ClearedState(self._words, self._letters))
            self._words = self._letters = ""
            self.query_one("#ask", Input).display = False
            self._list.focus()
            self._again()
        elif self._list.marked:
            self.cleared.put(ClearedState(marked=frozenset(self._list.marked)))
            self._list.marked.clear()
            self._list.refresh()
        else:
            super().action_back()

    def bring_back(self, kept: ClearedState) -> None:
        if kept.words or kept.letters:
            self._words, self._letters = kept.words, kept.letters
            self._again()
        self._list.marked |= kept.marked
        self._list.refresh()
        self._show_title()

    def action_find(self) -> None:
        self._ask("find")
        if self.place not in self._known:
            self._learn(self.place)

    @background(group="learn", doing="looking at all of the volume", exclusive=True)
    def _learn(self, place: VolumeRef) -> None:
        """Look at all of the volume, for finding; what was found so far is shown again from time to time."""
        worker, found = get_current_worker(), Entries()
        for batch in self.files.volume(place).scan("", deep=True, left_out=[]):
            if worker.is_cancelled or len(found) > directory_cache.MOST_KNOWN:
                break
            found += batch
            self._known[place] = found
            if len(found) >= 2 * self._learned:
                self._learned = len(found)
                self.app.call_from_thread(self._find_again)
        self.app.call_from_thread(self._find_again)

    def _find_again(self) -> None:
        if self._letters:
            self._again()

    def action_filter(self) -> None:
        self._ask("filter")

    def _ask(self, what: str) -> None:
        field = self.query_one("#ask", Input)
        self._asked = what
        field.placeholder = f"{what}: {PROMPTS[what]}"
        field.value = ""
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id != "ask" or not event.input.display:
            return
        self._letters = event.value if self._asked == "find" else ""
        self._words = event.value if self._asked == "filter" else ""
        self._again()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "ask":
            event.input.display = False
            self._list.focus()

    def action_sort(self) -> None:
        order = directory_cache.SORTS
        self._sort, self._reverse = order[(order.index(self._sort) + 1) % len(order)], False
        self._again()

    def on_virtual_list_head_clicked(self, message: FileList.HeadClicked) -> None:
        column = {"age": "time"}.get(message.column, message.column)
        self._sort, self._reverse = column, column == self._sort and not self._reverse
        self._again()

    def action_mark(self) -> None:
        self._list.toggle_mark()
        self._show_title()

    def action_mark_all(self) -> None:
        self.cleared.put(ClearedState(marked=self._list.toggle_all()))
        self._show_title()

    def action_copy(self) -> None:
        if self._current:
            self.nanochat.copy(
                filenames.path_for_json(self._current.path), filenames.path_for_terminal(self._current.path)
            )

    def action_put(self) -> None:
        self.files.ask_put(self.place, self._folder, self.action_reload)

    def action_sizes(self) -> None:
        self.nanochat.show_sizes(self.place, self._folder)

    def action_resume(self) -> None:
        """Go on from the checkpoint that the file under the cursor is a part of."""
        entry = self._current
        part = layout.checkpoint_part(entry.name) if entry else None
        kinds = {folder: kind for kind, folder in layout.CHECKPOINT_DIRS.items()}
        run = self._run_of(entry.path) if entry else None
        inside = entry.path.removeprefix(f"{run.path}/").split("/") if entry and run else [""]
        if part is None or run is None or inside[0] not in kinds:
            self.notify("put the cursor on a file of a checkpoint first", severity="warning", markup=False)
            return
        self.resume_from(run, kinds[inside[0]], part[1])

    def picked(self) -> dict[VolumeRef, list[str]]:
        paths = sorted(self._list.marked) or ([self._list.current] if self._list.current else [])
        return {self.place: paths} if paths else {}
