"""`--set STAGE.FLAG=VALUE`: any flag of a stage's script, and variables of its environment, as a person gave them."""

import re
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from runner.errors import UsageError
from runner.model.stages import STAGES as STAGES_OF

# The stages whose script takes flags, by the name that a person types; `env` are variables, for all of them.
STAGES = ("base", "sft", "tokenizer", "base_eval", "chat_eval")
# nanochat has a script for it, and no task such a stage.
NO_TASK = "rl"
ENV = "env"
# Flags that typed options stand for, as the plan computes with them: stage -> flag -> name of the override.
TYPED: dict[str, dict[str, str]] = {
    "base": {
        "num-iterations": "iterations",
        "target-flops": "target_flops",
        "target-param-data-ratio": "data_ratio",
        "device-batch-size": "device_batch_size",
        "total-batch-size": "total_batch_size",
        "max-seq-len": "seq_len",
        "aspect-ratio": "aspect_ratio",
        "head-dim": "head_dim",
        "window-pattern": "window_pattern",
        "warmup-steps": "warmup_steps",
        "fp8": "fp8",
        "eval-every": "eval_every",
        "eval-tokens": "eval_tokens",
        "core-metric-every": "core_every",
        "sample-every": "sample_every",
        "save-every": "save_every",
    },
    "sft": {"num-iterations": "sft_iterations", "load-optimizer": "load_optimizer"},
    "tokenizer": {"max-chars": "tokenizer_chars", "vocab-size": "vocab_size"},
}
# Flags that nanochat-tui gives itself: what it watches, resumes and brings home hangs on them.
OWN = {
    "model-tag": "it names the folder of the checkpoints",
    "g": "it names the folder of the checkpoints",
    "run": "say --wandb instead",
    "resume-from-step": "`resume RUN --step N` goes back to a step",
}
# Variables that a job gives itself.
OWN_ENV = ("NANOCHAT_BASE_DIR", "PYTHONPATH", "PYTHONUNBUFFERED", "WORLD_SIZE", "RANK", "LOCAL_RANK", "HF_HOME", "PATH")
DEPTH = "depth"
_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]{0,127}"
MOST_CHARS = 4096


class StageFlag(Struct, frozen=True, order=True):
    """A flag of a stage, by its name without dashes, or a variable where the stage is `env`; the value as typed."""

    stage: str
    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.stage}.{self.name}={self.value}"


def _refused(what: str, hint: str) -> UsageError:
    return UsageError(what, hint, field="set")


def parse(texts: Iterable[str]) -> tuple[StageFlag, ...]:
    """`base.warmdown-ratio=0.85` and the like; of one that is given twice the last counts. Raises UsageError."""
    found: dict[tuple[str, str], StageFlag] = {}
    for text in texts:
        one = _parsed(text)
        found[_key(one)] = one
    return tuple(sorted(found.values()))


def _key(one: StageFlag) -> tuple[str, str]:
    """What makes two of them the same flag: scripts take `-` for `_`."""
    return one.stage, one.name if one.stage == ENV else one.name.replace("_", "-")


def _parsed(text: str) -> StageFlag:
    where, equals, value = text.partition("=")
    stage, dot, name = where.strip().partition(".")
    name = name.lstrip("-")
    shown = text[:40]
    if not dot:
        raise UsageError(
            f"--set {shown!r} names no stage", "give STAGE.FLAG=VALUE, as base.warmdown-ratio=0.85", field="set"
        )
    if stage == NO_TASK:
        raise _refused(
            f"--set {where[:40]}: no task has a stage {stage}, so that nothing would take it",
            "leave it out: a script of your own can train on from what `volume get RUN:` brings",
        )
    if stage not in (*STAGES, ENV):
        raise UsageError(
            f"--set {shown!r}: unknown stage {stage[:20]!r}", f"use one of {', '.join((*STAGES, ENV))}", field="set"
        )
    if len(value) > MOST_CHARS or not value.isprintable():
        raise _refused(f"--set {where[:40]}: the value cannot be used", "give one line of text")
    if stage == ENV:
        return _variable(name, value, shown, given=bool(equals))
    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"--set {shown!r} names no flag", "give STAGE.FLAG=VALUE, as base.warmdown-ratio=0.85", field="set"
        )
    if name.replace("_", "-") in OWN:
        raise _refused(f"--set {stage}.{name} is nanochat-tui's own flag", OWN[name.replace("_", "-")])
    return StageFlag(stage, name, value.strip() if equals else "true")


def _variable(name: str, value: str, shown: str, *, given: bool) -> StageFlag:
    if not re.fullmatch(_VARIABLE, name) or not given:
        raise UsageError(
            f"--set {shown!r} is no variable", "give env.NAME=VALUE, as env.NANOCHAT_DTYPE=float16", field="set"
        )
    if name in OWN_ENV or name.startswith(("NANOCHAT_TUI_", "MODAL_")):
        raise _refused(f"--set env.{name} is a variable that nanochat-tui gives itself", "leave it out")
    return StageFlag(ENV, name, value)


def typed(
    flags: Iterable[StageFlag], model: str | None, overrides: dict[str, Any]
) -> tuple[tuple[StageFlag, ...], str | None, dict[str, Any]]:
    """Flags that a typed option stands for, taken as that option: what is left, the model, the overrides.

    Raises UsageError where both are given and differ.
    """
    left, given = [], dict(overrides)
    for one in flags:
        plain = one.name.replace("_", "-")
        if one.stage == "base" and plain == DEPTH:
            said = f"d{one.value.lower().removeprefix('d')}"
            if model and f"d{model.lower().removeprefix('d')}" != said:
                raise _contradiction(one, f"--model {model}")
            model = said
            continue
        name = TYPED.get(one.stage, {}).get(plain)
        if name is None:
            left.append(one)
            continue
        typed_, value = given.get(name), one.value
        if typed_ is not None and not _same(typed_, value):
            raise _contradiction(one, f"--{name.replace('_', '-')} {typed_}")
        given[name] = value
    return tuple(left), model, given


def _same(a: object, b: object) -> bool:
    try:
        return float(str(a)) == float(str(b))
    except ValueError:
        words = {"1": "true", "on": "true", "0": "false", "off": "false"}
        return words.get(str(a).lower(), str(a).lower()) == words.get(str(b).lower(), str(b).lower())


def _contradiction(one: StageFlag, option: str) -> UsageError:
    return _refused(f"{option} and --set {one} contradict each other", "leave one of them out")


def idle(flags: Iterable[StageFlag], task: str) -> tuple[str, ...]:
    """What of these is for stages that a task has not, in words."""
    return tuple(
        f"--set {one} does nothing: --task {task} has no such stage"
        for one in flags
        if one.stage not in (ENV, *STAGES_OF.get(task, ()))
    )


def merged(lower: Iterable[StageFlag], upper: Iterable[StageFlag]) -> tuple[StageFlag, ...]:
    """The flags of `upper`, and those of `lower` that it does not name."""
    found = {_key(one): one for one in (*lower, *upper)}
    return tuple(sorted(found.values()))
