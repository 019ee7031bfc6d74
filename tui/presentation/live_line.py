"""How a live run stands, in the line below its log: where there is no room, the most important is the last to go."""

from collections.abc import Mapping

from runner.model.run import Run
from runner.model.stages import StageName
from runner.monitoring import health
from runner.monitoring.progress import progress_of
from runner.monitoring.projection import is_free, project, spent_usd
from runner.text import units
from tui.presentation import run_format
from tui.presentation.console import cells

BAR, GAP = 12, "  "


def live_line(run: Run, now: float, width: int, like: Mapping[str, float] | None = None) -> str:
    """Its state, stage, share, step, loss, speed, when it ends, what it has cost, and its heartbeat."""
    status, found, left = run.status, progress_of(run), project(run, now)
    share, speed = found.share, status.training.tokens_per_s if status else None
    names = [stage.name for stage in status.work.stages] if status else []
    step = f"step {found.counted}" if found.stage is StageName.BASE and found.counted else found.counted or ""
    stage = f"{found.stage} {names.index(found.stage) + 1}/{len(names)}" if found.stage in names else ""
    sign = health.health(run, now, like)
    glyph = run_format.HEALTH[sign.status][0]
    well = sign.status in (health.HealthStatus.OK, health.HealthStatus.QUIET)
    # What each says, and in which order they go where there is no room: the highest first.
    parts = [
        (run.tag, 5),
        (run_format.state(run).text, 0),
        (stage, 6),
        (units.bar(share, BAR) if share is not None else "", 8),
        (f"{share:.0%}" if share is not None else "", 1),
        (step, 2),
        (f"loss {units.decimals(found.loss, 3)}" if found.loss is not None else "", 4),
        (f"{units.count(speed)} tok/s" if speed and found.stage is StageName.BASE else "", 9),
        (f"eta {units.duration(left.left.likely)}" if left and left.left.likely else "", 3),
        ("" if is_free(run) else units.money(spent_usd(run, now)), 3),
        (f"{glyph} {units.age(run.last_heartbeat, now) if well else sign.status}", 7 if well else 2),
    ]
    kept = [part for part in parts if part[0]]
    while len(kept) > 1 and cells(GAP.join(text for text, _ in kept)) > width:
        kept.remove(max(kept, key=lambda part: part[1]))
    return GAP.join(text for text, _ in kept)
