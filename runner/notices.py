"""What a person wants to be told of a run, once: finished, failed, stalled, preempted, its budget. And how."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from runner import budget, units
from runner.alarms import alarm
from runner.health import Word, health, silences
from runner.projection import spent_usd
from runner.registry import Registry
from runner.run import Run, State
from runner.settings import Settings
from runner.terminal import safe

HOOK_S, POST_S = 30.0, 10.0
STALE_S = 600.0
ENDS = {
    State.DONE: "finished",
    State.FAILED: "failed",
    State.INTERRUPTED: "interrupted",
    State.OUT_OF_BUDGET: "out of budget",
}


class Notice(Struct, frozen=True):
    """`key` is the same for the same event, whoever sees it: who is first tells it, and nobody else."""

    run: str
    tag: str
    kind: str
    text: str
    key: str


def due(run: Run, now: float, like: Mapping[str, float] | None = None) -> Iterator[Notice]:
    """Everything there is to tell of a run as it is now; what was told before is known by its key.

    `like` is how long the runs like it were silent, by phase.
    """
    status = run.status
    cost = f", {units.money(spent_usd(run, now))}" if spent_usd(run) else ""

    def notice(kind: str, text: str, *parts: object) -> Notice:
        return Notice(run.id, run.tag, kind, text, "/".join(map(str, (run.id, run.attempt, kind, *parts))))

    if run.state in ENDS:
        said = run.outcome.message if run.outcome else ""
        yield notice(ENDS[run.state], f"{run.tag} {ENDS[run.state]}{cost}" + (f": {said}" if said else ""))
    if not run.live or status is None:
        return
    if run.state is State.PREEMPTED or status.preemptions:
        kept = f"kept up to step {status.saved_step:,}" if status.saved_step else "nothing kept yet"
        yield notice("preempted", f"{run.tag} was preempted; {kept}", status.preemptions)
    found = health(run, now, like)
    if found.word is Word.STALLED:
        yield notice("stalled", f"{run.tag} is stalled: {found.why}", status.step, int(status.progress_at or 0))
    for warning in status.warnings:
        if kind := alarm(warning):
            yield notice("warning", f"{run.tag}: {warning}", kind)
    cap = run.spec.budget_usd
    if cap is not None and (share := budget.share(cap, spent_usd(run, now))):
        text = f"{run.tag} has spent {share}% of its budget of {units.money(cap)}"
        yield notice("budget", text, share, cap)


def terminal_bytes(notice: Notice) -> str:
    """The notice for a terminal: a bell, and a notification in the two dialects that terminals know."""
    text = safe(notice.text)[:200].replace(";", ",")
    said = f"\x1b]9;{text}\x07\x1b]777;notify;nanochat;{text}\x07\x07"
    if "TMUX" not in os.environ:
        return said
    # tmux hands on what is wrapped; the bell it understands itself.
    return "".join(f"\x1bPtmux;{part}\x1b\\" for part in _doubled(said[:-1])) + "\x07"


def _doubled(said: str) -> list[str]:
    """Each sequence with its escapes doubled, as tmux wants it."""
    return [(part + "\x07").replace("\x1b", "\x1b\x1b") for part in said.split("\x07") if part]


def deliver(notice: Notice, settings: Settings) -> str:
    """Run the person's command and call their webhook; what went wrong, in a line. Takes seconds: not on a UI loop."""
    problems = []
    if settings.on_notice:
        env = {
            **os.environ,
            "NANOCHAT_RUN": notice.tag,
            "NANOCHAT_KIND": notice.kind,
            "NANOCHAT_TEXT": safe(notice.text),
        }
        try:
            subprocess.run(
                ["/bin/sh", "-c", settings.on_notice], env=env, timeout=HOOK_S, check=True, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            problems.append(f"on_notice: {error}")
    if settings.webhook:
        import http.client
        import urllib.request

        body = msgspec.json.encode(msgspec.to_builtins(notice))
        try:
            request = urllib.request.Request(settings.webhook, body, {"Content-Type": "application/json"})
            with contextlib.closing(urllib.request.urlopen(request, timeout=POST_S)) as answer:
                answer.read(1024)
        except (OSError, ValueError, http.client.HTTPException) as error:
            problems.append(f"webhook: {error}")
    return "; ".join(problems)


class Teller:
    """Tells each notice once, on this machine, however many apps and commands watch: `show` here, `deliver` beyond.

    `look` does I/O, and what it delivers takes its time in threads of their own.
    """

    def __init__(self, registry: Registry, settings: Callable[[], Settings], show: Callable[[Notice], None]) -> None:
        self._registry, self._settings, self._show = registry, settings, show
        self._seen: set[str] = set()
        self._threads: list[threading.Thread] = []
        self.problems: list[str] = []

    def look(self, runs: Iterable[Run], now: float, among: Collection[Run] = ()) -> None:
        """Tell what is new in these runs; `among` all of them. What ended long before anybody looked is no news."""
        for run in runs:
            old = run.ended_at is not None and now - run.ended_at > STALE_S
            for notice in due(run, now, silences(run, among) if run.live else None):
                if notice.key in self._seen:
                    continue
                self._seen.add(notice.key)
                if not old and self._registry.first_to_tell(notice.key):
                    self._show(notice)
                    self._send(notice)

    def _send(self, notice: Notice) -> None:
        settings = self._settings()
        if not settings.on_notice and not settings.webhook:
            return

        def send() -> None:
            if problem := deliver(notice, settings):
                self.problems.append(problem)

        thread = threading.Thread(target=send, name="notice", daemon=True)
        thread.start()
        self._threads.append(thread)

    def wait(self) -> None:
        """Until everything is delivered, or has failed to be."""
        for thread in self._threads:
            thread.join(HOOK_S + POST_S)
