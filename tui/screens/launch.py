"""A new run: a form on the left, on the right what it will do, how long it takes and what it costs."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import msgspec
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Label, Static
from textual.worker import get_current_worker

from runner.errors import CredentialsError, NanochatError, NoSuchRun, SecretsInCode, UsageError
from runner.fleet.registry import find_run
from runner.model.backend_name import BackendName
from runner.model.code import Code
from runner.model.pricing import CENT, FREE, MoneyRange
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.nanochat import flag_list
from runner.nanochat.code_facts import CodeFacts
from runner.paths import no_modal_token
from runner.planning.plan import Plan
from runner.text import units
from runner.text.sanitize import sanitize_line
from tui.background import background
from tui.presentation.bindings import bindings
from tui.presentation.cells import Cell
from tui.screens.launch_form import CHOICES, DEFAULTS, FIELD_OF, FIELDS, NAMES, Filled
from tui.screens.launch_plan import plan_page
from tui.screens.launch_recipes import Keeping, RecipeScreen
from tui.screens.launch_usual import OWN, USUAL, first_values
from tui.widgets.choice import Choice
from tui.widgets.consent import Confirm
from tui.widgets.flag_field import FlagField, FlagList
from tui.widgets.panel import Panel

LABELS = {"stop-if-stalled": "if stalled"}
REMEMBERED = ("task", "model")
# Fields of one backend alone.
ONLY_ON = {"secrets": BackendName.MODAL, "pass-env": BackendName.LOCAL}
MOST_SAID = 400
# Code is looked at anew once nothing is typed for so long, in whatever field.
REST_S = 0.1


class _Asked(NamedTuple):
    """What the form said when F5 was pressed: `folder` that its code was packed from, which may have changed;
    `unasked` where no limit was in the way."""

    spec: RunSpec
    backend: str
    tag: str
    command: str
    folder: str = ""
    unasked: bool = False


class LaunchScreen(RecipeScreen):
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
    TAB = "launch"

    def __init__(self) -> None:
        super().__init__()
        # What the plan that is shown is of; None while there is none.
        self._shown: _Asked | None = None
        # What a person had chosen before the form was filled in for a checkpoint.
        self._own: dict[str, str] = {}
        self._usd = FREE
        # Code that was fetched, by the words for it; words for code that are whole, and that were looked at.
        self._fetched: dict[str, Code] = {}
        self._settled = self._looked_at = self._known = ""
        self._facts: CodeFacts | None = None
        self._busy = False
        self._planning = self._wanted = False

    def body(self) -> ComposeResult:
        self._first = first_values(DEFAULTS, self.nanochat.fleet.settings)
        self._settled = self._first["code"]
        with Horizontal():
            with Panel(id="new"), VerticalScroll(id="form", can_focus=False):
                for name, _, hint in FIELDS:
                    value = self._first[name]
                    with Horizontal(classes="field", id=f"row-{name}"):
                        yield Label(LABELS.get(name, name), markup=False)
                        if name in CHOICES:
                            yield Choice(CHOICES[name], value, id=name)
                        elif name == "set":
                            yield FlagField(value, placeholder=hint, id=name)
                        else:
                            yield Input(value, placeholder=hint, id=name, compact=True, select_on_focus=name == "model")
                    yield Static("", markup=False, id=f"{name}-error", classes="error")
            with Panel(id="planned"), VerticalScroll(id="right"), Vertical():
                yield Static("", markup=False, id="plan")
        yield Static("", markup=False, id="command")

    def on_mount(self) -> None:
        self._put_heads()
        self.query_one("#task").focus()
        self._replan()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        if self._choosing:
            # It comes back from a list, or a question for a name.
            self._choosing = False
        elif self.is_there:
            self._follow_settings()
            self.query_one("#task").focus()
            if self._value("code"):
                # Its folder may have changed meanwhile.
                self._replan()

    def _put_heads(self, *said: Cell | str) -> None:
        """What a launch would cost stands at both panels: of a small terminal only the form is shown."""
        self.query_one("#new", Panel).put(["New run"], said)
        self.query_one("#planned", Panel).put(["Plan"], said)

    def on_input_changed(self) -> None:
        self._replan()

    def on_input_blurred(self, event: Input.Blurred) -> None:
        # A terminal that is left has not the rest of what is typed.
        if event.input.id == "code" and self.app.app_focus:
            self._settle()
        elif event.input.id == "recipe" and self.app.app_focus:
            self.settle_recipe()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "code":
            self._settle()
        elif event.input.id == "recipe":
            self.settle_recipe()
        self.action_field(1)

    def _settle(self) -> None:
        """The words for code are whole: now it is looked at."""
        if self._settled != self._value("code"):
            self._settled = self._value("code")
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
        for name in (*USUAL, *OWN):
            field = self.query_one(f"#{name}")
            if self._loaded and self._loaded.says(name):
                continue
            if isinstance(field, Input | Choice) and field.value == before[name] != self._first[name]:
                field.value = self._first[name]

    def begin_anew(self) -> None:
        """Empty the form, but for the task and the model that were chosen last."""
        self._first = first_values(DEFAULTS, self.nanochat.fleet.settings)
        for name, value in self._first.items():
            field = self.query_one(f"#{name}")
            if isinstance(field, Input | Choice):
                field.value = self._own.get(name, field.value if name in REMEMBERED else value)
        self._own = {}
        self.forget_recipe()
        self._fetched.clear()
        self._settled = self._first["code"]

    def begin_from(self, run: Run, task: str, step: int) -> None:
        """Fill the form in for going on from a checkpoint of a run."""
        self.begin_anew()
        self._own = {name: self._value(name) for name in REMEMBERED}
        self.query_one("#task", Choice).value = task
        self.query_one("#from", Input).value = run.tag
        self.query_one("#step", Input).value = str(step)
        self._replan()

    def begin_with(self, values: Mapping[str, str]) -> None:
        """Fill the form in with values for its fields; what is not among them is as it begins."""
        self.begin_anew()
        remembered = {name: self._value(name) for name in REMEMBERED}
        self.put_values({**self._first, **values})
        self._own = remembered

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

    def _filled(self) -> Filled:
        """The form as it is. Raises UsageError where it continues a run that there is not."""
        values = {name: self._value(name) for name in NAMES}
        return Filled(values, self._first, self.nanochat.fleet.effective, self._source(), self._loaded)

    def _replan(self) -> None:
        self._shown = None
        self._put_heads()
        self._planning = self._wanted = False
        self.workers.cancel_group(self, "plan")
        if not self._unsettled:
            self._settled = self._value("code")
        if self.recipe_unread:
            self._show_unread()
            return
        try:
            filled = self._filled()
            self._show_fields(filled.backend)
            spec, notes = filled.read()
        except UsageError as error:
            self._show_error(error)
            words = self._value("code")
            if error.field == "set" and not self._unsettled and (self._facts is None or words != self._known):
                self._learn(words, self._filled())
            return
        if self._unsettled:
            self._clear_errors()
            self.query_one("#plan", Static).update(Text("Enter, or another field: then the code is looked at.", "dim"))
            self.query_one("#command", Static).update("")
            return
        self._planning = True
        self._plan(spec, filled, notes)

    def draw_anew(self) -> None:
        self._replan()

    def _show_unread(self) -> None:
        """There is no plan as long as a recipe is named that is not in the fields."""
        self._clear_errors()
        said = "Enter, or another field: then the recipe is read."
        if self._problem:
            self._say_at("recipe", self._problem)
            said = "No plan: a value is wrong."
        self.query_one("#plan", Static).update(Text(said, "dim"))
        self.query_one("#command", Static).update("")

    def put_values(self, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            field = self.query_one(f"#{name}")
            if isinstance(field, Input | Choice):
                field.value = value
        self._own = {}
        self._settled = values["code"]
        self._replan()

    def asked(self) -> Keeping | None:
        if self._shown is None:
            return None
        filled = self._filled()
        stalled, packed = filled.values["stop-if-stalled"], filled.packed is not None
        return Keeping(self._shown.spec, self._shown.backend, filled.code, stalled, packed)

    @property
    def _unsettled(self) -> bool:
        """Whether words for code are being typed: what they begin with may be any folder, or another's repository."""
        return self.query_one("#code").has_focus and self._value("code") not in ("", self._settled)

    def _show_fields(self, backend: str) -> None:
        for name, only in ONLY_ON.items():
            self.query_one(f"#row-{name}").display = backend == only

    def _show_error(self, error: NanochatError) -> None:
        field = error.field if isinstance(error, UsageError) else ""
        field = FIELD_OF.get(field, field)
        self._planning = self._wanted = False
        self._clear_errors()
        self._say_at(field if field in NAMES else "code" if self._value("code") and not field else "overrides", error)
        self.query_one("#plan", Static).update(Text("No plan: a value is wrong.", style="dim"))
        instead = ""
        if isinstance(error, SecretsInCode):
            instead = f"$ {sanitize_line(self._filled().command(None, '--include-secrets'))}"
        self.query_one("#command", Static).update(instead)

    def _say_at(self, field: str, error: NanochatError) -> None:
        where = self.query_one(f"#{field}-error", Static)
        said = sanitize_line(str(error))
        where.update(said if len(said) <= MOST_SAID else f"{said[:MOST_SAID]}…")
        where.display = True

    @background(group="plan", doing="making the plan", exclusive=True, failed=_show_error)
    def _plan(self, spec: RunSpec, filled: Filled, notes: tuple[str, ...]) -> None:
        worker, fleet = get_current_worker(), self.nanochat.fleet
        if filled.code:
            if worker.cancelled_event.wait(REST_S):
                return
            code, note = self._code_of(filled)
            spec = msgspec.structs.replace(spec, code=code)
            notes = (*notes, *filled.code_notes(), *([note] if note else []))
        facts = fleet.code_facts(spec.code)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._know, facts, filled.code)
        planned = fleet.plan(spec, filled.backend)
        is_modal = filled.backend == BackendName.MODAL
        problem = CredentialsError(*no_modal_token()) if is_modal and not fleet.reaches_modal else None
        if not worker.is_cancelled:
            self.app.call_from_thread(self._show_plan, spec, filled, planned, notes, problem)

    def _code_of(self, filled: Filled) -> tuple[Code, str]:
        """The code of a form, in a thread: the very state that a recipe names, else packed; with a note for people."""
        if filled.packed:
            return self.nanochat.fleet.same_code(filled.packed, filled.backend, filled.source), ""
        return self._obtain(filled.code)

    def _obtain(self, words: str) -> tuple[Code, str]:
        """Pack code, in a thread: a folder as it is now, what was fetched as it was then; with a note for people."""
        if words in self._fetched:
            return self._fetched[words], ""
        if words != self._looked_at:
            self.app.call_from_thread(self._say_looking)
        obtained = self.nanochat.fleet.obtain_code(words)
        self._looked_at = words
        if obtained.repository != Path(obtained.code.origin):
            self._fetched[words] = obtained.code
        return obtained.code, obtained.note

    def _say_looking(self) -> None:
        if self._planning:
            self.query_one("#plan", Static).update(Text("looking at the code …", style="dim"))

    @background(group="facts", doing="looking at the code", exclusive=True, failed=lambda screen, error: None)
    def _learn(self, words: str, filled: Filled) -> None:
        """Read which flags there are, although there can be no plan yet."""
        worker = get_current_worker()
        if not worker.cancelled_event.wait(REST_S):
            code = self._code_of(filled)[0] if filled.code else None
            self.app.call_from_thread(self._know, self.nanochat.fleet.code_facts(code), words)

    def _know(self, facts: CodeFacts, words: str) -> None:
        """What the code of these words is made of: the names of its flags are completed from now on."""
        self._facts, self._known = facts, words
        self.query_one(FlagField).flags = flag_list.listed(facts, flag_list.stages_of(self._value("task")))

    def action_flags(self) -> None:
        """All flags of the stages of the task, to choose one for the field `set`."""
        field = self.query_one(FlagField)
        if self._facts is None:
            self.notify("the code is still being looked at", markup=False)
            return
        self._know(self._facts, self._known)
        field.focus()
        self._choosing = True
        title = f"flags of {self._value('code') or 'nanochat'}, task {self._value('task')}"
        letters = flag_list.begun(field.value, field.cursor_position)
        self.app.push_screen(
            FlagList(field.flags, title, letters, self.nanochat.tone), lambda word: field.put(word) if word else None
        )

    def _clear_errors(self) -> None:
        for one in self.query(".error"):
            one.display = False

    def _show_plan(
        self, spec: RunSpec, filled: Filled, planned: Plan, notes: tuple[str, ...], problem: NanochatError | None = None
    ) -> None:
        """The plan of a form; `problem` is what yet stands in the way of its backend."""
        self._usd = planned.usd
        self._clear_errors()
        if problem:
            self._say_at("backend", problem)
        trusted = filled.loaded.notes if filled.loaded else ()
        page = plan_page(spec, filled.backend, planned, (*trusted, *notes), self.nanochat.tone)
        self.query_one("#plan", Static).update(page)
        costs = units.money_range(planned.usd) if planned.usd_per_hour else "free"
        self._put_heads(Cell(costs, "accent"), units.duration(planned.seconds.likely))
        folder = "" if filled.packed or filled.code in self._fetched else filled.code
        command = filled.command(spec)
        self.query_one("#command", Static).update(f"$ {sanitize_line(command)}")
        self._shown = _Asked(spec, filled.backend, filled.values["tag"], command, folder)
        wanted, self._planning, self._wanted = self._wanted, False, False
        if wanted and self.is_current:
            self.action_launch()

    def action_launch(self) -> None:
        """Launch what is shown, or is about to be; while one launch is under way another press does nothing."""
        if self._busy:
            return
        if self.recipe_unread and not self._problem:
            self.settle_recipe()
            self.notify("the recipe is read first: F5 launches what the plan then shows", markup=False)
            return
        if self._unsettled:
            self._settle()
        if self._planning:
            self._wanted = True
            return
        if self._shown is None:
            self.notify("nothing is launched: a value is wrong", severity="error", markup=False)
            return
        self._busy = True
        self._consider(self._shown, self._usd)

    def _failed(self, error: NanochatError) -> None:
        self._ready()
        self.say(error)

    @background(group="launch", doing="adding up what was spent", failed=_failed)
    def _consider(self, asked: _Asked, usd: MoneyRange) -> None:
        shown = asked.spec.code
        if asked.folder and shown and self.nanochat.fleet.obtain_code(asked.folder).code.sha != shown.sha:
            self.app.call_from_thread(self._changed)
            return
        self.app.call_from_thread(
            self._ask, asked, usd, self.nanochat.fleet.confirmation_reason(asked.spec, usd.likely)
        )

    def _changed(self) -> None:
        """The folder holds other code by now: the plan is made anew, and nothing is launched that was not shown."""
        self._ready()
        self._replan()
        self.notify("the code has changed meanwhile: this is the plan now, F5 launches it", severity="warning")

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
        self._put_heads("launching …")
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
        self._put_heads()
