"""Training that goes on from an earlier step gives up what came after it: which event says so. Pure."""

from collections.abc import Mapping
from typing import Any

from runner.text.untrusted import to_float

# What a job writes down when it goes back.
GOES_ON = "goes_on"
_OF_BASE = ("resumed", "step", "val_bpb", "core")
# Before nanochat trains a step it measures at it; so measured at a step still counts, trained in it does not.
KINDS = (GOES_ON, *_OF_BASE, "stage")


def goes_back_to(event: Mapping[str, Any], trained: float) -> float | None:
    """The step that base training goes on from, after `trained` steps of it; None where it goes forward."""
    kind, step = event.get("kind"), to_float(event.get("step"))
    if kind == GOES_ON:
        return step if 0 <= step <= trained else None
    return step if event.get("stage") == "base" and kind in _OF_BASE and 0 <= step < trained else None


def begins(event: Mapping[str, Any], stage: str) -> bool:
    """Whether a stage that keeps nothing before its end begins, for the first time or anew."""
    return event.get("kind") == "stage" and event.get("stage") == stage and event.get("state") == "running"
