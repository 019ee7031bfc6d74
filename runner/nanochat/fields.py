"""Lines of training that say `name: value | name: value`, in any order, in the words of any release -> an Event."""

import math
import re
from collections.abc import Callable

from runner.model.events import ChatCore, CoreMetric, Event, Step, ValBpb

_HEAD = re.compile(r"[Ss]tep (\d{1,9})(?:/(\d{1,9}))?(?: ?\(([^()%]{1,24})%\))? ?\|(.*)", re.ASCII)
_NUMBER = re.compile(r"-?(?:\d{1,24}(?:\.\d{0,24})?(?:e[+-]?\d{1,4})?|nan|inf)", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"\d[\d,]{0,20}", re.ASCII)
_TIME = re.compile(r"(-?[\d.]{1,24}) ?(ms|s|m|min|h)?(?: .*)?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
# The words of each field, the newest first.
_LOSS = ("loss", "training loss", "train loss")
_LRM, _SPEED, _MFU = ("lrm",), ("tok/sec", "tok/s", "tokens/sec"), ("bf16_mfu", "mfu")


def fields_event(line: str) -> Event | None:
    """What a line that begins with the number of a step says; None for any other, and where its numbers are none."""
    if not (m := _HEAD.fullmatch(line)):
        return None
    step, total, percent, rest = m.groups()
    said = {name.strip().lower(): value.strip() for name, _, value in (f.partition(":") for f in rest.split("|"))}
    if any(name in said for name in _LOSS):
        # Reinforcement learning prints a loss too, of its examples: that is no step of training.
        return None if "average reward" in said else _step(int(step), total, percent, said)
    return _score(int(step), said)


def _score(step: int, said: dict[str, str]) -> Event | None:
    makes: tuple[tuple[str, Callable[[int, float], Event]], ...] = (
        ("validation bpb", ValBpb),
        ("core metric", CoreMetric),
        ("chatcore", ChatCore),
    )
    for name, make in makes:
        if (value := _number(said, name)) is not None:
            return make(step, value)
    return None


def _step(step: int, total: str | None, percent: str | None, said: dict[str, str]) -> Step | None:
    loss, share = _number(said, *_LOSS), _number({"": percent}, "") if percent else None
    broken = any(name in said and _number(said, name) is None for name in (*_LRM, *_MFU)) or any(
        name in said and not _WHOLE.fullmatch(said[name]) for name in _SPEED
    )
    if loss is None or broken or (percent and share is None):
        return None
    if share is None:
        share = 100 * step / int(total) if total and int(total) else 0.0
    speed = next((said[name] for name in _SPEED if name in said), None)
    dt, epoch = _seconds(said.get("dt", ""), "ms"), re.match(r"\d{1,9}", said.get("epoch", ""), re.ASCII)
    return Step(
        step,
        int(total) if total else None,
        share,
        loss,
        _number(said, *_LRM),
        None if dt is None else dt * 1000,
        None if speed is None else int(speed.replace(",", "")),
        _number(said, *_MFU),
        int(epoch[0]) if epoch else None,
        _seconds(said.get("eta", ""), "m"),
    )


def _number(said: dict[str, str], *names: str) -> float | None:
    value = next((said[name] for name in names if name in said), "")
    return float(value) if _NUMBER.fullmatch(value) else None


def _seconds(value: str, unit: str) -> float | None:
    m = _TIME.fullmatch(value)
    try:
        found = float(m[1]) * _SECONDS[m[2] or unit] if m else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) else None
