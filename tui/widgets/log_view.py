"""A log, any size, as a person goes through it: followed, searched, filtered, marked, copied."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.worker import get_current_worker

from runner.logs.log_file import MAX_SHOWN, LogFile
from runner.logs.prefixed import PrefixFinder
from runner.logs.scans import LogScans
from runner.logs.timestamps import LogTimes
from runner.nanochat import layout
from runner.settings import Settings
from runner.text import units
from runner.text.sanitize import sanitize_line
from tui.background import background
from tui.presentation.bindings import bindings, moves
from tui.widgets.dialogs import TextPage
from tui.widgets.log_rows import STAMPS
from tui.widgets.log_search import LogSearch

if TYPE_CHECKING:
    from tui.context import TerminalContext

REFRESH_S, REST_S = 0.1, 0.5
# So often while another screen is shown.
AWAY_S = 5.0
# So much is counted before somebody may want to leave, and before what is searched for has its turn.
COUNTED = 64 << 20
# So long may one turn of the scans take before what was found is shown.
TURN_S = 0.1
SIDEWAYS = 16
MAX_COPIED, MAX_LINE = 1000, 1 << 20
MAX_WHOLE, MAX_PIECES = 64 << 10, 200
WINDOWS_S = (0, 60, 300, 900, 3600, 6 * 3600, 24 * 3600)


class LogView(LogSearch, can_focus=True):
    """A LogFile, or the lines of it that a filter leaves, and what keys do with it. A thread indexes and searches."""

    DEFAULT_CSS = """
    LogView { height: 1fr; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; }
    LogView > .log--stage { color: $text-accent; text-style: bold; }
    LogView > .log--ours { color: $text-accent; }
    LogView > .log--beat, LogView > .log--again { color: $text-muted; }
    LogView > .log--error { color: $text-error; text-style: bold; }
    LogView > .log--eval { color: $text-success; }
    LogView > .log--hit { background: $text-warning; color: $background; }
    LogView > .log--here { background: $surface; }
    LogView > .log--mark { color: $text-warning; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *moves(
            among="text",
            down="go(1)",
            up="go(-1)",
            page_down="page(1)",
            page_up="page(-1)",
            half_down="half(1)",
            half_up="half(-1)",
            top="top",
            bottom="follow",
            left="sideways(-1)",
            right="sideways(1)",
        ),
        *bindings("log"),
    ]

    class DisplayChanged(Message):
        """Lines are shown in another way, which may be remembered."""

        def __init__(self, stamps: int, wrap: bool) -> None:
            super().__init__()
            self.settings = (("log_times", STAMPS[stamps]), ("log_wrap", str(wrap).lower()))

    def __init__(self, ask: Callable[[str], None], *, id: str) -> None:
        """`ask` is called when a text is wanted to search or to filter for, or what is shown is to be saved."""
        super().__init__(id=id)
        self._ask = ask
        self._seen = 0
        # How often the log had been written anew when it was last drawn.
        self._anew = 0
        self.window = 0
        self.away = False

    def open(self, log: LogFile) -> None:
        """Show another file from its end."""
        self._log, self.following, self._left, self._seen = log, True, 0, 0
        self.scans, self.problems = LogScans(log), ()
        self._finding, self.counted, self._anew = None, 0.0, log.anew
        self.counted_lines = 0
        self._begin(log)
        self._index(log)

    def _begin(self, log: LogFile) -> None:
        """Nothing is known of the lines of a log."""
        self.here = None
        self.marks, self._tail, self._above, self.window = set(), [], 0, 0
        self._rows.clear()
        self._times = LogTimes(log.path.with_name(layout.TIMES_FILE))
        self._measure()

    @property
    def clock(self) -> str:
        """Which clock the times beside the lines are of, and of which days."""
        first, last = self._times.first, self._times.last
        if STAMPS[self.stamps] != "clock" or first is None or last is None:
            return ""
        return units.days(first, last, time.time())

    @property
    def reading(self) -> bool:
        """Whether only the end is there so far."""
        return bool(self._tail)

    @property
    def unseen(self) -> int:
        """Rows that came since following ended."""
        return 0 if self.following else max(0, self.rows - self._seen)

    def set_away(self, away: bool) -> None:
        """Whether nobody can see it: then it hurries less, and catches up at once when it is seen again."""
        self.away = away
        self._wake.set()

    @background(group="index", doing="reading the log", exclusive=True, again=True)
    def _index(self, log: LogFile) -> None:
        worker, pause, finder = get_current_worker(), REFRESH_S, PrefixFinder(log)
        if log.refresh(limit=0) and log.behind and not worker.is_cancelled:
            self.app.call_from_thread(self._show_tail, log, [sanitize_line(line) for line in log.tail(500)])
            # Let it be seen before all cores are busy with counting.
            time.sleep(REFRESH_S)
        while not worker.is_cancelled and log is self._log:
            grown = log.refresh(COUNTED)
            if grown and (behind := log.behind) > COUNTED:
                self.app.call_from_thread(self._counting, log, log.size / (log.size + behind), len(log))
                continue
            if grown and finder.advance():
                self.app.call_from_thread(self._prefixed, log, finder)
            self._times.refresh()
            # A jump that is under way has the processor to itself.
            searched = self._finding is None and bool(self.scans and self.scans.advance(TURN_S))
            if worker.is_cancelled:
                break
            if grown or searched:
                self.app.call_from_thread(self._grown, log)
                pause = 0.0 if searched else REFRESH_S
            self._wake.wait(pause)
            self._wake.clear()
            pause = min(max(pause, REFRESH_S) * 1.5, AWAY_S if self.away else REST_S)

    def _prefixed(self, log: LogFile, finder: PrefixFinder) -> None:
        """What stands before the lines is known, and taken off."""
        if log is self._log and self.scans and self.is_attached:
            self.scans.set_prefixes(finder.prefixes.sources)
            self._times = finder.times or self._times
            self._rows.clear()
            self._measure()

    def _show_tail(self, log: LogFile, lines: list[str]) -> None:
        """Until the index is there, which takes a moment for a very large file, its end is shown."""
        if log is self._log and self.is_attached:
            self._tail = lines
            self.refresh()
            self.post_message(self.Changed())

    def _counting(self, log: LogFile, share: float, lines: int) -> None:
        if log is self._log and self.is_attached:
            self.counted, self.counted_lines = share, lines
            self.post_message(self.Changed())

    def _grown(self, log: LogFile) -> None:
        if log is not self._log or not self.is_attached:
            return
        above, self._tail, self._above, self.counted = self._above, [], 0, 1.0
        if self._anew != log.anew:
            self._anew = log.anew
            if self.scans:
                self.scans.first = 0
            self._begin(log)
            self.notify("the log was cut or written anew: this is the new one", severity="warning", markup=False)
        self._measure()
        if self.following:
            self._seen = self.rows
            self.scroll_to(y=self.rows, animate=False, force=True, immediate=True)
        elif above:
            self.scroll_to(y=self.max_scroll_y - above, animate=False, force=True, immediate=True)
        self.refresh()
        self.post_message(self.Changed())

    def watch_scroll_y(self, old: float, new: float) -> None:
        super().watch_scroll_y(old, new)
        at_end = round(new) >= self.max_scroll_y
        if new < old and not at_end and self.following:
            self._stop_following()
        elif at_end and not self.following and self.here is None:
            self.action_follow()

    def _stop_following(self) -> None:
        self.following, self._seen = False, self.rows
        self.post_message(self.Changed())

    def action_go(self, by: int) -> None:
        self.here = None
        if not self._tail:
            self.scroll_to(y=self.scroll_y + by, animate=False, force=True, immediate=True)
            return
        self._above = max(0, min(len(self._tail) - self.size.height, self._above - by))
        self.following = not self._above
        self.refresh()
        self.post_message(self.Changed())

    def action_page(self, by: int) -> None:
        self.action_go(by * max(1, self.size.height - 1))

    def action_half(self, by: int) -> None:
        self.action_go(by * max(1, self.size.height // 2))

    def action_top(self) -> None:
        self.here = None
        self._stop_following()
        self.scroll_to(y=0, animate=False, force=True, immediate=True)

    def action_follow(self) -> None:
        self.here = None
        self.following, self._seen, self._above = True, self.rows, 0
        self.scroll_to(y=self.max_scroll_y, animate=False, force=True, immediate=True)
        self.post_message(self.Changed())

    def action_sideways(self, by: int) -> None:
        self._left = max(0, min(MAX_SHOWN, self._left + by * SIDEWAYS))
        self.refresh()

    def jump_to(self, line: int) -> None:
        """Bring a line on screen and make it the one that is acted on."""
        self.here, self.following = line, False
        if self.scans and line < self.scans.first:
            self._since(0)
        row, first = self._row_of(line), round(self.scroll_y)
        if not first <= row < first + self._on_screen - 1:
            above = 0 if self.wrap else self.size.height // 3
            self.scroll_to(y=max(0, row - above), animate=False, force=True, immediate=True)
        self.refresh()
        self.post_message(self.Changed())

    def on_click(self, event: events.Click) -> None:
        row, _ = self._place(event.y)
        if row < self.rows:
            self.jump_to(self._line_of(row))

    def action_ask(self, what: str) -> None:
        self._ask(what)

    def action_enter(self) -> None:
        """Leave the filter, at the line under consideration; without one, show that line whole."""
        top = self._top
        if self.filter:
            self.set_filter(None)
            self.jump_to(top)
        elif self._log and self.rows:
            start = self._log.start(top)
            data = self._log.read(start, min(self._log.start(top + 1) - start, MAX_WHOLE))
            pieces = data.decode("utf-8", "replace").rstrip("\n").split("\r")
            shown = [sanitize_line(piece) for piece in pieces[-MAX_PIECES:]]
            copies, saves = (cast("TerminalContext", self.app).key(id) for id in ("log.copy", "log.save"))
            if (more := self._log.start(top + 1) - start - len(data)) > 0:
                shown.append(f"… and {units.size(more)} more of this line; {copies} copies, {saves} saves more of it")
            if (before := len(pieces) - MAX_PIECES) > 0:
                shown.insert(0, f"… {before:,} earlier states of this line")
            self.app.push_screen(TextPage("\n".join(shown)))

    def action_next_mark(self) -> None:
        later = sorted(self.marks)
        if later:
            self.jump_to(next((line for line in later if line > self._top), later[0]))

    def action_mark(self) -> None:
        if self.rows:
            self.marks ^= {self._top}
            self.refresh()

    def apply_settings(self, settings: Settings) -> None:
        self.set_display(STAMPS.index(settings.log_times), settings.log_wrap)

    def set_display(self, stamps: int, wrap: bool) -> None:
        """Show lines with or without their times, cut or wrapped."""
        here = self._top
        self.stamps, self.wrap = stamps % len(STAMPS), wrap
        self._measure()
        if self.following:
            self.action_follow()
        elif self.rows:
            self.scroll_to(y=self._row_of(here), animate=False, force=True, immediate=True)
        self.refresh()

    def action_times(self) -> None:
        self.set_display(self.stamps + 1, self.wrap)
        self.post_message(self.Changed())
        self.post_message(self.DisplayChanged(self.stamps, self.wrap))

    def action_wrap(self) -> None:
        self._left = 0
        self.set_display(self.stamps, not self.wrap)
        self.post_message(self.DisplayChanged(self.stamps, self.wrap))

    def action_window(self, number: int) -> None:
        """Show only what came in the last minute, five minutes, …; 0 shows all; -1 the next window."""
        self._since(number if number >= 0 else (self.window + 1) % len(WINDOWS_S))

    def _since(self, window: int) -> None:
        if self.scans is None:
            return
        last = self._times.last
        if window and last is None:
            self.notify("nobody noted when these lines came", severity="warning", markup=False)
            return
        here, self.window, first = self._top, window, 0
        if window and last is not None:
            # A log that has ended has its windows too: they reach back from its last line.
            offset = self._times.offset_since(last - WINDOWS_S[window])
            first = self.scans.log.line_at(offset) if offset is not None else 0
        self.scans.first = first
        self._measure()
        if self.following:
            self.action_follow()
        else:
            self.scroll_to(y=max(0, self._row_of(max(here, first))), animate=False, force=True, immediate=True)
        self.refresh()
        self.post_message(self.Changed())

    def action_copy(self) -> None:
        """The marked lines, else the one under consideration, to the clipboard of the terminal."""
        if self._log is None or not self.rows:
            return
        lines = sorted(self.marks)[:MAX_COPIED] or [self._top]
        of = f" of {len(self.marks):,}" if len(self.marks) > MAX_COPIED else ""
        text = "\n".join(sanitize_line(self._log.whole_text(line, MAX_LINE)) for line in lines)
        cast("TerminalContext", self.app).copy(text, f"{units.pluralize(len(lines), 'line')}{of}")
