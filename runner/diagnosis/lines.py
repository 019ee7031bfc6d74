"""Which lines of a log tell a failure, each by itself: for a search through millions of them."""

import re

from runner.diagnosis.advice import Cause
from runner.diagnosis.causes import CLASSES, cause_of
from runner.diagnosis.message_causes import cause_in_words
from runner.diagnosis.signs import WORDS, sign_of
from runner.diagnosis.tracebacks import RANK

# Beside what the table of signs has: exceptions, the job's own last word, and numbers that are none.
_SAID = re.compile(
    r"(?:Error|Exception|Interrupt)\b|^(?:\[rank\d+\]: ?)?Traceback |^\[FAILED\]|FAILED$|(?:loss|bpb): -?(?:nan|inf)\b"
    rf"|out of memory|^(?:\[rank\d+\]: ?)?(?:[A-Za-z_]\w*\.)*(?:{'|'.join(CLASSES)})(?::|$)"
)
_WORDS = ("Error", "Exception", "Interrupt", "Traceback ", "FAILED", ": nan", ": inf", ": -inf", "out of memory")
_EXCEPTION = re.compile(
    r"((?:[A-Za-z_]\w{0,80}\.){0,9}(?:[A-Z]\w{0,80}(?:Error|Exception|Interrupt|Unsupported)|gaierror|error"
    rf"|{'|'.join(CLASSES)}))(?:: ?(.*))?",
    re.ASCII,
)
LONGEST_TEXT = 300
# What a line must have to be looked at, as a regular expression.
ANY_WORD = "|".join(map(re.escape, dict.fromkeys((*_WORDS, *WORDS, *(c for c in CLASSES if "Error" not in c)))))


def exception_cause(line: str) -> Cause | None:
    """What a line would be caused by that has the form of an exception, without a traceback above it."""
    m = _EXCEPTION.fullmatch(line)
    return cause_of(m[1], m[2] or "", []) if m else None


def named_cause(text: str) -> Cause | None:
    """The cause that a text names which somebody else has cut out of what a process said; None where it names none."""
    sign = sign_of(text)
    return sign.cause if sign else cause_in_words(text)


def tells_failure(line: str) -> bool:
    """Whether a line tells a failure."""
    if _SAID.search(line) or sign_of(line):
        return True
    m = RANK.match(line)
    return bool(m and sign_of(line[m.end() :]))
