"""The terminal: Textual's driver, which takes whatever bytes come, and leaves when there is no terminal any more."""

from __future__ import annotations

import logging
import os
import selectors
from codecs import getincrementaldecoder
from typing import IO, TYPE_CHECKING, Any, cast

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from runner.terminal import safe

if TYPE_CHECKING:
    from tui.terminal_app import TerminalApp

LOG = logging.getLogger("nanochat_tui.terminal")
LOOK_EVERY_S = 0.1
# So many keys and clicks may wait. When more come, as of a file that is pasted as keys, they and those that wait are
# dropped until there is a pause: half of a command is worse than none.
MOST_BEHIND = 200
DROPPED = events.Key | events.MouseMove | events.MouseScrollDown | events.MouseScrollUp


class Drawing:
    """Where is drawn: a terminal that is gone takes what is written to it, as somebody has to."""

    def __init__(self, file: IO[str], gone: Any) -> None:
        self._file, self._gone = file, gone

    def write(self, text: str) -> int:
        try:
            return self._file.write(text)
        except (OSError, ValueError):
            self._gone()
            return len(text)

    def flush(self) -> None:
        try:
            self._file.flush()
        except (OSError, ValueError):
            self._gone()

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return self._file.isatty()


class TerminalDriver(LinuxDriver):
    """Tells the app to leave when the terminal has vanished."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sent, self._dropping = 0, False
        self._file = cast(Any, Drawing(cast(IO[str], self._file), self._gone))

    def process_message(self, message: Message) -> None:
        if isinstance(message, events.InputEvent) and not isinstance(message, events.Paste):
            app = cast("TerminalApp", self._app)
            behind = self._sent - app.acted_upon
            if behind >= MOST_BEHIND and isinstance(message, events.Key) and not self._dropping:
                self._dropping = True
                super().process_message(events.Callback(callback=app.too_fast))
            if (behind >= MOST_BEHIND or self._dropping) and isinstance(message, DROPPED):
                return
            self._sent += 1
        super().process_message(message)

    def _gone(self) -> None:
        app = cast("TerminalApp", self._app)
        if not app.left.is_set():
            app.call_later(app.vanished)

    def run_input_thread(self) -> None:
        """Keys, clicks and pastes as they come; what is no input of a terminal is dropped."""
        decode = getincrementaldecoder("utf-8")("replace").decode
        parser = XTermParser(self._debug)
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                try:
                    data = os.read(self.fileno, 4096) if selector.select(LOOK_EVERY_S) else None
                    self._dropping = self._dropping and data is not None
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if data == b"":
                    self._gone()
                    return
                try:
                    for message in [*parser.feed(decode(data)), *parser.tick()] if data else parser.tick():
                        self.process_message(message)
                except Exception:
                    LOG.exception("input that is none: %s", safe(repr(data)))
                    parser = XTermParser(self._debug)
