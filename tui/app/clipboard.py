"""What is between us and the terminal, tmux or GNU screen, and text for the clipboard through it. No UI in it."""

import base64
import subprocess
from collections.abc import Mapping

PATIENCE_S = 5.0
# GNU screen hands on what is in pieces of less than this.
PIECE = 500


def to_tmux(text: str) -> bool:
    """Give tmux a text, for its own buffer and for the terminal that it is in; whether it took it."""
    # Releases before 3.2 do not know -w.
    return any(_tmux(["load-buffer", *more, "-"], text) is not None for more in (["-w"], []))


def tmux_hands_on() -> bool:
    """Whether tmux hands on to the terminal what is for it alone, as notifications are: not unless it is told to."""
    return _tmux(["show-options", "-gv", "allow-passthrough"]) in ("on", "all")


def _tmux(words: list[str], given: str = "") -> str | None:
    """What tmux says; None where it refuses or does not answer."""
    try:
        done = subprocess.run(
            ["tmux", *words], input=given.encode(), capture_output=True, timeout=PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout.decode("utf-8", "replace").strip()


def sequence(text: str, env: Mapping[str, str]) -> str:
    """What asks a terminal to take a text (OSC 52); whether it does is not known."""
    said = f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\x07"
    return through_screen(said) if in_screen(env) else said


def in_tmux(env: Mapping[str, str]) -> bool:
    """Whether tmux is between us and the terminal."""
    return bool(env.get("TMUX"))


def in_screen(env: Mapping[str, str]) -> bool:
    """Whether GNU screen is between us and the terminal."""
    return bool(env.get("STY")) and not in_tmux(env)


def through_screen(said: str) -> str:
    """A sequence as GNU screen hands it on to the terminal."""
    return "".join(f"\x1bP{said[at : at + PIECE]}\x1b\\" for at in range(0, len(said), PIECE))
