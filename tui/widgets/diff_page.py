"""What has changed in code, over the whole screen: a text of any size, with the keys of the log view."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from runner.logs.log_file import LogFile
from runner.system import atomic
from tui.presentation.cells import Cell
from tui.widgets.dialogs import Window
from tui.widgets.key_line import KeyLine
from tui.widgets.line import Line
from tui.widgets.log_pane import LogPane
from tui.widgets.log_view import LogView

RED, GREEN, CYAN, BOLD, OFF = "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[1m", "\x1b[0m"
COLOURS = {"diff --git ": BOLD, "--- ": BOLD, "+++ ": BOLD, "@@ ": CYAN, "-": RED, "+": GREEN}


def painted(diff: bytes) -> bytes:
    """A unified diff with a colour for each line that is more than context; what was in it is left as it was."""
    lines = []
    for line in diff.split(b"\n"):
        colour = next((colour for begin, colour in COLOURS.items() if line.startswith(begin.encode())), "")
        lines.append(colour.encode() + line + OFF.encode() if colour else line)
    return b"\n".join(lines)


def put_down(diff: bytes, folder: Path) -> Path:
    """The file on this disk that a page shows, in the folder for what is looked at; by its content."""
    file = folder / f"{hashlib.sha256(diff).hexdigest()[:16]}.diff"
    atomic.write(file, painted(diff), atomic.PRIVATE)
    return file


class DiffPage(Window[None]):
    """A diff that was put down, under a title."""

    CSS = """
    DiffPage { background: $background; }
    DiffPage #diff-title { background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back"),
        Binding("q", "dismiss", show=False),
    ]

    def __init__(self, title: Sequence[Cell | str], file: Path, name: str) -> None:
        super().__init__()
        self._title, self._file, self._called = title, file, name
        self._begun = False

    def compose(self) -> ComposeResult:
        yield Line(id="diff-title")
        yield LogPane(id="diff")
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one("#diff-title", Line).put(self._title)
        view = self.query_one(LogView)
        self.query_one(LogPane).open(LogFile(self._file), self._called)
        view.focus()
        view.action_top()

    def on_log_search_changed(self) -> None:
        """It begins at its top, and nothing of it is new once its lines are counted."""
        view = self.query_one(LogView)
        if not self._begun and view.lines and not view.reading:
            self._begun = True
            view.action_top()

    def action_back(self) -> None:
        """Take back filter or search, then close it."""
        if not self.query_one(LogView).action_clear():
            self.dismiss()
