"""What a person wants to be told of a run, once: finished, failed, stalled, preempted, its budget. And how."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from runner import budget, process, units
from runner.alarms import alarm
from runner.client_log import LOG
from runner.health import Word, health, silences
from runner.projection import spent_usd
from runner.registry import Registry, Telling
from runner.run import Run
from runner.settings import Settings
from runner.states import State
from runner.terminal import safe

HOOK_S, POST_S = 10.0, 10.0
# What could not be delivered is tried again after so many seconds each.
AGAIN_S = (10.0, 30.0, 120.0, 300.0)
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
    if run.state is State.PREEMPTED or status.containers.preemptions:
        kept = f"kept up to step {status.training.saved_step:,}" if status.training.saved_step else "nothing kept yet"
        yield notice("preempted", f"{run.tag} was preempted; {kept}", status.containers.preemptions)
    found = health(run, now, like)
    if found.word is Word.STALLED:
        yield notice(
            "stalled", f"{run.tag} is stalled: {found.why}", status.training.step, int(status.work.progress_at or 0)
        )
    for warning in status.work.warnings:
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


def deliver(notice: Notice, settings: Settings, done: Container[str] = ()) -> dict[str, str]:
    """Run the person's command and call their webhook, but for what is `done`; what went wrong with which, in words.

    Takes seconds: not on a UI loop.
    """
    ways = {"on_notice": _run_hook, "webhook": _post}
    wanted = {name: way for name, way in ways.items() if getattr(settings, name) and name not in done}
    return {name: problem for name, way in wanted.items() if (problem := way(notice, getattr(settings, name)))}


def _run_hook(notice: Notice, command: str) -> str:
    env = {
        **os.environ,
        "NANOCHAT_RUN": notice.tag,
        "NANOCHAT_KIND": notice.kind,
        "NANOCHAT_TEXT": safe(notice.text),
    }
    try:
        hook = subprocess.Popen(
            ["/bin/sh", "-c", command], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        return str(error)
    try:
        code = hook.wait(HOOK_S)
    except subprocess.TimeoutExpired:
        process.kill_group(hook.pid, signal.SIGKILL)
        hook.wait()
        return f"it took longer than {HOOK_S:.0f}s and was ended"
    return f"it ended with exit code {code}" if code else ""


def _post(notice: Notice, address: str) -> str:
    import http.client
    import urllib.error
    import urllib.request

    class Stay(urllib.request.HTTPRedirectHandler):
        """Follows nothing: what was posted would arrive as a question without a body."""

        def redirect_request(self, *words: object) -> None:
            return None

    try:
        request = urllib.request.Request(
            address, msgspec.json.encode(msgspec.to_builtins(notice)), {"Content-Type": "application/json"}
        )
        with contextlib.closing(urllib.request.build_opener(Stay).open(request, timeout=POST_S)) as answer:
            answer.read(1024)
    except urllib.error.HTTPError as error:
        error.close()
        moved = "; it has moved: set its new address" if error.code in (301, 302, 303, 307, 308) else ""
        return f"it answered {error.code} {error.reason}{moved}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return ""


class Teller:
    """Tells each notice once, on this machine, however many apps and commands watch: `show` here, `deliver` beyond.

    It is put down as told when it has been; what could not be delivered is tried again while this process lives, and
    by the next one that looks. `look` does I/O, and what it delivers takes its time in threads of their own.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Callable[[], Settings],
        show: Callable[[Notice], None],
        failed: Callable[[str], None] | None = None,
    ) -> None:
        self._registry, self._settings, self._show = registry, settings, show
        self.problems: list[str] = []
        self._failed = failed or self.problems.append
        self._settled: set[str] = set()
        self._seen_live: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._leaving = threading.Event()

    def look(
        self,
        runs: Iterable[Run],
        now: float,
        among: Collection[Run] = (),
        clock_of: Callable[[Run], float] | None = None,
    ) -> None:
        """Tell what is new in these runs; `among` all of them. What ended long before anybody looked is no news.

        `clock_of` tells the time by the clock of a run's signs of life, where that may be another than `now`.
        """
        for run in runs:
            if run.live:
                self._seen_live.add(run.id)
            old = run.id not in self._seen_live and _ended_long_ago(run, now)
            for notice in due(run, clock_of(run) if clock_of else now, silences(run, among) if run.live else None):
                if notice.key not in self._settled:
                    self._tell(notice, old)

    def _tell(self, notice: Notice, old: bool) -> None:
        whose = Telling.TOLD if old else self._registry.may_tell(notice.key)
        if whose is Telling.OTHERS:
            # It is theirs until they have told it, or are gone.
            return
        self._settled.add(notice.key)
        if whose is Telling.TOLD:
            return
        self._show(notice)
        settings = self._settings()
        if not settings.on_notice and not settings.webhook:
            self._registry.end_telling(notice.key, told=True)
            return
        thread = threading.Thread(target=self._deliver, args=(notice,), name=f"notice {notice.kind}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _deliver(self, notice: Notice) -> None:
        done: set[str] = set()
        for tries, pause in enumerate((*AGAIN_S, 0.0)):
            wrong = deliver(notice, self._settings(), done)
            done |= {"on_notice", "webhook"} - wrong.keys()
            if wrong and not tries:
                said = "; ".join(f"{way}: {problem}" for way, problem in wrong.items())
                LOG.warning("%s could not be told: %s", notice.key, said)
                self._failed(said)
            if not wrong or self._leaving.wait(pause):
                break
        # Given up by a process that goes on is told as well as it can be.
        self._registry.end_telling(notice.key, told=not wrong or not self._leaving.is_set())

    def wait(self) -> None:
        """Until everything is delivered, or has failed to be once; nothing is tried again."""
        self._leaving.set()
        for thread in self._threads:
            thread.join(HOOK_S + POST_S)


def _ended_long_ago(run: Run, now: float) -> bool:
    """By the last sign of life, too: a job's own clock stands still while its machine sleeps."""
    return run.ended_at is not None and now - max(run.ended_at, run.last_sign_of_life or 0.0) > STALE_S
