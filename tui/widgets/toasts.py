"""What the app tells beside its screens: one line at a time, what comes together summed up, all of it to be read
later."""

from collections import Counter, deque
from typing import NamedTuple

from textual.notifications import SeverityLevel

KEPT = 200
WORSE: tuple[SeverityLevel, ...] = ("information", "warning", "error")
# The kind of what is told of downloads that are done.
DOWNLOADED = "downloaded"
# Of several runs: what happened to them, where the word of one does not do.
OF_MANY = {
    "stalled": "are stalled",
    "preempted": "were preempted",
    "interrupted": "were interrupted",
    "unsaved": "are not saved",
}


class Toast(NamedTuple):
    """A line and when it was told; `kind` is what happened, where it may happen to several."""

    at: float
    text: str
    severity: SeverityLevel
    kind: str = ""


class Toasts:
    """What was told lately, and what of it nobody has seen yet."""

    def __init__(self) -> None:
        self.all: deque[Toast] = deque(maxlen=KEPT)
        self._unseen: list[Toast] = []

    def add(self, told: Toast) -> None:
        self.all.append(told)
        self._unseen = [*self._unseen[-KEPT:], told]

    def seen(self) -> None:
        self._unseen = []

    @property
    def severity(self) -> SeverityLevel:
        """The worst of what is not seen yet."""
        return max((one.severity for one in self._unseen), key=WORSE.index, default="information")

    def line(self, key: str = "!") -> str:
        """All that is not seen yet in one line: news of runs in sum, of others the last; `key` has all."""
        told = self._unseen
        if len(told) < 2:
            return told[0].text if told else ""
        kinds = Counter(one.kind for one in told)
        if "" in kinds:
            return f"{told[-1].text} · {len(told) - 1} more, {key} shows all"
        alone = {one.kind: one.text for one in told if kinds[one.kind] == 1}
        return ", ".join(alone[kind] if count == 1 else _summed(kind, count) for kind, count in kinds.items())


def _summed(kind: str, count: int) -> str:
    return f"{count} downloads finished" if kind == DOWNLOADED else f"{count} runs {OF_MANY.get(kind, kind)}"
