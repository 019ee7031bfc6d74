"""Records of other releases: read as far as they are understood, and written again without losing the rest."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
# What a record that is no such thing raises: damaged bytes, other types, a million brackets.
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
# A record has few fields; what is still wrong after so many were left out is no record of ours.
MOST_LEFT_OUT = 50
_AT = r" - at `\$(.*)`$"
_STEP = r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]"


def decode(
    data: bytes,
    kind: type[T],
    stand_ins: Mapping[str, str] | None = None,
    renew: Callable[[Any], Any] | None = None,
) -> tuple[T, tuple[str, ...]]:
    """A record, and the paths of those of its values that mean nothing here, as another release may have written.

    Such a value is left out, so that its default takes its place; `stand_ins` has one for what has no default.
    `renew` makes of a raw record of an earlier release what it would be today.
    Raises one of UNREADABLE when what is left makes no record.
    """
    raw = msgspec.json.decode(data)
    if renew:
        raw = renew(raw)
    first: msgspec.ValidationError | None = None
    odd: list[str] = []
    while True:
        try:
            return msgspec.convert(raw, kind), tuple(odd)
        except msgspec.ValidationError as error:
            first = first or error
            said = re.search(_AT, str(error))
            path = said.group(1) if said else ""
            if not path or len(odd) >= MOST_LEFT_OUT:
                raise first from error
            stand_in = (stand_ins or {}).get(path) if path not in odd else None
            if not _put(raw, [m.group(1) or m.group(2) for m in re.finditer(_STEP, path)], stand_in):
                raise first from error
            odd.append(path)


def _put(raw: Any, steps: list[str], value: str | None) -> bool:
    """Change the value that is named by a path or lies around it, or leave it out; False where there is none."""
    holder: dict[str, Any] = {}
    name = ""
    for step in steps:
        if isinstance(raw, dict) and step in raw:
            holder, name, raw = raw, step, raw[step]
        elif isinstance(raw, list) and step.isdecimal() and int(step) < len(raw):
            raw = raw[int(step)]
        else:
            break
    if not name:
        return False
    if value is None:
        del holder[name]
    else:
        holder[name] = value
    return True


def merged(raw: Any, before: Any, after: Any) -> Any:
    """The raw record with what has changed from `before` to `after`; what neither of them knows stays."""
    if before == after:
        return raw
    if isinstance(raw, dict) and isinstance(before, dict) and isinstance(after, dict):
        changed = {name: value for name, value in after.items() if name in raw or before.get(name) != value}
        known = {name: merged(raw.get(name), before.get(name), value) for name, value in changed.items()}
        return {name: value for name, value in raw.items() if name not in before} | known
    if isinstance(raw, list) and isinstance(before, list) and isinstance(after, list) and len(raw) == len(before):
        kept = [merged(*three) for three in zip(raw, before, after, strict=False)]
        return [*kept, *after[len(kept) :]]
    return after
