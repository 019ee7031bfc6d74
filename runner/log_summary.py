"""What a nanochat log says, in numbers: read line by line, so that a log of any size costs little memory."""

import re
from collections import deque
from collections.abc import Iterator

from msgspec import Struct, field

from runner.job.outcome import Trail, explain
from runner.job.supervise import Ended
from runner.log_search import slice_at
from runner.nanochat import events, grammar
from runner.nanochat.events import Event
from runner.spool import LogFile
from runner.terminal import clean

MAX_KEPT = 20
# No line that says something is longer; and a longer one would keep the screen waiting.
LONGEST = 1 << 14
# Lines read before others have their turn.
TURN = 200
FAILURES = (events.Error, events.OutOfMemory, events.NcclTimeout, events.RankFailed, events.Signalled)
_STAGE = re.compile(r"\[STAGE\] (\w{1,20})( skipped.*)?")
_END = re.compile(r"\[(DONE|FAILED|CANCELLED|PREEMPTED|OUT OF BUDGET)\] ?(.*)")
_HEARTBEAT = "[HEARTBEAT]"


class Problem(Struct):
    """A line that says what went wrong, by its number from 1."""

    line: int
    text: str


class Summary(Struct):
    """Everything found so far; `step` and `total` of the last step, `tokens_per_s` the median of the last steps.

    `stages` as the log names them, `checkpoints` the steps whose model was saved, `outcome` how the last attempt ended.
    """

    lines: int = 0
    not_understood: int = 0
    stages: list[str] = field(default_factory=list)
    steps: int = 0
    step: int | None = None
    total: int | None = None
    loss: float | None = None
    val_bpb: float | None = None
    core: float | None = None
    chatcore: float | None = None
    tokens_per_s: int | None = None
    mfu: float | None = None
    gpu: str = ""
    checkpoints: list[int] = field(default_factory=list)
    heartbeats: int = 0
    warnings: list[str] = field(default_factory=list)
    errors: int = 0
    problems: list[Problem] = field(default_factory=list)
    outcome: str = ""


class Reader:
    """Takes a log line by line; `found` is what it has said so far."""

    def __init__(self) -> None:
        self.found = Summary()
        self._speeds: deque[int] = deque(maxlen=MAX_KEPT)
        self._trail = Trail()

    def take(self, raw: bytes) -> None:
        """One line more, without its newline; what carriage returns have overwritten counts too."""
        found = self.found
        found.lines += 1
        known, blank = False, True
        for piece in raw.split(b"\r"):
            line = clean(piece[:LONGEST].decode("utf-8", "replace"))
            if line.startswith("["):
                self._own(line)
            event = grammar.parse(line)
            self._trail.see(line, event)
            blank = blank and not line.strip()
            if event is not None:
                known = True
                self._event(event, line)
        found.not_understood += not known and not blank

    def end(self) -> Summary:
        """The summary, with the cause of the end where the log does not name one itself."""
        if not self.found.outcome and self._trail.failure:
            cause = explain("", Ended(1, None, stopped=False), self._trail)
            self.found.outcome = f"{cause.kind}: {cause.message}" if cause else ""
        return self.found

    def _own(self, line: str) -> None:
        if m := _STAGE.fullmatch(line):
            self.found.stages.append(m[1] + (" (skipped)" if m[2] else ""))
        elif m := _END.fullmatch(line):
            self.found.outcome = f"{m[1].lower()}: {m[2]}".rstrip(": ")
        elif line.startswith("[ATTEMPT"):
            self.found.stages, self.found.outcome = [], ""
        elif line.startswith(_HEARTBEAT):
            self.found.heartbeats += 1

    def _event(self, event: Event, line: str) -> None:
        found = self.found
        match event:
            case events.Step():
                found.steps, found.step, found.total, found.loss = found.steps + 1, event.step, event.total, event.loss
                self._speeds.append(event.tokens_per_s)
                found.tokens_per_s, found.mfu = sorted(self._speeds)[len(self._speeds) // 2], event.mfu
                if event.loss != event.loss:
                    self._problem(line)
            case events.ValBpb():
                found.val_bpb = event.bpb
            case events.Core():
                found.core = event.core
            case events.ChatCore():
                found.chatcore = event.chatcore
            case events.Saved(what="model parameters"):
                found.checkpoints.append(event.step)
            case events.Fact(name="gpu", value=value):
                found.gpu = value.partition(" | ")[0]
            case events.Warned(text=text):
                if text not in found.warnings and len(found.warnings) < MAX_KEPT:
                    found.warnings.append(text)
            case (
                events.Error() | events.OutOfMemory() | events.NcclTimeout() | events.RankFailed() | events.Signalled()
            ):
                self._problem(line)

    def _problem(self, line: str) -> None:
        found = self.found
        found.errors += 1
        if len(found.problems) < MAX_KEPT:
            found.problems.append(Problem(found.lines, line.strip()[:300]))


def summarise(log: LogFile, into: Reader, offset: int = 0) -> Iterator[int]:
    """Read whole lines from `offset` on; yields, every so often, how far it has come. An unfinished line waits."""
    while True:
        data, following = slice_at(log, offset)
        if not data:
            return
        for number, line in enumerate(data[:-1].split(b"\n")):
            into.take(line)
            offset += len(line) + 1
            if number % TURN == 0 and offset < following:
                yield offset
        offset = following
        yield offset
