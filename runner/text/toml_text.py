"""Text in TOML that a person has written: one value of it changed in its own line, all else left as it is."""

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

# A line that is longer, or more places where a value might stand, is left to whoever writes the text anew.
MOST_CHARS, MOST_PLACES = 4000, 16
_PLAIN = r"[A-Za-z0-9_-]+"
_HEADER = r"[ \t]*\["


def parse(text: str) -> dict[str, Any]:
    """What a text says, numbers with a point as Decimal. Raises ValueError or RecursionError."""
    import tomllib

    return tomllib.loads(text, parse_float=_number)


def _number(text: str) -> Any:
    try:
        return Decimal(text)
    except InvalidOperation:
        # An exponent that no Decimal has.
        return float(text)


def whole(values: dict[str, Any]) -> str:
    """A text that says these values, and nothing besides."""
    import tomli_w

    return tomli_w.dumps(values)


def with_value(text: str, name: str, value: Any) -> str | None:
    """The text with one value outside of its tables changed or added, or taken out where `value` is None.

    None where that is not done with one line. Whatever is given back says what was wanted: it has been read again.
    Raises ValueError or RecursionError for a text that is no TOML.
    """
    before = parse(text)
    wanted = {key: kept for key, kept in before.items() if key != name}
    if value is not None:
        wanted[name] = value
    if same(before, wanted):
        return text
    line = None if value is None else f"{name if re.fullmatch(_PLAIN, name) else literal(name)} = {literal(value)}"
    lines = text.split("\n")
    for changed in _changed(lines, name, before, line) if name in before else _added(lines, line or ""):
        said = "\n".join(changed)
        if _says(said, wanted):
            return said
    return None


def literal(value: Any) -> str:
    """A value as it stands behind the `=`, in one line."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(name)} = {literal(kept)}" for name, kept in value.items()) + "}"
    return whole({"x": value}).removeprefix("x = ").rstrip("\n")


def same(one: Any, other: Any) -> bool:
    """Whether two values mean the same in TOML: 1 and 1.0 do, 1 and true do not, and nan is nan."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other) or bool(one != one and other != other)


def _says(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return same(parse(text), wanted)
    except (ValueError, RecursionError):
        return False


def _changed(lines: list[str], name: str, before: dict[str, Any], line: str | None) -> Iterator[list[str]]:
    """The lines with one of those that may set `name` replaced, or taken out; its comment stays with a new value."""
    spelled = re.escape(name)
    sets = re.compile(rf"""([ \t]*)(?:{spelled}|"{spelled}"|'{spelled}')[ \t]*=(?P<value>.*)""")
    found = [(n, m) for n, one in enumerate(lines) if len(one) <= MOST_CHARS and (m := sets.match(one))]
    for number, match in found[:MOST_PLACES]:
        comment = _behind(match["value"], before[name])
        if comment is None:
            continue
        new = [] if line is None else [match[1] + line + comment]
        yield [*lines[:number], *new, *lines[number + 1 :]]


def _behind(text: str, value: Any) -> str | None:
    """What follows a value in its line: spaces, a comment, the return of a line's end; None where it is not whole."""
    ends = [at for at, char in enumerate(text) if char == "#"][:MOST_PLACES]
    for end in (*ends, len(text)):
        said = text[:end].rstrip()
        if _says(f"x ={said}", {"x": value}):
            return text[len(said) :]
    return None


def _added(lines: list[str], line: str) -> Iterator[list[str]]:
    """The lines with a new one behind the last value that is in no table."""
    ending = "\r" if any(one.endswith("\r") for one in lines) else ""
    headers = [number for number, one in enumerate(lines) if re.match(_HEADER, one)]
    for header in headers[:MOST_PLACES]:
        at = header
        while at and (not lines[at - 1].strip() or lines[at - 1].lstrip().startswith("#")):
            at -= 1
        if not at:
            # Nothing but comments: those right above the table are about the table.
            at = header
            while at and lines[at - 1].lstrip().startswith("#"):
                at -= 1
        yield [*lines[:at], line + ending, *lines[at:]]
    if lines[-1]:
        yield [*lines[:-1], lines[-1].removesuffix("\r") + ending, line + ending, ""]
    else:
        yield [*lines[:-1], line + ending, ""]
