"""Work beside the screen: the one way to start a thread, and what becomes of what it raises."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from textual.dom import DOMNode
from textual.worker import get_current_worker

from runner.errors import NanochatError, Unreachable
from runner.text.sanitize import sanitize_line

if TYPE_CHECKING:
    from tui.context import TerminalContext

P = ParamSpec("P")
T = TypeVar("T")
N = TypeVar("N", bound=DOMNode)
Failed = Callable[[NanochatError], object]
LOG = logging.getLogger("nanochat_tui.background")
# What has to live is begun again so long after it failed, and after twice as long each time that it fails at once.
AGAIN_S, AGAIN_AT_MOST_S = 1.0, 30.0
# An app that is left gives the threads that only look so long to end.
MOMENT_S = 0.3
# How long a thread that counts or searches may keep the screen waiting: a fifth of what Python would let it.
SWITCH_S = 0.001


class Left(Exception):
    """The app that was to show something has been left."""


class _Decorator(Protocol):
    def __call__(self, method: Callable[Concatenate[N, P], object], /) -> Callable[Concatenate[N, P], None]: ...


def background(
    *,
    group: str,
    doing: str,
    exclusive: bool = False,
    again: bool = False,
    finish: bool = False,
    failed: Callable[[Any, NanochatError], object] | None = None,
) -> _Decorator:
    """Decorate a method so that a call runs it in a thread of its own; `start` says how."""

    def decorator(method: Callable[Concatenate[N, P], object]) -> Callable[Concatenate[N, P], None]:
        @functools.wraps(method)
        def begin(node: N, /, *args: P.args, **kwargs: P.kwargs) -> None:
            start(
                node,
                functools.partial(method, node, *args, **kwargs),
                group=group,
                doing=doing,
                exclusive=exclusive,
                again=again,
                finish=finish,
                failed=functools.partial(failed, node) if failed else None,
            )

        return begin

    return decorator


def start(
    node: DOMNode,
    *works: Callable[[], object],
    group: str,
    doing: str,
    exclusive: bool = False,
    again: bool = False,
    finish: bool = False,
    failed: Failed | None = None,
) -> None:
    """Run `works` one after the other in a thread of their own. What one raises is told in one line; the next goes on.

    `doing` says what it does, as "looking at the volume". `exclusive` cancels what is under way in the same `group`.
    With `again` it is begun anew after it failed. With `finish` it comes to its end also when the app is left.
    `failed` is given the error on the UI thread, instead of a toast.
    """
    node.run_worker(
        functools.partial(_run, node, works, doing, again, finish, failed),
        name=doing,
        description=doing,
        group=group,
        exclusive=exclusive,
        exit_on_error=False,
        thread=True,
    )


def _run(
    node: DOMNode,
    works: tuple[Callable[[], object], ...],
    doing: str,
    again: bool,
    finish: bool,
    failed: Failed | None,
) -> None:
    app, worker = cast("TerminalContext", node.app), get_current_worker()
    if finish:
        app.unfinished[threading.get_ident()] = doing
    try:
        for work in works:
            pause, last, began = AGAIN_S, "", time.monotonic()
            while problem := _problem(node, work, doing):
                if time.monotonic() - began > AGAIN_AT_MOST_S:
                    pause, last = AGAIN_S, ""
                if app.left.is_set():
                    app.told_late += [str(problem)] if finish else []
                    break
                if str(problem) != last:
                    LOG.warning("%s: %s", doing, problem)
                if str(problem) != last and not worker.is_cancelled:
                    last = str(problem)
                    _tell(app, problem, failed, "warning" if again else "error")
                if not again or worker.cancelled_event.wait(pause):
                    break
                pause, began = min(2 * pause, AGAIN_AT_MOST_S), time.monotonic()
    finally:
        app.unfinished.pop(threading.get_ident(), None)


def _problem(node: DOMNode, work: Callable[[], object], doing: str) -> NanochatError | None:
    """What kept a piece of work from being done, if anything that a person should know."""
    app = cast("TerminalContext", node.app)
    try:
        work()
    except Left:
        return None
    except Exception as error:
        gone = app.left.is_set() or not (node is node.app or node.is_attached)
        if isinstance(error, NanochatError | OSError) or not gone:
            return as_ours(error, doing)
        # What it was done for is gone, and often took along what it needed.
        LOG.debug("%s", doing, exc_info=True)
    return None


def as_ours(error: Exception, doing: str) -> NanochatError:
    """An error as it is told; one that nobody had foreseen is written down with its traceback."""
    if isinstance(error, NanochatError):
        return error
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return Unreachable(f"{doing} failed", f"{error.strerror or error}{where}")
    LOG.error("%s", doing, exc_info=error)
    if isinstance(error, ImportError):
        return NanochatError(f"{doing} failed, as nanochat-tui was changed on disk", "leave it and start it again")
    said = f"{doing} went wrong ({type(error).__name__}: {error}"
    return NanochatError(f"{said[:200]})", "nanochat-tui.log in the data folder has more")


def _tell(app: TerminalContext, problem: NanochatError, failed: Failed | None, severity: Any) -> None:
    try:
        if failed:
            app.call_from_thread(failed, problem)
            return
    except Left:
        return
    except Exception:
        if app.left.is_set():
            return
        LOG.exception("telling that %s", problem)
    app.notify(sanitize_line(str(problem)), severity=severity, markup=False, timeout=8)


class Threads(ThreadPoolExecutor):
    """A thread for each piece of work, so that none waits until another has ended, and none is waited for for long."""

    def __init__(self) -> None:
        super().__init__(1)
        self._under_way: set[threading.Thread] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            try:
                if future.set_running_or_notify_cancel():
                    future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - the future hands it on to whoever waits for it
                future.set_exception(error)
            finally:
                self._under_way.discard(threading.current_thread())

        thread = threading.Thread(target=run, daemon=True, name="background")
        self._under_way.add(thread)
        thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        until = time.monotonic() + MOMENT_S
        for thread in list(self._under_way) if wait else ():
            thread.join(max(0.0, until - time.monotonic()))
