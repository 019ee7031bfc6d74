"""A list that draws only the rows on screen: columns that drop from the right, a cursor, marks."""

import textwrap
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.presentation.bindings import moves
from tui.presentation.cells import Cell

GAP = 2
GUTTER = 2
MAX_DRAWN = 500
MOVES = {
    "down": "move(1)",
    "up": "move(-1)",
    "page_down": "page(1)",
    "page_up": "page(-1)",
    "half_down": "half(1)",
    "half_up": "half(-1)",
    "top": "move(-1000000000)",
    "bottom": "move(1000000000)",
}


class Column(NamedTuple):
    """A column: its width in cells; `keep` orders what stays on a narrow screen, lowest first to stay.

    Those that `grow` share the room that is left.
    """

    name: str
    width: int
    right: bool = False
    keep: int = 0
    grows: bool = False


class VirtualList(ScrollView, can_focus=True):
    """Rows by key; `cells_of` gives a row's cells when it is drawn. Foreign text must come through `sanitize_line`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"list--head", "list--cursor", "list--blurred", "list--empty"}
    DEFAULT_CSS = """
    VirtualList { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }
    VirtualList > .list--head { color: $text-muted; text-style: bold; }
    VirtualList > .list--cursor { background: $cursor; text-style: bold; }
    VirtualList > .list--blurred { background: $surface; }
    VirtualList > .list--empty { color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = moves(**MOVES)
    cursor = reactive(0, repaint=False)

    class Moved(Message):
        """The cursor is on another row."""

    class Chosen(Message):
        """A click on the row under the cursor."""

    class HeadClicked(Message):
        """A click on the name of a column."""

        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    def __init__(
        self,
        columns: Sequence[Column],
        cells_of: Callable[[str], Sequence[Cell]],
        *,
        empty: str,
        tones: Callable[[str], Style],
        id: str,
    ) -> None:
        super().__init__(id=id)
        self._columns, self._cells_of, self._tones = tuple(columns), cells_of, tones
        self.empty = empty
        self._left_out: frozenset[str] = frozenset()
        self._keys: list[str] = []
        self._drawn: dict[int, tuple[bool, tuple[Cell, ...]]] = {}
        self.marked: set[str] = set()
        self._touched = True
        self._coming_into_view = False

    def begin(self) -> None:
        """Rows of something else are to come, in pieces: the cursor stays at their top until it is moved."""
        self._touched = False

    def hide_columns(self, columns: frozenset[str]) -> None:
        """Give the room of columns that have nothing to say now to others."""
        if columns != self._left_out:
            self._left_out = columns
            self.refresh()

    def show(self, keys: Sequence[str]) -> None:
        """New rows; the cursor stays on its row, or where it was when that row is gone."""
        current, before, in_view = self.current, self._keys, self._in_view or self._coming_into_view
        self._keys = list(keys)
        self.marked &= set(self._keys)
        if self._keys == before and self._keys:
            self._refresh_changed()
            return
        self.virtual_size = Size(1, len(self._keys) + 1)
        if not self._touched:
            self.cursor = 0
            self.scroll_to(y=0, animate=False)
        elif current in self._keys:
            self.cursor = self._keys.index(current)
        self.cursor = max(0, min(self.cursor, len(self._keys) - 1))
        if in_view:
            self._bring_into_view()
        self.refresh()
        if self.current != current:
            self.post_message(self.Moved())

    def _refresh_changed(self) -> None:
        """Draw again only the rows on screen whose cells are not what was drawn."""
        top = self.scroll_offset.y
        for row in range(top, min(len(self._keys), top + self.size.height - 1)):
            if self._drawn.get(row) != self._content(row):
                self.refresh_lines(row + 1, 1)

    def _content(self, row: int) -> tuple[bool, tuple[Cell, ...]]:
        key = self._keys[row]
        return key in self.marked, tuple(self._cells_of(key))

    @property
    def current(self) -> str:
        """The key under the cursor, "" when there is no row."""
        return self._keys[self.cursor] if 0 <= self.cursor < len(self._keys) else ""

    @property
    def on_screen(self) -> list[str]:
        """The keys of the rows that can be seen."""
        top = self.scroll_offset.y
        return self._keys[top : top + max(0, self.size.height - 1)]

    def shows(self, column: str) -> bool:
        """Whether there is room for a column."""
        visible = self._visible_columns(self.scrollable_content_region.width)
        return any(self._columns[i].name == column for i in visible)

    def toggle_mark(self) -> None:
        if self.current:
            self.marked ^= {self.current}
            self.refresh_line(self.cursor + 1)
            self.action_move(1)

    def toggle_all(self) -> frozenset[str]:
        """Mark every row, or none where all are; answers with the marks that were there and are gone."""
        before = frozenset(self.marked)
        self.marked = set() if before >= set(self._keys) else set(self._keys) | before
        self.refresh()
        return before - self.marked

    def go_to(self, key: str) -> None:
        """Put the cursor on a row."""
        if key in self._keys:
            self.action_move(self._keys.index(key) - self.cursor)

    def action_move(self, by: int) -> None:
        self._touched = True
        before = self.cursor
        self.cursor = max(0, min(len(self._keys) - 1, self.cursor + by))
        self._bring_into_view()
        if self.cursor != before:
            self.post_message(self.Moved())
            for row in (before, self.cursor):
                self.refresh_line(row + 1)

    @property
    def _in_view(self) -> bool:
        return 0 <= self.cursor - self.scroll_offset.y < max(1, self.size.height - 1)

    def _bring_into_view(self) -> None:
        """Once it is laid out; until then it counts as in view, whatever comes above it."""
        if not self._coming_into_view:
            self._coming_into_view = True
            self.call_after_refresh(self._scroll_to_cursor)

    def _scroll_to_cursor(self) -> None:
        self._coming_into_view = False
        top, height = self.scroll_offset.y, max(1, self.size.height - 1)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, immediate=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, immediate=True)

    def action_page(self, by: int) -> None:
        self.action_move(by * max(1, self.size.height - 2))

    def action_half(self, by: int) -> None:
        self.action_move(by * max(1, (self.size.height - 1) // 2))

    def on_click(self, event: events.Click) -> None:
        row = event.y - 1 + self.scroll_offset.y
        if event.y == 0:
            if column := self._column_at(event.x):
                self.post_message(self.HeadClicked(column))
        elif row == self.cursor and self.current and event.button == 1:
            self.post_message(self.Chosen())
        elif 0 <= row < len(self._keys):
            self.action_move(row - self.cursor)

    def _column_at(self, x: int) -> str:
        """The name of the column in whose cells `x` is, with the gap after it."""
        width = self.scrollable_content_region.width
        shown = self._visible_columns(width)
        at = GUTTER
        for i, cells in zip(shown, self._widths(shown, width - GUTTER), strict=True):
            at += cells + GAP
            if x < at:
                return self._columns[i].name
        return ""

    def _widths(self, shown: list[int], width: int) -> list[int]:
        """How many cells each column has; those that grow share the room that is left."""
        room = max(0, width - sum(self._columns[i].width + GAP for i in shown) + GAP)
        more, widest = divmod(room, max(1, sum(self._columns[i].grows for i in shown)))
        grown = [self._columns[i].width + (more if self._columns[i].grows else 0) for i in shown]
        last = max((n for n, i in enumerate(shown) if self._columns[i].grows), default=None)
        return [cells + (widest if n == last else 0) for n, cells in enumerate(grown)]

    def _visible_columns(self, width: int) -> list[int]:
        wanted = [i for i, column in enumerate(self._columns) if column.name not in self._left_out]
        order = sorted(wanted, key=lambda i: self._columns[i].keep)
        kept: list[int] = []
        used = GUTTER
        for i in order:
            used += self._columns[i].width + GAP
            if used - GAP > width and kept:
                break
            kept.append(i)
        return sorted(kept)

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        shown = self._visible_columns(width)
        if y == 0:
            head = self.get_component_rich_style("list--head")
            texts = [Cell(self._columns[i].name) for i in shown]
            return self._strip(shown, texts, " " * GUTTER, head, width)
        row = y - 1 + self.scroll_offset.y
        if not self._keys and y >= 2:
            lines = textwrap.wrap(self.empty, max(1, width - 2 * GUTTER))
            text = set_cell_size(" " * GUTTER + (lines[y - 2] if y - 2 < len(lines) else ""), width)
            return Strip([Segment(text, self.get_component_rich_style("list--empty"))], width)
        if row >= len(self._keys):
            return Strip.blank(width, self.rich_style)
        base = self.rich_style
        if row == self.cursor:
            base = self.get_component_rich_style("list--cursor" if self.has_focus else "list--blurred")
        if len(self._drawn) > MAX_DRAWN:
            self._drawn.clear()
        marked, cells = self._drawn[row] = self._content(row)
        mark = "● " if marked else "  "
        return self._strip(shown, [cells[i] for i in shown], mark, base, width)

    def _strip(self, shown: list[int], cells: Sequence[Cell], gutter: str, base: Style, width: int) -> Strip:
        segments = [Segment(gutter, base + self._tones("accent"))]
        for i, cell, cells_wide in zip(shown, cells, self._widths(shown, width - len(gutter)), strict=True):
            column = self._columns[i]
            # Half a name or number would be another one.
            fits = cell_len(cell.text) <= cells_wide
            sized = set_cell_size(cell.text, cells_wide) if fits else set_cell_size(cell.text, cells_wide - 1) + "…"
            if column.right and (rest := cells_wide - cell_len(cell.text)) > 0:
                sized = " " * rest + cell.text
            segments.append(Segment(sized + " " * GAP, base + self._tones(cell.tone) if cell.tone else base))
        return Strip(segments).adjust_cell_length(width, base)


class FileList(VirtualList):
    """A list of files: sideways is into a folder, and out of it."""

    BINDINGS: ClassVar[list[BindingType]] = moves(left="screen.up", right="screen.open")
