"""One run: its stages, its numbers, its heartbeat, its log."""

import os
import shlex
import time
from pathlib import Path
from typing import ClassVar

import msgspec
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Footer, Static

from runner import health, units
from runner.errors import NanochatError
from runner.nanochat import layout
from runner.plan import plan_of
from runner.projection import is_free, spent_usd
from runner.run import Run
from runner.spool import LogFile
from runner.terminal import safe
from tui import looks
from tui.cells import Cell
from tui.keys import bindings
from tui.screens.base import Line, NanochatScreen
from tui.screens.dialogs import Page
from tui.widgets.chart import Chart
from tui.widgets.log_pane import LogPane
from tui.widgets.log_view import LogView

MAX_POINTS = 4000


class LossCurve:
    """The loss of every base step so far, read from the run's events as they grow; bounded by halving."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.points: list[float] = []
        self._offset = 0
        self._every = 1
        self._count = 0

    def read(self) -> bool:
        """Take in new events; whether there were new points."""
        try:
            with self.path.open("rb") as file:
                if self._offset > os.fstat(file.fileno()).st_size:
                    self.points, self._offset, self._every, self._count = [], 0, 1, 0
                file.seek(self._offset)
                data = file.read(1 << 20)
        except FileNotFoundError:
            return False
        whole, newline, _ = data.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        before = self._count
        for line in whole.splitlines():
            if b'"kind":"step"' in line and b'"stage":"base"' in line:
                try:
                    loss = msgspec.json.decode(line)["loss"]
                except (msgspec.DecodeError, KeyError, TypeError):
                    continue
                self._add(loss)
        return self._count > before

    def _add(self, loss: object) -> None:
        self._count += 1
        if isinstance(loss, int | float) and self._count % self._every == 0:
            self.points.append(float(loss))
        if len(self.points) > MAX_POINTS:
            self.points, self._every = self.points[::2], self._every * 2


class WatchScreen(NanochatScreen):
    """Follows the run that `app.watched` names."""

    CSS_PATH: ClassVar[str | Path] = Path(__file__).with_suffix(".tcss")
    BINDINGS: ClassVar[list[BindingType]] = bindings("watch")

    def __init__(self) -> None:
        super().__init__()
        self._run: Run | None = None
        self._curve: LossCurve | None = None
        self._reading = False
        self._pulled = ""

    def compose(self) -> ComposeResult:
        yield Line(id="title")
        yield Line(id="stages")
        yield Line(id="sign")
        yield Line(id="numbers")
        yield Chart("loss", id="loss")
        yield LogPane(id="logs")
        yield Static("No run is watched. Esc, then Enter on a run.", id="none")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        view = self.query_one(LogView)
        view.present_as(self.nanochat.fleet.settings)
        view.focus()
        self.set_interval(1.0, self._read_curve)

    def show_runs(self, runs: list[Run]) -> None:
        if not self.is_there:
            return
        wanted = self.nanochat.watched
        run = next((r for r in runs if r.id == wanted), None)
        self.set_class(run is None, "nothing")
        if run is None:
            self._run = None
            return
        if self._run is None or self._run.id != run.id:
            self._open(run)
        self._run = run
        self._show(run, self.nanochat.fleet.clock())

    def _open(self, run: Run) -> None:
        log = self.nanochat.fleet.log_file(run)
        self._pulled = ""
        self._curve = LossCurve(log.with_name(layout.EVENTS_FILE))
        self.query_one(Chart).show([])
        self.query_one(LogPane).open(LogFile(log), run.tag)
        self._read_curve()

    def _read_curve(self) -> None:
        if not self._reading:
            self._reading = True
            self._read_more(self._run)

    @work(thread=True, group="curve", exit_on_error=False)
    def _read_more(self, run: Run | None) -> None:
        """Bring log and events to this disk, where they are elsewhere, and take in the new points."""
        try:
            if run is not None:
                self._pull(run)
            self._take_points()
        finally:
            self._reading = False

    def _pull(self, run: Run) -> None:
        try:
            self.nanochat.fleet.pull_log(run)
            problem = ""
        except (NanochatError, OSError) as error:
            problem = str(error)
        if problem and problem != self._pulled:
            self.app.call_from_thread(self.notify, safe(problem), severity="warning", markup=False)
        self._pulled = problem

    def _take_points(self) -> None:
        curve = self._curve
        while curve is not None and curve is self._curve and curve.read():
            self.app.call_from_thread(self._show_curve, list(curve.points))

    def _show_curve(self, points: list[float]) -> None:
        self.query_one(Chart).show(points)

    def _show(self, run: Run, now: float) -> None:
        status = run.status
        began = time.strftime("%H:%M", time.localtime(run.created_at))
        title: list[Cell | str] = [
            Cell(run.tag, "accent"),
            f"{run.spec.task} {run.spec.model} on {looks.hardware(run)}",
            f"launched {began}",
        ]
        title += [f"attempt {run.attempt}"] if run.attempt > 1 else []
        title += ["on Modal"] if run.backend == "modal" else []
        title += [Cell("rehearsal", "warning")] if run.spec.engine == "rehearsal" else []
        title.append(Cell(run.id, "dim"))
        self.query_one("#title", Line).put(title)
        narrow = self.size.width < 110
        stages = looks.stages(run, now, brief=narrow) or [Cell("waiting for the job", "dim")]
        self.query_one("#stages", Line).put(stages, gap=" " if narrow else "  ")
        self.query_one("#sign", Line).put(self._sign(run, now))
        cost = "free" if is_free(run) else f"{units.money(spent_usd(run, now))} spent"
        numbers: list[Cell | str] = [Cell(looks.progress(run, 10), "accent"), f"step {looks.steps(run)}"]
        if status:
            numbers.append(f"loss {units.decimals(status.loss, 4)}")
            numbers.append(f"bpb {units.decimals(status.val_bpb, 4)}")
        numbers += [f"eta {units.duration(looks.eta(run))}"] if looks.eta(run) is not None else []
        numbers.append(cost)
        if status and run.live:
            numbers.append(f"{units.count(status.tokens_per_s)} tok/s")
            numbers += [f"{status.dt_s * 1000:,.0f} ms/step"] if status.dt_s else []
        if status and run.live and status.stage_loss is not None:
            numbers.append(f"{status.stage} loss {status.stage_loss:.4f}")
        if status:
            numbers += [f"CORE {status.core:.4f}"] if status.core is not None else []
            numbers += [f"ChatCORE {status.chatcore:.4f}"] if status.chatcore is not None else []
        self.query_one("#numbers", Line).put(numbers)
        self.query_one(LogPane).put_title(live=run.live)

    def _sign(self, run: Run, now: float) -> list[Cell | str]:
        if trouble := self.nanochat.unreachable.get(run.id):
            known = f"last known {units.age(run.last_sign_of_life, now)} ago" if run.last_sign_of_life else ""
            return [Cell("? no signal", "error"), looks.state(run), known, trouble]
        if not run.live:
            cells: list[Cell | str] = [looks.state(run)]
            if run.outcome:
                cells += [run.outcome.message, Cell(run.outcome.advice, "dim")]
            return cells
        sign = health.health(run, now)
        glyph, tone = looks.HEALTH[sign.word]
        cells = [Cell(f"{glyph} {sign.word}", tone), looks.state(run), Cell(sign.why, "dim")]
        if run.status and run.status.saved_step:
            cells.append(f"kept up to step {run.status.saved_step:,}")
        if run.status and run.status.lost_log_bytes:
            lost = units.size(run.status.lost_log_bytes)
            cells.append(Cell(f"! {lost} of the log lost: the volume was full", "error"))
        if run.status and run.status.warnings:
            cells.append(Cell(f"! {run.status.warnings[-1]}", "warning"))
        return cells

    def action_cancel(self) -> None:
        if self._run:
            self.nanochat.ask_cancel([self._run])

    def action_resume(self) -> None:
        if self._run:
            self.nanochat.resume_run(self._run)

    def action_back(self) -> None:
        if not self.query_one(LogView).action_clear():
            self.nanochat.action_show("runs")

    def action_other(self, by: int) -> None:
        """The next older or newer run."""
        runs = self.nanochat.runs
        here = next((i for i, r in enumerate(runs) if self._run and r.id == self._run.id), None)
        if here is not None and 0 <= here + by < len(runs):
            self.nanochat.watch_run(runs[here + by])

    def action_plan(self) -> None:
        if self._run is None:
            return
        try:
            lines = [f"$ {shlex.join(argv)}" for argv in plan_of(self._run)]
        except NanochatError as error:
            self.say(error)
            return
        self.app.push_screen(Page("\n\n".join(map(safe, lines))))

    @work(thread=True, exclusive=True, group="report", exit_on_error=False)
    def action_report(self) -> None:
        run = self._run
        if run is None:
            return
        try:
            volume = self.nanochat.fleet.volume_of(run)
            data = volume.read(f"{layout.run_dir(run.id)}/{layout.REPORT_FILE}", 0, 1 << 20)
        except FileNotFoundError:
            self.app.call_from_thread(
                self.notify, "the report is written when the last stage has ended", markup=False, severity="warning"
            )
        except NanochatError as error:
            self.app.call_from_thread(self.say, error)
        else:
            text = "\n".join(safe(line) for line in data.decode("utf-8", "replace").splitlines())
            self.app.call_from_thread(self.app.push_screen, Page(text, markdown=True))
