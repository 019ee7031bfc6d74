"""Questions asked of a network at the same time: together they take as long as the slowest, not as all of them."""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
MOST = 32


def side_by_side(ask: Callable[[T], R], items: Sequence[T], most: int = MOST) -> list[R]:
    """The answers in the order of `items`. All are waited for; then the first error, if there was one, is raised.

    The threads are daemons: whoever interrupts the wait is not held up by an answer that does not come.
    """
    if len(items) < 2:
        return [ask(item) for item in items]
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    answers: dict[int, R] = {}
    errors: dict[int, BaseException] = {}
    done = threading.Semaphore(0)

    def work() -> None:
        while True:
            try:
                at = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                answers[at] = ask(items[at])
            except BaseException as error:  # noqa: BLE001 - raised again where the answers are waited for
                errors[at] = error
            done.release()

    for at in range(len(items)):
        waiting.put(at)
    for _ in range(min(most, len(items))):
        threading.Thread(target=work, name="side by side", daemon=True).start()
    for _ in items:
        done.acquire()
    if errors:
        raise errors[min(errors)]
    return [answers[at] for at in range(len(items))]
