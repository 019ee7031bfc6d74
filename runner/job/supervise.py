"""One child process: its output passed on as it comes, its end told, its whole group always reaped."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from runner import processes

TICK_S = 0.2
CHUNK = 1 << 16
DRAIN_S = 1.0


class ProcessExit(Struct, frozen=True):
    """How a child ended: an exit code or a signal, and whether it had been asked to stop."""

    code: int | None
    signal: int | None
    stopped: bool

    @property
    def ok(self) -> bool:
        return self.code == 0


def run_child(
    argv: list[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    note: Path,
    on_output: Callable[[bytes], None],
    on_tick: Callable[[], None],
    stopping: Callable[[], bool],
    grace_s: float,
) -> ProcessExit:
    """Run `argv` in a process group of its own until it ends or `stopping()`; then SIGTERM, SIGKILL after `grace_s`.

    `note` is written with the child's identity, so that it can be ended if this process is killed.
    Raises OSError when the program cannot be started.
    """
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=env,
        process_group=0,
    )
    try:
        with contextlib.suppress(ProcessLookupError):
            processes.note_child(note, child.pid)
        stopped = _attend(child, on_output, on_tick, stopping, grace_s)
    finally:
        processes.kill_group(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdout:
            child.stdout.close()
        note.unlink(missing_ok=True)
    code = child.returncode
    return ProcessExit(code if code >= 0 else None, -code if code < 0 else None, stopped)


def _attend(
    child: subprocess.Popen[bytes],
    on_output: Callable[[bytes], None],
    on_tick: Callable[[], None],
    stopping: Callable[[], bool],
    grace_s: float,
) -> bool:
    """Pass on output until the child has ended; whether it had been asked to stop."""
    assert child.stdout is not None
    stopped_at: float | None = None
    ended_at: float | None = None
    pipe = child.stdout.fileno()
    os.set_blocking(pipe, False)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        open_pipe = True
        while True:
            if open_pipe and selector.select(TICK_S):
                data = _read(pipe)
                if data:
                    on_output(data)
                elif data is not None:
                    selector.unregister(pipe)
                    open_pipe = False
            elif not open_pipe:
                time.sleep(TICK_S / 4)
            on_tick()
            now = time.monotonic()
            if stopping() and stopped_at is None:
                stopped_at = now
                processes.kill_group(child.pid, signal.SIGTERM)
            if stopped_at is not None and now - stopped_at > grace_s:
                processes.kill_group(child.pid, signal.SIGKILL)
            if child.poll() is not None:
                ended_at = ended_at or now
                # A grandchild may hold the pipe for ever: after a moment, what is left of the group is ended.
                if not open_pipe or now - ended_at > DRAIN_S:
                    return stopped_at is not None


def _read(pipe: int) -> bytes | None:
    try:
        return os.read(pipe, CHUNK)
    except BlockingIOError:
        return None
