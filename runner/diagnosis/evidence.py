"""What was seen of a failure while a log was read, and what of it was survived. Line by line, in bounded memory."""

import re

import msgspec
from msgspec import Struct, field

from runner.diagnosis.advice import Cause as C
from runner.diagnosis.causes import Tier, cause_of, tier
from runner.diagnosis.message_causes import cause_in_words
from runner.diagnosis.signs import sign_of
from runner.diagnosis.tracebacks import Link, Raised, Tracebacks, ends_process
from runner.model import events
from runner.model.events import Event

_FILE = re.compile(r"\S*\.parquet\S*")
# Why a file did not come, where a message names more than the network.
_NOT_BROUGHT = frozenset({C.CERTIFICATE, C.DENIED, C.DISK_FULL, C.DISK_FAULT, C.PERMISSION})
# One of the operations that all ranks do together, by its number, for which a rank has waited in vain.
_COLLECTIVE = re.compile(
    r"\[Rank (?P<rank>\d{1,6})\] Watchdog caught collective operation timeout: "
    r"WorkNCCL\(SeqNum=(?P<sequence>\d{1,12}), OpType=(?P<operation>\w{1,40})",
    re.ASCII,
)
# So much of a child's output may come late, from its buffer, after what it had said of its end.
LATE_BYTES = 20 << 10
# A rank that said that it ends has ended: the others go on for a moment, not for so many scores and saves.
PROOFS_FOR_RANK = 3
MOST_RANKS, MOST_CHAINS, MOST_SIGNS = 1024, 8, 200
_PROOFS = (
    events.Saved, events.ValBpb, events.CoreMetric, events.ChatCore, events.TaskScore, events.TrainBpb,
)  # fmt: skip
# What only a training that came to its end prints.
_END_FACTS = ("min_val_bpb", "training_time", "core_csv")
# What a program says as it begins.
_BEGIN_FACTS = ("world_size", "gpu", "dtype", "iterations", "sft_rows")
# Notes that may stand in a text that a model wrote.
_IN_TEXT = ("traceback", "rule", "banner", "config")


class Finding(Struct, frozen=True):
    """One thing that was seen, the line that it was on, and whether an exception told it."""

    cause: C
    text: str
    line: int
    rank: int | None = None
    code: int | None = None
    raised: Raised | None = None
    weak: bool = False
    # What it became: the last of the exceptions that followed from it, in which the process ended.
    became: Raised | None = None

    @property
    def tier(self) -> Tier:
        """How far it is from the cause; an exception without its traceback is a hint alone."""
        found = tier(self.cause)
        return max(found, Tier.WAITED) if self.weak else found


class Evidence(Struct):
    """Takes a log of one process, or of all the ranks that torchrun started."""

    tracebacks: Tracebacks = field(default_factory=Tracebacks)
    chains: dict[int | None, list[list[Raised]]] = field(default_factory=dict)
    signs: list[Finding] = field(default_factory=list)
    # A download that failed, as long as not all came: why data may be missing.
    not_brought: Finding | None = None
    # The last common operation that timed out: its number, what it was, for whom.
    collective: tuple[str, str, int] = ("", "", 0)
    proofs: int = 0
    stepped: int = 0
    in_text: bool = False
    done: bool = False

    def add_line(self, line: str, event: Event | None, number: int) -> bool:
        """One cleaned line more, and what nanochat's grammar makes of it; whether it tells something of a failure."""
        if isinstance(event, events.Step):
            self._progress(line)
            if self.tracebacks.open:
                self.tracebacks.take(line, number, known=True)
            return False
        told = event is None or isinstance(event, (events.Failed, events.Warned, events.Noted))
        note = event.about if isinstance(event, events.Noted) else ""
        if not told:
            self._known(event)
        elif isinstance(event, events.Noted) and note not in (*_IN_TEXT, "torchrun", "job", "python warning"):
            self.in_text = note == "chat"
        if note == "download" and " failed" in line:
            words = cause_in_words(_FILE.sub("", line))
            self.not_brought = Finding(words if words in _NOT_BROUGHT else C.DOWNLOAD, line, number)
        elif m := _COLLECTIVE.search(line):
            self._collective(m, number)
        failed = event if isinstance(event, events.Failed) else None
        sign = failed if failed and not failed.hint else None
        chain = self.tracebacks.take(line, number, known=sign is not None or not told or note not in ("", *_IN_TEXT))
        if sign:
            return self._shown(sign, number)
        if chain:
            return self._raised(chain)
        if chain is None and failed and not self.in_text:
            self._put(Finding(C(failed.cause), failed.text, number, failed.rank, weak=True))
            return True
        return False

    def _collective(self, m: re.Match[str], number: int) -> None:
        """A rank waits in vain for the others in one of their common operations, which are numbered."""
        rank, sequence, operation = int(m["rank"]), m["sequence"], m["operation"]
        if sequence != self.collective[0]:
            self.collective = (sequence, operation, rank)
        elif operation != self.collective[1]:
            _, before, other = self.collective
            text = f"the ranks were not at the same: rank {other} was in {before}, rank {rank} in {operation}"
            self._put(Finding(C.OUT_OF_STEP, text, number))

    def _known(self, event: Event | None) -> None:
        self.in_text = isinstance(event, events.Sample)
        if isinstance(event, events.Fact) and event.name in _BEGIN_FACTS:
            self.done = False
        if isinstance(event, events.Downloaded) and event.ok == event.total:
            self.not_brought = None
        if isinstance(event, _PROOFS):
            self.proofs += 1
            self._survived(ranks=self.proofs >= PROOFS_FOR_RANK, saved=isinstance(event, events.Saved))
        elif isinstance(event, events.Fact) and event.name in _END_FACTS:
            self.done = True
            self._survived(ranks=True, saved=True)
        elif not isinstance(event, events.Sample):
            self._caught()

    def _progress(self, line: str) -> None:
        self.in_text = self.done = False
        if self.chains or self.signs:
            self.stepped += len(line) + 1
            self._caught()
            if self.stepped > LATE_BYTES:
                self._survived(ranks=False, saved=False)

    def _caught(self) -> None:
        """nanochat goes on: what was raised inside a function of it was caught there."""
        if None in self.chains:
            self._keep(None, [chain for chain in self.chains[None] if ends_process(chain[0])])
        self.signs = [one for one in self.signs if not one.weak]

    def _survived(self, *, ranks: bool, saved: bool) -> None:
        self._keep(None, [])
        # Steps write nothing: a disk that has failed is well when something was saved.
        self.signs = [
            one
            for one in self.signs
            if (one.cause is C.DISK_FAULT and not saved) or (one.rank is not None and not ranks)
        ]
        if ranks:
            self.chains.clear()

    def _keep(self, rank: int | None, chains: list[list[Raised]]) -> None:
        if chains:
            self.chains[rank] = chains
        else:
            self.chains.pop(rank, None)

    def _raised(self, chain: list[Raised]) -> bool:
        one = chain[-1]
        if self.in_text and one.rank is None and not any(each.of_code for each in chain):
            return False
        if not one.below:
            self.proofs = self.stepped = 0
        found = self.chains.get(one.rank, [])
        if found and (found[-1] is chain or found[-1][0] is chain[0]):
            found[-1] = chain
        elif len(self.chains) < MOST_RANKS or one.rank in self.chains:
            self.chains[one.rank] = [*found[1 - MOST_CHAINS :], chain]
        return not one.below

    def _shown(self, sign: events.Failed, number: int) -> bool:
        if sign.prose and self.in_text:
            return False
        self.proofs = self.stepped = 0
        self._put(Finding(C(sign.cause), sign.text, number, sign.rank, sign.code))
        return True

    def _put(self, one: Finding) -> None:
        same = ((old.cause, old.rank, old.weak) == (one.cause, one.rank, one.weak) for old in self.signs)
        if len(self.signs) < MOST_SIGNS and not any(same):
            self.signs.append(one)

    def findings(self) -> list[Finding]:
        """Everything that was not survived: of each chain of exceptions the one that caused the others."""
        found = [
            msgspec.structs.replace(finding_of(root), became=chain[-1] if chain[-1] is not root else None)
            for chains in self.chains.values()
            for chain in chains
            if (root := root_exception(chain))
        ]
        if all(one.raised and one.raised.in_thread for one in found):
            found = []
        if self.not_brought and any(one.cause is C.DATA_MISSING for one in found):
            found = [*(one for one in found if one.cause is not C.DATA_MISSING), self.not_brought]
        # How a process dies that has done all it had to do is no failure of it.
        return [one for one in found if one.tier < Tier.DEATH] if self.done else [*found, *self.signs]


def root_exception(chain: list[Raised]) -> Raised:
    """Of exceptions that followed from each other the one that is the cause.

    What was raised from another has it as its cause. What was raised while another was handled may have to do with
    that or not: the last one counts, unless it alone says nothing.
    """
    best = chain[-1]
    for before, after in zip(reversed(chain[:-1]), reversed(chain[1:]), strict=True):
        here, there = _cause(best), _cause(before)
        knows = there not in (C.CRASH, C.ECHO)
        silent = here in (C.CRASH, C.ECHO)
        if after.link is Link.CAUSED:
            best = before if knows or silent else best
        elif (knows and silent) or (knows and there is here):
            best = before
    return best


def _cause(one: Raised) -> C:
    return cause_of(one.name, one.text, one.files)


def finding_of(one: Raised) -> Finding:
    """An exception as something that was seen."""
    text = f"{one.name}: {one.message}".rstrip(": ")
    if (cause := _cause(one)) is C.ECHO and (sign := sign_of(text)):
        return Finding(sign.cause, sign.text, one.line, one.rank, sign.code)
    return Finding(cause, text, one.line, one.rank, raised=one, weak=one.in_thread)
