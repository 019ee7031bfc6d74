"""The lines of a log that tell why it ended: those that no good run says, and that not every failure says.

Where no class of exceptions decides, the log itself does: what a run that ended well has not said, and what one rank
alone said, comes first. One pass, in bounded memory.
"""

import re
from collections import Counter, deque
from collections.abc import Collection, Sequence

from msgspec import Struct, field

from runner.diagnosis.advice import Cause as C
from runner.diagnosis.causes import Tier
from runner.diagnosis.evidence import Evidence
from runner.diagnosis.templates import recorded, template
from runner.diagnosis.verdict import Verdict
from runner.nanochat import events
from runner.nanochat.events import Event
from runner.status import Problem

MOST_TOLD, LONGEST_TOLD = 5, 300
# So many lines are remembered from the last sign of progress on: the first ones, and the last.
FIRST_KEPT, LAST_KEPT = 200, 200
MOST_PAST, MOST_RANKS, MOST_BELOW = 5000, 1024, 2
# A traceback is being told.
_IN = -1
_TITLE = "Traceback (most recent call last):"
# What a C++ program says of the exception that ends it.
_WHAT = "what(): "
_RANK = re.compile(r"\[(?:rank|default)(\d{1,6})\]: ?", re.ASCII)
_BAR = re.compile(r"\d{1,3}%\s?[|▏▎▍▌▋▊▉█━]|\b\d+(?:\.\d+)?(?:it|B|[kMG]i?B)/s\b")
_STACK = re.compile(r"\s*(?:frame )?#\d+:? |\s*File \"|\s*\^+$|\s*at 0x")
# Words by which any program says that something went wrong.
_BAD = re.compile(
    r"err(?:or|no|_|s\b)|fatal|fail|panic|abort|kill|crash|corrupt|exception|fault\b|dumped|terminat|cancel|evict|preempt"
    r"|denied|refused|invalid|exceed|limit|lost\b|died|dead\b|tim(?:ed |e)out|unexpected|missing|not found|no such"
    r"|unable|can(?:not|'t)|could(?: not|n't)|too (?:old|many|large|long|small|new)|out of|giv(?:ing|en) up|unavailable"
    r"|not supported|unsupported|incompatible|mismatch|going down|shutdown|power ?off|low on|unrecognized|unknown",
    re.IGNORECASE,
)
_FAILED = (events.Error, events.OutOfMemory, events.NcclTimeout, events.RankFailed, events.Signalled, events.Warned)
_SAVED = (events.Saved, events.ValBpb, events.Core, events.ChatCore, events.TrainBpb)
# Remarks of the grammar that may be news; all others are of a run that goes well.
_MAY_TELL = ("traceback", "python warning", "wandb", "logger")


class _Said(Struct, frozen=True):
    """A line that no good run says: how near it is to the cause by its form, from 0, and the steps said before it."""

    line: int
    text: str
    template: str
    rank: int | None
    form: int
    steps: int


ENDS, BAD, BELOW, OTHER = range(4)


class Telling(Struct):
    """Takes a log line by line."""

    first: list[_Said] = field(default_factory=list)
    last: deque[_Said] = field(default_factory=lambda: deque(maxlen=LAST_KEPT))
    steps: int = 0
    # Whether what was to be done came to its end.
    done: bool = False
    # What was said before steps, or a save, that came after it: the run went on.
    past: set[str] = field(default_factory=set)
    # By rank: in a traceback, or how many lines ago its last line was.
    inside: dict[int | None, int] = field(default_factory=dict)

    def see(self, line: str, event: Event | None, number: int) -> None:
        """One cleaned line more, and what nanochat's grammar makes of it."""
        if isinstance(event, events.Step):
            self.steps += 1
            return
        if isinstance(event, events.Fact) and event.name in ("min_val_bpb", "iterations", "sft_rows"):
            self.done = event.name == "min_val_bpb"
        if isinstance(event, _SAVED) or self.done:
            self._clear()
        if (event is not None and not isinstance(event, (*_FAILED, events.Noted))) or (
            isinstance(event, events.RankFailed) and event.exit_code >= 0
        ):
            self.inside.clear()
            return
        m = _RANK.match(line)
        rank, text = (int(m[1]), line[m.end() :]) if m else (None, line)
        if text.startswith(_TITLE):
            self.inside[rank] = _IN
        elif not text.strip():
            if self.inside.get(rank) != _IN:
                self.inside.pop(rank, None)
        else:
            self._said(line, text, rank, event, number)

    def _said(self, line: str, text: str, rank: int | None, event: Event | None, number: int) -> None:
        state, indented = self.inside.get(rank), text[0] in " \t"
        if state == _IN and indented:
            return
        if state is not None and len(self.inside) < MOST_RANKS:
            self.inside[rank] = 0 if state == _IN else state + 1
        ends = state == _IN or text.lstrip().startswith(_WHAT)
        bad = bool(_BAD.search(text))
        if isinstance(event, events.Noted) and not ends and not (event.about in _MAY_TELL and bad):
            return
        if _BAR.search(text) or _STACK.match(text):
            return
        masked = template(line)
        if masked in self.past or masked in recorded("good") or masked in recorded("aftermath"):
            return
        below = bad and state is not None and 0 <= state < MOST_BELOW
        form = ENDS if ends else BELOW if below else BAD if bad and not indented and state is None else OTHER
        one = _Said(number, line.strip()[:LONGEST_TOLD], masked, rank, form, self.steps)
        if len(self.first) < FIRST_KEPT:
            self.first.append(one)
        else:
            self.last.append(one)

    def _clear(self) -> None:
        if len(self.past) < MOST_PAST:
            self.past.update(one.template for one in (*self.first, *self.last) if one.form is not ENDS)
        self.first.clear()
        self.last.clear()

    def told(
        self, known: Sequence[Problem] = (), echoes: Collection[int] = (), good: Collection[str] = ()
    ) -> list[Problem]:
        """The lines that tell the failure, at most so many, in the order of the log.

        Those that are `known` to, by what was judged of the failure, come before all others; `echoes` do not count.
        `good` are templates of another run, which ended well.
        """
        said = [one for one in (*self.first, *self.last) if one.template not in good]
        late = [one for one in said if one.steps == self.steps]
        # What was printed may have waited in a buffer, and steps come after the end; else they show that it was none.
        earlier = {one.template for one in said if one.steps < self.steps}
        said = [one for one in late if one.form is ENDS or one.template not in earlier] or said
        found = self._once(said)
        by_rank = Counter(text for text, _ in {(one.template, one.rank) for one in said if one.rank is not None})
        alone = {one.rank for one in found if one.rank is not None and by_rank[one.template] == 1}
        if len({one.rank for one in found if one.rank is not None}) > 1 and len(alone) == 1:
            # One rank says what no other does: the others only miss it.
            found = [one for one in found if one.rank is None or one.rank in alone]
        if any(one.form in (ENDS, BAD) for one in found):
            found = [one for one in found if one.form is not OTHER]
        weighed = sorted(found, key=lambda one: (one.form, one.line))
        by_line = {one.line: one for one in said}
        told: dict[int, Problem] = {}
        alike = set[str]()
        for problem in known:
            seen = by_line.get(problem.line)
            if seen is None or seen.template not in alike:
                told[problem.line] = Problem(problem.line, seen.text if seen else problem.text)
            alike.add(seen.template if seen else "")
        for one in weighed:
            if one.line not in echoes and one.template not in alike:
                told.setdefault(one.line, Problem(one.line, one.text))
        return sorted(list(told.values())[:MOST_TOLD], key=lambda one: one.line)

    @staticmethod
    def _once(said: list[_Said]) -> list[_Said]:
        """The first of the lines that say the same."""
        seen: dict[str, _Said] = {}
        for one in said:
            seen.setdefault(one.template, one)
        return list(seen.values())


def judged(verdict: Verdict | None, evidence: Evidence) -> tuple[list[Problem], set[int]]:
    """What is known of a failure besides: the lines that show its cause and what followed, and those that only echo."""
    if verdict is None:
        return [], set()
    seen = sorted((one for one in evidence.all() if one.line), key=lambda one: (one.line != verdict.line, one.tier))
    nearest = min((one.tier for one in seen), default=Tier.TOLD)
    # What only waited for the others, or missed them, is no news where somebody had a cause.
    far = Tier.WAITED if nearest < Tier.WAITED else Tier.LOST if nearest < Tier.LOST else Tier.TOLD
    shown = min(far, Tier.LOST)
    told = [Problem(one.line, one.text[:LONGEST_TOLD]) for one in seen if not one.weak and one.tier < shown]
    return told, {one.line for one in seen if one.tier >= far and one.cause is not C.ABORT}
