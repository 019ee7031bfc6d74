"""Warnings of a run that are told beyond its screen: each minute that nobody knows of them costs money or the model."""

import math
import re

from runner.model import events
from runner.model.events import Event

NO_KERNEL = "Flash Attention 3 did not load: attention is slower, which costs more"
KERNEL_UNUSED = "Flash Attention 3 is not used: attention is slower, which costs more"
SLOW_WINDOWS = (
    "sliding windows without Flash Attention 3 cost a quarter of the speed: cancel and mend it, or launch with"
    " --window-pattern L"
)


_LOST = re.compile(r"(?:loss|val bpb) is (?:nan|inf)\b")


def non_finite(event: Event) -> str:
    """What an event says that is no number any more, as `loss is inf`; empty when all is well."""
    match event:
        case events.Step(loss=value):
            what = "loss"
        case events.ValBpb(bpb=value):
            what = "val bpb"
        case _:
            return ""
    return "" if math.isfinite(value) else f"{what} is {'nan' if math.isnan(value) else 'inf'}"


def alarm(warning: str) -> str:
    """What a warning is an alarm of, empty when it is none: each kind is told once in an attempt."""
    if _LOST.match(warning):
        return "nan"
    return "attention" if warning in (NO_KERNEL, KERNEL_UNUSED, SLOW_WINDOWS) else ""
