"""First ink: the last frame as a dim picture, on the terminal before anything else is loaded. Loads nothing itself.

It is a picture of before, and says so. Who draws the first real frame takes the terminal over as it is (`hand_over`);
whoever has something to say in the shell takes it away first (`withdraw`), as does a signal.
"""

import contextlib
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import FrameType

FILE = "last_frame.txt"
# A larger file is no picture of a terminal.
MOST_BYTES = 1 << 18
ALTERNATE, BACK = "\x1b[?1049h", "\x1b[0m\x1b[?25h\x1b[?1049l"
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


# How a terminal is set, as termios has it, and what a signal does. No typing here: it takes a third of the time.
Attributes = list[int | list[bytes | int]]
Handler = Callable[[int, FrameType | None], object] | int | None


# Where the picture is and how that terminal was set before, while it is there; what signals did before it was.
_shown: list[tuple[int, Attributes]] = []
_handlers: dict[int, Handler] = {}


def as_text(lines: Iterable[str], columns: int) -> str:
    """A frame as it is kept: its size, then its lines; only what a terminal shows as it stands."""
    kept = ["".join(c if c.isprintable() else " " for c in line) for line in lines]
    return "\n".join([f"{columns}x{len(kept)}", *kept]) + "\n"


def show() -> None:
    """Draw the picture, where there is a terminal to draw on, in front of which we are; keys are kept for the app."""
    try:
        import termios

        fd = 2 if os.isatty(2) else 1
        if not (os.isatty(0) and os.isatty(1)) or os.tcgetpgrp(fd) != os.getpgrp():
            return
        columns, lines = os.get_terminal_size(fd)
        before = termios.tcgetattr(0)
    except (ImportError, OSError):
        return
    if os.environ.get("TERM", "dumb") in ("", "dumb", "unknown") or "TEXTUAL_DRIVER" in os.environ:
        return
    drawn = _picture(columns, lines).encode("utf-8", "replace")
    _shown.append((fd, before))
    _handlers.update({one: found for one in SIGNALS if (found := signal.getsignal(one)) is not signal.SIG_IGN})
    for one in _handlers:
        signal.signal(one, _ended)
    try:
        _keep_keys()
        while drawn:
            drawn = drawn[os.write(fd, drawn) :]
    except (OSError, termios.error):
        withdraw()


def hand_over() -> Attributes:
    """Leave the terminal to who draws from now on: how it is to be set at the end; nothing where there is no picture.

    It has its second screen, without a cursor, and echoes nothing.
    """
    return _shown.pop()[1] if _shown else []


def withdraw() -> None:
    """Give the terminal back as it was, if the picture is on it; what was typed meanwhile was for no shell."""
    if not _shown:
        return
    import termios

    fd, before = _shown.pop()
    with contextlib.suppress(OSError, termios.error):
        termios.tcflush(0, termios.TCIFLUSH)
        termios.tcsetattr(0, termios.TCSANOW, before)
    with contextlib.suppress(OSError):
        os.write(fd, BACK.encode())
    for one, handler in _handlers.items():
        if signal.getsignal(one) is _ended:
            signal.signal(one, handler)


def _ended(number: int, _: FrameType | None) -> None:
    """A signal does what it did before, on a terminal that is as it was before."""
    withdraw()
    signal.signal(number, _handlers[number])
    os.kill(os.getpid(), number)


def _keep_keys() -> None:
    """Have the terminal keep keys as they are, without an echo; of those that are signals Ctrl-C alone remains one."""
    import termios

    read, drawn, line, local, *speeds, control = termios.tcgetattr(0)
    for place in (termios.VSUSP, termios.VQUIT):
        control[place] = b"\0"
    control[termios.VMIN], control[termios.VTIME] = 1, 0
    read &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR)
    local &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
    termios.tcsetattr(0, termios.TCSANOW, [read, drawn, line, local, *speeds, control])


def _picture(columns: int, lines: int) -> str:
    """What is drawn: the last frame, if it was of this size, and on the last line what that is."""
    kept, of = _last(columns, lines)
    said = f" opening …  this is how it was {of}" if of else " opening …"
    rows = [f"\x1b[{number};1H\x1b[2m{line}\x1b[0m" for number, line in enumerate(kept[:-1], 1)]
    return f"{ALTERNATE}\x1b[?25l\x1b[H\x1b[2J{''.join(rows)}\x1b[{lines};1H{said[:columns]}"


def _last(columns: int, lines: int) -> tuple[Sequence[str], str]:
    """The lines of the last frame and when it was drawn; nothing where it was of another size, or is not our own."""
    for folder in _folders():
        try:
            fd = os.open(f"{folder}/{FILE}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (OSError, ValueError):
            continue
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_size > MOST_BYTES:
                return (), ""
            size, *kept = as_text(file.read(MOST_BYTES).decode("utf-8", "replace").split("\n"), 0).split("\n")[1:]
        kept = [line[:columns] for line in kept[:lines]]
        if size != f"{columns}x{lines}" or len(kept) != lines:
            return (), ""
        with contextlib.suppress(OverflowError, ValueError, OSError):
            return kept, time.strftime("on %d %b at %H:%M", time.localtime(found.st_mtime))
    return (), ""


def _folders() -> list[str]:
    """Where the data folder may be: asking the library that knows takes as long as all the rest of this."""
    if given := os.environ.get("NANOCHAT_TUI_HOME"):
        return [given]
    home = os.environ.get("HOME", "")
    data = os.environ.get("XDG_DATA_HOME", "").strip() or f"{home}/.local/share"
    library = [f"{home}/Library/Application Support/nanochat-tui"] if sys.platform == "darwin" else []
    return [*library, f"{data}/nanochat-tui"]
