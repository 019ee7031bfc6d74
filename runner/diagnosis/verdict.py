"""What was seen, and how the process ended -> the cause in one sentence, its kind, what to do, whether to resume."""

import itertools
import re

import msgspec
from msgspec import Struct

from runner.diagnosis.advice import ADVICE, CanResume
from runner.diagnosis.advice import Cause as C
from runner.diagnosis.causes import Tier, tier
from runner.diagnosis.evidence import Evidence, Finding
from runner.diagnosis.message_causes import cause_in_words
from runner.diagnosis.signals import sign_of_signal, signal_of_exit_code
from runner.diagnosis.signs import OF_CUDA_INIT, sign_of
from runner.diagnosis.templates import template
from runner.diagnosis.tracebacks import ends_process
from runner.model.status import OutcomeKind

SIGABRT, SIGTERM = 6, 15
# What the machine did explains whatever the program says of it.
_OF_MACHINE = frozenset({C.HOST_KILLER, C.GPU_FAULT, C.TIME_LIMIT, C.PREEMPTED, C.NODE})
# What somebody who ends a job does to it.
_BY_OTHERS = frozenset({C.CUT_OFF, C.SIGNAL, C.CANCELLED})
_TRIED = re.compile(r"[Tt]ried to allocate ([\d.]{1,24} \w{1,8})")
_CAPACITY = re.compile(r"total capacity of ([\d.]{1,24} \w{1,8})")
MOST = 300
CHECKPOINT_UNREADABLE = "a checkpoint cannot be read"


class ExitStatus(Struct, frozen=True):
    """How a child ended, as its parent knows it; `oom_kills` of the kernel while it ran."""

    code: int | None = None
    signal: int | None = None
    oom_kills: int = 0

    @property
    def killed_by(self) -> int | None:
        """The signal that ended it, also where a shell between has made an exit code of it."""
        return self.signal or signal_of_exit_code(self.code or 0)


class Diagnosis(Struct, frozen=True):
    """What ended a run; `line` is the number of the log's line that tells it, from 1."""

    cause: C
    kind: OutcomeKind
    message: str
    advice: str
    resume: CanResume
    line: int | None = None


def diagnose(evidence: Evidence, how: ExitStatus | None = None) -> Diagnosis | None:
    """The cause of the end; None where nothing was seen that a run did not survive. `how` None: nobody saw it end."""
    if how and how.code == 0:
        return None
    seen = possible(evidence.findings(), how)
    best = min(seen, key=lambda one: _distance(one, _root(seen)), default=None)
    best = _by_end(best, how)
    if best is None:
        return None
    if best.raised:
        # Of several processes that say the same the first one counts, whoever ended first.
        text, cause = best.raised.text, best.cause
        alike = [
            one for one in seen if one.cause is cause and one.raised and template(one.raised.text) == template(text)
        ]
        best = min(alike, key=lambda one: one.line, default=best)
        same = [one for one in seen if one.cause is best.cause and not one.raised and one.line < best.line]
        best = min(same, key=lambda one: one.line, default=best)
    advice = ADVICE[best.cause]
    return Diagnosis(best.cause, advice.kind, _sentence(best), advice.text, advice.resume, best.line or None)


def _root(seen: list[Finding]) -> Finding | None:
    """The rank whose end torchrun saw first."""
    return next((one for one in seen if one.code is not None and one.rank is not None), None)


def possible(seen: list[Finding], how: ExitStatus | None) -> list[Finding]:
    """Without what the way of the end rules out: an exception ends a process with an exit code, not by a signal."""
    # A rank that ended without a word is why the others lost it.
    spoke = {one.rank for one in seen if one.raised and one.cause is not C.ECHO}
    seen = [
        msgspec.structs.replace(one, cause=C.SILENT) if one.cause is C.EXIT and not {one.rank, None} & spoke else one
        for one in seen
    ]
    root = _root(seen)
    # A name that is not found is a warning, unless the machines then do not find each other; so is a missing GPU.
    if not any(one.cause in (C.RENDEZVOUS, C.PEER, C.TIMED_OUT) for one in seen):
        seen = [one for one in seen if one.cause is not C.HOST_NAME]
    if not any(one.raised for one in seen):
        seen = [one for one in seen if not one.text.startswith(OF_CUDA_INIT)]
    # A scheduler that cancels what has failed clears up after it.
    failed = min((one.line for one in seen if one.tier <= Tier.LOST and one.cause not in _BY_OTHERS), default=0)
    seen = [one for one in seen if not 0 < failed < one.line or not (one.cause is C.CUT_OFF or one.code == -SIGTERM)]
    code = root.code if root and root.code is not None else 0
    if how and how.killed_by not in (None, SIGABRT):
        return [one for one in seen if one.rank is not None or not one.raised]
    if root and code < 0 and -code not in (SIGABRT, SIGTERM):
        return [
            one
            for one in seen
            if not one.raised or (one.rank != root.rank and (one.rank is not None or ends_process(one.raised)))
        ]
    return seen


def _distance(one: Finding, root: Finding | None) -> tuple[int, bool, bool, bool, bool, int]:
    """What is to be told first has the least: the tier, then the machine, then the rank that ended first.

    Of one process the last exception counts, as whatever was raised before was caught; of several ranks the first.
    """
    elsewhere = root is not None and one.rank is not None and one.rank != root.rank
    last = one.raised is not None and one.rank is None
    return (
        one.tier,
        one.cause not in _OF_MACHINE,
        one.code == -SIGTERM,
        one.raised is None,
        elsewhere,
        -one.line if last else one.line,
    )


def _by_end(best: Finding | None, how: ExitStatus | None) -> Finding | None:
    """What the end itself shows, where nothing that was seen stands nearer to the cause."""
    if how is None:
        return best
    number = how.killed_by
    if how.oom_kills and (best is None or best.tier >= Tier.DEATH):
        text = "the kernel killed it: the machine or container ran out of memory"
        return Finding(C.HOST_KILLER, text, best.line if best else 0)
    if number and (best is None or best.tier > Tier.DEATH or (best.weak and number != SIGABRT)):
        if number == SIGABRT and best and best.tier < Tier.GAVE_UP:
            return best
        return Finding(sign_of_signal(number), f"killed by signal {number}", 0, code=-number)
    if best is None:
        return Finding(C.EXIT, f"it ended with exit code {how.code} and did not say why", 0)
    return best


_INSTEAD = {
    C.DATA_MISSING: "the dataset is not on the volume",
    C.TOKENIZER_MISSING: "the tokenizer is not on the volume",
    C.CHECKPOINT_PART: "its part of the optimizer is missing",
}
_BEFORE = {
    C.GPU_MEMORY: "out of GPU memory",
    C.HOST_MEMORY: "out of the machine's memory (not the GPU's)",
    C.DISK_FULL: "the disk is full",
    C.SHARED_MEMORY: "out of shared memory (/dev/shm)",
    C.CHECKPOINT_DAMAGED: CHECKPOINT_UNREADABLE,
    C.DATA_DAMAGED: "a file of the data is damaged",
    C.DATA_MISSING: "data is missing",
    C.DOWNLOAD: "a download failed",
    C.TOKEN_RANGE: "a token or an index is out of range",
    C.COMPILER: "compiling failed",
}


def _sentence(one: Finding) -> str:
    who = f"rank {one.rank}: " if one.rank is not None and (one.raised or one.weak) else ""
    whole = one.raised.text if one.raised else one.text
    if one.cause in _INSTEAD and (one.cause is not C.DATA_MISSING or "No dataset parquet" in whole):
        return who + _INSTEAD[one.cause]
    text = _telling(one)
    if one.cause is C.GPU_MEMORY and (tried := _TRIED.search(whole)) and (capacity := _CAPACITY.search(whole)):
        return f"out of GPU memory ({tried[1]} more did not fit in {capacity[1]})"
    before = _BEFORE.get(one.cause, "")
    return f"{who}{before}{': ' if before else ''}{text}"[:MOST]


def _telling(one: Finding) -> str:
    """What an exception says of its cause, which may be on a line below its first."""
    at = telling_below(one)
    return f"{one.raised.name}: {one.raised.below[at]}" if one.raised and at is not None else one.text


def telling_below(one: Finding) -> int | None:
    """Which of the lines below an exception's first names the cause, where that does not."""
    if not one.raised or not one.raised.below or cause_in_words(one.raised.message) is one.cause:
        return None
    lines = one.raised.below
    named = next((n for n, (above, _) in enumerate(itertools.pairwise(lines), 1) if above == "Last error:"), None)
    return (
        named
        or next((n for n, line in enumerate(lines) if (sign := sign_of(line)) and tier(sign.cause) is one.tier), None)
        or next((n for n, line in enumerate(lines) if cause_in_words(line) is one.cause), None)
    )
