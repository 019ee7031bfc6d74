"""A finished run -> report.md: what was run, what came out, what it took."""

import json

from runner import units
from runner.nanochat.commands import COMMIT
from runner.plan import Plan
from runner.run import Run, Status


def _cell(text: object) -> str:
    """Foreign text in a Markdown table: one line, no cell or code borders of its own."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[str]:
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    lines += [" | ".join(_cell(c) for c in row) for row in rows]
    return [f"| {line} |" for line in lines] + [""]


def _scores(status: Status, events: list[dict[str, object]]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [("training loss", f"{status.loss:.4f}" if status.loss is not None else "–")]
    for name, value in (("val bpb", status.val_bpb), ("CORE", status.core), ("ChatCORE", status.chatcore)):
        rows.append((name, f"{value:.4f}" if value is not None else "–"))
    tasks = {f"{e.get('stage')}: {e.get('task')}": e.get("accuracy") for e in events if e.get("kind") == "task"}
    rows += [(name, f"{value:.2%}" if isinstance(value, int | float) else "nan") for name, value in tasks.items()]
    return rows


def report(run: Run, status: Status, plan: Plan, event_lines: list[str]) -> str:
    """Markdown of a whole run, from its events."""
    events = [e for e in map(_event, event_lines) if e]
    val = {e.get("step"): e.get("bpb") for e in events if e.get("kind") == "val_bpb" and e.get("stage") == "base"}
    base_val = {k: v for k, v in val.items() if isinstance(k, int) and isinstance(v, int | float)}
    facts = {str(e.get("name")): e.get("value") for e in events if e.get("kind") == "fact"}
    lines = [f"# {run.tag}", ""]
    where = f"{run.spec.gpus} × {run.spec.gpu}" if plan.usd_per_hour else f"{run.spec.gpus} rank(s) on this machine"
    lines += [f"{run.spec.task} of {run.spec.model}, {where}."]
    if run.spec.engine == "rehearsal":
        lines += [
            "",
            "**A rehearsal**: a tiny character model stood in for nanochat; its scores say nothing of a real run.",
        ]
    lines += ["", "## Results", "", *_table(("score", "value"), _scores(status, events))]
    if base_val:
        lines += [
            "## Validation",
            "",
            *_table(("step", "val bpb"), [(k, f"{v:.6f}") for k, v in sorted(base_val.items())]),
        ]
    stages: list[tuple[object, ...]] = [
        (s.name, s.state, units.duration(s.ended_at - s.started_at if s.started_at and s.ended_at else None), s.note)
        for s in status.stages
        if s.name != "report"
    ]
    lines += ["## Stages", "", *_table(("stage", "state", "time", "note"), stages)]
    details: list[tuple[object, ...]] = [
        ("run", run.id),
        ("engine", run.spec.engine),
        ("nanochat commit", COMMIT),
        ("parameters", facts.get("parameters", "–")),
        ("tokens", facts.get("tokens", "–")),
        ("device", facts.get("gpu", facts.get("dtype", "–"))),
        ("peak memory", facts.get("peak_memory", "–")),
        ("attempts", status.attempt),
        ("time in containers", units.duration(status.spent_s)),
        ("prices", plan.prices),
    ]
    lines += ["## Run", "", *_table(("what", "value"), details)]
    if status.warnings:
        lines += ["## Warnings", "", *[f"- {_cell(w)}" for w in status.warnings], ""]
    lines += [
        "## Commands",
        "",
        "```sh",
        *[str(e.get("command")).replace("```", "") for e in events if e.get("kind") == "exec"],
        "```",
        "",
    ]
    return "\n".join(lines)


def _event(line: str) -> dict[str, object] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
