"""A run at a glance: is it alive, what comes next, what does it cost, in a few cells each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

from runner.model.backend_name import BackendName
from runner.model.paid import Account
from runner.model.run import Run
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import OutcomeKind
from runner.monitoring import health, unsaved
from runner.monitoring.ledger import Known, per_hour, spending, today
from runner.monitoring.progress import progress_of
from runner.monitoring.projection import Projection, is_free, project, spent_usd
from runner.nanochat import flops
from runner.text import units
from runner.text.sanitize import sanitize_line
from tui.presentation import run_format
from tui.presentation.cells import Cell
from tui.presentation.tabs import Standing

Cells = list[Cell | str]
ALERTING = (health.HealthStatus.STALLED, health.HealthStatus.UNSAVED, health.HealthStatus.NO_SIGNAL)


def standing(
    runs: Sequence[Run],
    deleted: Iterable[Account],
    now: float,
    limit_usd: Decimal | None,
    workspace: str,
    time_for: Callable[[Run], float],
    known: Known | None = None,
) -> Standing:
    """What is true of all runs now; `time_for` is the time by the clock of each, `known` as for `spending`."""
    live = [run for run in runs if run.live]
    found, day = spending(runs, deleted, now, known=known), today(now)
    return Standing(
        live=len(live),
        alerts=_alerts(live, runs, time_for) if live else 0,
        usd_per_hour=per_hour(runs),
        today_usd=found.days.get(day, Decimal(0)),
        month_usd=found.months.get(day[:7], Decimal(0)),
        limit_usd=limit_usd,
        workspace=workspace,
    )


def _alerts(live: Sequence[Run], runs: Sequence[Run], time_for: Callable[[Run], float]) -> int:
    """How many runs are in trouble, as Watch would tell of each."""
    like = health.silences_of(runs)
    return sum(health.health(run, time_for(run), like(run)).status in ALERTING for run in live)


def title(run: Run, now: float) -> Cells:
    """What it is and when it began."""
    status = run.status
    cells: Cells = [
        Cell(run.tag, "accent"),
        f"{run.spec.task} {run.spec.model} on {run_format.hardware(run)}",
        f"launched {units.moment(run.created_at, now)}",
    ]
    if run.attempt > 1:
        cells.append(f"attempt {run.attempt}")
    if status and status.containers.preemptions:
        cells.append(Cell(f"↻ preempted {status.containers.preemptions}×", "warning"))
    cells += ["on Modal"] if run.backend is BackendName.MODAL else []
    cells += [f"code {run_format.code(run.spec.code)}"] if run.spec.code else []
    cells += [Cell("rehearsal", "warning")] if run.spec.engine == "rehearsal" else []
    cells += ["free"] if is_free(run) else []
    cells.append(Cell(run.id, "dim"))
    cells += [Cell(sanitize_line(status.work.wandb_link), "accent")] if status and status.work.wandb_link else []
    return cells


def health_line(run: Run, now: float, trouble: str = "", like: Mapping[str, float] | None = None) -> Cells:
    """How it is, in a word, a glyph and a colour; why; what is expected next. Of one that has ended: how."""
    status = run.status
    if trouble:
        known = f"last known {units.age(run.last_heartbeat, now)} ago" if run.last_heartbeat else ""
        return [Cell("? no signal", "error"), run_format.state(run), known, trouble]
    if not run.live:
        return [run_format.state(run), *verdict(run)]
    found = health.health(run, now, like)
    glyph, tone = run_format.HEALTH[found.status]
    well = found.status is health.HealthStatus.OK
    cells: Cells = [
        Cell(f"{glyph} {found.status}", tone),
        run_format.state(run),
        *([] if well else [Cell(found.why, "dim")]),
    ]
    if found.status is health.HealthStatus.STALLED:
        cells.append(Cell("wait, or c stops it at the last checkpoint", "warning"))
    if found.status is not health.HealthStatus.UNSAVED and (lost := unsaved.unsaved_text(status)):
        cells.append(Cell(f"! {lost}", "error"))
    if status and status.containers.lost_log_bytes:
        cells.append(
            Cell(f"! {units.size(status.containers.lost_log_bytes)} of the log lost: the volume was full", "error")
        )
    if status and status.work.warnings:
        cells.append(Cell(f"! {status.work.warnings[-1]}", "warning"))
    if status and status.training.saved_step:
        cells.append(f"kept up to step {status.training.saved_step:,}")
    cells += [_next(what) for what in (health.upcoming(status) if status else [])[:1]]
    # That all is well is said already; since when is the first thing to go where there is no room.
    return [*cells, Cell(found.why, "dim")] if well else cells


def verdict(run: Run) -> Cells:
    """How a run has ended, the same wherever it is told: its scores or its failure, what is kept, what to do now."""
    outcome, status = run.outcome, run.status
    if outcome is None:
        return []
    if outcome.kind is OutcomeKind.DONE:
        return list(outcome.message.split(", "))
    cells: Cells = [outcome.message]
    if status and status.training.saved_step and "kept" not in outcome.message:
        cells.append(f"kept up to step {status.training.saved_step:,}")
    cells += [f"→ {outcome.advice}"] if outcome.advice else []
    # A warning of the very thing that ended it is no news.
    others = [w for w in (status.work.warnings if status else ()) if w.partition(" at ")[0] not in outcome.message]
    return [*cells, *(Cell(f"! {warning}", "warning") for warning in others[-1:])]


def kept(run: Run) -> str:
    """Up to which step a run is saved, and how many steps would be lost if it stopped now."""
    training = run.status.training if run.status else None
    if training is None or not training.saved_step:
        return "nothing kept yet"
    since = (training.step or 0) - training.saved_step
    lost = f", {units.pluralize(since, 'step')} since then would be lost" if since > 0 else ""
    return f"kept up to step {training.saved_step:,}{lost}"


def of_no_use(runs: Sequence[Run]) -> frozenset[str]:
    """Actions that would do nothing with these runs."""
    without = {"cancel": not any(run.live for run in runs), "resume": not any(run.resumable for run in runs)}
    without |= {"delete": not runs or any(run.live for run in runs), "compare": len(runs) < 2}
    without |= dict.fromkeys(("watch", "plan", "diff", "report"), not runs)
    return frozenset(action for action, is_idle in without.items() if is_idle)


def money(run: Run, now: float) -> Cells:
    """Spent, where it will end, how much of the budget that is; for an ended run: estimated against spent.

    Of what is free there is nothing to say.
    """
    if is_free(run):
        return []
    spent = spent_usd(run, now)
    cells: Cells = [Cell(f"{units.money(spent)} spent", "accent")]
    if (found := project(run, now)) is not None:
        cells.append(f"{units.money_range(found.usd)} likely in the end")
    elif run.estimate:
        cells.append(Cell(f"estimate was {units.money_range(run.estimate.usd)}", "dim"))
    if (cap := run.spec.budget_usd) is not None:
        share = float(spent / cap)
        tone = "error" if share >= 0.95 else "warning" if share >= 0.8 else ""
        cells.append(Cell(f"budget {units.money(cap)} {units.bar(share, 8)} {share:.0%}", tone))
    if run.live and run.status and run.status.money.usd_per_hour:
        cells.append(Cell(f"{units.money(run.status.money.usd_per_hour)}/h", "dim"))
    return cells


def about(run: Run, now: float) -> Cells:
    """What it costs, and what comes next."""
    upcoming = health.upcoming(run.status) if run.status and run.live else []
    return [*(money(run, now) or ["free"]), *(_next(what) for what in upcoming[:1])]


def _next(what: health.Upcoming) -> str:
    return f"{what.what} at {what.step:,}" + (f" in {units.duration(what.seconds)}" if what.seconds is not None else "")


def number_cells(run: Run, now: float) -> Cells:
    """Progress and the last values of everything that is measured; of a run that is done its verdict says them."""
    status = run.status
    if run.state is State.DONE:
        return []
    cells: Cells = [Cell(run_format.progress(run, 10), "accent")]
    if status is None:
        return cells
    found = progress_of(run)
    if found.stage is StageName.SFT:
        cells += [f"sft step {status.work.stage_step:,}"] if status.work.stage_step is not None else []
        cells.append(f"sft loss {units.decimals(found.loss, 4)}")
    else:
        cells.append(f"step {run_format.steps(run)}" if found.stage is StageName.BASE else run_format.steps(run))
        cells += [f"loss {units.decimals(found.loss, 4)}"] if found.loss is not None else []
    if (left := project(run, now)) is not None and left.left.likely:
        cells.append(end_cells(left, now))
    cells += [f"bpb {status.training.val_bpb:.4f}"] if status.training.val_bpb is not None else []
    cells += [f"CORE {status.training.core:.4f}"] if status.training.core is not None else []
    cells += [f"ChatCORE {status.training.chatcore:.4f}"] if status.training.chatcore is not None else []
    if run.live:
        cells += [f"{units.count(status.training.tokens_per_s)} tok/s"] if status.training.tokens_per_s else []
        cells += [f"{status.pace.pace_s:.3g} s/step"] if status.pace.pace_s else []
        cells += [f"MFU {status.training.mfu:.0f}%"] if status.training.mfu else []
        printed = status.training.mfu_printed
        cells += [Cell(f"nanochat prints {printed:.0f}%: {flops.WHY}", "dim")] if printed is not None else []
        if status.pace.gpu:
            gpu = status.pace.gpu
            memory = f"{gpu.memory / 1e9:.0f} of {gpu.memory_total / 1e9:.0f} GB"
            cells.append(f"GPU {gpu.load:.0f}%, {memory}, {gpu.watts / 1000:.1f} kW, {gpu.celsius:.0f}°C")
    return cells


def end_cells(found: Projection, now: float) -> str:
    """How long it still takes, and at what o'clock it ends."""
    return f"eta {units.duration(found.left.likely)}, about {units.moment(now + found.left.likely, now)}"
