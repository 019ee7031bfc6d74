"""The way to a host: straight, or through the proxy that Modal's client takes as well."""

import contextlib
import functools
import socket
import ssl
import threading
import time
from urllib.parse import urlsplit

import certifi
from modal._utils.proxy_support import _normalize_proxy_url, get_proxy_url

# What nobody answered is not tried again by each of many that ask at once.
REFUSED_S = 15.0
# RFC 9113, 3.4: how a client begins, with an empty frame of settings (9 bytes, the fourth is its type); a server, too.
_SETTINGS, _HEADER = 4, 9
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0])


def proxy_for(host: str, *, secure: bool) -> str:
    """The address of the proxy to a host, which may hold a password; empty where there is none."""
    return get_proxy_url(host, use_ssl=secure) or ""


def connect(host: str, port: int, *, secure: bool, timeout: float) -> socket.socket:
    """A connection to a host, without TLS as yet. Raises OSError when there is none to be had."""
    proxy = proxy_for(host, secure=secure)
    if not proxy:
        return socket.create_connection((host, port), timeout)
    from python_socks import ProxyError
    from python_socks.sync import Proxy

    url, names_there = _normalize_proxy_url(proxy)
    try:
        found = Proxy.from_url(url, rdns=names_there).connect(host, port, timeout=timeout)
    except ValueError as error:
        # Its text may hold the address, and that a password.
        raise ConnectionError("the address of the proxy cannot be used") from error
    except ProxyError as error:
        raise ConnectionError(f"the proxy refused ({error})") from error
    found.settimeout(timeout)
    return found


@functools.cache
def trusted_authorities(*protocols: str) -> ssl.SSLContext:
    """The authorities that the client trusts, as some installations of Python know none; what to speak with them."""
    context = ssl.create_default_context(cafile=certifi.where())
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def _greet(way: socket.socket) -> None:
    """Open a conversation in HTTP/2 and see that it is answered in it. Raises OSError when it is not."""
    with way:
        way.sendall(_GREETING)
        said = b""
        while len(said) < _HEADER:
            if not (more := way.recv(_HEADER - len(said))):
                raise ConnectionError("the connection was closed at once")
            said += more
        if said[3] != _SETTINGS:
            raise ConnectionError("what answers there is not Modal")


class Reachability:
    """Whether anybody answers at an address: the client itself would try for a minute before it says so."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._knocking = threading.Lock()
        self._open: set[str] = set()
        self._refused: dict[str, tuple[float, OSError]] = {}

    def check(self, urls: str) -> None:
        """Raises OSError when nobody answers at any of these addresses; one that has answered is not asked again."""
        if urls in self._open:
            return
        with self._knocking:
            at, error = self._refused.get(urls, (0.0, OSError()))
            if not at or time.monotonic() - at > REFUSED_S:
                try:
                    self._try(urls)
                except OSError as found:
                    self._refused[urls] = (time.monotonic(), error := found)
                else:
                    self._open.add(urls)
            if urls not in self._open:
                raise error

    def _try(self, urls: str) -> None:
        problem: OSError | None = None
        for url in urls.split(","):
            parts = urlsplit(url.strip())
            if parts.scheme == "unix":
                return
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConnectionError(f"{url[:60]} is not the address of a server")
            secure = parts.scheme == "https"
            try:
                port = parts.port or (443 if secure else 80)
                with contextlib.closing(connect(parts.hostname, port, secure=secure, timeout=self._timeout)) as way:
                    # A sign-in page takes a connection too, and so does what never says a word.
                    wrap = trusted_authorities("h2").wrap_socket
                    _greet(wrap(way, server_hostname=parts.hostname) if secure else way)
                return
            except ssl.SSLCertVerificationError as error:
                why = f"somebody else answers for {parts.hostname}, or the clock is wrong: {error.verify_message}"
                problem = problem or ConnectionError(why)
            except OSError as error:
                problem = problem or ConnectionError(f"{parts.hostname}: {error.strerror or error}")
        if problem:
            raise problem
