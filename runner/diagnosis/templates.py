"""A line of a log -> what it is alike in, whenever it is said."""

import re

LONGEST = 400
_MARK = re.compile(r"^(?:\[(?:rank|default)\d{1,6}\]: ?)?(?:\[rank\d{1,6}\]: ?)?", re.ASCII)
_MASKS = (
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://\S+"), "<url>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T_ ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\d\d:\d\d:\d\d(?:[.,]\d+)?"), "<clock>"),
    (re.compile(r"\d\d:\d\d:\d\d(?:[.,]\d+)?"), "<clock>"),
    (re.compile(r"(?:[\w.@+<>-]*/){2,}[\w.@+<>:-]*|(?<!\S)/[\w.-]+"), "<path>"),
    (re.compile(r"\b0x[0-9a-f]+\b|\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,}\b"), "<hex>"),
    (re.compile(r"'[^']{1,200}'|\"[^\"]{1,200}\"|`[^`]{1,200}`"), "<name>"),
    (re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"), "#"),
    (re.compile(r"(?:\[\s*#\s*(?:,\s*#\s*)+\]|\(\s*#\s*(?:,\s*#\s*)+\))"), "<numbers>"),
    (re.compile(r"\s+"), " "),
)


def template(line: str) -> str:
    """A cleaned line without what differs from one time to the next: rank, times, paths, numbers, names in quotes."""
    text = _MARK.sub("", line[:LONGEST], count=1)
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text.strip()


_BEFORE = re.compile(r"(?:\[[^\]]{0,200}\]:? ?|(?:[A-Za-z_]\w{0,80}\.){0,9}[A-Z]\w{0,80}: |what\(\): )*")
SHORTEST, LONGEST_CORE = 20, 120


def core(template: str) -> str:
    """What a template says, without who says it: another that holds it only repeats it."""
    m = _BEFORE.match(template)
    said = template[m.end() :] if m else template
    return said[:LONGEST_CORE] if len(said) >= SHORTEST else template
