"""For how long somebody has been waiting for an answer of the network; who waits longer than a moment is told."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

SOON_S, LOOK_S = 2.0, 0.25
_asked: dict[object, float] = {}


@contextlib.contextmanager
def waiting_for() -> Iterator[None]:
    """Inside, a question is under way."""
    key = object()
    _asked[key] = time.monotonic()
    try:
        yield
    finally:
        _asked.pop(key, None)


def longest_s() -> float:
    """How long the oldest question is under way."""
    return max((time.monotonic() - since for since in list(_asked.values())), default=0.0)


@contextlib.contextmanager
def reporting(say: Callable[[str], None]) -> Iterator[None]:
    """Inside, a wait that is no moment is told, once."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_S):
            if longest_s() > SOON_S:
                say("waiting for Modal to answer")
                return

    threading.Thread(target=look, name="waiting", daemon=True).start()
    try:
        yield
    finally:
        done.set()
