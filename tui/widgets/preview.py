"""What is in the file under the cursor, each kind in the form that suits it."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from rich.color import Color
from rich.style import Style
from rich.table import Table as RichTable
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Markdown, Static, Tree
from textual.widgets.tree import TreeNode

from runner.logs.log_file import LogFile
from runner.metrics.series import Curves
from runner.preview.build import PreviewContent
from runner.preview.pictures import Cells
from runner.preview.tables import Table
from runner.preview.tensors import Group
from runner.text import units
from runner.text.sanitize import sanitize_line
from tui.presentation.bindings import moves
from tui.presentation.cells import Cell
from tui.widgets.log_pane import LogPane
from tui.widgets.panel import Panel
from tui.widgets.plot import Layer, Plot, PlotWindow
from tui.widgets.run_curves import CHARTS, SHORT

W = TypeVar("W", bound=Widget)
MOST_SHOWN = 500
ROW = 60


class PreviewText(VerticalScroll, can_focus=True):
    """Text that is read from top to bottom, with the keys of the other lists."""

    BINDINGS: ClassVar[list[BindingType]] = moves(
        down="scroll_down",
        up="scroll_up",
        page_down="page_down",
        page_up="page_up",
        top="scroll_home",
        bottom="scroll_end",
    )


class JsonTree(Tree[Any]):
    """JSON whose objects open one by one."""

    BINDINGS: ClassVar[list[BindingType]] = moves(
        down="cursor_down", up="cursor_up", top="scroll_home", bottom="scroll_end", right="toggle_node"
    )

    def unfold(self, value: Any) -> None:
        self.clear()
        self.show_root = False
        self.guide_depth = 2
        self._fill(self.root, value)
        self.root.expand()

    def on_tree_node_expanded(self, event: Tree.NodeExpanded[Any]) -> None:
        if event.node is not self.root and not event.node.children:
            self._fill(event.node, event.node.data)

    def _fill(self, node: TreeNode[Any], value: Any) -> None:
        pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
        for key, inside in pairs[:MOST_SHOWN]:
            label = Text(sanitize_line(str(key))[:ROW], style="bold", no_wrap=True)
            if isinstance(inside, dict | list) and inside:
                label.append(f"  {len(inside):,}", style="not bold dim")
                node.add(label, data=inside)
            else:
                label.append(f"  {sanitize_line(str(inside))[:300]}", style="not bold")
                node.add_leaf(label)
        if len(pairs) > MOST_SHOWN:
            node.add_leaf(Text(f"… {len(pairs) - MOST_SHOWN:,} more", style="dim"))


class Preview(Panel):
    """A file by name, lines about it, and below them its content. The parts are made when they are first needed."""

    DEFAULT_CSS = """
    Preview LogPane, Preview LogPane:focus-within { border: none; border-top: solid $panel; padding: 0; }
    Preview #preview-about { height: auto; padding: 0 1; color: $text-muted; }
    Preview .part { display: none; }
    Preview .part.shown { display: block; }
    Preview PreviewText { padding: 0 1; height: 1fr; scrollbar-size-vertical: 1; }
    Preview JsonTree { padding: 0 1; height: 1fr; background: transparent; scrollbar-size-vertical: 1; }
    Preview #preview-markdown { padding: 0; }
    Preview Plot { height: 9; }
    """

    def __init__(self, tone: Callable[[str], Style], *, id: str) -> None:
        super().__init__(id=id)
        self._tone = tone

    def compose(self) -> ComposeResult:
        yield Static("", markup=False, id="preview-about")
        yield _part(Plot("loss", self._tone, PlotWindow(), id="preview-plot"))
        with PreviewText(id="preview-page", classes="part"):
            yield Static("", markup=False, id="preview-text")
            yield Markdown("", id="preview-markdown", open_links=False, classes="part")
        yield JsonTree("json", id="preview-json", classes="part")
        yield _part(LogPane(id="preview-log"))

    def clear(self, name: str = "", words: str = "", tone: str = "dim") -> None:
        """Nothing to show, or not yet, or not at all: a word instead."""
        self._only()
        self.put([Cell(name or "no file", "accent" if name else "dim")])
        self.query_one("#preview-about", Static).update(Text(sanitize_line(words), style=self._tone(tone)))

    def _only(self, *names: str) -> None:
        for part in self.query(".part"):
            part.set_class(part.id in {f"preview-{n}" for n in names}, "shown")

    def show(self, name: str, seen: PreviewContent) -> None:
        """Show what was found in a file."""
        self.put([Cell(name or "no file", "accent" if name else "dim")])
        about = Text("\n".join(map(sanitize_line, seen.about)))
        if seen.warning:
            about.append(f"\n{sanitize_line(seen.warning)}", style=self._tone("warning"))
        self.query_one("#preview-about", Static).update(about)
        plot = ["plot"] if seen.curves and self._draw(seen.curves) else []
        if seen.markdown:
            self.query_one("#preview-text", Static).update("")
            text = "\n".join(sanitize_line(line) for line in seen.markdown.splitlines())
            self.query_one(Markdown).update(text)
            self._only("page", "markdown", *plot)
        elif seen.json is not None:
            self.query_one(JsonTree).unfold(seen.json)
            self._only("json")
        elif seen.table or seen.groups is not None:
            rows = _table(seen.table) if seen.table else _groups(seen.groups or [])
            self.query_one("#preview-text", Static).update(rows)
            self._only("page")
        elif seen.picture:
            self.query_one("#preview-text", Static).update(_picture(seen.picture))
            self._only("page")
        elif seen.log:
            self.query_one(LogPane).open(LogFile(seen.log), name)
            self._only("log")
        else:
            self._only(*plot)
        self.query_one(PreviewText).scroll_home(animate=False)

    def _draw(self, found: Curves) -> bool:
        """The loss of the run; whether there is any."""
        raw = found.series["loss"]
        self.query_one(Plot).show(
            [
                Layer(SHORT.get(name, ""), found.series[name], found.marks, raw=raw if name in SHORT else None)
                for name in CHARTS["loss"]
            ]
        )
        return bool(found.series["loss"].steps)

    @property
    def content(self) -> Widget | None:
        """The part that takes the keys."""
        if self.query_one("#preview-log").has_class("shown"):
            return self.query_one(LogPane).view
        return next((w for w in self.query(".part.shown") if isinstance(w, PreviewText | JsonTree)), None)


def _part(widget: W) -> W:
    widget.add_class("part")
    return widget


def _table(table: Table) -> RichTable:
    grid = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in table.columns:
        grid.add_column(Text(sanitize_line(name)[:ROW]), no_wrap=True, max_width=ROW)
    for row in table.rows:
        grid.add_row(*(Text(sanitize_line(cell)) for cell in row[: len(table.columns)]))
    return grid


def _picture(cells: Cells) -> Text:
    """Upper halves of blocks on the colour of the lower ones."""
    text = Text(no_wrap=True)
    for row in cells:
        for upper, lower in row:
            text.append("▀", style=Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))
        text.append("\n")
    return text


def _groups(groups: list[Group]) -> Text:
    """Tensors, the largest first; a name that stands for several has stars where their numbers were."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for group in groups[:MOST_SHOWN]:
        text.append(f"{units.size(group.bytes):>9}  {sanitize_line(group.name)}")
        times = f"{group.count:,} × " if group.count > 1 else ""
        text.append(f"  {times}{group.dtype} {group.shape}\n", style="dim")
    return text
