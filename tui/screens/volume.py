"""Files of a volume: the tree on the left, on the right what is in the file under the cursor."""

import json
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Markdown, Static, Tree
from textual.widgets.tree import TreeNode
from textual.worker import get_current_worker

from runner import units
from runner.backends.base import Entry
from runner.errors import NanochatError
from runner.nanochat import layout
from runner.terminal import safe
from tui.keys import bindings, moves
from tui.screens.base import Line, NanochatScreen

PREVIEW_BYTES = 64 * 1024
MAX_CHILDREN = 2000
BINARY = (".pt", ".pkl", ".parquet", ".bin", ".zip")


class Files(Tree[Entry]):
    """A tree with the keys of the other lists."""

    BINDINGS: ClassVar[list[BindingType]] = moves(
        down="cursor_down", up="cursor_up", top="scroll_home", bottom="scroll_end", left="close", right="open"
    )

    def action_open(self) -> None:
        if self.cursor_node and self.cursor_node.allow_expand:
            self.cursor_node.expand()

    def action_close(self) -> None:
        if self.cursor_node and self.cursor_node.is_expanded:
            self.cursor_node.collapse()
        else:
            self.action_cursor_parent()


class VolumeScreen(NanochatScreen):
    """Loads folder by folder in workers; a preview reads at most PREVIEW_BYTES and never a pickle."""

    CSS_PATH: ClassVar[str | Path] = Path(__file__).with_suffix(".tcss")
    BINDINGS: ClassVar[list[BindingType]] = bindings("volume")

    def __init__(self) -> None:
        super().__init__()
        self._location = ""

    def compose(self) -> ComposeResult:
        yield Line(id="title")
        with Horizontal():
            yield Files("volume", id="tree")
            with VerticalScroll(id="preview"):
                yield Static("", markup=False, id="text")
                yield Markdown("", id="markdown", open_links=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        tree = self.query_one(Tree)
        tree.show_root = False
        tree.guide_depth = 2
        tree.focus()
        self._choose_volume()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._choose_volume()

    def _locations(self) -> list[tuple[str, str]]:
        """(backend, location) of every known volume, that of the watched run first."""
        runs = sorted(self.nanochat.runs, key=lambda r: r.id != self.nanochat.watched)
        known = [(r.backend, r.volume) for r in runs]
        known.append(("local", self.nanochat.default_volume))
        return list(dict.fromkeys(known))

    def _choose_volume(self) -> None:
        if not self.is_there:
            return
        locations = [location for _, location in self._locations()]
        if self._location not in locations:
            self._location = locations[0]
            self.action_reload()

    def action_next_volume(self) -> None:
        locations = [location for _, location in self._locations()]
        self._location = locations[(locations.index(self._location) + 1) % len(locations)]
        self.action_reload()

    def action_reload(self) -> None:
        self.query_one("#title", Line).put(["Volume", self._location])
        tree: Tree[Entry] = self.query_one(Tree)
        tree.clear()
        self._show_text(Text(""))
        self._load(tree.root, "")

    def on_tree_node_expanded(self, event: Tree.NodeExpanded[Entry]) -> None:
        if event.node.data is not None and event.node.data.is_dir:
            self._load(event.node, event.node.data.path)

    @work(thread=True, group="list", exit_on_error=False)
    def _load(self, node: TreeNode[Entry], path: str) -> None:
        location = self._location
        try:
            entries = self.nanochat.fleet.backend(self._backend()).volume(location).list(path)
        except (NanochatError, OSError) as error:
            self.app.call_from_thread(self._show_problem, node, str(error))
        else:
            if location == self._location:
                self.app.call_from_thread(self._fill, node, entries)

    def _backend(self) -> str:
        return next(backend for backend, location in self._locations() if location == self._location)

    def _show_problem(self, node: TreeNode[Entry], problem: str) -> None:
        node.remove_children()
        node.add_leaf(Text("! cannot be read, r tries again", style=self.nanochat.tone("error")))
        self._open(node)
        self._show_text(Text(safe(problem), style=self.nanochat.tone("error")))

    @staticmethod
    def _open(node: TreeNode[Entry]) -> None:
        """Expand a node whose entries have come; one that is open already would be loaded again, for ever."""
        if not node.is_expanded:
            node.expand()

    def _fill(self, node: TreeNode[Entry], entries: list[Entry]) -> None:
        tags = {r.id: r.tag for r in self.nanochat.runs}
        node.remove_children()
        for entry in entries[:MAX_CHILDREN]:
            label = Text(safe(entry.name), no_wrap=True)
            if entry.path == layout.run_dir(entry.name) and entry.name in tags:
                label.append(f"  {safe(tags[entry.name])}", style=self.nanochat.tone("accent"))
            if entry.is_dir:
                folder = node.add(label, data=entry)
                if entry.path == layout.RUNS:
                    folder.expand()
            else:
                label.append(f"  {units.size(entry.bytes)}", style="dim")
                node.add_leaf(label, data=entry)
        if len(entries) > MAX_CHILDREN:
            node.add_leaf(Text(f"… {len(entries) - MAX_CHILDREN:,} more", style="dim"))
        if not entries:
            node.add_leaf(Text("empty", style="dim"))
        self._open(node)
        tree = self.query_one(Tree)
        if tree.cursor_node in (None, tree.root) and node is tree.root:
            tree.cursor_line = 0

    def on_tree_node_highlighted(self, event: Tree.NodeHighlighted[Entry]) -> None:
        entry = event.node.data
        if entry is None or entry.is_dir:
            self._show_text(Text(""))
        elif entry.name.endswith(BINARY):
            what = "a pickle, never opened here" if entry.name.endswith((".pt", ".pkl")) else "not shown as text"
            self._show_text(Text(f"{safe(entry.name)}\n{entry.bytes:,} bytes; {what}"))
        else:
            self._preview(entry)

    @work(thread=True, exclusive=True, group="preview", exit_on_error=False)
    def _preview(self, entry: Entry) -> None:
        worker = get_current_worker()
        try:
            volume = self.nanochat.fleet.backend(self._backend()).volume(self._location)
            data = volume.read(entry.path, 0, PREVIEW_BYTES)
        except (NanochatError, OSError) as error:
            self.app.call_from_thread(self._show_text, Text(safe(str(error)), style=self.nanochat.tone("error")))
            return
        shown = as_text(entry.name, data, entry.bytes)
        if worker.is_cancelled:
            return
        if entry.name.endswith(".md"):
            self.app.call_from_thread(self._show_markdown, shown)
        else:
            self.app.call_from_thread(self._show_text, Text(shown))

    def _show_text(self, text: Text) -> None:
        self.query_one("#markdown").display = False
        static = self.query_one("#text", Static)
        static.display = True
        static.update(text)
        self.query_one("#preview").scroll_home(animate=False)

    def _show_markdown(self, text: str) -> None:
        self.query_one("#text").display = False
        markdown = self.query_one(Markdown)
        markdown.display = True
        markdown.update(text)
        self.query_one("#preview").scroll_home(animate=False)


def as_text(name: str, data: bytes, size: int) -> str:
    """The beginning of a file as harmless text; whole JSON is indented, NUL bytes mean that it is not text."""
    if b"\0" in data:
        return f"{size:,} bytes that are not text"
    text = data.decode("utf-8", "replace")
    if name.endswith(".json") and len(data) == size:
        try:
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            text = f"(not valid JSON)\n{text}"
    lines = [safe(line) for line in text.split("\n")]
    if size > len(data):
        lines.append(f"… the first {units.size(len(data))} of {units.size(size)}")
    return "\n".join(lines)
