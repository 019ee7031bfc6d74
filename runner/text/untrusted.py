"""Values that are not ours: JSON and numbers of files that anything may have written. Pure."""

import math
import re
from typing import Any


def json_object(data: bytes | str) -> dict[str, Any] | None:
    """A JSON object, None for anything else; nanochat writes Infinity into its own, which only Python's JSON reads."""
    import json

    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def to_float(value: object) -> float:
    """A number as a float; nan for what is none, or too large for one."""
    if not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def leading_count(text: str) -> int:
    """The whole number that a text begins with, such as 524,288; 0 for none."""
    found = re.match(r"[\d,]{1,24}", text, re.ASCII)
    digits = found[0].replace(",", "") if found else ""
    return int(digits) if digits else 0
