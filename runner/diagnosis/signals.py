"""Signals that end a process, as a shell and a parent name them, and what each shows where nothing else is known."""

from runner.diagnosis.advice import Cause as C

SHELL = {
    "Killed": 9, "Segmentation fault": 11, "Aborted": 6, "Bus error": 7, "Illegal instruction": 4, "Terminated": 15,
    "Floating point exception": 8, "Hangup": 1, "Trace/breakpoint trap": 5,
}  # fmt: skip
ZSH = {
    "abort": 6, "segmentation fault": 11, "killed": 9, "bus error": 7, "illegal hardware instruction": 4,
    "terminated": 15,
}  # fmt: skip
_OF_SIGNAL = {
    4: C.ILLEGAL,
    6: C.ABORT,
    7: C.BUS,
    8: C.NATIVE,
    11: C.NATIVE,
    9: C.KILLED,
    2: C.CANCELLED,
    25: C.DISK_FULL,
}


def sign_of_signal(number: int) -> C:
    """What the end by a signal is, as long as nothing else is known."""
    return _OF_SIGNAL.get(number, C.SIGNAL)


def signal_of_exit_code(code: int) -> int | None:
    """The signal that an exit code of a shell or a container stands for."""
    return code - 128 if 128 < code <= 128 + 31 else -code if code < 0 else None
