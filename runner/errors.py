"""Errors that a person reads, and the exit code of each: one line, what happened and what to do."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from runner.exit_codes import Exit


class NanochatError(Exception):
    """Something a person can act on: `what` happened and a `hint` at what to do, shown as one line."""

    exit_code = Exit.FAILED

    def __init__(self, what: str, do: str = "") -> None:
        self.what = " ".join(what.split())
        self.hint = " ".join(do.split())
        super().__init__(f"{self.what}: {self.hint}" if self.hint else self.what)


class UsageError(NanochatError):
    """A value that cannot be used; `field` names the form field or flag it belongs to."""

    exit_code = Exit.USAGE

    def __init__(self, what: str, do: str = "", *, field: str = "") -> None:
        super().__init__(what, do)
        self.field = field


class ReadOnly(UsageError):
    """It would change something, and this process only looks."""


class SecretsInCode(UsageError):
    """Files that look like secrets would be sent along with somebody's code."""


class NoSuchRun(NanochatError):
    """No run on record has that name."""

    exit_code = Exit.NO_SUCH_RUN


class CredentialsError(NanochatError):
    """Modal's client has nothing to sign in with, or what it has is refused."""

    exit_code = Exit.CREDENTIALS


class FileChanged(NanochatError):
    """A file was written anew while it was read."""


class Unreachable(NanochatError):
    """The backend, its volume or this machine's data folder cannot be reached."""

    exit_code = Exit.UNREACHABLE


class VolumeGone(Unreachable):
    """There is no such volume, or no such folder: what was in it cannot be asked any more."""


@contextlib.contextmanager
def naming_path(path: Path | str, instead_of: Path | None = None) -> Iterator[None]:
    """Inside, an error of a disk that names no file, or one that nobody knows by its name, is about this one."""
    try:
        yield
    except OSError as error:
        if not isinstance(error.filename, str) or (instead_of and error.filename == str(instead_of)):
            error.filename = str(path)
        raise
