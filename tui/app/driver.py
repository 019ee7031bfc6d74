"""The terminal: Textual's driver, which takes whatever bytes come, and leaves when there is no terminal any more."""

from __future__ import annotations

import logging
import math
import os
import re
import select
import selectors
import signal
import sys
import threading
import time
from codecs import getincrementaldecoder, lookup
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO, cast

from textual import constants, events, messages
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.geometry import Size
from textual.message import Message

from runner.text.sanitize import sanitize_line
from tui.app.ascii_fallback import SIGNS
from tui.app.layouts import by_place
from tui.presentation import first_ink
from tui.presentation.console import terminal_size
from tui.presentation.terminal_background import NOT_ASKED, QUERY, Answers

if TYPE_CHECKING:
    from tui.app.base_app import TerminalApp

LOG = logging.getLogger("nanochat_tui.terminal")
LOOK_EVERY_S = 0.1
# Where nothing has come for so long nothing is half told, and what comes next wakes who waits for it.
REST_AFTER_S, REST_S = 5.0, 60.0
# A look at the terminal that had to wait so long found it empty when it began.
WAITED_S = 0.001
# So many keys and clicks may wait. When more come, as of a file that is pasted as keys, they and those that wait are
# dropped until there is a pause: half of a command is worse than none.
MOST_BEHIND = 200
DROPPED = events.Key | events.MouseMove | events.MouseScrollDown | events.MouseScrollUp
# What a terminal says of its size may be anything; nobody reads more, and drawing takes its square.
MOST_COLUMNS, MOST_LINES = 1000, 500
_SEQUENCES = re.compile(r"(?=\x1b)")
# A paste that has not come on for so long has lost its end, as has one of which so many letters have come.
PASTE_END, PASTE_S, MOST_HELD = "\x1b[201~", 3.0, 8 << 20
# A Ctrl-D that was typed while others had the terminal is read as an end; one that is gone ends again and again.
MOST_ENDS = 20
# Asks a terminal with the kitty protocol to tell also what a key is on a Latin layout.
TELL_PLACES = "\x1b[=4;2u"
# So long an app that is left right after it asked the terminal something waits for the answer.
FAREWELL_S = 0.1


class Mark(str):
    """Nothing to draw: `reached` is called when all that was to be drawn before it is on the terminal."""

    reached: Callable[[], None]


class TerminalOutput:
    """Where is drawn: a terminal that is gone takes what is written to it, as somebody has to.

    It may belong to others, too, who make it one that does not wait: then we do.
    """

    def __init__(self, file: TextIO, gone: Callable[[], None]) -> None:
        self._file, self._gone = file, gone
        self._encoding = file.encoding or "utf-8"

    def write(self, text: str) -> int:
        try:
            self._put(text.encode(self._encoding, SIGNS))
        except (OSError, ValueError):
            self._gone()
        if isinstance(text, Mark):
            text.reached()
        return len(text)

    def _put(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.fileno(), data) :]
            except BlockingIOError:
                select.select([], [self.fileno()], [], LOOK_EVERY_S)

    def flush(self) -> None:
        """Nothing is kept back."""

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return self._file.isatty()


def has_shell() -> bool:
    """Whether a shell with job control started us: it gives each job a group of its own."""
    return os.getpgrp() != os.getsid(0)


def _raise(error: Exception) -> None:
    raise error


def input_encoding() -> str:
    """The encoding of what is typed; where the locale knows of ASCII alone, more than that is most likely UTF-8."""
    named = sys.__stdin__.encoding if sys.__stdin__ else ""
    return named if named and lookup(named).name != "ascii" else "utf-8"


class Parser(XTermParser):
    """Textual's parser of what terminals send, for all layouts of keyboards."""

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[events.Key]:
        return super()._sequence_to_key_events(by_place(sequence), alt)


class BackgroundTold(Message):
    """The terminal has told whether it is dark."""

    def __init__(self, dark: bool) -> None:
        super().__init__()
        self.dark = dark


class InputDecoder:
    """What a terminal sent, as messages. What is no input of a terminal is dropped, and the next is understood."""

    def __init__(self, debug: bool = False) -> None:
        self._debug = debug
        self.answers = Answers()
        self._parser = Parser(debug)
        self._last_at = math.inf
        self._held = 0

    def messages(self, text: str, now: float) -> Iterator[Message]:
        """What a text says, or, where there is none, what a pause says."""
        text, told = self.answers.take(text, now)
        yield from map(BackgroundTold, told)
        if text:
            self._last_at = now
            for piece in filter(None, _SEQUENCES.split(text)):
                # Letter by letter where one may be the end of what is none, which takes nothing behind it along.
                found = [m for part in (piece if piece[0] == "\x1b" else [piece]) for m in self._understood(part)]
                self._held = 0 if found else self._held + len(piece)
                yield from found
        elif now - self._last_at > PASTE_S:
            self._last_at = math.inf
            yield from self._understood(PASTE_END)
        if self._held > MOST_HELD:
            self._begin_anew()
        for message in self._understood(""):
            yield message
            if isinstance(message, events.Key) and message.key == "escape":
                # Terminals send none by itself in a paste: this one's end got lost, and somebody wants out.
                yield from self._understood(PASTE_END)

    def _understood(self, text: str) -> list[Message]:
        try:
            return list(self._parser.feed(text) if text else self._parser.tick())
        except Exception:
            LOG.warning("input that is none: %s", sanitize_line(repr(text[:100])), exc_info=True)
            self._begin_anew()
            return []
        finally:
            # Set by a size that was told in what is typed.
            self._parser.mouse_pixels = False

    def _begin_anew(self) -> None:
        self._parser, self._held = Parser(self._debug), 0


class TerminalDriver(LinuxDriver):
    """Tells the app to leave when the terminal has vanished."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sent, self._dropping = 0, False
        streams = [cast(TextIO, stream) for stream in (sys.__stderr__, sys.__stdout__)]
        self._drawing_on = TerminalOutput(next((s for s in streams if s.isatty()), streams[0]), self._gone)
        self._file = cast(Any, self._drawing_on)
        # When the terminal was last seen to have sent nothing more: what comes then was sent since.
        self._empty_at = 0.0
        self._typed = InputDecoder(self._debug)
        self._asked_at, self._answered = 0.0, threading.Event()
        self._away = self._stopping = self._has_picture = False
        self._woken, self._wake = os.pipe()

    @property
    def app(self) -> TerminalApp:
        return cast("TerminalApp", self._app)

    def ask_background(self) -> None:
        """Ask the terminal whether it is dark; nobody waits for the answer."""
        if (
            self._drawing
            and self.input_tty
            and self._drawing_on.isatty()
            and os.environ.get("TERM", "") not in NOT_ASKED
        ):
            self._answered.clear()
            self._asked_at = time.monotonic()
            self._typed.answers.expect(self._asked_at)
            self.write(QUERY)

    def disable_input(self) -> None:
        """Have whoever waits for input come to the end at once."""
        os.write(self._wake, b"x")
        super().disable_input()
        os.read(self._woken, 1)

    def stop_application_mode(self) -> None:
        # What is still on its way would be typed into the shell.
        if self._asked_at and not self._answered.is_set():
            self._answered.wait(max(0.0, self._asked_at + FAREWELL_S - time.monotonic()))
        cast(Any, super()).stop_application_mode()

    def process_message(self, message: Message) -> None:
        if isinstance(message, BackgroundTold):
            self._answered.set()
            self.app.call_later(self.app.background_told, message.dark)
            return
        if isinstance(message, events.Resize | messages.InBandWindowResize):
            # Told in what is typed it could be anything; the terminal itself is asked.
            return
        if isinstance(message, events.InputEvent | events.Paste):
            message.time = min(message.time, self._empty_at)
        if isinstance(message, events.InputEvent):
            behind = self._sent - self.app.acted_upon
            if behind >= MOST_BEHIND and isinstance(message, events.Key) and not self._dropping:
                self._dropping = True
                super().process_message(events.Callback(callback=self.app.too_fast))
            if (behind >= MOST_BEHIND or self._dropping) and isinstance(message, DROPPED):
                return
            self._sent += 1
        super().process_message(message)

    def when_drawn(self, then: Callable[[], None]) -> None:
        """Call `then`, in the thread that draws, once all that was drawn so far is on the terminal."""
        mark = Mark()
        mark.reached = then
        self.write(mark)

    def _gone(self) -> None:
        if not self.app.left.is_set():
            self.app.call_later(self.app.vanished)

    def _get_terminal_size(self) -> tuple[int, int]:
        """Of the terminal itself, whatever COLUMNS and LINES say."""
        columns, lines = terminal_size(self._drawing_on, sys.__stdin__)
        return min(columns, MOST_COLUMNS), min(lines, MOST_LINES)

    def start_application_mode(self) -> None:
        before = first_ink.hand_over()
        self._has_picture = bool(before)
        cast(Any, super()).start_application_mode()
        signal.signal(signal.SIGWINCH, self._size_changed)
        # Where keys were kept for us already, it is to be left as it was before that.
        self.attrs_before = before or self.attrs_before
        if self._drawing and not constants.DISABLE_KITTY_KEY:
            self.write(TELL_PLACES)

    def _size_changed(self, *_: object) -> None:
        # Asked in its turn: a signal comes in the middle of another, and the older size would be told last.
        self._loop.call_soon_threadsafe(self._tell_size)

    def _tell_size(self) -> None:
        size = Size(*self._get_terminal_size())
        self.app.post_message(events.Resize(size, size))
        # Where it was smaller for a moment only, it has lost some of what was drawn.
        self.app.call_later(self.app.refresh)

    def _sigtstp_application(self, *_: object) -> None:
        # Not at once: a signal comes in the middle of anything, of drawing too.
        self._loop.call_soon_threadsafe(self._stop)

    def _sigcont_application(self, *_: object) -> None:
        if not self._stopping:
            self._loop.call_soon_threadsafe(self._go_on)

    def _stop(self) -> None:
        """Give the terminal back, and stop as any program does: not where no shell could let it go on."""
        if not has_shell():
            self.app.notify("there is no shell to go back to here", severity="warning")
            return
        self._give_back()
        self._stopping = True
        ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.killpg(os.getpgrp(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, ours)
        self._stopping = False
        self._go_on()

    def _go_on(self) -> None:
        """Take the terminal and draw on it, also where another signal stopped it, as others may have had it since."""
        if not has_shell():
            # Nobody else had it, and a terminal that is given back makes signals of some keys.
            self.app.drawn_over()
            return
        self._give_back()
        if self._away and not self.app.left.is_set():
            self.resume_application_mode()
            # In the background nothing is drawn: it goes on when it is in front.
            self._away = not self._drawing
            self.app.call_later(self.app.drawn_over)

    def _give_back(self) -> None:
        if self._drawing and not self._away:
            self._away = True
            self.suspend_application_mode()

    @property
    def _drawing(self) -> bool:
        return self._writer_thread is not None and self._writer_thread.is_alive()

    def write(self, data: str) -> None:
        if self._has_picture and data == first_ink.ALTERNATE:
            # We are on it, and what is there stays until it is drawn over.
            self._has_picture = False
        elif not self._away or self._drawing:
            super().write(data)

    def _run_input_thread(self) -> None:
        try:
            self.run_input_thread()
        except Exception as error:  # noqa: BLE001 - whatever it is, an app without keys must end, and say why
            self.app.call_later(_raise, error)

    def run_input_thread(self) -> None:
        """Keys, clicks and pastes as they come; what is no input of a terminal is dropped."""
        decode = getincrementaldecoder(input_encoding())("replace").decode
        typed, ends = self._typed, 0
        self._empty_at = heard_at = time.monotonic()
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                looked_at = time.monotonic()
                wait_s = LOOK_EVERY_S if looked_at - heard_at < REST_AFTER_S else REST_S
                ready, now = any(key.fd == self.fileno for key, _ in selector.select(wait_s)), time.monotonic()
                if not ready or now - looked_at > WAITED_S:
                    self._empty_at = max(looked_at, now - LOOK_EVERY_S) if ready else now
                heard_at = now if ready else heard_at
                try:
                    data = os.read(self.fileno, 4096) if ready else None
                    self._dropping = self._dropping and data is not None
                except BlockingIOError:
                    continue
                except OSError:
                    data, ends = b"", MOST_ENDS
                ends = ends + 1 if data == b"" else 0
                if ends > MOST_ENDS:
                    self._gone()
                    return
                for message in typed.messages(decode(data) if data else "", now):
                    self.process_message(message)
