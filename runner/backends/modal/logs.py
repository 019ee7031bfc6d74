"""Live logs of Modal: one stream per app in a thread of its own, split by call id."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import modal

from runner.backends.modal.errors import error_text
from runner.logs import frames
from runner.logs.frames import Frame

MAX_QUEUED = 50_000
PAUSE_S, MAX_PAUSE_S = 0.5, 20.0
_log = logging.getLogger(__name__)


class FrameAssembler:
    """Log entries, which may hold several lines or part of one -> frames by call id."""

    def __init__(self) -> None:
        self._pending: dict[str, str] = {}

    def feed(self, call_id: str, container: str, message: str) -> list[Frame]:
        *lines, rest = (self._pending.pop(container, "") + message).split("\n")
        if rest and len(rest) < 4 * frames.MAX_PAYLOAD:
            self._pending[container] = rest
        return [frame for line in lines if (frame := frames.parse(line)) is not None]


class LogStream:
    """Follows an app's log from when somebody first asks; frames wait here, by call id, until they are taken."""

    def __init__(self, app_name: str) -> None:
        self._app_name = app_name
        self._lock = threading.Lock()
        self._frames: dict[str, deque[Frame]] = {}
        self._thread: threading.Thread | None = None
        self._leave = threading.Event()
        self._wake: Callable[[], object] = lambda: None

    def subscribe(self, call_ids: Iterable[str]) -> None:
        """Keep the frames of these calls; those of others are dropped."""
        with self._lock:
            for call_id in call_ids:
                self._frames.setdefault(call_id, deque(maxlen=MAX_QUEUED))
            if self._leave.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name="modal-logs", daemon=True)
            self._thread.start()

    def drain(self, call_id: str) -> list[Frame]:
        with self._lock:
            waiting = self._frames.get(call_id)
            found = list(waiting or ())
            if waiting:
                waiting.clear()
            return found

    def close(self) -> None:
        """Leave the stream; one that is left open complains on the terminal when Python ends."""
        self._leave.set()
        with self._lock:
            self._wake()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        asyncio.run(self._until_left())

    async def _until_left(self) -> None:
        loop, left = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            self._wake = lambda: loop.call_soon_threadsafe(left.set)
        following = loop.create_task(self._follow())
        if not self._leave.is_set():
            await left.wait()
        with self._lock:
            self._wake = lambda: None
        following.cancel()
        await asyncio.wait([following])

    async def _follow(self) -> None:
        pause = PAUSE_S
        while True:
            assembler = FrameAssembler()
            try:
                app = await modal.App.lookup.aio(self._app_name)
                async for entry in app.logs.stream.aio():
                    pause = PAUSE_S
                    self._keep(assembler, entry.context_ids, entry.source, entry.message)
            except Exception as error:  # noqa: BLE001 - whatever it is, the stream is taken up again
                # Nothing is lost: the volume has it all, only later.
                _log.info("the log stream of %s broke off: %s", self._app_name, error_text(error))
            await asyncio.sleep(pause)
            pause = min(MAX_PAUSE_S, pause * 2)

    def _keep(self, assembler: FrameAssembler, context: list[str], source: str, message: str) -> None:
        call_id = next((c for c in context if c.startswith("fc-")), "")
        with self._lock:
            waiting = self._frames.get(call_id)
        if waiting is None or source != "stdout":
            return
        found = assembler.feed(call_id, context[-1], message)
        with self._lock:
            waiting.extend(found)


def fetch_tail(call_id: str, since: float) -> list[Frame]:
    """What a call has printed since a time: the tail that a killed container could not commit."""
    assembler = FrameAssembler()
    found: list[Frame] = []
    for entry in modal.FunctionCall.from_id(call_id).logs.fetch(since=datetime.fromtimestamp(since, UTC)):
        if entry.source == "stdout":
            found += assembler.feed(call_id, entry.context_ids[-1] if entry.context_ids else "", entry.message)
    return found
