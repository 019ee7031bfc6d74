"""A real terminal for tests: the program in a pty, its screen kept by pyte."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Mapping, Sequence

import pyte

KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "tab": "\t",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "f1": "\x1bOP",
    "f5": "\x1b[15~",
    "backspace": "\x7f",
}


class Terminal:
    """Starts a program in a pty of `columns` x `lines`; `screen` is what a person sees."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        columns: int = 80,
        lines: int = 24,
        *,
        name: str = "xterm-256color",
    ) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], list(argv), {**env, "TERM": name, "COLUMNS": "", "LINES": ""})
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._exit: int | None = None
        self.raw = bytearray()
        self.resize(columns, lines)
        self._hung_up = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._hung_up.is_set():
            if not select.select([self._fd], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(self._fd, 1 << 16)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)

    @property
    def screen(self) -> str:
        with self._lock:
            return "\n".join(self._screen.display)

    def wait_for(self, text: str, *, seconds: float = 60.0) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if text in (screen := self.screen):
                return screen
            time.sleep(0.03)
        raise AssertionError(f"{text!r} not on the screen within {seconds:.0f}s:\n{self.screen}")

    def resize(self, columns: int, lines: int) -> None:
        with self._lock:
            self._screen.resize(lines, columns)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGWINCH)

    def settle(self, *, seconds: float = 10.0) -> None:
        """Wait until nothing has been drawn for a third of a second."""
        deadline = time.monotonic() + seconds
        before = -1
        while before != len(self.raw) and time.monotonic() < deadline:
            before = len(self.raw)
            time.sleep(0.35)

    def write(self, text: str) -> None:
        """Bytes as a terminal sends them, all at once; none where the program has closed it."""
        self.write_bytes(text.encode())

    def write_bytes(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._fd, data)

    @property
    def alive(self) -> bool:
        if self._exit is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._exit = os.waitstatus_to_exitcode(status)
        return self._exit is None

    @property
    def exit_code(self) -> int | None:
        return None if self.alive else self._exit

    def press(self, *keys: str) -> None:
        """Keys by name or as text; a pause after Escape, as a terminal cannot tell it from Alt without one."""
        for key in keys:
            self.write(KEYS.get(key, key))
            time.sleep(0.3 if key == "escape" else 0.05)

    def answer(self, *keys: str) -> None:
        """Keys for a question, once it has stood there long enough to be read."""
        self.settle()
        self.press(*keys)

    def send(self, data: bytes) -> None:
        os.write(self._fd, data)

    def hang_up(self) -> None:
        """The window is closed, the line is cut: there is no terminal any more, once nobody reads from it."""
        self._hung_up.set()
        self._reader.join()
        os.close(self._fd)

    def wait_exit(self, seconds: float = 60.0) -> int:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.alive and self._exit is not None:
                return self._exit
            time.sleep(0.03)
        raise AssertionError(f"still running after {seconds:.0f}s:\n{self.screen}")

    def wait_read(self) -> None:
        """Wait until all that a program has left behind is on the screen."""
        self._reader.join(10)

    def kill(self) -> None:
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._exit = -signal.SIGKILL
