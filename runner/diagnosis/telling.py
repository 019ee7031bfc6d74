"""The lines of a log that tell why it ended: those that no good run says, and that not every failure says.

Where no class of exceptions decides, the log itself does: what a run that ended well has not said, and what one rank
alone said, comes first. One pass, in bounded memory.
"""

import re
from collections import Counter, deque
from collections.abc import Collection, Sequence
from typing import NamedTuple

from msgspec import Struct, field

from runner.diagnosis.advice import Cause as C
from runner.diagnosis.causes import Tier, tier
from runner.diagnosis.evidence import Evidence
from runner.diagnosis.recorded import GOOD, follows_any_failure
from runner.diagnosis.templates import core, template
from runner.diagnosis.verdict import Diagnosis, possible, telling_below
from runner.model import events
from runner.model.events import Event
from runner.model.status import Problem

MOST_TOLD, LONGEST_TOLD = 5, 300
# So many lines are remembered from the last sign of progress on: the first ones, and the last.
FIRST_KEPT, LAST_KEPT = 200, 200
# What belongs to a line that tells a known cause stands so near to it.
NEXT_TO = 2
MOST_SAID, MOST_RANKS, MOST_BELOW = 20_000, 1024, 4
_NO_NUMBERS = dict.fromkeys(map(ord, "0123456789"))
# A traceback is being told; the next line is what was announced; it is the code of a frame that has lost its indent.
_IN, _NEXT, _CODE = -1, -2, -3
_FRAME = re.compile(r"File \"[^\"]{1,300}\", line \d")
_NAMED = re.compile(r"(?:[A-Za-z_]\w{0,80}\.){0,9}[A-Z]\w{0,80}(?:: |$)", re.ASCII)
_TITLE = "Traceback (most recent call last):"
_ORIGINAL = "Original Traceback (most recent call last):"
_ANNOUNCED = "Last error:"
# How Python draws exceptions that were raised together.
_GROUP = re.compile(r"\s*(?:\+ (?=Exception Group )|\| |\+-\+-+ \d+ -+$|\+-+$)", re.ASCII)
_GROUP_TITLE = "Exception Group Traceback"
_LINKS = ("During handling of the above exception", "The above exception was the direct cause")
# What a C++ program says of the exception that ends it.
_WHAT = "what(): "
_RANK = re.compile(r"\[(?:rank|default)(\d{1,6})\]: ?", re.ASCII)
_BAR = re.compile(r"\d{1,3}%\s?[|▏▎▍▌▋▊▉█━]|\b\d+(?:\.\d+)?(?:it|B|[kMG]i?B)/s\b")
_STACK = re.compile(r"\s*(?:frame )?#\d+:? |\s*File \"|\s*\^+$|\s*at 0x")
# A line by its form, the nearest to a cause first.
ENDS, BAD, BELOW, OTHER, FAR = range(5)
# Words by which any program says that something went wrong.
_BAD = re.compile(
    r"err(?:or|no|_|s\b)|fatal|fail|panic|abort|kill|crash|corrupt|exception|fault\b|dumped|terminat|cancel|evict|preempt"
    r"|denied|refused|invalid|exceed|limit|lost\b|died|dead\b|tim(?:ed |e)out|unexpected|missing|not found|no such"
    r"|unable|can(?:not|'t)|could(?: not|n't)|too (?:old|many|large|long|small|new)|out of|giv(?:ing|en) up|unavailable"
    r"|not supported|unsupported|incompatible|mismatch|going down|shutdown|power ?off|low on|unrecognized|unknown"
    r"|exited|stuck|blocked for|\[?[EF]\d{3,4} \d\d:\d\d",
    re.IGNORECASE,
)
_FAILED = (events.Failed, events.Warned)
_SAVED = (events.Saved, events.ValBpb, events.CoreMetric, events.ChatCore, events.TrainBpb)
# Remarks of the grammar that may be news; all others are of a run that goes well.
_MAY_TELL = ("traceback", "python warning", "wandb", "logger")


class _Said(Struct, frozen=True):
    """A line that has not been said before: where in a traceback, and after how many signs that the run goes on.

    `chain` is the traceback that it is of, or that was before it: those that follow from each other are one.
    """

    line: int
    text: str
    rank: int | None
    inside: int | None
    steps: int
    chain: int

    @property
    def form(self) -> int:
        """How near it is to the cause by its form, from 0; FAR for what is of none."""
        text = _RANK.sub("", self.text, count=1)
        if _BAR.search(text) or _STACK.match(text):
            return FAR
        if self.inside in (_IN, _NEXT) or text.lstrip().startswith(_WHAT):
            return ENDS
        bad = bool(_BAD.search(text))
        if bad and self.inside is not None and self.inside < MOST_BELOW:
            return BELOW
        return BAD if bad and text[0] not in " \t" and self.inside is None else OTHER


class ProblemLines(Struct):
    """Takes a log line by line."""

    first: list[_Said] = field(default_factory=list)
    last: deque[_Said] = field(default_factory=lambda: deque(maxlen=LAST_KEPT))
    steps: int = 0
    # Whether what was to be done came to its end.
    done: bool = False
    # What was said, but for its numbers: what is said again is no news, nor what a run went on after.
    said: set[tuple[str, int | None]] = field(default_factory=set)
    # By rank: in a traceback, or how many lines ago its last line was.
    inside: dict[int | None, int] = field(default_factory=dict)
    chain: int = 0
    linked: bool = False

    def add_line(self, line: str, event: Event | None, number: int) -> None:
        """One cleaned line more, and what nanochat's grammar makes of it."""
        if type(event) is events.Step:
            self.steps += 1
            return
        if type(event) is events.Noted:
            if not self.inside and event.about not in _MAY_TELL:
                return
        elif event is not None and not self._may_tell(event):
            return
        m = _RANK.match(line)
        rank, text = (int(m[1]), line[m.end() :]) if m else (None, line)
        if text[:1] == " " and (m := _GROUP.match(text)):
            text = text[m.end() :]
        if len(self.inside) >= MOST_RANKS:
            self.inside.clear()
        if text.startswith(_GROUP_TITLE) or (text.endswith(_TITLE) and not text.startswith(_ORIGINAL)):
            self.inside[rank] = _IN
            self.chain, self.linked = self.chain + (not self.linked), False
        elif text.startswith(_ORIGINAL):
            # Told by another process before: that one's end is the news.
            self.inside[rank] = _IN
            for kept in (self.last, self.first):
                if kept and kept[-1].inside == _IN and kept[-1].line == number - 1:
                    kept.pop()
                    break
        elif text.startswith(_LINKS):
            self.linked = True
        elif not text.strip():
            if self.inside and self.inside.get(rank) != _IN:
                self.inside.pop(rank, None)
        else:
            self._said(line, text, rank, event, number)

    def _may_tell(self, event: Event) -> bool:
        """Whether an event may be one of a failure; what shows that the run goes on puts all before it out of mind."""
        if isinstance(event, events.Failed) and event.code is not None:
            return event.code < 0
        if isinstance(event, _FAILED):
            return True
        if isinstance(event, events.Fact) and event.name in ("min_val_bpb", "iterations", "sft_rows"):
            self.done = event.name == "min_val_bpb"
        if (isinstance(event, _SAVED) or self.done) and self.first:
            self.first.clear()
            self.last.clear()
        self.inside.clear()
        self.steps += 1
        return False

    def _said(self, line: str, text: str, rank: int | None, event: Event | None, number: int) -> None:
        state = self.inside.get(rank) if self.inside else None
        if state == _CODE:
            state = self.inside[rank] = _IN
            if not _NAMED.match(text):
                return
        if state == _IN and (text[0] in " \t" or _FRAME.match(text)):
            self.inside[rank] = _IN if text[0] in " \t" else _CODE
            return
        if state is not None and state >= MOST_BELOW:
            del self.inside[rank]
            state = None
        if state is not None:
            self.inside[rank] = _NEXT if text.startswith(_ANNOUNCED) else 0 if state < 0 else state + 1
            if text.startswith(_ANNOUNCED):
                return
        if state != _IN:
            shape = (line[:LONGEST_TOLD].translate(_NO_NUMBERS), rank)
            if shape in self.said:
                return
            if len(self.said) >= MOST_SAID:
                self.said.clear()
            self.said.add(shape)
            if isinstance(event, events.Noted) and not (event.about in _MAY_TELL and _BAD.search(text)):
                return
        one = _Said(number, line[:LONGEST_TOLD], rank, state, self.steps, self.chain)
        if len(self.first) < FIRST_KEPT:
            self.first.append(one)
        else:
            self.last.append(one)

    def problems(
        self,
        known: Sequence[Problem] = (),
        echoes: Collection[int] = (),
        nearest: Tier = Tier.TOLD,
        *,
        good: Collection[str] = (),
        failed: bool = True,
    ) -> list[Problem]:
        """The lines that tell the failure, at most so many, in the order of the log.

        Those that are `known` to, by what was judged of the failure, come before all others; `echoes` do not count.
        `nearest` is how near to the cause the verdict is.
        `good` are templates of another run, which ended well. Of a log that is not known to have `failed`, a line must
        say itself that something went wrong: that no good run has said it is not enough.
        """
        said = [
            _News(one, masked, form)
            for one in (*self.first, *self.last)
            if (form := one.form) != FAR
            and (masked := template(one.text)) not in GOOD
            and not follows_any_failure(masked, cause_known=nearest is Tier.CAUSE)
            and masked not in good
        ]
        # A process that goes on after a traceback has caught it.
        last = max((news.said.chain for news in said if news.form == ENDS and news.said.rank is None), default=0)
        said = [n for n in said if n.form not in (ENDS, BELOW) or n.said.rank is not None or n.said.chain == last]
        late = [n for n in said if n.said.steps == self.steps or (n.form == ENDS and n.said.rank is not None)]
        # What was printed may have waited in a buffer, and steps come after the end; else they show that it was none.
        earlier = {news.template for news in said if news.said.steps < self.steps}
        said = [news for news in late if news.form == ENDS or news.template not in earlier] or said
        ends = [news.template for news in said if news.form == ENDS]
        said = [n for n in said if n.form != BELOW or not any(n.template in end for end in ends)]
        found = list({news.template: news for news in reversed(said)}.values())[::-1]
        by_rank = Counter(text for text, rank in {(news.template, news.said.rank) for news in said} if rank is not None)
        ranks = {news.said.rank for news in found if news.said.rank is not None}
        alone = {r for r in ranks if any(n.said.rank == r and by_rank[n.template] == 1 for n in found)}
        if len(ranks) > 1 and len(alone) == 1:
            # One rank says what no other does: the others only miss it.
            found = [news for news in found if news.said.rank is None or news.said.rank in alone]
        if nearest is Tier.CAUSE:
            # The cause is known: beside its lines only what stands right below them.
            found = [n for n in found if any(0 <= n.said.line - one.line <= NEXT_TO for one in known)]
        if not failed or any(news.form in (ENDS, BAD) for news in found):
            found = [news for news in found if news.form != OTHER]
        by_line = {news.said.line: news for news in said}
        told: dict[int, Problem] = {}
        # The templates that were told, and what each says: another that holds that only repeats it.
        alike, cores = set[str](), set[str]()
        for number, problem in enumerate(known):
            if seen := by_line.get(problem.line):
                repeats = seen.form != ENDS and any(one in seen.template for one in cores)
                if seen.template not in alike and not repeats:
                    told[problem.line] = Problem(problem.line, seen.said.text.strip())
                alike.add(seen.template)
                cores.add(core(seen.template))
            elif number == 0:
                told[problem.line] = problem
        for news in sorted(found, key=lambda news: (news.form, news.said.line)):
            if len(told) >= MOST_TOLD:
                break
            if news.said.line not in echoes and not any(one in news.template for one in cores):
                cores.add(core(news.template))
                told.setdefault(news.said.line, Problem(news.said.line, news.said.text.strip()))
        return sorted(list(told.values())[:MOST_TOLD], key=lambda one: one.line)


class _News(NamedTuple):
    """A line that may tell the failure."""

    said: _Said
    template: str
    form: int


def lines_of_verdict(verdict: Diagnosis | None, evidence: Evidence) -> tuple[list[Problem], set[int], Tier]:
    """What is known of a failure besides: the lines that show its cause, those that only echo, and how near it is."""
    if verdict is None:
        return [], set(), Tier.TOLD
    seen = [one for one in possible(evidence.findings(), None) if one.line]
    seen.sort(key=lambda one: (one.line != verdict.line, one.tier))
    nearest = min((one.tier for one in seen), default=Tier.TOLD)
    # What only waited for the others, or missed them, is no news where somebody had a cause.
    far = Tier.WAITED if nearest < Tier.WAITED else Tier.LOST if nearest < Tier.LOST else Tier.TOLD
    # Where the cause is known, its line shows what others only repeat in the words of whom it met.
    of_cause = tier(verdict.cause)
    shown = Tier.UNKNOWN if of_cause is Tier.CAUSE else min(far, Tier.LOST)
    told = []
    for one in seen:
        if of_cause is Tier.WAITED and one.tier is Tier.WAITED and one.cause is not verdict.cause:
            # Others waited for the same in another way.
            continue
        if (one.raised or not one.weak) and one.tier < shown:
            told.append(Problem(one.line, one.text[:LONGEST_TOLD]))
            if one.raised and (at := telling_below(one)) is not None:
                told.append(Problem(one.raised.below_at[at], one.raised.below[at][:LONGEST_TOLD]))
            if one.became and one.line == verdict.line:
                told.append(Problem(one.became.line, f"{one.became.name}: {one.became.message}"[:LONGEST_TOLD]))
    if of_cause is Tier.CAUSE and not any(one.raised for one in seen if one.tier is Tier.CAUSE):
        # What the machine did, and the exception in which the program met it.
        met = [one for one in seen if one.raised and one.tier is Tier.UNKNOWN]
        told += [Problem(one.line, one.text[:LONGEST_TOLD]) for one in met[:1]]
    echoes = {one.line for one in seen if one.tier >= far and one.cause is not C.ABORT and not one.weak}
    return told, echoes, of_cause
