"""The events of a run -> what happened in it: containers, time by stage, curves, scores, samples. Pure."""

import re
from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field

from runner.nanochat.going_back import goes_back_to
from runner.text.untrusted import json_object, to_float

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
    """`stage_s` sums over all containers; `loss`, `val` and `core` are of the base model, by step, the last word each.

    The same of fine-tuning are `sft_loss` and `sft_val`. `trained_minutes` is what nanochat says that the base model's
    steps took alone. Of a way that was given up only time and containers count.
    """

    containers: list[Container] = field(default_factory=list)
    stage_s: dict[str, float] = field(default_factory=dict)
    loss: dict[int, float] = field(default_factory=dict)
    val: dict[int, float] = field(default_factory=dict)
    core: dict[int, float] = field(default_factory=dict)
    sft_loss: dict[int, float] = field(default_factory=dict)
    sft_val: dict[int, float] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    trained_minutes: float | None = None
    core_tasks: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    chat_tasks: dict[str, float] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)
    saves: set[tuple[str, int]] = field(default_factory=set)
    commands: list[str] = field(default_factory=list)

    @property
    def repeated_steps(self) -> int:
        """Steps that were trained more than once, because what they had made was lost."""
        lost = 0
        for before, after in zip(self.containers, self.containers[1:], strict=False):
            if before.last_step is not None and after.first_step is not None:
                lost += max(0, before.last_step + 1 - after.first_step)
        return lost

    def go_back(self, step: float) -> None:
        """Forget what was trained, measured and made after a step of the base model."""
        self.loss = {at: value for at, value in self.loss.items() if at < step}
        self.val, self.core = ({at: v for at, v in values.items() if at <= step} for values in (self.val, self.core))
        self.saves = {(kind, at) for kind, at in self.saves if kind == "base" and at <= step}
        for stage in ("base_eval", "sft", "chat_eval"):
            self.begin(stage)

    def begin(self, stage: str) -> None:
        """Forget what an earlier try of a stage said that keeps nothing before its end."""
        if stage == "base_eval":
            self.samples, self.core_tasks = [], {}
        elif stage == "sft":
            self.sft_loss, self.sft_val = {}, {}
        elif stage == "chat_eval":
            self.chat_tasks = {}


def history(lines: Iterable[str]) -> History:
    """Read events in the order in which they were written; a line that is none is passed over."""
    found = History()
    open_stage: tuple[str, float] | None = None
    trained = 0.0
    for event in filter(None, map(json_object, lines)):
        kind, stage, t = event.get("kind"), str(event.get("stage", "")), event.get("t")
        if not isinstance(t, int | float):
            continue
        if kind == "container" or not found.containers:
            _close(found, open_stage)
            open_stage = None
            found.containers.append(Container(_number(event.get("attempt")), t, t, str(event.get("device", ""))))
        if (back_to := goes_back_to(event, trained)) is not None:
            trained = back_to
            found.go_back(back_to)
        if kind == "step" and stage == "base":
            trained = max(trained, to_float(event.get("step")) + 1)
        here = found.containers[-1]
        here.last = max(here.last, t)
        if kind == "stage":
            _close(found, open_stage, t)
            open_stage = (stage, t) if event.get("state") == "running" else None
            if open_stage:
                found.begin(stage)
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
        case "core" if stage == "base" and isinstance(step, int):
            _put(found.core, step, event.get("core"))
        case "task" if stage == "base_eval":
            centered = event.get("centered")
            found.core_tasks[task] = (
                to_float(event.get("accuracy")),
                to_float(centered) if centered is not None else None,
            )
        case "task" if stage != "base":
            found.chat_tasks[task] = to_float(event.get("accuracy"))
        case "sample" if stage == "base_eval" and len(found.samples) < MAX_SAMPLES:
            found.samples.append(str(event.get("text", "")))
        case "fact":
            found.facts[str(event.get("name"))] = str(event.get("value"))
            if event.get("name") == "training_time" and stage == "base":
                found.trained_minutes = _minutes(str(event.get("value")))
        case "checkpoint":
            found.saves.add((str(event.get("of")), _number(step)))
        case "exec":
            found.commands.append(str(event.get("command")))


def _put(into: dict[int, float], step: int, value: object) -> None:
    if isinstance(value, int | float):
        into[step] = to_float(value)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 1


def _minutes(said: str) -> float | None:
    """`99.23m` -> 99.23; None for what is no such time."""
    return float(said[:-1]) if re.fullmatch(r"\d{1,7}(?:\.\d{1,6})?m", said, re.ASCII) else None
