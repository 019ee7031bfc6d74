"""The events of a run -> what happened in it: containers, time by stage, curves, scores, samples. Pure."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field

from runner.foreign import json_object, number

MAX_SAMPLES = 16


class Container(Struct):
    """One container, or one process: times in seconds since the epoch, base steps, and how it ended."""

    attempt: int
    began: float
    last: float
    device: str = ""
    first_step: int | None = None
    last_step: int | None = None
    ended: str = ""


class History(Struct):
    """`stage_s` sums over all containers; `loss` and `val` are of the base model, by step, the last word of each.

    The same of fine-tuning are `sft_loss` and `sft_val`.
    """

    containers: list[Container] = field(default_factory=list)
    stage_s: dict[str, float] = field(default_factory=dict)
    loss: dict[int, float] = field(default_factory=dict)
    val: dict[int, float] = field(default_factory=dict)
    sft_loss: dict[int, float] = field(default_factory=dict)
    sft_val: dict[int, float] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    core_tasks: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    chat_tasks: dict[str, float] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)
    saves: int = 0
    commands: list[str] = field(default_factory=list)

    @property
    def repeated_steps(self) -> int:
        """Steps that were trained more than once, because what they had made was lost."""
        lost = 0
        for before, after in zip(self.containers, self.containers[1:], strict=False):
            if before.last_step is not None and after.first_step is not None:
                lost += max(0, before.last_step + 1 - after.first_step)
        return lost


def history(lines: Iterable[str]) -> History:
    """Read events in the order in which they were written; a line that is none is passed over."""
    found = History()
    open_stage: tuple[str, float] | None = None
    for event in filter(None, map(json_object, lines)):
        kind, stage, t = event.get("kind"), str(event.get("stage", "")), event.get("t")
        if not isinstance(t, int | float):
            continue
        if kind == "container" or not found.containers:
            _close(found, open_stage)
            open_stage = None
            found.containers.append(Container(_number(event.get("attempt")), t, t, str(event.get("device", ""))))
        here = found.containers[-1]
        here.last = max(here.last, t)
        if kind == "stage":
            _close(found, open_stage, t)
            open_stage = (stage, t) if event.get("state") == "running" else None
            if open_stage and stage == "base_eval":
                found.samples = []
        elif kind == "outcome":
            _close(found, open_stage, t)
            open_stage = None
            here.ended = str(event.get("outcome", ""))
        else:
            _take(found, here, str(kind), stage, event)
    _close(found, open_stage)
    return found


def _close(found: History, stage: tuple[str, float] | None, t: float | None = None) -> None:
    """End the open stage now, or with the last that its container said."""
    if stage:
        name, began = stage
        seconds = (found.containers[-1].last if t is None else t) - began
        found.stage_s[name] = found.stage_s.get(name, 0.0) + max(0.0, seconds)


def _take(found: History, here: Container, kind: str, stage: str, event: dict[str, Any]) -> None:
    step, task = event.get("step"), str(event.get("task", ""))
    match kind:
        case "step" if stage == "base" and isinstance(step, int):
            here.first_step = step if here.first_step is None else here.first_step
            here.last_step = step
            _put(found.loss, step, event.get("loss"))
        case "step" if stage == "sft" and isinstance(step, int):
            _put(found.sft_loss, step, event.get("loss"))
        case "val_bpb" if isinstance(step, int):
            _put(found.val if stage == "base" else found.sft_val, step, event.get("bpb"))
        case "task" if stage == "base_eval":
            centered = event.get("centered")
            found.core_tasks[task] = (number(event.get("accuracy")), number(centered) if centered is not None else None)
        case "task":
            found.chat_tasks[task] = number(event.get("accuracy"))
        case "sample" if stage == "base_eval" and len(found.samples) < MAX_SAMPLES:
            found.samples.append(str(event.get("text", "")))
        case "fact":
            found.facts[str(event.get("name"))] = str(event.get("value"))
        case "checkpoint":
            found.saves += 1
        case "exec":
            found.commands.append(str(event.get("command")))


def _put(into: dict[int, float], step: int, value: object) -> None:
    if isinstance(value, int | float):
        into[step] = number(value)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 1
