"""A block of a file over HTTP, on connections that stay open: a thread has one for each host."""

import base64
import hashlib
import http.client
import re
import threading
from urllib.parse import urlsplit

from runner.backends.modal.proxy import connect, trusted_authorities
from runner.volumes.base import BLOCK

TIMEOUT_S = 60.0
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_open = threading.local()


class _Connections(dict[tuple[str, str], http.client.HTTPConnection]):
    """Those of a thread, by scheme and host; they end with it."""

    def __del__(self) -> None:
        for connection in self.values():
            connection.close()


class UrlExpired(OSError):
    """The store does not give this address any more."""


def get_block(url: str) -> tuple[memoryview, bool]:
    """What is behind an address, and whether the store gave a digest with it, which was then compared.

    A block comes in a buffer of this thread's own, and is there until the thread fetches the next.
    Raises UrlExpired when the address is not valid any more, another OSError when it did not arrive whole.
    """
    parts = urlsplit(url)
    key = (parts.scheme, parts.netloc)
    known = _open.__dict__.setdefault("connections", _Connections())
    kept = known.pop(key, None)
    for connection in (kept, None) if kept else (None,):
        wire = connection
        try:
            wire = wire or _connect(*key)
            wire.request("GET", f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/")
            reply = wire.getresponse()
            data = _read(reply)
        except (http.client.HTTPException, OSError) as error:
            if wire:
                wire.close()
            if connection is not None:
                # The store closes what was idle for long: one more try, on a new connection.
                continue
            raise ConnectionError(f"{parts.hostname}: {error or type(error).__name__}") from error
        if reply.will_close:
            wire.close()
        else:
            known[key] = wire
        return data, _judged(reply.status, reply.getheader("Repr-Digest") or "", data, parts.hostname or "")
    raise AssertionError("unreachable")


def _read(reply: http.client.HTTPResponse) -> memoryview:
    """All of an answer: memory that is used again costs no page faults."""
    length = reply.length
    if length is None or length > BLOCK:
        return memoryview(reply.read())
    buffer = memoryview(_open.__dict__.setdefault("buffer", bytearray(BLOCK)))
    have = 0
    while have < length:
        came = reply.readinto(buffer[have:length])
        if not came:
            raise ConnectionError(f"{have:,} of {length:,} bytes came")
        have += came
    return buffer[:length]


def _judged(status: int, digest: str, data: memoryview, host: str) -> bool:
    if status in (401, 403, 404, 410):
        raise UrlExpired(f"{host} answers {status}")
    if status not in (200, 206):
        raise ConnectionError(f"{host} answers {status}")
    told = _DIGEST.search(digest)
    if told and base64.b64decode(told[1]) != hashlib.sha256(data).digest():
        raise ConnectionError(f"what came from {host} is not what it says")
    return told is not None


def _connect(scheme: str, netloc: str) -> http.client.HTTPConnection:
    secure = scheme == "https"
    wire = http.client.HTTPSConnection(netloc) if secure else http.client.HTTPConnection(netloc)
    reached = connect(wire.host, wire.port, secure=secure, timeout=TIMEOUT_S)
    wire.sock = trusted_authorities().wrap_socket(reached, server_hostname=wire.host) if secure else reached
    # Opened by itself again it would go past the proxy.
    wire.auto_open = 0
    return wire
