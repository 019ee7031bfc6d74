"""The app: its modes, the watcher that looks at all runs, and the actions that several screens share."""

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from textual.binding import BindingType
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.worker import get_current_worker

from runner.fleet.fleet import Fleet
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.model.states import TRANSITIONS, State
from runner.monitoring.ledger import Known
from runner.monitoring.notifications import Notification, NotificationKind, Notifier, terminal_sequence
from runner.nanochat import code_facts
from runner.nanochat.layout import CheckpointKind
from runner.settings import BUILT_IN
from runner.system import read_only
from runner.text import units
from runner.text.sanitize import sanitize_line
from runner.volumes.disk_usage import DiskUsage
from tui.app import last_frame, pages
from tui.app.leaving import run_to_exit_code
from tui.app.messages import RunsChanged, newest
from tui.app.run_questions import RunQuestions
from tui.app.trail import BackStack
from tui.background import SWITCH_S, background
from tui.context import VolumeRef
from tui.presentation.bindings import bindings
from tui.presentation.cells import Cell
from tui.presentation.keymap import HOMES, Key
from tui.presentation.run_summary import standing
from tui.presentation.tabs import Standing
from tui.screens.base import NanochatScreen
from tui.screens.file_actions import VolumeFiles
from tui.widgets.consent import Confirm

# A job writes its status once a second: of many runs, more often looks would show little more and cost twice as much.
# Where none is live another terminal may yet launch one.
LOOK_EVERY_S, LOOK_AT_MANY_S, MANY, LOOK_AT_NONE_S = 0.5, 1.0, 5, 2.0
# So often ages are drawn anew of runs that stay as they are: of those that are told in minutes less often.
AGES_EVERY_S, MINUTE_S = 10.0, 60.0
DISCOVER_EVERY_S = 60.0

# Screens that draw need it, and must not wait for a disk.
code_facts.pinned()

READ_ONLY = "read-only"
# A look at the runs on this machine that is older is told, which is looked at so often.
LATE_S, GROW_OLDER_S = 10.0, 2.0
STAND_EVERY_S, BEHIND_EVERY_S, TYPING_S = 0.9, 5.0, 0.1
DEMO = "demo"

BAD_NEWS = (
    NotificationKind.FAILED,
    NotificationKind.STALLED,
    NotificationKind.INTERRUPTED,
    NotificationKind.OUT_OF_BUDGET,
    NotificationKind.UNSAVED,
)


class NanochatApp(RunQuestions):
    """Shows what a Fleet knows. Closing it, or killing it, leaves every run as it is."""

    TITLE = "nanochat"
    MODES = {**pages.MODES}
    CSS_PATH = [*pages.STYLES]
    DEFAULT_MODE = "runs"
    BINDINGS: ClassVar[list[BindingType]] = bindings("")

    def __init__(self, fleet: Fleet, commands: Mapping[str, str] | None = None) -> None:
        """With the `commands` of the command line, by how they are typed, what each is for."""
        super().__init__()
        self.commands = commands or {}
        self.fleet = fleet
        self.runs = fleet.registry.all()
        self.default_volume = fleet.volume_location(BackendName.LOCAL, "rehearsal")
        self.unreachable: dict[str, str] = {}
        # Whose Modal it is, once that is known.
        self.workspace = ""
        self.watched = self.runs[0].id if self.runs else ""
        self.compared: list[str] = []
        self.files = VolumeFiles(self, self)
        self.usages: dict[VolumeRef, DiskUsage] = {}
        self._trail = BackStack(self.DEFAULT_MODE)
        self._looked_at = time.monotonic()
        # What was last seen on this machine, and when the screens were last told of it.
        self._last_look: RunsChanged | None = None
        self._told_at = 0.0
        self._was_late = False
        self._stood: tuple[object, ...] = ()
        self._stood_at = self._shown_at = 0.0
        self._is_due = False
        self._spent: Known = {}
        self._asked_to_leave: Confirm | None = None
        # Of the screen that the next start begins with.
        self.last_frame = ""
        self.teller = Notifier(
            fleet.registry,
            lambda: fleet.settings,
            self._tell,
            lambda problem: self.say_later(f"a notice could not be sent: {problem}"),
        )

    def on_load(self) -> None:
        self.apply_keys(self.fleet.settings)

    def on_mount(self) -> None:
        self.looks.begin(self.fleet.settings.theme)
        for text in self.fleet.notices:
            self.notify(sanitize_line(text), severity="warning", markup=False, timeout=15)
        self.fleet.notices.clear()
        self._watch_all()
        self.call_after_refresh(self._load_the_rest)
        self.set_interval(GROW_OLDER_S, self._grow_older)
        self.call_after_refresh(self._watch_modal)
        self.call_after_refresh(self._discover)
        if not read_only.is_set():
            self.call_after_refresh(self.files.look_for_cut_ones)
            self.call_after_refresh(self._see_where)
        self.call_after_refresh(self._sweep_trash)

    @background(group="load", doing="loading the screens")
    def _load_the_rest(self) -> None:
        pages.load_all()
        if not self.is_headless:
            # It stays to the end: nothing of it is ever garbage to be looked for.
            gc.freeze()

    def _tell(self, notice: Notification) -> None:
        self.call_later(self._show_notice, notice)

    def _show_notice(self, notice: Notification) -> None:
        bad = notice.kind in BAD_NEWS
        severity: SeverityLevel = "warning" if bad else "information"
        self.notify(sanitize_line(notice.text), severity=severity, timeout=12, kind=notice.kind)
        if self.fleet.settings.bell and self._driver and not read_only.is_set():
            self._driver.write(terminal_sequence(notice))

    def browse(self, place: VolumeRef, path: str, name: str = "") -> None:
        """Open the Volume screen on a folder, with the cursor on one of its entries."""
        from tui.screens.volume import VolumeScreen

        self.action_show("volume")
        if isinstance(self.screen, VolumeScreen):
            self.call_after_refresh(self.screen.open_at, place, path, name)

    def show_checkpoints(self, run: Run) -> None:
        """Open the Checkpoints screen with the cursor on those of a run."""
        from tui.screens.checkpoints import CheckpointsScreen

        self.action_show("checkpoints")
        if isinstance(self.screen, CheckpointsScreen):
            self.call_after_refresh(self.screen.begin_at, run)

    def show_sizes(self, place: VolumeRef, path: str) -> None:
        from tui.screens.sizes import SizesScreen

        self.action_show("sizes")
        if isinstance(self.screen, SizesScreen):
            self.call_after_refresh(self.screen.open_at, place, path)

    def resume_from(self, run: Run, kind: CheckpointKind, step: int) -> None:
        """Go on from a chosen checkpoint: the run itself where it can be resumed, else a new run, to be looked at."""
        if run.live:
            self.notify(sanitize_line(f"{run.tag} is live: cancel it first"), severity="warning", markup=False)
            return
        if kind is not CheckpointKind.BASE or State.LAUNCHING not in TRANSITIONS[run.state]:
            from tui.screens.launch import LaunchScreen

            self.action_show("launch")
            if isinstance(self.screen, LaunchScreen):
                self.call_after_refresh(
                    self.screen.begin_from, run, "base" if kind is CheckpointKind.BASE else "eval", step
                )
            return
        self.ask_resume([run], step)

    def launch_with(self, form: Mapping[str, str]) -> None:
        from tui.screens.launch import LaunchScreen

        if self.fleet.is_demo:
            form = self._rehearsed(form)
        self.action_show("launch")
        if isinstance(self.screen, LaunchScreen):
            self.call_after_refresh(self.screen.begin_with, form)

    def _rehearsed(self, form: Mapping[str, str]) -> Mapping[str, str]:
        """A form as a demo can start it: a rehearsal goes on from no run of nanochat."""
        source = next((run for run in self.runs if run.tag == form.get("from")), None)
        if (source.spec.engine if source else form.get("engine")) == "rehearsal":
            return form
        begins = ", and none goes on from a recorded run: this one begins at step 0" if source else ""
        self.notify(f"a demo starts rehearsals only{begins}", severity="warning")
        anew = {"model": source.spec.model, "from": "", "step": ""} if source else {}
        return {**form, **anew, "engine": "rehearsal"}

    def compare(self, runs: list[Run]) -> None:
        """Put runs side by side."""
        self.compared = [r.id for r in runs]
        self.action_show("compare")

    def say_later(self, text: str) -> None:
        """What the fleet has to say, from whatever thread."""
        self.call_later(self.notify, sanitize_line(text), markup=False, timeout=10)

    @background(group="watcher", doing="looking at the runs", exclusive=True, again=True)
    def _watch_all(self) -> None:
        self._watch(BackendName.LOCAL, self.look)

    @background(group="modal", doing="looking at the runs on Modal", exclusive=True, again=True)
    def _watch_modal(self) -> None:
        """Look at the runs on Modal, apart, so that a slow network holds up nothing else."""
        self._watch(BackendName.MODAL, self._look_at_modal)

    def _watch(self, backend: BackendName, look: Callable[[], None]) -> None:
        """Look again and again: where none is live, when something was changed on record, or after a while."""
        worker, version, at = get_current_worker(), None, 0.0
        while not worker.is_cancelled:
            known, now = self.fleet.registry.version(), time.monotonic()
            live = sum(r.live for r in self.runs if r.backend is backend)
            if live or known != version or now - at > AGES_EVERY_S:
                version, at = known, now
                look()
                live = sum(r.live for r in self.runs if r.backend is backend)
            elif backend is BackendName.LOCAL:
                self._looked_at = now
            self.left.wait(LOOK_AT_MANY_S if live > MANY else LOOK_EVERY_S if live else LOOK_AT_NONE_S)

    def _look_at_modal(self) -> None:
        if any(run.backend is BackendName.MODAL for run in self.runs):
            runs = self.fleet.poll_all(BackendName.MODAL)
            self.post_message(RunsChanged(runs, dict(self.fleet.unreachable), BackendName.MODAL))

    @background(group="discover", doing="looking for runs of other machines", exclusive=True, again=True)
    def _discover(self) -> None:
        """Another laptop may launch a run at any time; a network that is away at the start may come."""
        worker = get_current_worker()
        while not worker.is_cancelled:
            if self.fleet.reaches_modal:
                self.fleet.discover()
                self.workspace = self.fleet.workspace()
            self.left.wait(DISCOVER_EVERY_S)

    @background(group="where", doing="looking where runs can start")
    def _see_where(self) -> None:
        """Where runs may start in two places, and nobody has said in which they do, that is asked."""
        here = self.fleet.effective
        said = here.origins["backend"] != BUILT_IN or "backend" in here.loaded.odd
        if not said and not here.loaded.damage and self.fleet.reaches_modal:
            self.app.call_from_thread(self._ask_where)

    def _ask_where(self) -> None:
        """Ask once where runs start; the answer is a setting like any other."""
        asked = Confirm(
            "Runs start on this machine by default. Start them on Modal?",
            ["There is a Modal token here. Each launch says where it runs and what it costs, and may say otherwise."],
            "nanochat-tui settings backend modal",
            "Modal",
            "This machine",
        )
        where = {True: BackendName.MODAL, False: BackendName.LOCAL}
        self.push_screen(asked, lambda yes: self.keep(("backend", where[yes])) if yes is not None else None)

    def put_setting(self, name: str, value: str) -> None:
        self.fleet.put_setting(name, value)

    def standing(self) -> tuple[Standing, list[Cell]]:
        fleet = self.fleet
        limit = fleet.settings.monthly_limit_usd
        now = standing(
            self.runs, fleet.deleted_accounts, fleet.clock(), limit, self.workspace, fleet.time_for, self._spent
        )
        if fleet.is_demo:
            now = now._replace(notes=(*now.notes, DEMO))
        if read_only.is_set():
            now = now._replace(notes=(*now.notes, READ_ONLY))
        trouble = [Cell(f"last looked at {units.duration(self._late_s)} ago", "error")] if self._late_s else []
        trouble += [Cell(why, "error") for why in list(self.unreachable.values())[:1]]
        return now, trouble

    @property
    def _late_s(self) -> float:
        """How long nobody has looked at the runs on this machine, where that is longer than it should be; else 0."""
        late = time.monotonic() - self._looked_at
        return late if late > LATE_S else 0.0

    def _grow_older(self) -> None:
        """Where a look takes its time, as a disk that hangs makes it, ages and silences go on all the same."""
        late, self._was_late = self._was_late, bool(self._late_s)
        if late or self._was_late:
            self._show_runs()

    def on_runs_changed(self, message: RunsChanged) -> None:
        shown = {r.id: r for r in self.runs if r.backend != message.backend}
        self.runs, self.unreachable = [newest(r, shown.get(r.id)) for r in message.runs], message.unreachable
        if not self.watched and self.runs:
            self.watched = self.runs[0].id
        self._show_runs()

    def _show_runs(self) -> None:
        """Numbers over all runs are drawn once a second, whatever else changes at once; behind a page more seldom."""
        changed, now_s = ([(r.id, r.state) for r in self.runs], len(self.unreachable)), time.monotonic()
        if changed == self._stood:
            # All of a page is drawn with what is behind it.
            if len(self.screen_stack) > 1 and now_s - self._shown_at < BEHIND_EVERY_S:
                return
            # Keys that come one after the other go first.
            if now_s - self.key_at < TYPING_S and now_s - self._shown_at < BEHIND_EVERY_S:
                if not self._is_due:
                    self._is_due = True
                    self.set_timer(TYPING_S, self._show_due)
                return
        self._shown_at = now_s
        if changed != self._stood or now_s - self._stood_at > STAND_EVERY_S:
            self._stood, self._stood_at, now = changed, now_s, self.standing()
            for screen in self.screen_stack:
                if isinstance(screen, NanochatScreen):
                    screen.show_standing(*now)
        for screen in self.screen_stack:
            if isinstance(screen, NanochatScreen):
                screen.show_runs(self.runs)

    def _show_due(self) -> None:
        self._is_due = False
        self._show_runs()

    def action_show(self, mode: str) -> None:
        before = self.screen
        run = before.run_in_hand() if isinstance(before, NanochatScreen) else None
        self._trail.push(self.current_mode, mode)
        self._open(mode)
        if run is not None and self.screen is not before and isinstance(self.screen, NanochatScreen):
            self.call_after_refresh(self.screen.begin_at, run)

    def go_back(self) -> None:
        """To the screen from which one came to this one."""
        self._open(self._trail.pop())

    def _open(self, mode: str) -> None:
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.switch_mode(mode)

    def new_run(self) -> None:
        """The form of a new run, empty."""
        from tui.screens.launch import LaunchScreen

        self.action_show("launch")
        if isinstance(self.screen, LaunchScreen) and self.screen.is_there:
            self.screen.begin_anew()

    async def action_quit(self) -> None:
        self.action_leave()

    def action_leave(self) -> None:
        if not self.files.busy or (self._asked_to_leave and self.screen is self._asked_to_leave):
            self.leave()
            return
        lines = ["It is stopped. What has come is kept, and asked for again it goes on from there."]
        asked = Confirm("Leave while files are on their way?", lines, "nanochat-tui volume get …", "Leave", "Stay")
        self._asked_to_leave = asked
        self.push_screen(asked, lambda yes: self.leave() if yes else None)

    def leave(self, code: int = 0) -> None:
        if opened_with := self._screen_stacks.get(self.DEFAULT_MODE):
            self.last_frame = last_frame.drawn_on(self, opened_with[0])
        self.files.leave()
        super().leave(code)

    def watch_run(self, run: Run) -> None:
        """Open the Watch screen on a run, also on one that the watcher has not seen yet."""
        self.watched = run.id
        if self.current_mode == "launch":
            # The form has done its work: it is nothing to go back to.
            self._open(self._trail.pop())
        if all(r.id != run.id for r in self.runs):
            self.runs = [run, *self.runs]
        if self.current_mode == "watch":
            screen = self.screen
            if isinstance(screen, NanochatScreen):
                screen.show_runs(self.runs)
        else:
            self.action_show("watch")

    def action_find_all(self) -> None:
        from tui.app import finding

        finding.open_prompt(self)

    def action_undo(self) -> None:
        """Bring back what went last: files and runs, or marks and a filter of this screen."""
        screen = self.screen
        if isinstance(screen, NanochatScreen) and screen.cleared.at > self.files.last_at:
            if kept := screen.cleared.pop():
                screen.bring_back(kept)
        else:
            self.files.undo()

    @background(group="trash", doing="looking at the trash")
    def _sweep_trash(self) -> None:
        """What was kept long enough goes for good."""
        self.fleet.trash()

    def look(self) -> None:
        runs = self.fleet.poll_all(BackendName.LOCAL)
        message = RunsChanged(runs, dict(self.fleet.unreachable), BackendName.LOCAL)
        self._looked_at = time.monotonic()
        same = self._last_look is not None and message.is_as(self._last_look) and not any(r.live for r in runs)
        youngest = max((r.last_heartbeat or 0.0 for r in runs), default=0.0)
        grown = AGES_EVERY_S if self.fleet.clock() - youngest < MINUTE_S else MINUTE_S
        if not same or self._looked_at - self._told_at > grown:
            self._last_look, self._told_at = message, self._looked_at
            self.post_message(message)
        self.teller.check(runs, self.fleet.clock(), runs, self.fleet.time_for)

    def act_later(self, screen: Screen[object], key: Key) -> None:
        """A key of another screen is done there."""
        if key.id in self.hidden:
            self.notify(f"{READ_ONLY}: it does not {key.label.lower()}", severity="warning")
        elif key.screen in self.sections(screen):
            super().act_later(screen, key)
        elif (mode := HOMES.get(key.screen)) == "compare" and not self.compared:
            self.notify("mark two runs or more in Runs, then compare them", severity="warning")
        elif mode:
            self.call_later(self._act_there, mode, key)

    def _act_there(self, mode: str, key: Key) -> None:
        self.action_show(mode)
        # What a form launches is looked at first.
        if key.id != "launch.launch":
            self.screen.call_after_refresh(self.act, self.screen, key)

    def sections(self, screen: Screen[object]) -> tuple[str, ...]:
        return (*(screen.SECTIONS if isinstance(screen, NanochatScreen) else ()), "")

    def sections_elsewhere(self, screen: Screen[object]) -> tuple[str, ...]:
        return tuple(section for section in HOMES if section not in self.sections(screen))

    async def act(self, screen: Screen[object], key: Key) -> None:
        if key.screen and isinstance(screen, NanochatScreen):
            await screen.act(key)
        else:
            await super().act(screen, key)


def run_app(home: Path, *, volume: str = "", commands: Mapping[str, str] | None = None) -> int:
    """Open the app on this terminal; the exit code for the shell."""
    sys.setswitchinterval(SWITCH_S)
    fleet = Fleet(home, volume=volume)
    app = NanochatApp(fleet, commands)
    fleet.say = app.say_later
    with contextlib.closing(fleet):
        try:
            return run_to_exit_code(app)
        finally:
            app.teller.close()
            last_frame.keep(app.last_frame, home)
