"""One call id -> has it ended, and how. The table of everything `FunctionCall.get` can answer."""

import contextlib
from typing import Any

import modal
from modal.types import InputStatus
from msgspec import Struct

from runner.backends.modal_errors import words

_TROUBLE = (
    modal.exception.ServiceError,
    modal.exception.InternalError,
    modal.exception.ConnectionError,
    modal.exception.AuthError,
    modal.exception.PermissionDeniedError,
    modal.exception.ResourceExhaustedError,
    modal.exception.ClientClosed,
    modal.exception.VersionError,
)


class Ended(Struct, frozen=True):
    """`kind` is returned, terminated, timeout, expired or crashed; `state` is what a body that returned says."""

    kind: str
    text: str = ""
    state: str = ""


def ended(call_id: str, *, look_closer: bool) -> Ended | None:
    """How a call ended; None while it is queued, runs, or waits to be started again after a preemption.

    `look_closer` also asks the call graph, because a TimeoutError out of a body looks like a call that still runs.
    Raises the client's error when Modal cannot be asked.
    """
    call = modal.FunctionCall.from_id(call_id)
    found = _answer(call)
    if found is not None or not look_closer:
        return found
    by_graph = _by_graph(call, otherwise=None)
    # The call may have ended between the two looks: what it says itself tells more.
    return by_graph and (_answer(call) or by_graph)


def _answer(call: modal.FunctionCall[Any]) -> Ended | None:
    try:
        value: Any = call.get(timeout=0)
    except modal.exception.OutputExpiredError:
        return Ended("expired")
    except modal.exception.FunctionTimeoutError as error:
        return Ended("timeout", words(error))
    except modal.exception.NotFoundError:
        return Ended("expired", "Modal does not know the call")
    except _TROUBLE:
        raise
    except TimeoutError:
        return None
    except modal.exception.RemoteError as error:
        return _by_graph(call, otherwise=Ended("crashed", words(error)))
    except Exception as error:  # noqa: BLE001 - whatever a body or its imports raised arrives here as itself
        return Ended("crashed", f"{type(error).__name__}: {words(error)}")
    if not isinstance(value, dict):
        return Ended("returned", f"an unexpected result: {value!r}"[:200])
    return Ended("returned", str(value.get("error", "")), str(value.get("state", "")))


def _by_graph(call: modal.FunctionCall[Any], *, otherwise: Ended | None) -> Ended | None:
    """What the call graph says of a call; it tells a cancelled one from a crashed one."""
    ours = [i for i in call.get_call_graph() if i.function_call_id == call.object_id]
    status = ours[0].status if ours else InputStatus.PENDING
    match status:
        case InputStatus.TERMINATED:
            return Ended("terminated")
        case InputStatus.TIMEOUT:
            return Ended("timeout")
        case InputStatus.FAILURE | InputStatus.INIT_FAILURE:
            return otherwise or Ended("crashed", "the function's body failed")
    return otherwise


def terminate(call_id: str) -> None:
    """End a call and its container; one that has ended, or is not known any more, is fine."""
    with contextlib.suppress(modal.exception.NotFoundError, modal.exception.InvalidError):
        modal.FunctionCall.from_id(call_id).cancel(terminate_containers=True)
