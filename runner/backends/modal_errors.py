"""What the Modal client raises -> what a person reads: one line, what happened and what to do."""

import contextlib
import os
from collections.abc import Iterator

import modal

from runner.errors import CredentialsError, NanochatError, Unreachable, UsageError
from runner.terminal import clean

_SECRETS = ("MODAL_TOKEN_SECRET", "MODAL_TOKEN_ID")


def words(error: BaseException) -> str:
    """An error's text, one line, without anything secret."""
    text = " ".join(clean(str(error)).split()) or type(error).__name__
    known = [os.environ.get(name, "") for name in _SECRETS]
    known += [str(modal.config.config.get(name) or "") for name in ("token_secret", "token_id")]
    for secret in known:
        if len(secret) > 3:
            text = text.replace(secret, "…")
    return text[:400]


def translated(error: Exception) -> NanochatError:
    """An error of the client, or of its network, as ours."""
    text = words(error)
    match error:
        case modal.exception.AuthError():
            return CredentialsError(f"Modal does not accept the token ({text})", "modal setup")
        case modal.exception.PermissionDeniedError():
            return CredentialsError(f"Modal does not permit that ({text})", "ask the owner of the workspace")
        case modal.exception.NotFoundError() if "nvironment" in text:
            return CredentialsError(
                f"Modal knows no such environment ({text})", "modal environment list, then set MODAL_ENVIRONMENT"
            )
        case modal.exception.NotFoundError():
            return Unreachable(f"Modal does not know it ({text})", "nanochat-tui doctor")
        case modal.exception.ResourceExhaustedError():
            return Unreachable(
                f"Modal's limit is reached ({text})", "wait, or raise the limit in the workspace settings"
            )
        case modal.exception.InvalidError():
            return UsageError(f"Modal does not accept that ({text})", "nanochat-tui doctor")
        case modal.exception.VersionError():
            return Unreachable(f"Modal wants another client ({text})", "update nanochat-tui")
    return Unreachable(f"Modal cannot be reached ({text})", "check the network; it is tried again")


@contextlib.contextmanager
def reaching() -> Iterator[None]:
    """Inside, what the client raises becomes a NanochatError; a missing file stays a FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (modal.exception.Error, OSError) as error:
        raise translated(error) from error


def configured() -> bool:
    """Whether there is a token at all; no network."""
    return bool(modal.config.config.get("token_id") and modal.config.config.get("token_secret"))


def require_token() -> None:
    """Raises CredentialsError at once when there is no token to try."""
    if not configured():
        raise CredentialsError("no Modal token on this machine", "modal setup")
