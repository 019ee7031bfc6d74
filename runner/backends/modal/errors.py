"""What the Modal client raises -> what a person reads: one line, what happened and what to do.

What is raised is never an answer: the client, its transport, and what lies between raise more than any list knows.
"""

import contextlib
import errno
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import modal

from runner.backends.modal.token import known_secrets
from runner.errors import CredentialsError, NanochatError, Unreachable, UsageError
from runner.paths import modal_command
from runner.system import waiting
from runner.text.sanitize import strip_ansi

MAX_PAUSE_S = 15.0
# Said by the service, and not otherwise at a second try.
_DECIDED = (
    modal.exception.AuthError,
    modal.exception.PermissionDeniedError,
    modal.exception.NotFoundError,
    modal.exception.AlreadyExistsError,
    modal.exception.InvalidError,
    modal.exception.UnimplementedError,
    modal.exception.VersionError,
)
_OF_A_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
T = TypeVar("T")
_SIGNED_IN = re.compile(r"//[^/@\s]+@")


def error_text(error: BaseException) -> str:
    """An error's text with that of its innermost cause, one line, without anything secret."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = _line(error)
    if cause is not error and _line(cause) not in text:
        text = f"{text.rstrip('.')}: {_line(cause)}"
    return redact_credentials(text)[:400]


def redact_credentials(text: str) -> str:
    """Text without anything secret: no token, no password of a proxy."""
    for secret in known_secrets():
        text = text.replace(secret, "…")
    return _SIGNED_IN.sub("//…@", text)


def _line(error: BaseException) -> str:
    text, kind = " ".join(strip_ansi(str(error)).split()), type(error).__name__
    if not text:
        return kind
    # Bare words such as those of a KeyError say nothing without their kind.
    return text if isinstance(error, (modal.exception.Error, OSError, RuntimeError)) else f"{kind}: {text}"


def is_local_file_error(error: Exception) -> bool:
    """Whether it is about a file of this machine, and so not about Modal."""
    return isinstance(error, OSError) and (error.filename is not None or error.errno in _OF_A_DISK)


def is_transient(error: Exception) -> bool:
    """Whether the same question may well be answered in a moment."""
    # A conflict is one with what somebody else does just now.
    decided = isinstance(error, _DECIDED) and not isinstance(error, modal.exception.ConflictError)
    return not (decided or isinstance(error, NanochatError) or is_local_file_error(error))


def translate_error(error: Exception) -> NanochatError:
    """An error of the client, or of anything between here and the service, as ours."""
    text = error_text(error)
    match error:
        case modal.exception.AuthError():
            return CredentialsError(f"Modal does not accept the token ({text})", modal_command("setup"))
        case modal.exception.PermissionDeniedError():
            return CredentialsError(f"Modal does not permit that ({text})", "ask the owner of the workspace")
        case modal.exception.NotFoundError() if "nvironment" in text:
            known = modal_command("environment", "list")
            return CredentialsError(f"Modal knows no such environment ({text})", f"{known}, then set MODAL_ENVIRONMENT")
        case modal.exception.NotFoundError():
            return Unreachable(f"Modal does not know it ({text})", "nanochat-tui doctor")
        case modal.exception.ResourceExhaustedError():
            return Unreachable(
                f"Modal's limit is reached ({text})", "wait, or raise the limit in the workspace settings"
            )
        case modal.exception.ConflictError():
            return Unreachable(f"Modal cannot do that now ({text})", "try again")
        case modal.exception.InvalidError():
            return UsageError(f"Modal does not accept that ({text})", "nanochat-tui doctor")
        case modal.exception.VersionError():
            return Unreachable(f"Modal wants another client ({text})", "update nanochat-tui")
    return Unreachable(f"Modal cannot be reached ({text})", "check the network; it is tried again")


@contextlib.contextmanager
def translating_errors() -> Iterator[None]:
    """Inside, what the client raises becomes a NanochatError.

    What is ours already stays as it is, and so does an error of a file: one that is missing, or one of this disk.
    """
    try:
        with waiting.waiting_for():
            yield
    except (NanochatError, FileNotFoundError):
        raise
    except Exception as error:
        if is_local_file_error(error):
            raise
        raise translate_error(error) from error


def retry_transient(ask: Callable[[], T], seconds: float, pause: float = 0.5) -> T:
    """Ask, for as long as trouble may pass. Raises NanochatError when there was no answer in time."""
    until = time.monotonic() + seconds
    while True:
        with translating_errors():
            try:
                return ask()
            except Exception as error:
                if not is_transient(error) or time.monotonic() + pause > until:
                    raise
        time.sleep(pause)
        pause = min(MAX_PAUSE_S, pause * 2)
