"""Where the program begins: with the picture of the last frame, if the app is to be opened, then with all the rest."""

import sys
from collections.abc import Sequence

# Options before a command, and those of them that take a value.
OPTIONS, VALUED = ("--debug", "--read-only"), ("--volume", "--env")


def main() -> int:
    """Run the program and return its exit code."""
    if not opens_app(sys.argv[1:]):
        return _main()
    from tui.presentation import first_ink

    try:
        first_ink.show()
        return _main()
    except KeyboardInterrupt:
        return 130
    finally:
        first_ink.withdraw()


def _main() -> int:
    from tui.cli import main as command_line

    return command_line.main()


def opens_app(words: Sequence[str]) -> bool:
    """Whether a command line names no command, so that it opens the app."""
    left = list(words)
    while left:
        word = left.pop(0)
        if word in VALUED and left:
            left.pop(0)
        elif word not in OPTIONS and not word.startswith(tuple(f"{name}=" for name in VALUED)):
            return False
    return True
