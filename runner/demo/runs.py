"""The runs of the demo: what each was asked for, what its log is, how it ended, and when."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from runner.demo import drawn, recorded
from runner.demo.drawn import Curve
from runner.demo.played import Losses
from runner.demo.recorded import Timed
from runner.model.spec import RunSpec
from runner.model.status import OutcomeKind
from runner.planning.plan import Plan

HOUR = 3600.0


class Made(NamedTuple):
    """A run to be made: `lines` gives its log, `ended_s` is how long ago it ended, `lost` as in Player."""

    tag: str
    asked: dict[str, Any]
    lines: Callable[[RunSpec, Plan], Iterable[Timed]]
    ended_s: float
    how: OutcomeKind = OutcomeKind.DONE
    lost: Losses = {}


def _whole(seed: str) -> Callable[[RunSpec, Plan], Iterator[Timed]]:
    def lines(spec: RunSpec, plan: Plan) -> Iterator[Timed]:
        yield from drawn.prepared(plan)
        yield from drawn.training(spec, plan, seed)
        yield from drawn.evaluation(spec, plan, seed)
        yield from drawn.chat(spec, seed)
        yield 1.0, "[STAGE] report"

    return lines


def _base(seed: str, curve: Curve | None = None) -> Callable[[RunSpec, Plan], Iterator[Timed]]:
    def lines(spec: RunSpec, plan: Plan) -> Iterator[Timed]:
        yield from drawn.prepared(plan)
        yield from drawn.training(spec, plan, seed, curve)
        if not curve or curve.until is None:
            yield 1.0, "[STAGE] report"

    return lines


def _out_of_memory(spec: RunSpec, plan: Plan) -> Iterator[Timed]:
    yield from drawn.prepared(plan)
    yield 1.0, "[STAGE] base"
    yield 0.1, f"[EXEC] {' '.join(plan.stages[2].commands[-1])}"
    yield from recorded.log("out_of_memory_d24")


def _recorded(name: str) -> Callable[[RunSpec, Plan], list[Timed]]:
    return lambda spec, plan: recorded.log(name)


def _variant(rate: str, worse: float, ended_s: float) -> Made:
    asked = {
        "task": "base",
        "model": "d12",
        "gpus": 8,
        "flags": [f"base.matrix-lr={rate}"],
        "overrides": {"iterations": 1200, "save_every": 300, "eval_every": 100, "core_every": -1},
    }
    return Made(f"d12-lr-{rate}", asked, _base(f"lr {rate}", Curve(worse=worse)), ended_s)


RUNS = (
    Made(
        "speedrun-d24", {"task": "speedrun", "model": "d24", "gpus": 8, "budget": "150"}, _whole("d24"), 3 * HOUR,
        lost={454: lambda name: name.startswith("optim"), 908: lambda name: name.endswith("_rank5.pt")},
    ),
    Made("speedrun-d12", {"task": "speedrun", "model": "d12", "gpus": 2, "overrides": {
        "iterations": 60, "save_every": 20, "eval_every": 20, "core_every": -1}}, _recorded("speedrun_d12"), 74 * HOUR),
    _variant("0.01", 1.024, 27 * HOUR),
    _variant("0.02", 1.0, 26.7 * HOUR),
    _variant("0.04", 1.011, 26.3 * HOUR),
    _variant("0.08", 1.066, 26 * HOUR),
    Made("too-large", {"task": "base", "model": "d24", "gpus": 1, "overrides": {
        "iterations": 3, "device_batch_size": 64}}, _out_of_memory, 22 * HOUR, OutcomeKind.OOM),
    Made("taken-away", {"task": "base", "model": "d12", "gpus": 1, "gpu": "H200", "overrides": {
        "iterations": 40, "save_every": 10, "eval_every": 20, "core_every": -1, "device_batch_size": 64}},
        _recorded("preempted_d12"), 50 * HOUR),
    Made("d20-stopped", {"task": "speedrun", "model": "d20", "gpus": 8},
         _base("d20", Curve(until=1793)), 6 * HOUR, OutcomeKind.CANCELLED),
    Made("d16-diverged", {"task": "base", "model": "d16", "gpus": 4, "overrides": {"stop_on_nan": True},
         "flags": ["base.matrix-lr=0.3"]},
         _base("d16", Curve(until=1192, blows_up_at=1100)), 9 * HOUR, OutcomeKind.NAN),
)  # fmt: skip
