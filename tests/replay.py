"""A recorded log played back: what its run looked like, second by second."""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec

from runner.job.status_tracker import Tracker
from runner.model import events
from runner.model.run import Run
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import StageState, StageStatus, Status
from runner.nanochat import grammar
from tests.statuses import a_status

_STAMPED = re.compile(r"\[ *(\d+\.\d\d)\] ([^\[]*(?:\[(?! *\d+\.\d\d\] )[^\[]*)*)")


def stamped(path: Path) -> list[tuple[float, str]]:
    """Lines and when they came, from a log with `[  12.34] ` before each write, of a text or of its newline."""
    found = [m for line in path.read_text("utf-8", "replace").split("\n") for m in _STAMPED.finditer(line)]
    return [(float(m[1]), m[2]) for m in found]


def replay(
    run: Run,
    lines: list[tuple[float, str]],
    *,
    stage: StageName = StageName.BASE,
    began: float = 0.0,
    compiles: bool = True,
    val_every: int = 0,
    core_every: int = 0,
    save_every: int | None = None,
    until: float | None = None,
    status: Status | None = None,
) -> Iterator[tuple[float, Run]]:
    """The run as it is known at each second from `began` on, its job writing its status once a second."""
    if status is None:
        status = a_status(1, State.RUNNING, "c", began, began)
        status.work.stages = [StageStatus(stage, StageState.RUNNING, began)]
        status.money.usd_per_hour = Decimal("31.60")
    status.work.stage, status.training.val_every, status.training.core_every, status.training.save_every = (
        stage,
        val_every,
        core_every,
        save_every,
    )
    tracker = Tracker(status, compiles=compiles)
    tracker.begin_stage(began)
    waiting = list(lines)
    end = until if until is not None else lines[-1][0] + began
    now = began
    while now <= end:
        while waiting and waiting[0][0] + began <= now:
            at, line = waiting.pop(0)
            tracker.heard(at + began)
            event = grammar.parse(line)
            if event is not None and not isinstance(event, events.Noted):
                tracker.take(event, at + began)
        status.updated_at = now
        copy = msgspec.convert(msgspec.to_builtins(status), Status)
        yield now, msgspec.structs.replace(run, state=State.RUNNING, status=copy)
        now += 1.0
