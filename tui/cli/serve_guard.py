"""Who may ask a served app for anything: by the name it is asked under, the page that asks, the token. Pure."""

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")
# A token is guessed by whoever can ask as often as they like.
SHORTEST = 16
COOKIE, QUERY = "nanochat_tui_served", "token"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def hostname(address: str) -> str:
    """The host of what a browser sends as Host, without its port; empty for nonsense."""
    try:
        return (urlsplit(f"//{address}").hostname or "").lower()
    except ValueError:
        return ""


def _asker(origin: str) -> str:
    """Host and port of the page that asks; empty for nonsense, and for a page that says of itself no more than null."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


class Guard(NamedTuple):
    """What every request is held against; `refusal` says what is wrong with it."""

    host: str
    token: str = ""

    @property
    def cookie(self) -> str:
        """What a browser keeps in the place of the token."""
        return hmac.new(self.token.encode(), b"cookie", hashlib.sha256).hexdigest()

    def knows(self, token: str) -> bool:
        """Whether that is the token, found out in the same time whatever it is."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def refusal(self, headers: Mapping[str, str], cookies: Mapping[str, str], *, socket: bool) -> str:
        """Why a request is refused; empty where it is not. A page of elsewhere has another Host or another Origin."""
        host, origin = headers.get("Host", ""), headers.get("Origin", "")
        if is_loopback(self.host) and not (hostname(host) in LOOPBACK or is_loopback(hostname(host))):
            return "this address is not known here: open the one that nanochat-tui serve has printed"
        if (socket or origin) and _asker(origin) != host.lower():
            return "another page may not ask here"
        given = cookies.get(COOKIE, "").encode("utf-8", "replace")
        if self.token and not hmac.compare_digest(given, self.cookie.encode()):
            return "a token is needed: open the address that nanochat-tui serve has printed"
        return ""
