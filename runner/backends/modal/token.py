"""The credentials on this machine, as Modal's client sees them."""

import os

import modal

from runner.backends.modal.proxy import Reachability
from runner.errors import CredentialsError, Unreachable
from runner.paths import modal_command, no_modal_token
from runner.system import waiting

_TOKEN = ("token_id", "token_secret")
_OAUTH = ("oauth_refresh_token", "oauth_client_id", "oauth_client_secret", "oauth_jwt_key")
# A key is not sent, but signs: it may have lines.
_SENT = tuple(name for name in _TOKEN + _OAUTH if name != "oauth_jwt_key")
_door = Reachability(timeout=5.0)


def has_credentials() -> bool:
    """Whether the client has something to sign in with; no network. In a Modal container it needs nothing."""
    given = {name for name in _TOKEN + _OAUTH if modal.config.config.get(name)}
    return given >= set(_TOKEN) or not given.isdisjoint(_OAUTH) or not modal.is_local()


def require_token() -> None:
    """Raises CredentialsError at once when there is nothing to sign in with, Unreachable when nobody answers."""
    if not has_credentials():
        profile = os.environ.get("MODAL_PROFILE", "")
        if profile:
            known = modal_command("profile", "list")
            raise CredentialsError(f"there is no Modal token for the profile {profile}", known)
        raise CredentialsError(*no_modal_token())
    for name in _SENT:
        value = str(modal.config.config.get(name) or "")
        sent = value.strip()
        if not (sent.isascii() and sent.isprintable()):
            raise CredentialsError(
                f"Modal's {name.replace('_', ' ')} holds a character that cannot be sent",
                f"set it anew: {modal_command('token', 'set')}",
            )
        if sent != value:
            # What was pasted with its newline is good without it.
            modal.config.config.override_locally(name, sent)
    try:
        with waiting.waiting_for():
            _door.check(str(modal.config.config.get("server_url")))
    except OSError as error:
        raise Unreachable(f"Modal cannot be reached ({error})", "check the network; it is tried again") from error


def known_secrets() -> list[str]:
    """Everything that must never be shown, the longest first."""
    held = {str(modal.config.config.get(name) or "") for name in _TOKEN + _OAUTH}
    held |= {os.environ.get(f"MODAL_{name.upper()}", "") for name in _TOKEN + _OAUTH}
    pieces = {piece for secret in held for piece in (secret, secret.strip(), *secret.splitlines()) if len(piece) > 3}
    return sorted(pieces, key=len, reverse=True)
