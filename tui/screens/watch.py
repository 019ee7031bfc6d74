"""One run: its stages, its numbers, its heartbeat, its log."""

import contextlib
import functools
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widgets import Static

from runner.errors import NanochatError
from runner.finding.log_lines import query_of
from runner.logs.log_file import LogFile
from runner.metrics.series import NONE, Curves
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.model.states import State
from runner.monitoring.health import silences
from runner.nanochat import layout
from runner.planning.plan import plan_of
from runner.text.filenames import shell_quote
from runner.text.sanitize import sanitize_line
from tui.background import background
from tui.presentation import run_format, run_summary
from tui.presentation.bindings import bindings, through
from tui.presentation.cells import Cell
from tui.presentation.keymap import Key
from tui.screens.base import NanochatScreen
from tui.screens.feed import Feed
from tui.widgets.dialogs import TextPage
from tui.widgets.diff_page import DiffPage, put_down
from tui.widgets.line import Line
from tui.widgets.log_pane import LogPane
from tui.widgets.log_view import LogView
from tui.widgets.metrics import Metrics
from tui.widgets.panel import Panel
from tui.widgets.plot import Plot, PlotWindow
from tui.widgets.run_curves import RunCurves, layers

PLOTS = ("loss", "val bpb", "tok/s")
MOST_LINES = 3


class WatchScreen(NanochatScreen):
    """Follows the run that `app.watched` names."""

    CSS_PATH: ClassVar[str | Path] = Path(__file__).with_suffix(".tcss")
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("watch"), *through("log", "in_log")]
    SECTIONS = ("watch", "log", "metrics")
    TAB = "watch"

    def __init__(self) -> None:
        super().__init__()
        self._run: Run | None = None
        self._feed: Feed | None = None
        self._curves = NONE
        self._like: dict[str, float] = {}
        self._reading = False
        # Its log is to be shown from its first error on.
        self._to_error = False
        # A line of its log that was found elsewhere, by the text that was looked for.
        self._to_line: tuple[str, int, str] | None = None

    def body(self) -> ComposeResult:
        with Panel(id="run"):
            for name in ("stages", "sign", "money", "numbers"):
                yield Line(id=name)
        with Horizontal(id="plots"):
            for number, name in enumerate(PLOTS):
                yield Plot(name, self.nanochat.tone, PlotWindow(), id=f"small-{number}")
        with Panel(id="curves"):
            yield Metrics(self.nanochat.tone, id="metrics")
        yield LogPane(id="logs")
        yield Static("No run is watched. Esc, then Enter on a run.", id="none")

    def on_mount(self) -> None:
        view = self.query_one(LogView)
        view.apply_settings(self.nanochat.fleet.settings)
        view.focus()
        self.every(1.0, self._read_curves)

    def on_screen_suspend(self) -> None:
        if self.is_there and self not in self.app.screen_stack:
            self.query_one(LogView).set_away(True)

    def on_screen_resume(self) -> None:
        if self.is_there:
            self.query_one(LogView).set_away(False)

    def run_in_hand(self) -> Run | None:
        return self._run

    def show_runs(self, runs: list[Run]) -> None:
        if not self.is_there:
            return
        wanted = self.nanochat.watched
        run = next((r for r in runs if r.id == wanted), None)
        self.set_class(run is None, "nothing")
        self.mute_keys([run] if run else [])
        if run is None:
            self._run = None
            return
        if self._run is None or self._run.id != run.id:
            self._open(run, runs)
        self._run = run
        # What it prints once it was resumed is followed.
        self._to_error = self._to_error and not run.live
        self._show(run, self.nanochat.fleet.time_for(run))

    def _open(self, run: Run, runs: list[Run]) -> None:
        log = self.nanochat.fleet.log_file(run)
        self._feed = Feed(log.with_name(layout.EVENTS_FILE))
        self._like = silences(run, runs)
        self._show_curves(self._feed, run, NONE)
        self.query_one(LogPane).open(LogFile(log), run.tag)
        self._to_error = run.state is State.FAILED
        if self._to_error and self.has_class("curves"):
            self.action_metrics()
        self._read_curves()

    def _read_curves(self) -> None:
        if not self._reading:
            self._reading = True
            self._read_more(self._run, self._feed)

    @background(group="curve", doing="reading the curves")
    def _read_more(self, run: Run | None, feed: Feed | None) -> None:
        """Bring log and events to this disk, where they are elsewhere, and take in the new points."""
        try:
            if run is None or feed is None:
                return
            tell = functools.partial(self.notify, severity="warning", markup=False)
            found = feed.look(
                self.nanochat.fleet, run, lambda problem: tell(sanitize_line(problem)), lambda: feed is not self._feed
            )
            if found:
                self.app.call_from_thread(self._show_curves, feed, run, found)
        finally:
            self._reading = False

    def _show_curves(self, feed: Feed, run: Run, found: Curves) -> None:
        if feed is not self._feed:
            return
        self._curves = found
        # A run that ended before its first step has no curves, and more of a log to read.
        self.set_class(not (run.live or _has_trained(run) or any(map(len, found.series.values()))), "untrained")
        known = [RunCurves(run, found)]
        for plot, name in zip(self.query("#plots Plot").results(Plot), PLOTS, strict=True):
            plot.show(layers(known, name), coming=found is NONE)
        self.query_one(Metrics).show(known)

    def _show(self, run: Run, now: float) -> None:
        name, *rest = run_summary.title(run, now)
        self.query_one("#run", Panel).put([name], rest)
        self.query_one("#curves", Panel).put(["Metrics"], [name])
        narrow = self.size.width < 110
        stages = run_format.stages(run, now, brief=narrow) or [Cell("waiting for the job", "dim")]
        self.query_one("#stages", Line).put(stages, gap=" " if narrow else "  ")
        trouble = self.nanochat.unreachable.get(run.id, "")
        sign = [Cell(c) if isinstance(c, str) else c for c in run_summary.health_line(run, now, trouble, self._like)]
        # What is wrong, and how it ended, is said to the end; while all is well the log below stays where it is.
        told = not run.live or any(cell.tone in ("warning", "error") for cell in sign)
        self.query_one("#sign", Line).put(sign, most=MOST_LINES if told else 1)
        for name, cells in (("#money", run_summary.money(run, now)), ("#numbers", run_summary.number_cells(run, now))):
            line = self.query_one(name, Line)
            line.put(cells)
            line.display = bool(cells)
        pane = self.query_one(LogPane)
        pane.view.problems = run.outcome.problems if run.outcome else ()
        pane.put_title(live=run.live and not trouble)

    def show_line(self, run_id: str, line: int, wanted: str) -> None:
        """Show the log of a run with one of its lines on screen, as soon as so many are counted."""
        self._to_line = (run_id, line, wanted)
        self._go_to_line()

    def _go_to_line(self) -> None:
        view = self.query_one(LogView)
        if self._to_line is None or self._run is None or self._run.id != self._to_line[0]:
            return
        _, line, wanted = self._to_line
        if view.reading or view.lines <= line:
            return
        self._to_line, self._to_error = None, False
        if self.has_class("curves"):
            self.action_metrics()
        view.set_filter(None)
        view.jump_to(line)
        with contextlib.suppress(NanochatError):
            view.search_for(query_of(wanted))

    def on_log_search_changed(self) -> None:
        self._go_to_line()
        view = self.query_one(LogView)
        if self._to_error and view.scans and view.errors:
            self._to_error = False
            if view.following and (first := view.first_error()) is not None:
                view.jump_to(first)

    async def act(self, key: Key) -> None:
        if key.screen == "log":
            await self.action_in_log(key.action)
        elif key.screen == "metrics":
            if not self.has_class("curves"):
                self.action_metrics()
            await self.query_one(Metrics).run_action(key.action)
        else:
            await super().act(key)

    async def action_in_log(self, action: str) -> None:
        """What a key of the log does, also while the curves are in its place."""
        if self.has_class("curves"):
            self.action_metrics()
        await self.query_one(LogView).run_action(action)

    def action_metrics(self) -> None:
        """All curves in the place of the log, or the log again."""
        self.toggle_class("curves")
        focused = Metrics if self.has_class("curves") else LogView
        # At once: what comes next may open a prompt, which is to keep the focus.
        self.set_focus(self.query_one(focused))

    def action_cancel(self) -> None:
        if self._run:
            self.nanochat.ask_cancel([self._run])

    def action_resume(self) -> None:
        if self._run:
            self.nanochat.ask_resume([self._run])

    def action_back(self) -> None:
        if self.has_class("curves"):
            if not self.query_one(Metrics).take_back():
                self.action_metrics()
        elif not self.query_one(LogView).action_clear():
            super().action_back()

    def action_other(self, by: int) -> None:
        """The next older or newer run."""
        runs = self.nanochat.runs
        here = next((i for i, r in enumerate(runs) if self._run and r.id == self._run.id), None)
        if here is not None and 0 <= here + by < len(runs):
            self.nanochat.watch_run(runs[here + by])

    def action_plan(self) -> None:
        run = self._run
        if run is None:
            return
        # What a demo tells of nanochat was recorded on GPUs, wherever its volume is.
        gpus = self.nanochat.fleet.is_demo and run.spec.engine == "nanochat"
        try:
            lines = [
                f"$ {' '.join(map(shell_quote, argv))}"
                for argv in plan_of(run.spec, BackendName.MODAL if gpus else run.backend)
            ]
        except NanochatError as error:
            self.say(error)
            return
        lines.insert(0, f"What {run.tag} runs, as on an empty volume (Esc closes):")
        self.app.push_screen(TextPage("\n\n".join(map(sanitize_line, lines))))

    @background(group="diff", doing="reading how the code differs", exclusive=True)
    def action_diff(self) -> None:
        run = self._run
        if run is None:
            return
        code = run.spec.code
        if code is None:
            trained = "a stand-in for nanochat" if run.spec.engine == "rehearsal" else "the pinned upstream"
            self.notify(f"no code of your own: it trains {trained}", severity="warning", markup=False)
            return
        diff = self.nanochat.fleet.code_diff(run)
        if not diff:
            self.notify(f"its code is that of commit {code.base[:12]}", markup=False)
            return
        file = put_down(diff, self.nanochat.fleet.home / "previews")
        title: list[Cell | str] = [Cell(run.tag, "accent"), run_format.code(code), f"against commit {code.base[:12]}"]
        self.app.call_from_thread(self.app.push_screen, DiffPage(title, file, f"{run.tag}-code"))

    @background(group="report", doing="reading the report", exclusive=True)
    def action_report(self) -> None:
        run = self._run
        if run is None:
            return
        try:
            volume = self.nanochat.fleet.volume_of(run)
            data = volume.read(f"{run.path}/{layout.REPORT_FILE}", 0, 1 << 20)
        except FileNotFoundError:
            self.notify("the report is written when the last stage has ended", markup=False, severity="warning")
        else:
            text = "\n".join(sanitize_line(line) for line in data.decode("utf-8", "replace").splitlines())
            self.app.call_from_thread(self.app.push_screen, TextPage(text, markdown=True))


def _has_trained(run: Run) -> bool:
    """Whether its record tells of a step, or of a score."""
    told = run.status.training if run.status else None
    return told is not None and any(value for value in (told.step, told.core, told.chatcore, told.val_bpb))
