"""What a person wants to be told of a run, once: finished, failed, stalled, preempted, its budget. And how."""

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import StrEnum

import msgspec
from msgspec import Struct

from runner.diagnosis.alarms import alarm
from runner.errors import NanochatError
from runner.model.run import Run
from runner.model.states import State
from runner.monitoring import delivery, unsaved
from runner.monitoring.health import HealthStatus, health, silences_of
from runner.monitoring.letters import LONGEST_PAUSE_S, NotificationClaim, Outbox, PendingDelivery
from runner.monitoring.projection import spent_usd
from runner.planning import budget
from runner.settings import Settings
from runner.system import read_only
from runner.system.client_log import LOG
from runner.text import units
from runner.text.sanitize import sanitize_line

# What could not be delivered is tried again after so many seconds, then each hour, by whoever looks.
PAUSES_S = (10.0, 30.0, 120.0, 600.0, 1800.0, LONGEST_PAUSE_S)
# So long a command that ends waits for what is on its way.
LEAVE_S = 3.0
STALE_S = 600.0


class NotificationKind(StrEnum):
    """What a person is told of."""

    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    OUT_OF_BUDGET = "out of budget"
    PREEMPTED = "preempted"
    STALLED = "stalled"
    UNSAVED = "unsaved"
    WARNING = "warning"
    BUDGET = "budget"


class Notification(Struct, frozen=True):
    """`key` is the same for the same event, whoever sees it: who is first tells it, and nobody else."""

    run: str
    tag: str
    kind: NotificationKind
    text: str
    key: str


ENDS = {
    State.DONE: NotificationKind.FINISHED,
    State.FAILED: NotificationKind.FAILED,
    State.INTERRUPTED: NotificationKind.INTERRUPTED,
    State.OUT_OF_BUDGET: NotificationKind.OUT_OF_BUDGET,
}


def pending_notifications(run: Run, now: float, like: Mapping[str, float] | None = None) -> Iterator[Notification]:
    """Everything there is to tell of a run as it is now; what was told before is known by its key.

    `like` is how long the runs like it were silent, by phase.
    """
    status = run.status
    cost = f", {units.money(spent_usd(run, now))}" if spent_usd(run) else ""

    def notice(kind: NotificationKind, text: str, *parts: object) -> Notification:
        return Notification(run.id, run.tag, kind, text, "/".join(map(str, (run.id, run.attempt, kind, *parts))))

    if run.state in ENDS:
        said = run.outcome.message if run.outcome else ""
        yield notice(ENDS[run.state], f"{run.tag} {ENDS[run.state]}{cost}" + (f": {said}" if said else ""))
    if not run.live or status is None:
        return
    if run.state is State.PREEMPTED or status.containers.preemptions:
        kept = f"kept up to step {status.training.saved_step:,}" if status.training.saved_step else "nothing kept yet"
        yield notice(NotificationKind.PREEMPTED, f"{run.tag} was preempted; {kept}", status.containers.preemptions)
    found = health(run, now, like)
    if found.status is HealthStatus.STALLED:
        yield notice(
            NotificationKind.STALLED,
            f"{run.tag} is stalled: {found.why}",
            status.training.step,
            int(status.work.progress_at or 0),
        )
    if (lost := status.work.unsaved) is not None:
        yield notice(NotificationKind.UNSAVED, f"{run.tag}: {unsaved.unsaved_text(status)}", int(lost.since))
    for warning in status.work.warnings:
        if kind := alarm(warning):
            yield notice(NotificationKind.WARNING, f"{run.tag}: {warning}", kind)
    cap = run.spec.budget_usd
    if cap is not None and (share := budget.share(cap, spent_usd(run, now))):
        text = f"{run.tag} has spent {share}% of its budget of {units.money(cap)}"
        yield notice(NotificationKind.BUDGET, text, share, cap)


def terminal_sequence(notice: Notification) -> str:
    """The notice for a terminal: a bell, and a notification in the two dialects that terminals know."""
    text = sanitize_line(notice.text)[:200].replace(";", ",")
    said = f"\x1b]9;{text}\x07\x1b]777;notify;nanochat;{text}\x07\x07"
    if os.environ.get("STY") and "TMUX" not in os.environ:
        # GNU screen, too, hands on what is wrapped.
        return "".join(f"\x1bP{part}\x07\x1b\\" for part in said.split("\x07") if part) + "\x07"
    if "TMUX" not in os.environ:
        return said
    # tmux hands on what is wrapped; the bell it understands itself.
    return "".join(f"\x1bPtmux;{part}\x1b\\" for part in _doubled(said[:-1])) + "\x07"


def _doubled(said: str) -> list[str]:
    """Each sequence with its escapes doubled, as tmux wants it."""
    return [(part + "\x07").replace("\x1b", "\x1b\x1b") for part in said.split("\x07") if part]


class Notifier:
    """Tells each notice once, on this machine, however many apps and commands watch: `show` here, by letters beyond.

    A letter stays in the registry until it has arrived; whoever looks tries again, after pauses that grow. Two
    machines tell each for itself: the key of a notice is the same. `check` does I/O; what it delivers takes its time in
    a thread for each way.
    """

    def __init__(
        self,
        registry: Outbox,
        settings: Callable[[], Settings],
        show: Callable[[Notification], None],
        failed: Callable[[str], None] | None = None,
    ) -> None:
        self._registry, self._settings, self._show = registry, settings, show
        self.problems: list[str] = []
        self._failed = failed or self.problems.append
        self._settled: set[str] = set()
        # Runs that have ended and of which all was told: there is nothing new while they are the same.
        self._done_with: dict[str, Run] = {}
        # Ends of runs that lived when this machine last looked are news, however long ago a clock says they were.
        self._seen_live = {run.id for run in registry.all() if run.live}
        self._threads: dict[str, threading.Thread] = {}
        self._leave_at = float("inf")

    def check(
        self,
        runs: Iterable[Run],
        now: float,
        among: Collection[Run] = (),
        clock_of: Callable[[Run], float] | None = None,
    ) -> None:
        """Tell what is new in these runs; `among` all of them. What ended long before anybody looked is no news.

        `clock_of` tells the time by the clock of a run's heartbeats, where that may be another than `now`.
        """
        silences = silences_of(among)
        for run in runs:
            if run.live:
                self._seen_live.add(run.id)
            elif self._done_with.get(run.id) is run:
                continue
            old = run.id not in self._seen_live and _ended_long_ago(run, now)
            here, told = clock_of(run) if clock_of else now, set[str]()
            for notice in pending_notifications(run, here, silences(run) if run.live else None):
                told.add(notice.key)
                if notice.key not in self._settled:
                    self._tell(notice, old)
            if not run.live and told <= self._settled:
                self._done_with[run.id] = run
        self._send_letters()

    def _tell(self, notice: Notification, old: bool) -> None:
        if read_only.is_set():
            # It is left to others to tell it for good: here it is shown alone.
            self._settled.add(notice.key)
            if not old:
                self._show(notice)
            return
        whose = NotificationClaim.TOLD if old else self._registry.claim_notification(notice.key)
        if whose is NotificationClaim.OTHERS:
            # It is theirs until they have told it, or are gone.
            return
        self._settled.add(notice.key)
        if whose is NotificationClaim.TOLD:
            return
        self._show(notice)
        settings = self._settings()
        ways = [way for way in delivery.WAYS if getattr(settings, way)]
        self._registry.queue_deliveries(notice.key, msgspec.json.encode(notice), ways)

    def _send_letters(self) -> None:
        for way in () if read_only.is_set() else delivery.WAYS:
            thread = self._threads.get(way)
            if thread and thread.is_alive():
                continue
            if letter := self._registry.claim_delivery(way, time.time()):
                thread = threading.Thread(target=self._send_all, args=(letter,), name=f"notices by {way}", daemon=True)
                self._threads[way] = thread
                thread.start()

    def _send_all(self, letter: PendingDelivery | None) -> None:
        """This letter, and whatever is due in its way."""
        try:
            while letter:
                self._send(letter)
                leaving = self._leave_at < float("inf")
                letter = None if leaving else self._registry.claim_delivery(letter.way, time.time())
        except NanochatError as error:
            # It stays where it is, and whoever looks next finds it.
            LOG.warning("notices could not be delivered: %s", error)

    def _send(self, letter: PendingDelivery) -> None:
        address = getattr(self._settings(), letter.way)
        wrong = delivery.deliver(letter.way, letter.notice, address, lambda: self._leave_at) if address else None
        if wrong is None:
            self._registry.mark_delivered(letter)
            return
        tries = letter.tries + 1
        if tries == 1:
            LOG.warning("%s could not be told: %s: %s", letter.key, letter.way, wrong.said)
            self._failed(f"{letter.way}: {wrong.said}")
        if tries < wrong.most_tries:
            self._registry.deliver_later(letter, time.time() + PAUSES_S[min(tries, len(PAUSES_S)) - 1], tries)
        else:
            LOG.warning("%s is given up after %d tries: %s: %s", letter.key, tries, letter.way, wrong.said)
            self._registry.mark_delivered(letter)

    def close(self, within: float = LEAVE_S) -> None:
        """Let what is on its way arrive, for a few seconds; what does not is left to whoever looks next."""
        self._leave_at = time.monotonic() + within
        for thread in self._threads.values():
            # A command is ended then; a question to a webhook is left to itself.
            thread.join(max(0.0, self._leave_at + 1.0 - time.monotonic()))


def _ended_long_ago(run: Run, now: float) -> bool:
    """By the last heartbeat, too: a job's own clock stands still while its machine sleeps."""
    return run.ended_at is not None and now - max(run.ended_at, run.last_heartbeat or 0.0) > STALE_S
