"""A block of a file over HTTP, on connections that stay open: a thread has one for each host."""

import base64
import hashlib
import http.client
import re
import threading
import urllib.request
from urllib.parse import urlsplit

TIMEOUT_S = 60.0
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_open = threading.local()


class Refused(OSError):
    """The store does not give this address any more."""


def fetch(url: str) -> tuple[bytes, bool]:
    """What is behind an address, and whether the store gave a digest with it, which was then compared.

    Raises Refused when the address is not valid any more, another OSError when it did not arrive whole.
    """
    parts = urlsplit(url)
    key = (parts.scheme, parts.netloc)
    known = _open.__dict__.setdefault("connections", {})
    kept = known.pop(key, None)
    for connection in (kept, None) if kept else (None,):
        wire = connection or _connect(*key)
        try:
            wire.request("GET", f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/")
            reply = wire.getresponse()
            data = reply.read()
        except (http.client.HTTPException, OSError) as error:
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


def _judged(status: int, digest: str, data: bytes, host: str) -> bool:
    if status in (401, 403, 404, 410):
        raise Refused(f"{host} answers {status}")
    if status not in (200, 206):
        raise ConnectionError(f"{host} answers {status}")
    told = _DIGEST.search(digest)
    if told and base64.b64decode(told[1]) != hashlib.sha256(data).digest():
        raise ConnectionError(f"what came from {host} is not what it says")
    return told is not None


def _connect(scheme: str, netloc: str) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    proxy = urllib.request.getproxies().get(scheme)
    if not proxy or urllib.request.proxy_bypass(netloc):
        return kind(netloc, timeout=TIMEOUT_S)
    through = kind(urlsplit(proxy).netloc.rpartition("@")[2], timeout=TIMEOUT_S)
    through.set_tunnel(netloc)
    return through
