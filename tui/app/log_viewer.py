"""`nanochat-tui view`: any nanochat log, from wherever, in the app's own log view."""

import contextlib
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.worker import get_current_worker

from runner import settings
from runner.errors import UsageError
from runner.logs.encoding import Text, is_plain
from runner.logs.log_file import LogFile
from runner.logs.summary import Summary, SummaryReader, summarise
from runner.logs.timestamps import TimestampWriter
from runner.nanochat import layout
from runner.paths import readable_data_dir
from runner.system.given_path import given_path
from runner.text import units
from tui.app.base_app import TerminalApp
from tui.app.leaving import run_to_exit_code
from tui.background import SWITCH_S, background
from tui.presentation.bindings import bindings
from tui.presentation.cells import Cell
from tui.presentation.keymap import Key
from tui.widgets.key_line import KeyLine
from tui.widgets.line import Line
from tui.widgets.log_pane import LogPane
from tui.widgets.log_view import LogView

LOOK_EVERY_S = 0.3
# The numbers may take their time: the log itself must stay at hand meanwhile.
BREATH_S = 0.004
BEHIND = 16 << 20


PIPED = "standard input"


class ViewApp(TerminalApp):
    """One log and the numbers that are in it."""

    TITLE = "nanochat log"
    BINDINGS: ClassVar[list[BindingType]] = bindings("view")

    def __init__(self, path: Path, name: str, home: Path, source: Text | None = None) -> None:
        """With a `source`, what comes from it is put into the file while it comes."""
        super().__init__()
        self._path, self._called, self._home, self._source = path, name, home, source
        self._settings = settings.effective(home, os.environ).settings

    def compose(self) -> ComposeResult:
        yield Line(id="ended")
        yield Line(id="numbers")
        yield LogPane(id="logs", title=self._called)
        yield KeyLine()

    def on_load(self) -> None:
        self.apply_keys(self._settings)

    def on_mount(self) -> None:
        self.query_one("#ended").display = False
        pane = self.query_one(LogPane)
        log = LogFile(self._path)
        pane.open(log, Path(self._called).stem or "log")
        pane.put_title(live=True)
        self.looks.begin(self._settings.theme)
        pane.view.apply_settings(self._settings)
        pane.view.focus()
        self._sum_up(log, pane.view)
        if self._source:
            self._bring(self._source)

    @background(group="source", doing="reading the log")
    def _bring(self, source: Text) -> None:
        try:
            _copy(source, self._path)
            said = source.said or ("the input has ended" if self._called == PIPED else "")
        except OSError as error:
            said = f"from here nothing is kept: {error.strerror or error} ({self._path.parent})"
            self.call_from_thread(self._ended, said, "error")
            source.drain()
        else:
            self.call_from_thread(self._ended, said, "warning" if source.said else "dim")
            source.drain()

    def _ended(self, said: str, tone: str) -> None:
        """Nothing more comes, and why."""
        line = self.query_one("#ended", Line)
        line.put([Cell(said, tone)])
        line.display = bool(said)
        self.query_one(LogPane).put_title(live=self._called != PIPED)
        if tone != "dim":
            self.notify(said, severity="warning")

    def action_clear(self) -> None:
        self.query_one(LogPane).view.action_clear()

    def action_window(self, number: int) -> None:
        self.query_one(LogPane).view.action_window(number)

    def put_setting(self, name: str, value: str) -> None:
        settings.put(self._home, name, value, self._say_later)

    def _say_later(self, text: str) -> None:
        self.call_later(self.notify, text, markup=False)

    def sections(self, screen: Screen[object]) -> tuple[str, ...]:
        return ("log", "view")

    async def act(self, screen: Screen[object], key: Key) -> None:
        if key.screen == "log":
            await self.query_one(LogPane).view.run_action(key.action)
        else:
            await super().act(screen, key)

    @background(group="numbers", doing="reading the numbers of the log")
    def _sum_up(self, log: LogFile, pane: LogView) -> None:
        worker, reader, offset, told, shown, of = get_current_worker(), SummaryReader(), 0, -1, 0.0, log.anew
        while not worker.is_cancelled:
            # The view's own thread indexes the log, and goes first; what it has seen is read here.
            while (log.behind > BEHIND or pane.busy) and not worker.is_cancelled:
                time.sleep(BREATH_S * 10)
            if of != log.anew:
                reader, offset, told, of = SummaryReader(), 0, -1, log.anew
            for reached in summarise(log, reader, offset):
                offset = reached
                if worker.is_cancelled:
                    return
                while pane.busy and not worker.is_cancelled:
                    time.sleep(BREATH_S * 10)
                if time.monotonic() - shown > LOOK_EVERY_S:
                    shown = time.monotonic()
                    self.call_from_thread(self._show, reader.found, offset / max(log.size + log.behind, 1))
                if of != log.anew:
                    break
                time.sleep(BREATH_S)
            if offset != told:
                told = offset
                self.call_from_thread(self._show, reader.found, 1.0)
            time.sleep(LOOK_EVERY_S)

    def _show(self, found: Summary, share: float) -> None:
        self.query_one("#numbers", Line).put(numbers_line(found, share))
        self.query_one(LogPane).view.problems = found.problems if found.outcome else ()


def numbers_line(found: Summary, share: float) -> list[Cell | str]:
    """The numbers of a log in one line; while only a share of it is read, how much of it they are of."""
    cells: list[Cell | str] = []
    if found.step is not None:
        cells.append(f"step {found.step:,}" + (f" of {found.total:,}" if found.total else ""))
    cells += [f"loss {found.loss:.4f}"] if found.loss is not None else []
    cells += [f"bpb {found.val_bpb:.4f}"] if found.val_bpb is not None else []
    cells += [f"{units.count(found.tokens_per_s)} tok/s"] if found.tokens_per_s else []
    cells += [f"MFU {found.mfu:.0f}%"] if found.mfu else []
    cells += [Cell(f"printed {found.mfu_printed:.0f}%", "dim")] if found.mfu_printed is not None else []
    cells += [f"CORE {found.core:.4f}"] if found.core is not None else []
    cells += [f"ChatCORE {found.chatcore:.4f}"] if found.chatcore is not None else []
    cells += [units.pluralize(len(found.checkpoints), "checkpoint")] if found.checkpoints else []
    cells += [Cell(found.gpu, "dim")] if found.gpu else []
    cells += [Cell(f"✗ {found.errors}", "error")] if found.errors else []
    cells += [Cell(str(found.outcome), "accent")] if found.outcome else []
    read = [Cell(f"{share:.0%} read, {found.lines:,} lines", "warning")] if share < 1 else []
    return [*read, *(cells or [Cell("no numbers of nanochat so far", "dim")])]


def view(name: str) -> int:
    """Open the view on a file, or on `-`: what comes on standard input, while it comes."""
    if name == "-" and sys.stdin.isatty():
        raise UsageError("nothing is piped into view -", "pipe a log into it, or give the path of one")
    if name != "-":
        packed = given_path(name)
        if not packed.is_file():
            raise UsageError(f"{name} is not a regular file", "give the path of a log, or pipe it to view -")
        if is_plain(packed):
            return _open(packed, packed.name)
    with tempfile.TemporaryDirectory(prefix="nanochat-log-") as folder, contextlib.ExitStack() as stack:
        path = Path(folder) / "text.log"
        path.touch()
        if name == "-":
            called, source = PIPED, _piped()
        else:
            called, source = packed.name, stack.enter_context(packed.open("rb"))
        return _open(path, called, Text(source, called, Path(folder)))


def _open(path: Path, name: str, source: Text | None = None) -> int:
    sys.setswitchinterval(SWITCH_S)
    with readable_data_dir() as (folder, _):
        return run_to_exit_code(ViewApp(path, name, folder, source))


def _piped() -> BinaryIO:
    """What was standard input, whose place is given to the keyboard."""
    source = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    keyboard = os.open("/dev/tty", os.O_RDONLY)
    os.dup2(keyboard, sys.stdin.fileno())
    os.close(keyboard)
    return source


def _copy(source: Text, path: Path) -> None:
    stamper = TimestampWriter(0)
    with path.open("ab", buffering=0) as file, path.with_name(layout.TIMES_FILE).open("ab", buffering=0) as times:
        while data := source.read():
            _write(times, stamper.stamp(len(data), time.time()))
            _write(file, data)


def _write(file: io.FileIO, data: bytes) -> None:
    """All of it: a disk that is nearly full takes a part, and says nothing."""
    while data:
        data = data[file.write(data) :]
