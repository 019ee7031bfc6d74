"""A run's log, any size: draws the rows on screen straight from the file, follows its end until you scroll away."""

import time
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import work
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.worker import get_current_worker

from runner.spool import MAX_SHOWN, LogFile
from runner.terminal import safe
from tui.keys import moves

REFRESH_S, REST_S = 0.1, 0.5
SIDEWAYS = 16


class LogView(ScrollView, can_focus=True):
    """Shows a LogFile. The file is indexed in a thread; drawing reads only the lines on screen."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--ours", "log--beat", "log--error", "log--eval", "log--step"}
    DEFAULT_CSS = """
    LogView { height: 1fr; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; }
    LogView > .log--ours { color: $accent; text-style: bold; }
    LogView > .log--beat { color: $text-muted; }
    LogView > .log--error { color: $text-error; text-style: bold; }
    LogView > .log--eval { color: $text-success; }
    LogView > .log--step { color: $foreground; }
    """
    BINDINGS: ClassVar[list[BindingType]] = moves(
        down="go(1)",
        up="go(-1)",
        page_down="page(1)",
        page_up="page(-1)",
        top="top",
        bottom="follow",
        left="sideways(-1)",
        right="sideways(1)",
    )

    class Changed(Message):
        """There are more lines, or following began or ended."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._log: LogFile | None = None
        self.following = True
        self._left = 0
        self._seen = 0

    def open(self, log: LogFile) -> None:
        """Show another file from its end."""
        self._log, self.following, self._left, self._seen = log, True, 0, 0
        self.virtual_size = Size(1, 0)
        self._index(log)

    @property
    def lines(self) -> int:
        return len(self._log) if self._log else 0

    @property
    def unseen(self) -> int:
        """Lines that came since following ended."""
        return 0 if self.following else max(0, self.lines - self._seen)

    @work(thread=True, exclusive=True, group="index", exit_on_error=False)
    def _index(self, log: LogFile) -> None:
        worker, pause = get_current_worker(), REFRESH_S
        while not worker.is_cancelled and log is self._log:
            if log.refresh():
                self.app.call_from_thread(self._grown, log)
                pause = REFRESH_S
            time.sleep(pause)
            pause = min(pause * 1.5, REST_S)
        log.close()

    def _grown(self, log: LogFile) -> None:
        if log is not self._log or not self.is_attached:
            return
        self.virtual_size = Size(1, len(log))
        if self.following:
            self._seen = len(log)
            self.scroll_to(y=len(log), animate=False, force=True, immediate=True)
        self.refresh()
        self.post_message(self.Changed())

    def watch_scroll_y(self, old: float, new: float) -> None:
        super().watch_scroll_y(old, new)
        at_end = round(new) >= self.max_scroll_y
        if new < old and not at_end and self.following:
            self.following, self._seen = False, self.lines
            self.post_message(self.Changed())
        elif at_end and not self.following:
            self.action_follow()

    def action_go(self, by: int) -> None:
        self.scroll_to(y=self.scroll_y + by, animate=False)

    def action_page(self, by: int) -> None:
        self.action_go(by * max(1, self.size.height - 1))

    def action_top(self) -> None:
        self.scroll_to(y=0, animate=False)

    def action_follow(self) -> None:
        self.following, self._seen = True, self.lines
        self.scroll_to(y=self.max_scroll_y, animate=False, force=True)
        self.post_message(self.Changed())

    def action_sideways(self, by: int) -> None:
        self._left = max(0, min(MAX_SHOWN, self._left + by * SIDEWAYS))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width, number = self.scrollable_content_region.width, y + self.scroll_offset.y
        if self._log is None or number >= len(self._log):
            return Strip.blank(width, self.rich_style)
        text = safe(self._log.text(number))
        style = self._style(text)
        if self._left:
            text = text[self._left :]
        if cell_len(text) > width:
            text = set_cell_size(text, width - 1) + "›"
        return Strip([Segment(text, style)]).adjust_cell_length(width, self.rich_style)

    def _style(self, text: str) -> Style:
        return self.get_component_rich_style(kind) if (kind := line_kind(text)) else self.rich_style


OURS = ("[STAGE]", "[EXEC]", "[PLAN]", "[ATTEMPT", "[DONE]", "[CANCELLED]", "[JOB]", "[PUBLISH]")


def line_kind(text: str) -> str:
    """The component class of a line: ours, heartbeat, error, evaluation, or "" for any other."""
    if text.startswith("[HEARTBEAT]"):
        return "log--beat"
    if text.startswith(OURS):
        return "log--ours"
    if text.startswith(("Traceback", "[FAILED]")) or "Error: " in text[:120] or "loss: nan" in text:
        return "log--error"
    if text.startswith("Step ") or " accuracy: " in text[:40] or "CORE metric" in text[:20]:
        return "log--eval"
    return ""
