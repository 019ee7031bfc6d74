"""A plan in words: what a launch is and costs, its stages, where it begins, how often it saves. Pure."""

import shlex
from collections.abc import Iterator

from runner.model import pricing
from runner.model.backend_name import BackendName
from runner.model.spec import RunSpec
from runner.model.stages import needs_gpus
from runner.planning.plan import Plan
from runner.text import units


def headline(spec: RunSpec, backend: str, planned: Plan) -> str:
    """What a launch is, and what it is likely to cost, in a line."""
    what = "real nanochat" if spec.engine == "nanochat" else "a rehearsal"
    where = "on this machine"
    if backend != BackendName.LOCAL:
        where = f"on {spec.gpus} × {spec.gpu}" if spec.engine == "nanochat" else "on small CPU containers of Modal"
    if backend != BackendName.LOCAL and not needs_gpus(spec.task):
        where = "on CPUs of Modal"
    of = f" of {spec.model}" if needs_gpus(spec.task) else ""
    price = f"likely {units.money_range(planned.usd)}" if planned.usd_per_hour else "free"
    return f"{what} {where}: {spec.task}{of}, {units.duration_range(planned.seconds)}, {price}"


def lines(planned: Plan) -> Iterator[str]:
    """The plan as text: stages with time and cost, then the totals."""
    for stage in planned.stages:
        if stage.skip:
            yield f"{stage.name:<10} skipped: {stage.skip}"
            continue
        price = units.money_range(stage.usd) if planned.usd_per_hour else "free"
        yield f"{stage.name:<10} {units.duration_range(stage.seconds):<22} {price:<26} {stage.note}".rstrip()
        for argv in stage.commands:
            yield f"           $ {shlex.join(argv)}"
    if planned.parameters:
        yield f"{'model':<10} {planned.parameters:,} parameters"
    for name, text in notes(planned):
        yield f"{name:<10} {text}"
    for warning in planned.warnings:
        yield f"note       {warning}"


def notes(planned: Plan) -> list[tuple[str, str]]:
    """What a plan says besides its stages: where it begins, how often it saves, how long it takes and why."""
    found = [("start", planned.resume.reason)]
    if planned.total_steps:
        saves, lost = planned.saves, pricing.dollars(planned.saves.seconds, planned.usd_per_hour)
        often = "step" if saves.steps == 1 else f"{saves.steps:,} steps"
        each = f"checkpoint every {often} ({units.duration(saves.seconds)}"
        each += f", {saves.share:.1%} of the time)" if saves.share >= 0.0005 else ")"
        risk = f"; a preemption loses at most that, {units.money(lost)}" if planned.usd_per_hour else ""
        found.append(("save", each + risk))
        found.append(("speed", planned.speed))
    if planned.packages:
        found.append(("packages", planned.packages))
    if planned.limit_s:
        more = "what takes longer goes on in the next by itself"
        found.append(("limit", f"a call takes {units.duration(planned.limit_s)} at most; {more}"))
    money = f"{units.money_range(planned.usd)} ({planned.prices})" if planned.usd_per_hour else planned.prices
    found.append(("likely", f"{units.duration_range(planned.seconds)}, {money}"))
    return found
