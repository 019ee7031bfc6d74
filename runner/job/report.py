"""A finished run -> report.md: what came out, what it took, what was run. Markdown for GitHub and for the app."""

import math
from collections.abc import Sequence
from decimal import Decimal

from runner.job import leaderboard
from runner.job.history import Container, History
from runner.model import pricing
from runner.model.backend_name import BackendName
from runner.model.pricing import TimeRange
from runner.model.run import Run
from runner.model.stages import StageName, needs_gpus, part_of
from runner.model.status import Status
from runner.monitoring.projection import is_free
from runner.nanochat import flops, layout
from runner.nanochat.command_lines import COMMIT, REPOSITORY
from runner.planning.plan import Plan
from runner.text import units
from runner.text.sanitize import sanitize_line

REHEARSED = "**A rehearsal**: a tiny character model stood in for nanochat; its scores say nothing of a real run."
MAX_ROWS = 12
Rows = Sequence[tuple[object, ...]]


def report(run: Run, status: Status, plan: Plan, past: History, *, curve: bool) -> str:
    """The whole report; `curve` when loss.svg is beside it."""
    lines = [f"# {run.tag}", "", _headline(run, status), ""]
    if run.spec.engine == "rehearsal":
        lines += [REHEARSED, ""]
    lines += _section("Results", ("score", "value"), _scores(status, past))
    lines += leaderboard.section(run, status, past)
    if curve:
        lines += ["## Loss", "", f"![training loss and val bpb by step]({layout.CURVE_FILE})", ""]
    lines += _section("Validation", ("step", "val bpb"), [(f"{s:,}", f"{v:.6f}") for s, v in _thinned(past.val)])
    core = [(name, _share(a), "–" if c is None else f"{c:.4f}") for name, (a, c) in past.core_tasks.items()]
    lines += _section("CORE by task", ("task", "accuracy", "centered"), core)
    lines += _section("Chat by task", ("task", "accuracy"), [(n, _share(a)) for n, a in past.chat_tasks.items()])
    lines += _section("Fine-tuning", ("step", "val bpb"), [(f"{s:,}", f"{v:.4f}") for s, v in _thinned(past.sft_val)])
    if past.samples:
        lines += ["## Samples of the base model", "", *[f"    {sanitize_line(text)}" for text in past.samples], ""]
    lines += _section("Time and cost", ("stage", "state", "time", "cost", "estimated"), _stages(run, status, past))
    lines += _section("Attempts", ("attempt", "on", "began", "took", "steps", "ended"), _attempts(status, past))
    if past.repeated_steps or status.containers.preemptions:
        times, again = (
            units.pluralize(status.containers.preemptions, "time"),
            units.pluralize(past.repeated_steps, "step"),
        )
        were = "was" if past.repeated_steps == 1 else "were"
        lines += [f"Preempted {times}; {again} {were} trained twice.", ""]
    lines += _section("What was run", ("what", "value"), _details(run, status, plan, past))
    if status.work.warnings:
        lines += ["## Warnings", "", *[f"- {_cell(w)}" for w in status.work.warnings], ""]
    lines += ["## Commands", "", *[f"    {sanitize_line(command)}" for command in past.commands], ""]
    return "\n".join(lines)


def _headline(run: Run, status: Status) -> str:
    spec = run.spec
    gpus = f"{spec.gpus} × {spec.gpu}" if needs_gpus(spec.task) else "CPUs"
    where = "this machine" if run.backend is BackendName.LOCAL else f"{gpus} on Modal"
    source = f" from {spec.source}" if spec.source else ""
    took = f"{units.duration(status.spent_s)} in containers"
    what = f"{spec.task} of {spec.model}{source}" if needs_gpus(spec.task) else spec.task
    if is_free(run):
        return f"{what} on {where}: {took}."
    said = f", estimated {units.money_range(run.estimate.usd)}" if run.estimate else ""
    return f"{what} on {where}: {took}, {units.money(status.spent_usd)}{said}."


def _scores(status: Status, past: History) -> Rows:
    rows: list[tuple[object, ...]] = []
    for name, value in (
        ("training loss", status.training.loss),
        ("val bpb", status.training.val_bpb),
        ("best val bpb", min((v for v in past.val.values() if math.isfinite(v)), default=None)),
        ("CORE", status.training.core),
        ("SFT val bpb", status.training.sft_bpb),
        ("ChatCORE", status.training.chatcore),
    ):
        if value is not None:
            rows.append((name, f"{value:.4f}"))
    return rows or [("none", "–")]


def _stages(run: Run, status: Status, past: History) -> Rows:
    """Every stage over all attempts, held against what the launch said."""
    rows: list[tuple[object, ...]] = []
    spec, total_s, total = run.spec, 0.0, Decimal(0)
    for stage in status.work.stages:
        if stage.name is StageName.REPORT:
            continue
        box = pricing.resources_for(part_of(spec.task, stage.name), spec.engine, gpu=spec.gpu, gpus=spec.gpus)
        seconds = past.stage_s.get(stage.name, 0.0)
        usd = pricing.dollars(seconds, pricing.hourly_rate(run.backend, box, run.prices))
        total_s, total = total_s + seconds, total + usd
        said = run.estimate.stages.get(stage.name) if run.estimate else None
        took = units.duration(seconds) if seconds else "–"
        rows.append((stage.name, stage.state, took, _money(run, usd), _against(seconds, said) or stage.note or "–"))
    rest = status.spent_usd - total if status.spent_usd > total else Decimal(0)
    between = max(0.0, status.spent_s - total_s)
    rows.append(("start-up and waiting", "", units.duration(between), _money(run, rest), ""))
    whole = _against(status.spent_s, run.estimate.seconds) if run.estimate else ""
    rows.append(("**all**", "", units.duration(status.spent_s), _money(run, status.spent_usd), whole))
    return rows


def _money(run: Run, usd: Decimal) -> str:
    return "free" if is_free(run) else units.money(usd)


def _against(seconds: float, said: TimeRange | None) -> str:
    """The estimate, and where the truth was."""
    if said is None:
        return ""
    where = "within" if said.low <= seconds <= said.high else "faster" if seconds < said.low else "slower"
    return f"{units.duration_range(said)}: {where}" if seconds else units.duration_range(said)


def _attempts(status: Status, past: History) -> Rows:
    """One row a container; the one that writes this has not ended yet."""
    rows: list[tuple[object, ...]] = []
    for one in past.containers:
        last = one is past.containers[-1]
        steps = f"{one.first_step:,} to {one.last_step:,}" if one.first_step is not None else "–"
        ended = "done" if last else one.ended or "killed"
        began = units.clock(one.began)
        rows.append((one.attempt, one.device or "–", began, units.duration(_took(one)), steps, ended))
    return rows


def _took(one: Container) -> float:
    return one.last - one.began


def _details(run: Run, status: Status, plan: Plan, past: History) -> Rows:
    facts = past.facts
    base = run.spec.code.base if run.spec.code else ""
    rows: list[tuple[object, ...]] = [
        ("run", run.id),
        ("engine", run.spec.engine),
        *([("recipe", run.spec.recipe)] if run.spec.recipe else []),
        ("nanochat", _code(run)),
        *((("difference", f"{layout.DIFF_FILE}, to {base[:12]}"),) if base else ()),
        *(("set", one) for one in run.spec.flags),
        *((("W&B", status.work.wandb_link),) if status.work.wandb_link else ()),
        ("hardware", status.containers.device or facts.get("gpu", facts.get("dtype", "–"))),
        ("parameters", facts.get("parameters", "–")),
        ("tokens", facts.get("tokens", "–")),
        ("training FLOPs", flops.total(facts) or "–"),
        (
            "MFU",
            flops.said(status.training.mfu, status.training.mfu_printed) if status.training.mfu is not None else "–",
        ),
        ("peak memory", facts.get("peak_memory", "–")),
        ("checkpoints kept", len(past.saves)),
        ("expected speed", plan.speed),
        ("seconds a step", f"{status.pace.train_s / status.pace.train_steps:.3g}" if status.pace.train_steps else "–"),
        ("prices", plan.prices),
        ("log lines not understood", status.work.unknown_lines),
    ]
    return rows


def _code(run: Run) -> str:
    if run.spec.engine != "nanochat":
        return "rehearsed"
    code = run.spec.code
    if code is None:
        return f"{REPOSITORY} at {COMMIT[:12]}"
    changed = " with changes" if code.dirty else ""
    return f"{code.origin}{f' at {code.commit[:12]}' if code.commit else ''}{changed}, content {code.short}"


def _section(title: str, head: tuple[str, ...], rows: Rows) -> list[str]:
    """A heading and a table; nothing when there are no rows."""
    if not rows:
        return []
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    lines += [" | ".join(_cell(c) for c in row) for row in rows]
    return [f"## {title}", "", *[f"| {line} |" for line in lines], ""]


def _cell(text: object) -> str:
    """Foreign text in a Markdown table: one line, no cell or code borders of its own."""
    return (
        sanitize_line(" ".join(str(text).split()))
        .replace("|", "\\|")
        .replace("`", "'")
        .replace("<", "&lt;")
        .replace("[", "\\[")
    )


def _share(value: float) -> str:
    return f"{value:.2%}" if math.isfinite(value) else "nan"


def _thinned(points: dict[int, float]) -> list[tuple[int, float]]:
    """At most about a dozen points of a curve, the last always."""
    found = sorted(points.items())
    every = -(-len(found) // MAX_ROWS) if found else 1
    return [p for n, p in enumerate(reversed(found)) if n % every == 0][::-1]
