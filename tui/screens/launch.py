"""A new run: a form on the left, on the right what it will do, how long it takes and what it costs."""

import functools
import shlex
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Label, Static
from textual.worker import get_current_worker

from runner.errors import CredentialsError, NanochatError, NoSuchRun, UsageError
from runner.fleet.places import BACKENDS
from runner.fleet.registry import find_run
from runner.model.backend_name import BackendName
from runner.model.identifiers import check_tag
from runner.model.overrides import SWITCHES, flag, parse_override_words
from runner.model.pricing import CENT, FREE, GPUS, MoneyRange
from runner.model.run import Run
from runner.model.spec import ENGINES, GPU_COUNTS, TASKS, TOKENIZER_TASK, RunSpec
from runner.paths import has_modal_token, no_modal_token
from runner.planning import plan_text
from runner.planning.plan import Plan
from runner.planning.usual import with_usual
from runner.text import units
from runner.text.sanitize import sanitize_line
from tui.background import background
from tui.presentation.keymap import bindings
from tui.screens.base import NanochatScreen
from tui.screens.launch_usual import USUAL, first_values, flags, without
from tui.widgets.choice import Choice
from tui.widgets.consent import Confirm
from tui.widgets.key_line import KeyLine
from tui.widgets.line import Line

CHOICES: dict[str, tuple[str, ...]] = {
    "task": TASKS,
    "engine": ("auto", *ENGINES),
    "backend": BACKENDS,
    "gpu": tuple(GPUS),
    "gpus": ("auto", *map(str, GPU_COUNTS)),
}
FIELDS = (
    ("task", "test", ""),
    ("model", "d12", "d12, d26, d32 or an even depth"),
    ("engine", "auto", ""),
    ("backend", "local", ""),
    ("gpu", "H100", ""),
    ("gpus", "auto", ""),
    ("budget", "", "most dollars, as 25"),
    ("stop-if-stalled", "", "end it after 20m without progress"),
    ("tag", "", "a name (else made up)"),
    ("from", "", "a run to continue"),
    ("step", "", "with from: this checkpoint (else the newest)"),
    ("overrides", "", "save-every=20 iterations=100"),
)

LABELS = {"stop-if-stalled": "if stalled"}
REMEMBERED = ("task", "model")
DEFAULTS = {name: value for name, value, _ in FIELDS}


class _Asked(NamedTuple):
    """What the form said when F5 was pressed; `unasked` where no limit was in the way."""

    spec: RunSpec
    backend: str
    tag: str
    command: str
    unasked: bool = False


class LaunchScreen(NanochatScreen):
    """The plan follows the form; F5 or Ctrl+Enter launches it, once."""

    CSS_PATH: ClassVar[str | Path] = Path(__file__).with_suffix(".tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("launch"),
        Binding("up", "field(-1)", show=False),
        Binding("down,enter", "field(1)", show=False),
        Binding("pageup", "scroll_plan(-1)", show=False),
        Binding("pagedown", "scroll_plan(1)", show=False),
    ]

    SECTIONS = ("launch",)

    def __init__(self) -> None:
        super().__init__()
        self._spec: RunSpec | None = None
        # What a person had chosen before the form was filled in for a checkpoint.
        self._own: dict[str, str] = {}
        # What the form begins with: what is set, else what is built in.
        self._first = DEFAULTS
        self._passed_over: tuple[str, ...] = ()
        self._usd = FREE
        self._busy = False
        self._planning = self._wanted = False

    def compose(self) -> ComposeResult:
        self._first = first_values(DEFAULTS, self.nanochat.fleet.settings)
        yield Line(id="title")
        with Horizontal():
            with VerticalScroll(id="form", can_focus=False):
                for name, _, hint in FIELDS:
                    value = self._first[name]
                    with Horizontal(classes="field"):
                        yield Label(LABELS.get(name, name), markup=False)
                        if name in CHOICES:
                            yield Choice(CHOICES[name], value, id=name)
                        else:
                            yield Input(value, placeholder=hint, id=name, compact=True, select_on_focus=name == "model")
                    yield Static("", markup=False, id=f"{name}-error", classes="error")
            with VerticalScroll(id="right"), Vertical():
                yield Static("", markup=False, id="plan")
        yield Static("", markup=False, id="command")
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one("#title", Line).put(["New run"])
        self.query_one("#task").focus()
        self._replan()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        if self.is_there:
            self._follow_settings()
            self.query_one("#task").focus()

    def on_input_changed(self) -> None:
        self._replan()

    def on_choice_changed(self) -> None:
        self._replan()

    def action_field(self, by: int) -> None:
        (self.focus_previous if by < 0 else self.focus_next)("Input, Choice")

    def action_back(self) -> None:
        self.begin_anew()
        super().action_back()

    def action_scroll_plan(self, by: int) -> None:
        right = self.query_one("#right", VerticalScroll)
        (right.scroll_page_up if by < 0 else right.scroll_page_down)(animate=False)

    def _follow_settings(self) -> None:
        """What was set since the form was made is in those of its fields that nobody has changed."""
        before, self._first = self._first, first_values(DEFAULTS, self.nanochat.fleet.settings)
        for name in USUAL:
            field = self.query_one(f"#{name}", Choice)
            if field.value == before[name]:
                field.value = self._first[name]

    def begin_anew(self) -> None:
        """Empty the form, but for the task and the model that were chosen last."""
        self._first = first_values(DEFAULTS, self.nanochat.fleet.settings)
        for name, value in self._first.items():
            field = self.query_one(f"#{name}")
            if isinstance(field, Input | Choice):
                field.value = self._own.get(name, field.value if name in REMEMBERED else value)
        self._own = {}

    def begin_from(self, run: Run, task: str, step: int) -> None:
        """Fill the form in for going on from a checkpoint of a run."""
        self.begin_anew()
        self._own = {name: self._value(name) for name in REMEMBERED}
        self.query_one("#task", Choice).value = task
        self.query_one("#from", Input).value = run.tag
        self.query_one("#step", Input).value = str(step)
        self._replan()

    def _value(self, name: str) -> str:
        field = self.query_one(f"#{name}")
        return field.value.strip() if isinstance(field, Input | Choice) else ""

    def _source(self) -> Run | None:
        """The run to go on from. Raises UsageError when there is no such run."""
        if not self._value("from"):
            return None
        try:
            return find_run(self.nanochat.runs, self._value("from"))
        except NoSuchRun as error:
            raise UsageError(error.what, error.hint, field="from") from error

    def _backend(self) -> str:
        source = self._source()
        return source.backend if source else self._value("backend")

    def _read(self) -> RunSpec:
        """The form as a spec. Raises UsageError with the field that is wrong.

        What is left as it was is taken from the run to continue.
        """
        source = self._source()
        if self._value("tag"):
            check_tag(self._value("tag"))

        said: dict[str, Any] = {name: self._value(name) for name in ("engine", "gpus", "gpu") if self._is_said(name)}
        said = {name: None if value == "auto" else value for name, value in said.items()}
        if said.get("gpus"):
            said["gpus"] = int(said["gpus"])
        model = self._value("model")
        create = functools.partial(
            RunSpec.create,
            task=self._value("task"),
            model=None if source and model == DEFAULTS["model"] else model,
            backend=self._backend(),
            budget=self._value("budget") or None,
            stop_if_stalled=self._value("stop-if-stalled") or None,
            overrides=parse_override_words(self._value("overrides")),
            source=source.spec if source else None,
            source_id=source.id if source else "",
            source_step=_step(self._value("step")),
        )
        self._passed_over = ()
        if source and source.spec.task != TOKENIZER_TASK:
            return create(**said)
        # Where auto was chosen over what is set, that counts no more.
        usual = without(self.nanochat.fleet.effective, [name for name, value in said.items() if value is None])
        spec, self._passed_over = with_usual(create, usual, **said)
        return spec

    def _is_said(self, name: str) -> bool:
        """Whether a field holds something else than it begins with."""
        return self._value(name) != self._first[name]

    def _replan(self) -> None:
        self._spec = None
        self._planning = self._wanted = False
        try:
            spec = self._read()
        except UsageError as error:
            self._show_error(error)
            return
        self._planning = True
        self._plan(spec, self._backend())

    def _show_error(self, error: NanochatError) -> None:
        field = error.field if isinstance(error, UsageError) else ""
        self._planning = self._wanted = False
        self._clear_errors()
        names = [name for name, _, _ in FIELDS]
        self._say_at(field if field in names else "overrides", error)
        self.query_one("#plan", Static).update(Text("No plan: a value is wrong.", style="dim"))
        self.query_one("#command", Static).update("")

    def _say_at(self, field: str, error: NanochatError) -> None:
        where = self.query_one(f"#{field}-error", Static)
        where.update(sanitize_line(str(error)))
        where.display = True

    @background(group="plan", doing="making the plan", exclusive=True, failed=_show_error)
    def _plan(self, spec: RunSpec, backend: str) -> None:
        worker = get_current_worker()
        planned = self.nanochat.fleet.plan(spec, backend)
        problem = (
            CredentialsError(*no_modal_token()) if backend == BackendName.MODAL and not has_modal_token() else None
        )
        if not worker.is_cancelled:
            self.app.call_from_thread(self._show_plan, spec, planned, problem)

    def _clear_errors(self) -> None:
        for one in self.query(".error"):
            one.display = False

    def _show_plan(self, spec: RunSpec, planned: Plan, problem: NanochatError | None = None) -> None:
        """The plan of a form; `problem` is what yet stands in the way of its backend."""
        self._spec, self._usd = spec, planned.usd
        self._clear_errors()
        if problem:
            self._say_at("backend", problem)
        text = Text(f"{sanitize_line(plan_text.headline(spec, self._backend(), planned))}\n\n", style="bold")
        for stage in planned.stages:
            style = "dim" if stage.skip else ""
            text.append(f"{stage.name:<10}", style="bold" if not stage.skip else "dim")
            if stage.skip:
                text.append(f" ✓ {sanitize_line(stage.skip)}\n", style="dim")
                continue
            cost = "" if not planned.usd_per_hour else f"  {units.money(stage.usd.likely)}"
            text.append(f" {units.duration_range(stage.seconds)}{cost}\n", style=style)
            if stage.note:
                text.append(f"           {sanitize_line(stage.note)}\n", style="dim")
        text.append("\n")
        for name, said in plan_text.notes(planned):
            text.append(f"{name:<7} {sanitize_line(said)}\n", style="bold" if name == "likely" else "")
        for warning in (*planned.warnings, *self._passed_over):
            text.append(f"note: {sanitize_line(warning)}\n", style=self.nanochat.tone("warning"))
        text.append("\n")
        for stage in planned.stages:
            for argv in stage.commands:
                text.append(f"$ {sanitize_line(shlex.join(argv))}\n", style="dim")
        self.query_one("#plan", Static).update(text)
        self.query_one("#command", Static).update(f"$ {sanitize_line(self._command_line())}")
        wanted, self._planning, self._wanted = self._wanted, False, False
        if wanted and self.is_current:
            self.action_launch()

    def _command_line(self) -> str:
        """The same launch, for a shell."""
        words = ["nanochat-tui", "launch"]
        values = {name: self._value(name) for name, _, _ in FIELDS}
        usual = flags(values, self._first, DEFAULTS, self._spec)
        for name, default, _ in FIELDS[:-1]:
            value = values[name]
            if name in USUAL:
                words += [f"--{name}", usual[name]] if name in usual else []
            elif value and (value != default or name == "task" or (name == "model" and not self._value("from"))):
                words += [f"--{name}", value]
        for name, given in parse_override_words(self._value("overrides")).items():
            for value in given if isinstance(given, list) else [given]:
                if name in SWITCHES:
                    words.append(flag(name) if value == "true" else flag(f"no_{name}"))
                else:
                    words += [flag(name), value]
        return shlex.join(words)

    def action_launch(self) -> None:
        """Launch what is shown, or is about to be; while one launch is under way another press does nothing."""
        if self._busy:
            return
        if self._planning:
            self._wanted = True
            return
        if self._spec is None:
            self.notify("nothing is launched: a value is wrong", severity="error", markup=False)
            return
        self._busy = True
        self._consider(_Asked(self._spec, self._backend(), self._value("tag"), self._command_line()), self._usd)

    def _failed(self, error: NanochatError) -> None:
        self._ready()
        self.say(error)

    @background(group="launch", doing="adding up what was spent", failed=_failed)
    def _consider(self, asked: _Asked, usd: MoneyRange) -> None:
        self.app.call_from_thread(
            self._ask, asked, usd, self.nanochat.fleet.confirmation_reason(asked.spec, usd.likely)
        )

    def _ask(self, asked: _Asked, usd: MoneyRange, question: str) -> None:
        """Launch what was asked for: after a question, where it is paid for or the settings want one."""
        paid, asked = usd.likely >= CENT, asked._replace(unasked=not question)
        if not question and not paid:
            self._go(asked)
            return
        lines = [f"Likely {units.money_range(usd)}."] if paid else []
        lines += [f"! {question}"] if question else []
        if asked.spec.budget_usd is not None:
            lines.append(f"At most {units.money(asked.spec.budget_usd)}, its budget.")
        lines.append("It is spent as it runs; cancelling it stops that and keeps what is saved.")
        self.app.push_screen(
            Confirm("Launch it?", lines, asked.command, "Launch", "Not yet"),
            lambda yes: self._go(asked) if yes else self._ready(),
        )

    def _go(self, asked: _Asked) -> None:
        self.query_one("#title", Line).put(["New run", "launching …"])
        self._launch(asked)

    @background(group="launch", doing="launching a run", finish=True, failed=_failed)
    def _launch(self, asked: _Asked) -> None:
        run = self.nanochat.fleet.launch(asked.spec, backend=asked.backend, tag=asked.tag, unasked=asked.unasked)
        self.app.call_from_thread(self._launched, run)

    def _launched(self, run: Run) -> None:
        self._ready()
        for name in ("tag", "from", "step"):
            self.query_one(f"#{name}", Input).value = ""
        self.nanochat.watch_run(run)

    def _ready(self) -> None:
        self._busy = False
        self.query_one("#title", Line).put(["New run"])


def _step(typed: str) -> int | None:
    if typed and not typed.isdecimal():
        raise UsageError(f"{typed!r} is no step", "give a number", field="step")
    return int(typed) if typed else None
