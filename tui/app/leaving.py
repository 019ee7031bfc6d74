"""How an app ends: asked to by a key or a signal, or without a terminal; what is told in the shell then."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from runner.exit_codes import Exit
from tui.background import MOMENT_S
from tui.presentation.console import message

if TYPE_CHECKING:
    from tui.app.base_app import TerminalApp

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
# Who sends a signal does not wait for ever: so long an app may take to close, and its last work to come to an end.
CLOSE_S, FINISH_S = 5, 20


def run_to_exit_code(app: TerminalApp) -> int:
    """Run an app to its end; what the shell is told, which is not 0 when it crashed."""
    with _signals(app):
        said = app.run()
        if app.is_alone:
            _say_nothing_more()
        if app.signalled:
            signal.alarm(FINISH_S)
    try:
        _finish(app)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    finally:
        signal.alarm(0)
    return said if said is not None else app.return_code or 0


@contextlib.contextmanager
def _signals(app: TerminalApp) -> Iterator[None]:
    """Signals make the app leave in order; where it cannot any more, it ends all the same."""

    def leave(number: int, _: FrameType | None) -> None:
        app.signalled = True
        signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + number))
        signal.alarm(CLOSE_S)
        if app.loop is None:
            raise SystemExit(128 + number)
        app.loop.call_soon_threadsafe(app.leave, 128 + number)

    # What nohup ignores stays ignored.
    before = {s: signal.signal(s, leave) for s in SIGNALS if signal.getsignal(s) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_nothing_more() -> None:
    """Without a terminal, what Python still has to write at its end would be an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream:
            os.dup2(nowhere, stream.fileno())


def _finish(app: TerminalApp) -> None:
    """Wait for what must come to its end, and say so when that is more than a moment."""
    until = time.monotonic() + MOMENT_S
    while app.unfinished and time.monotonic() < until:
        time.sleep(0.02)
    if under_way := ", ".join(dict.fromkeys(app.unfinished.values())):
        message(f"nanochat-tui: still {under_way}; Ctrl-C does not wait for it")
    while app.unfinished:
        time.sleep(0.02)
    for line in app.told_late:
        message(f"nanochat-tui: {line}")
