"""What the client writes down of itself: commands, changes of state, errors with their traceback, for a bug report."""

import contextlib
import logging
import os
import threading
import time
from pathlib import Path

from runner.system.atomic import PRIVATE, ends_a_line, tighten
from runner.text.sanitize import sanitize_line
from runner.text.secrets import redact

FILE = "nanochat-tui.log"
# So large grows the file, and so many there are of it.
MOST_BYTES, FILES = 1_000_000, 3
LOG = logging.getLogger("nanochat_tui")
# Until `begin`, and where there is no data folder, nothing goes anywhere: not to the screen of the app either.
LOG.addHandler(logging.NullHandler())


class SharedLogHandler(logging.Handler):
    """Appends to a file that several processes may write. logging.handlers has nothing for that, and takes 15 ms."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._fd, self._torn = path, -1, False
        self.setFormatter(_Format())

    def emit(self, record: logging.LogRecord) -> None:
        # A disk that is full, or a clock that no calendar knows, must not end what a person does.
        with contextlib.suppress(OSError, OverflowError, ValueError):
            self._append(self.format(record).encode("utf-8", "replace"))

    def _append(self, data: bytes) -> None:
        if self._fd < 0 or not self._is_there():
            self._open()
        if os.fstat(self._fd).st_size + len(data) > MOST_BYTES:
            for number in range(FILES - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    _numbered(self._path, number - 1).replace(_numbered(self._path, number))
            self._open()
        data = b"\n" * self._torn + data
        self._torn = os.write(self._fd, data) < len(data)

    def _is_there(self) -> bool:
        """Whether another process has not begun a new file."""
        with contextlib.suppress(FileNotFoundError):
            return self._path.lstat().st_ino == os.fstat(self._fd).st_ino
        return False

    def _open(self) -> None:
        self._let_go()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        self._fd = os.open(self._path, flags, PRIVATE)
        tighten(self._path)
        with os.fdopen(self._fd, "rb", buffering=0, closefd=False) as file:
            self._torn = not ends_a_line(file)

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        self._let_go()
        super().close()


class _Format(logging.Formatter):
    """A line a record, with what follows it set in; no escape, no secret."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(process)d %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        first, *more = redact(super().format(record)).splitlines() or [""]
        return "".join([f"{sanitize_line(first)}\n", *(f"    {sanitize_line(line)}\n" for line in more)])


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


def files(home: Path) -> list[Path]:
    """The files of the log that are there, the oldest first."""
    return [path for n in reversed(range(FILES)) if (path := _numbered(home / FILE, n)).is_file()]


def begin(home: Path, *, debug: bool = False) -> None:
    """Write down from now on what is logged, also what ends a thread."""
    for old in LOG.handlers[:]:
        LOG.removeHandler(old)
        old.close()
    LOG.addHandler(SharedLogHandler(home / FILE))
    LOG.setLevel(logging.DEBUG if debug else logging.INFO)
    LOG.propagate = False
    threading.excepthook = _ended


def _ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        name = args.thread.name if args.thread else "?"
        LOG.error("the thread %s ended", name, exc_info=args.exc_value)
