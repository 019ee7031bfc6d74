"""What was advised as a run failed: how the question before a resume says it, and what can be done instead. Pure."""

import shlex
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal

import msgspec
from msgspec import Struct

from runner.diagnosis.advice import CanResume, resume_of
from runner.model import stage_flags
from runner.model.overrides import flag
from runner.model.run import Run
from runner.model.status import Change, OutcomeKind
from runner.settings import Effective
from runner.text import units
from tui.presentation.phrases import command_line
from tui.screens.launch_form import Filled
from tui.screens.launch_recipe import of_run, override_words


class Other(Struct, frozen=True):
    """The other answer: what it says, its command, its word for yes; a new `budget`, or the `form` of a new run."""

    says: str
    command: str
    yes: str
    budget: Decimal | None = None
    form: Mapping[str, str] | None = None


def told(run: Run, *, other: Other | None = None) -> list[str]:
    """How it ended, what was advised, and whether a resume that changes nothing ends in the same way."""
    ended = run.outcome
    if ended is None or ended.kind in (OutcomeKind.DONE, OutcomeKind.CANCELLED):
        return []
    lines = [f"{run.tag} ended: {ended.message}", *([f"advised: {ended.advice}"] if ended.advice else [])]
    again = ended.resume or resume_of(ended.kind)
    if other is not None or again == CanResume.NO:
        return [*lines, "! A resume changes nothing of that: it is likely to end in the same way."]
    if again == CanResume.CHANGED:
        return [*lines, "! Without a change a resume is likely to end in the same way."]
    return lines


def other_way(
    run: Run, spent: Decimal, likely: Decimal, first: Mapping[str, str], effective: Effective
) -> Other | None:
    """What the advice says to do instead of a resume as it is, where a key can do that.

    `first` is what the form of a new run begins with.
    """
    ended = run.outcome
    if ended is None:
        return None
    if ended.kind is OutcomeKind.BUDGET and run.spec.budget_usd is not None:
        budget = max(spent + likely, run.spec.budget_usd + 1).to_integral_value(ROUND_CEILING)
        command = command_line("resume", run.tag, "--budget", str(budget), "--yes")
        return Other(f"with a budget of {units.money(budget)}", command, "Resume", budget=budget)
    has = ended.change
    if has is None:
        return None
    asked = run.spec.overrides
    if has.overrides and all(getattr(asked, name, None) == value for name, value in has.overrides.items()):
        return None
    form = _form(run, has)
    values = {**first, **form}
    command = Filled(values, first, effective, run if has.goes_on else None).command(None)
    options = [_option(name, value) for name, value in has.overrides.items()]
    words = " ".join([*options, *(f"--set {one}" for one in has.flags)])
    says = "go on in a new run" if has.goes_on else "launch anew"
    says += f" with {words}" if words else ""
    return Other(says, command, "Fill in", form=form)


def _option(name: str, value: int | bool) -> str:
    if isinstance(value, bool):
        return flag(name if value else f"no_{name}")
    return f"{flag(name)} {value}"


def _form(run: Run, change: Change) -> dict[str, str]:
    """The fields of a new run with that change; a run that is gone on with gives the others."""
    if change.goes_on:
        task = change.task or run.spec.task
        words = override_words(change.overrides)
        return {"task": task, "from": run.tag, "overrides": words, "set": shlex.join(change.flags)}
    flags = stage_flags.merged(run.spec.flags, stage_flags.parse(change.flags))
    return of_run(msgspec.structs.replace(run.spec, flags=flags), run.backend, change.overrides)
