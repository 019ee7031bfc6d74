"""What a nanochat log says, in numbers: read line by line, so that a log of any size costs little memory."""

import math
import re
from collections import deque
from collections.abc import Iterator
from typing import TypeVar

from msgspec import Struct, field

from runner.diagnosis.advice import resume_of
from runner.diagnosis.alarms import non_finite
from runner.diagnosis.evidence import Evidence
from runner.diagnosis.telling import ProblemLines, lines_of_verdict
from runner.diagnosis.verdict import Diagnosis, diagnose
from runner.logs.log_file import LogFile
from runner.logs.prefix import Prefixes
from runner.logs.search import slice_at
from runner.model import events
from runner.model.events import Event
from runner.model.status import OutcomeKind, Problem
from runner.nanochat import flops
from runner.text.sanitize import strip_ansi

T = TypeVar("T", int, float)
MAX_KEPT = 20
# No line that says something is longer; and a longer one would keep the screen waiting.
LONGEST = 1 << 14
# Lines read before others have their turn.
TURN = 200
_STAGE = re.compile(r"\[STAGE\] (\w{1,20})( skipped.*)?")
_END = re.compile(r"\[(DONE|FAILED|CANCELLED|PREEMPTED|OUT OF BUDGET)\] ?(.*)")
_HEARTBEAT = "[HEARTBEAT]"
_ENDS = {
    "DONE": OutcomeKind.DONE,
    "CANCELLED": OutcomeKind.CANCELLED,
    "PREEMPTED": OutcomeKind.KILLED,
    "OUT OF BUDGET": OutcomeKind.BUDGET,
    "FAILED": OutcomeKind.UNKNOWN,
}
# Where nanochat saved what it trained between base model and conversations, until 2026.
_MID = "/mid_checkpoints/"


class LogEnd(Struct):
    """How the last attempt ended: `word` is the job's own for it, where it wrote one; `line` tells it, from 1."""

    kind: OutcomeKind
    message: str
    advice: str
    resume: str
    line: int | None = None
    word: str = ""

    def __str__(self) -> str:
        return f"{self.word or self.kind}: {self.message}".rstrip(": ")


class Training(Struct):
    """What one kind of training has come to: `step` and `total` of the last step, pace the median of the last steps."""

    steps: int = 0
    step: int | None = None
    total: int | None = None
    loss: float | None = None
    val_bpb: float | None = None
    tokens_per_s: int | None = None
    mfu: float | None = None
    mfu_printed: float | None = None
    checkpoints: list[int] = field(default_factory=list)


class Summary(Training, kw_only=True):
    """Everything found so far. Its own training is the base model's where there is any, then beside the `fine_tuning`.

    `stages` as the log names or shows them, `checkpoints` the steps whose model was saved, `outcome` how the last
    attempt ended, where that can be seen.
    """

    lines: int = 0
    not_understood: int = 0
    attempts: int = 0
    stages: list[str] = field(default_factory=list)
    fine_tuning: Training | None = None
    core: float | None = None
    chatcore: float | None = None
    gpu: str = ""
    heartbeats: int = 0
    warnings: list[str] = field(default_factory=list)
    errors: int = 0
    problems: list[Problem] = field(default_factory=list)
    outcome: LogEnd | None = None


class SummaryReader:
    """Takes a log line by line; `found` is what it has said so far."""

    def __init__(self) -> None:
        self._prefixes = Prefixes()
        self._begin()

    def _begin(self) -> None:
        self._found = Summary()
        self._base, self._tuned = _Pace(), _Pace()
        self._core: dict[int, float] = {}
        # Which training the lines are of; whether the log itself names its stages; whether the base model is done.
        self._tuning = self._named = self._base_done = False
        self._evidence, self._telling = Evidence(), ProblemLines()
        # Lines with numbers that are none.
        self._lost: list[Problem] = []
        # The job's own last word.
        self._told: LogEnd | None = None

    @property
    def found(self) -> Summary:
        """What was found so far, brought together."""
        found, base, tuned = self._found, self._base.known(), self._tuned.known()
        first = tuned if base == Training() else base
        for name in Training.__struct_fields__:
            setattr(found, name, getattr(first, name))
        verdict = diagnose(self._evidence)
        found.outcome = self._told or (_end(verdict) if verdict else None)
        found.problems = [*self._lost, *self._telling_lines(verdict)]
        found.errors = max(found.errors, len(found.problems))
        found.fine_tuning = None if first is tuned or tuned == Training() else tuned
        return found

    def add_line(self, raw: bytes) -> None:
        """One line more, without its newline; what carriage returns have overwritten counts too."""
        if self._prefixes.kept is None:
            self._take(raw)
            return
        self._prefixes.keep(raw)
        self._take(raw)
        if self._prefixes.fresh() and (kept := self._prefixes.kept) is not None:
            # All that was read so far had a prefix that was not known yet.
            self._prefixes.kept = None
            self._begin()
            for line in kept:
                self._take(line)

    def _take(self, raw: bytes) -> None:
        found = self._found
        found.lines += 1
        known, blank = False, True
        for piece in raw.split(b"\r") if b"\r" in raw else (raw,):
            line = strip_ansi(piece[:LONGEST].decode("utf-8", "replace"))
            for said, event in self._prefixes.read(line):
                found.errors += self._evidence.add_line(said, event, found.lines)
                if type(event) is events.Step:
                    known = True
                    self._telling.steps += 1
                    self._step(event, said)
                    continue
                self._telling.add_line(said, event, found.lines)
                if said.startswith("["):
                    self._own(said)
                if event is not None:
                    known = True
                    self._event(event, said)
                blank = blank and not said.strip()
        found.not_understood += not known and not blank

    def _own(self, line: str) -> None:
        found = self._found
        if m := _STAGE.fullmatch(line):
            if not self._named:
                found.stages, self._named = [], True
            self._tuning = m[1] in ("sft", "chat_eval")
            self._stage(m[1], skipped=bool(m[2]))
            self._evidence, self._telling = Evidence(), ProblemLines()
        elif m := _END.fullmatch(line):
            self._told = self._ended(m[1], m[2])
        elif line.startswith("[ATTEMPT"):
            found.attempts, self._told = found.attempts + 1, None
            self._evidence, self._telling = Evidence(), ProblemLines()
        elif line.startswith(_HEARTBEAT):
            found.heartbeats += 1

    def _stage(self, name: str, *, skipped: bool = False) -> None:
        """A stage that was come to: one that ran in any attempt is not told as skipped."""
        stages, left_out = self._found.stages, f"{name} (skipped)"
        if skipped:
            if name not in stages and left_out not in stages:
                stages.append(left_out)
        elif left_out in stages:
            stages[stages.index(left_out)] = name
        elif name not in stages:
            stages.append(name)

    def _telling_lines(self, verdict: Diagnosis | None) -> list[Problem]:
        """What tells why it ended, where it failed or did not come to its end."""
        outcome = self._found.outcome
        may = outcome.word in ("", "failed") if outcome else not self._telling.done
        return (
            self._telling.problems(*lines_of_verdict(verdict, self._evidence), failed=outcome is not None)
            if may
            else []
        )

    def _ended(self, word: str, said: str) -> LogEnd:
        """The job's own last word, which knew how the child had ended; what only the log shows beside it."""
        kind = _ENDS[word]
        message, _, advice = said.partition(" — ")
        found = diagnose(self._evidence) if word == "FAILED" else None
        if found and found.message[:40] in message:
            return LogEnd(found.kind, message, advice, found.resume, found.line, word.lower())
        return LogEnd(kind, message, advice, resume_of(kind), self._found.lines, word.lower())

    def _event(self, event: Event, line: str) -> None:
        found = self._found
        if not self._named and (stage := _shown(event, line)):
            self._stage(stage)
        match event:
            case events.ValBpb(step=step):
                # Fine-tuning begins with a look at what the base model has come to.
                if step is None or (step == 0 and self._base_done and not self._named):
                    self._tuning = step is not None
                (self._tuned if self._tuning else self._base).measured(step, event.bpb)
            case events.CoreMetric(step=step):
                found.core = event.core
                if step is not None:
                    self._core[step] = event.core
            case events.ChatCore():
                found.chatcore = event.chatcore
            case events.Saved(what="model parameters", folder=folder):
                if _MID in folder and "sft" in found.stages and not self._named:
                    # Until then its steps look like those of fine-tuning on conversations.
                    found.stages[found.stages.index("sft")] = "mid"
                (self._tuned if self._tuning else self._base).training.checkpoints.append(event.step)
            case events.Fact(name="min_val_bpb"):
                self._base_done = self._base_done or not self._tuning
            case events.Fact(name="sft_rows"):
                self._tuning = True
            case events.Resumed(step=step):
                self._tuning = self._base_done = False
                self._go_back(step)
            case events.Fact(name="iterations"):
                self._tuning = self._base_done = False
            case events.Fact(name="gpu", value=value):
                found.gpu = value.partition(" | ")[0]
            case events.Fact(name=name, value=value):
                # Fine-tuning knows no FP8.
                self._base.counted.take(name, value)
            case events.Warned(text=text):
                if text not in found.warnings and len(found.warnings) < MAX_KEPT:
                    found.warnings.append(text)
        if non_finite(event):
            self._no_number(line)

    def _step(self, event: events.Step, line: str) -> None:
        self._tuning = tunes = event.tunes
        name = "sft" if tunes else "base"
        if not self._named and name not in self._found.stages:
            self._stage(name)
        if not tunes and event.step <= (self._base.training.step or -1):
            self._go_back(event.step)
        (self._tuned if tunes else self._base).take(event)
        if not math.isfinite(event.loss):
            self._no_number(line)

    def _go_back(self, step: int) -> None:
        """What came after a step of the base model, and was made of it, was given up."""
        self._base.go_back(step)
        self._core = {at: core for at, core in self._core.items() if at <= step}
        self._found.core, self._found.chatcore = _last(self._core), None
        self._tuned = _Pace()

    def _no_number(self, line: str) -> None:
        self._found.errors += 1
        if not self._lost:
            # What comes after the first is its consequence.
            self._lost.append(Problem(self._found.lines, line.strip()[:300]))


def _end(verdict: Diagnosis) -> LogEnd:
    """The cause of the end, where the log does not name one itself."""
    return LogEnd(verdict.kind, verdict.message, verdict.advice, verdict.resume, verdict.line)


class _Pace:
    """One kind of training as its steps come."""

    def __init__(self) -> None:
        self.training = Training()
        self._speeds: deque[int] = deque(maxlen=MAX_KEPT)
        self._mfus: deque[float] = deque(maxlen=MAX_KEPT)
        self.counted = flops.FlopsCorrection()
        self._val: dict[int, float] = {}

    def measured(self, step: int | None, bpb: float) -> None:
        self.training.val_bpb = bpb
        if step is not None:
            self._val[step] = bpb

    def go_back(self, step: int) -> None:
        """Leave out what came after a step, and of what was trained, at it."""
        all_of = self.training
        self._val = {at: bpb for at, bpb in self._val.items() if at <= step}
        all_of.val_bpb = _last(self._val)
        all_of.checkpoints = [at for at in all_of.checkpoints if at <= step]
        if all_of.step is not None and all_of.step >= step:
            all_of.step, all_of.loss = step - 1 if step else None, None

    def take(self, event: events.Step) -> None:
        all_of = self.training
        all_of.steps += 1
        all_of.step, all_of.total, all_of.loss = event.step, event.total, event.loss
        if event.tokens_per_s is not None:
            self._speeds.append(event.tokens_per_s)
        if event.mfu is not None:
            self._mfus.append(event.mfu)

    def known(self) -> Training:
        """What it has come to."""
        if self._speeds:
            self.training.tokens_per_s = _middle(self._speeds)
        if self._mfus:
            self.training.mfu, self.training.mfu_printed = self.counted.corrected(_middle(self._mfus))
        return self.training


def _last(by_step: dict[int, float]) -> float | None:
    return by_step[max(by_step)] if by_step else None


def _middle(values: deque[T]) -> T:
    return sorted(values)[len(values) // 2]


def _shown(event: Event, line: str) -> str:
    """The stage that a line shows to be under way, for a log that names none; empty for most lines."""
    match event:
        case events.Downloaded():
            return "prepare"
        case events.Noted(about="tokenizer"):
            return "tokenizer"
        case events.ValBpb(step=None) | events.CoreMetric(step=None):
            return "base_eval"
        case events.ChatCore(step=None):
            return "chat_eval"
        case events.TaskScore(centered=None) if not line.startswith(" "):
            return "chat_eval"
    return ""


def summarise(log: LogFile, into: SummaryReader, offset: int = 0) -> Iterator[int]:
    """Read whole lines from `offset` on; yields, every so often, how far it has come. An unfinished line waits."""
    while True:
        data, following = slice_at(log, offset)
        if not data:
            return
        for number, line in enumerate(data[:-1].split(b"\n")):
            into.add_line(line)
            offset += len(line) + 1
            if number % TURN == 0 and offset < following:
                yield offset
        offset = following
        yield offset
