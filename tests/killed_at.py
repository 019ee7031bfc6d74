"""`python -m tests.killed_at N COMMAND …`: the command line, killed right before its Nth effect.

An effect is a file that is opened to be written, renamed or removed, or a process that is started.
"""

import os
import signal
import sys

from tui.cli.main import main

SEEN = 0


def watch(last: int) -> None:
    """Count effects from now on, and die before the one with this number."""

    def hook(event: str, args: tuple[object, ...]) -> None:
        global SEEN
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or event in ("os.rename", "os.remove", "os.link", "os.mkdir", "subprocess.Popen"):
            SEEN += 1
            if last == SEEN:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    watch(int(sys.argv[1]))
    code = main(sys.argv[2:])
    sys.stderr.write(f"{SEEN} effects\n")
    sys.exit(code)
