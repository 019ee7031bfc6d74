"""How a notice leaves this machine: by a command of the person's, or by POST to an address of theirs."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from runner import processes
from runner.text import addresses
from runner.text.sanitize import sanitize_line
from runner.text.secrets import redact

HOOK_S, POST_S, LOOK_S = 10.0, 10.0, 0.05
MOST_HOPS = 3
# For days, as it is tried each hour; but a command that was ended may have told it all the same.
MOST_TRIES, MOST_ENDED = 80, 3


class DeliveryFailed(NamedTuple):
    """Why a notice did not arrive, in words without its address, and how often it is tried at the most."""

    said: str
    most_tries: int = MOST_TRIES


def deliver(
    way: str, notice: bytes, address: str, leave_at: Callable[[], float] = lambda: float("inf")
) -> DeliveryFailed | None:
    """Deliver a notice, as JSON, in one of the WAYS; None when it has arrived. Takes seconds: not on a UI loop.

    `leave_at` is the moment, by the monotonic clock, at which nobody waits any more.
    """
    return WAYS[way](notice, address, leave_at)


def _run_hook(notice: bytes, command: str, leave_at: Callable[[], float]) -> DeliveryFailed | None:
    told = msgspec.json.decode(notice, type=dict[str, str])
    env = {
        f"NANOCHAT_{name}": sanitize_line(told[field])
        for name, field in (("RUN", "tag"), ("KIND", "kind"), ("TEXT", "text"))
    }
    try:
        hook = subprocess.Popen(
            ["/bin/sh", "-c", command], env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        return DeliveryFailed(f"it could not be begun ({redact(str(error))})")
    until = time.monotonic() + HOOK_S
    code = hook.poll()
    # Its shell may have left others behind, which are as much of it.
    while (code is None or processes.group_lives(hook.pid)) and time.monotonic() < min(until, leave_at()):
        time.sleep(LOOK_S)
        code = hook.poll()
    if code is None or processes.group_lives(hook.pid):
        processes.kill_group(hook.pid, signal.SIGKILL)
        hook.wait()
    if code is None:
        slow = f"it took longer than {HOOK_S:.0f}s" if time.monotonic() >= until else "it had not come to its end"
        return DeliveryFailed(f"{slow} and was ended", MOST_ENDED)
    return DeliveryFailed(f"it ended with exit code {code}") if code else None


def _post(notice: bytes, address: str, leave_at: Callable[[], float]) -> DeliveryFailed | None:
    import http.client
    import urllib.error
    import urllib.request

    class Stay(urllib.request.HTTPRedirectHandler):
        """Follows nothing by itself: what was posted would arrive as a question without a body."""

        def redirect_request(self, *words: object) -> None:
            return None

    opener = urllib.request.build_opener(Stay)
    for _ in range(MOST_HOPS):
        try:
            request = urllib.request.Request(address, notice, {"Content-Type": "application/json"})
            with contextlib.closing(opener.open(request, timeout=POST_S)) as answer:
                answer.read(1024)
            return None
        except urllib.error.HTTPError as error:
            error.close()
            code, to = error.code, error.headers.get("Location") or ""
            if code not in (301, 302, 303, 307, 308):
                phrase = http.client.responses.get(code, "")
                return DeliveryFailed(f"it answered {code} {phrase}".rstrip())
            there = addresses.joined(address, to)
            if not addresses.redirect_allowed(address, there):
                return DeliveryFailed(f"it answered {code}, moved to {addresses.host_of(there)}: set that")
            address = there
        except urllib.error.URLError as error:
            return DeliveryFailed(f"{addresses.host_of(address)} cannot be reached ({redact(str(error.reason))})")
        except OSError as error:
            return DeliveryFailed(
                f"{addresses.host_of(address)} cannot be reached ({error.strerror or type(error).__name__})"
            )
        except (ValueError, http.client.HTTPException) as error:
            # What these say may hold all of the address.
            return DeliveryFailed(
                f"{addresses.host_of(address)} gives no answer that makes sense ({type(error).__name__})"
            )
    return DeliveryFailed(f"it sends from one address to the next, {MOST_HOPS} times")


WAYS: dict[str, Callable[[bytes, str, Callable[[], float]], DeliveryFailed | None]] = {
    "on_notice": _run_hook,
    "webhook": _post,
}
