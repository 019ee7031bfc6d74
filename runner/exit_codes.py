"""The exit codes of the command line, and what each says."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line, for scripts."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_SUCH_RUN = 3
    CREDENTIALS = 4
    UNREACHABLE = 5
    FAULT = 70
    INTERRUPTED = 130


EXIT_MEANING = {
    Exit.OK: "ok",
    Exit.FAILED: "the run failed or was stopped, or nothing was found",
    Exit.USAGE: "usage",
    Exit.NO_SUCH_RUN: "no such run",
    Exit.CREDENTIALS: "credentials",
    Exit.UNREACHABLE: "backend, volume or data folder unreachable",
    Exit.FAULT: "a fault of ours",
    Exit.INTERRUPTED: "interrupted",
}
