"""Before money is spent: a question where somebody can answer it, a refusal with the words to add where nobody can."""

import sys
import termios
from collections.abc import Callable

from runner.errors import UsageError


def forget_typed_ahead() -> None:
    """What was typed before a question is on the terminal does not answer it."""
    if sys.stdin.isatty():
        termios.tcflush(sys.stdin, termios.TCIFLUSH)


def ask_first(question: str, confirmed: Callable[[str], bool]) -> None:
    """Raises UsageError when the answer is no, or nobody is there to give one; an empty question needs none."""
    if not question:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"not started: {question}", "--yes starts it; nanochat-tui settings changes the limits")
    if not confirmed(f"{question}. Start it?"):
        raise UsageError("not started", "nothing was done")
