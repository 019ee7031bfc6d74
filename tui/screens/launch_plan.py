"""What a launch will do, as the form of a new run shows it beside itself."""

import shlex
from collections.abc import Callable

from rich.style import Style
from rich.text import Text

from runner.model.spec import RunSpec
from runner.planning import plan_text
from runner.planning.plan import Plan
from runner.text import units
from runner.text.sanitize import sanitize_line
from tui.presentation import run_format


def plan_page(spec: RunSpec, backend: str, planned: Plan, notes: tuple[str, ...], tone: Callable[[str], Style]) -> Text:
    """The stages with time and cost, the totals, the code, what to know besides, and the command lines."""
    text = Text(f"{sanitize_line(plan_text.headline(spec, backend, planned))}\n\n", style="bold")
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
    if spec.code:
        text.append(f"{'code':<7} {run_format.code(spec.code)}\n", style="bold")
    for name, said in plan_text.notes(planned):
        text.append(f"{name:<7} {sanitize_line(said)}\n", style="bold" if name == "likely" else "")
    for warning in (*planned.warnings, *notes):
        text.append(f"note: {sanitize_line(warning)}\n", style=tone("warning"))
    text.append("\n")
    for stage in planned.stages:
        for argv in stage.commands:
            text.append(f"$ {sanitize_line(shlex.join(argv))}\n", style="dim")
    return text
