"""A run for nanochat's leaderboard -> the row that its table would have, and the commands that bring it there. Pure."""

import math
import time

from runner.job.history import History
from runner.model.run import Run
from runner.model.status import Status
from runner.nanochat.command_lines import COMMIT, REPOSITORY
from runner.text.sanitize import sanitize_line

RECIPE = "leaderboard"
# The CORE of GPT-2 (1.6B), which is to be beaten.
GPT2_CORE = 0.256525
COLUMNS = ("#", "time", "val_bpb", "CORE", "Description", "Date", "Commit", "Contributors")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
SCRIPT = "scripts.base_train"


def section(run: Run, status: Status, past: History) -> list[str]:
    """What the report says for the leaderboard; nothing of a run that was not for it."""
    if run.spec.recipe != RECIPE or run.spec.engine != "nanochat":
        return []
    commit = (run.spec.code.commit if run.spec.code else COMMIT)[:7] or "–"
    minutes = past.trained_minutes
    core = past.core[max(past.core)] if past.core else status.training.core
    bpb = past.val[max(past.val)] if past.val else None
    hours = f"{minutes / 60:.2f}" if minutes is not None else "–"
    row = ("", hours, _number(bpb, 5), _number(core, 4), "…", _date(past), commit, "@…")
    lines = ["## Leaderboard", "", _cells(COLUMNS), _cells(tuple("---" for _ in COLUMNS)), _cells(row), ""]
    steps = f"{max(past.val):,}" if past.val else "–"
    took = f"{minutes:,.2f} minutes ({minutes * 60:,.0f} s)" if minutes is not None else "a time that it has not said"
    lines.append(f"{steps} steps in {took} of training alone, without evaluations, as nanochat counts it.")
    if core is not None and math.isfinite(core):
        said = "is above, and counts" if core > GPT2_CORE else "is not above, which is no entry"
        lines.append(f"GPT-2 has a CORE of {GPT2_CORE}: {core:.5f} {said}.")
    if run.spec.code and run.spec.code.dirty:
        lines.append("The code held changes that are in no commit: commit them first, and name that commit.")
    command = next((c for c in past.commands if SCRIPT in c), "")
    shell = [
        f"git clone {REPOSITORY} && cd nanochat",
        "git switch -c time-to-gpt-2",
        f"git fetch {_quiet(run.spec.code.origin)} && git merge --ff-only {commit}" if run.spec.code else "",
        "$EDITOR README.md dev/LEADERBOARD.md   # the row into the table, and a section with the command and result",
        'git commit -am "Time to GPT-2" && git log -1 --format="%h"',
        "gh pr create --repo karpathy/nanochat",
    ]
    told = [f"OMP_NUM_THREADS=1 {sanitize_line(command)}"] if command else []
    lines += ["", "Its command:", "", *[f"    {line}" for line in told], "", "For a pull request:", ""]
    return [*lines, *[f"    {line}" for line in shell if line], ""]


def _number(value: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" if value is not None and math.isfinite(value) else "–"


def _cells(row: tuple[str, ...]) -> str:
    return f"| {' | '.join(row)} |"


def _date(past: History) -> str:
    if not past.containers:
        return "–"
    at = time.gmtime(past.containers[-1].last)
    return f"{MONTHS[at.tm_mon - 1]} {at.tm_mday} {at.tm_year}"


def _quiet(text: str) -> str:
    """Foreign text as one word of a shell."""
    import shlex

    return shlex.quote(sanitize_line(text))
