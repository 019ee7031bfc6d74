"""Runs as programs read them; the names are a promise."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from runner.model.run import Run
from runner.model.status import Outcome
from runner.monitoring import health, unsaved
from runner.monitoring.projection import spent_usd

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet


def as_json(run: Run, cost_usd: Any, now: float, like: Mapping[str, float] | None = None) -> dict[str, Any]:
    """One run; `cost_usd` is what it has cost so far, `now` the time by the clock of its heartbeats, `like` how long
    runs of its kind have been silent."""
    status = run.status
    return {
        "id": run.id,
        "tag": run.tag,
        "task": run.spec.task,
        "model": run.spec.model,
        "backend": run.backend,
        "engine": run.spec.engine,
        "gpu": run.spec.gpu,
        "gpus": run.spec.gpus,
        "state": run.state.value,
        "health": health.health(run, now, like).status if run.live else None,
        "stage": status.work.stage if status else "",
        "step": status.training.step if status else None,
        "total_steps": status.training.total_steps if status else None,
        "loss": status.training.loss if status else None,
        "val_bpb": status.training.val_bpb if status else None,
        "tokens_per_s": status.training.tokens_per_s if status else None,
        "mfu": status.training.mfu if status else None,
        "mfu_printed": status.training.mfu_printed if status else None,
        "attempts": run.attempt,
        "call_ids": [c.call_id for c in run.calls],
        "created_at": run.created_at,
        "started_at": (status.first_started_at or status.started_at) if status else None,
        "ended_at": run.ended_at,
        "cost_usd": cost_usd,
        "budget_usd": run.spec.budget_usd,
        "code": run.spec.code,
        "set": [str(one) for one in run.spec.flags],
        "wandb": run.spec.wandb,
        "wandb_link": (status.work.wandb_link or None) if status else None,
        "secrets": run.spec.secrets,
        "unsaved": (unsaved.unsaved_text(status) or None) if run.live else None,
        "preemptions": status.containers.preemptions if status else 0,
        "last_sign_of_life": run.last_heartbeat,
        "volume": run.volume,
        "folder": run.path,
        "workspace": run.workspace,
        "environment": run.environment,
        "warnings": status.work.warnings if status else [],
        "outcome": _with_resume(run.outcome) if run.outcome else None,
    }


def records(fleet: "Fleet", runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Runs, each with what it has cost until now."""
    like = health.silences_of(fleet.registry.all())
    return [as_json(run, spent_usd(run), fleet.time_for(run), like(run)) for run in runs]


def record(fleet: "Fleet", run: Run) -> dict[str, Any]:
    """The same of one run."""
    return records(fleet, [run])[0]


def _with_resume(outcome: Outcome) -> dict[str, Any]:
    """Every end says whether a resume can help, also one that an earlier release has written; its lines stand apart."""
    from runner.diagnosis.advice import resume_of

    found: dict[str, Any] = msgspec.to_builtins(outcome)
    del found["problems"]
    return {**found, "resume": outcome.resume or resume_of(outcome.kind)}
