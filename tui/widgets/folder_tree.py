"""The folders of a volume as a tree that grows as they are looked at."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.binding import BindingType
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from runner.text import filenames
from runner.volumes.base import Entries
from tui.presentation.bindings import moves

MOST_FOLDERS = 2000


def way(path: str) -> list[str]:
    """The folders from the root to one, with both."""
    parts = path.split("/") if path else []
    return ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]


class FolderTree(Tree[str]):
    """Folders by name, those of runs by tag; the data of a node is its path."""

    BINDINGS: ClassVar[list[BindingType]] = moves(
        down="cursor_down", up="cursor_up", top="scroll_home", bottom="scroll_end"
    )

    def __init__(self, tone: Callable[[str], Style], *, id: str) -> None:
        super().__init__("volume", data="", id=id)
        self._tone = tone
        self._branches: dict[str, TreeNode[str]] = {"": self.root}
        self._of_runs: set[str] = set()
        self.guide_depth = 2
        self.show_root = False

    def render_label(self, node: TreeNode[str], base_style: Style, style: Style) -> Text:
        own = self._tone("accent") if node.data in self._of_runs else Style()
        return super().render_label(node, base_style, own + style)

    def begin_anew(self) -> None:
        """Forget all folders: they are of another volume."""
        self.clear()
        self._branches = {"": self.root}

    def grow(self, path: str, entries: Entries, tags: Mapping[str, str]) -> None:
        """Add the folders that were found in one; `tags` of runs by their folders."""
        node = self._branches.get(path)
        if node is None:
            return
        kept = {str(child.data): child for child in node.children if child.data is not None}
        folders = [e for e in entries if e.is_dir][:MOST_FOLDERS]
        if list(kept) != [e.path for e in folders]:
            node.remove_children()
            for entry in folders:
                tag = tags.get(entry.path)
                label = filenames.path_for_terminal(tag if tag is not None else entry.name)
                if tag is not None:
                    self._of_runs.add(entry.path)
                self._branches[entry.path] = node.add(Text(label, no_wrap=True), data=entry.path)
            if more := sum(e.is_dir for e in entries) - len(folders):
                node.add_leaf(Text(f"and {more:,} more: the list has them", style="dim"))
        if folders and not node.is_expanded:
            node.expand()
        if path and not folders and node.allow_expand:
            node.allow_expand = False
            # Textual draws its sign only when something else asks for that.
            self.refresh()

    def show(self, path: str) -> None:
        """Put the cursor on a folder, where it is known."""
        node = self._branches.get(path)
        # A node that was just added has its line with the next refresh.
        self.call_after_refresh(self.move_cursor, node if node is not self.root else None)
