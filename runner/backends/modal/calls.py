"""One call id -> has it ended, and how.

Only what Modal answers ends a call: a result, or the word of the call graph. Whatever the client raises while it asks
is trouble of the question, and is raised. A result is read as it came: what a body raised is text here, and no pickle
is loaded.
"""

from enum import StrEnum
from typing import Any

import modal
from modal._serialization import deserialize_data_format
from modal._utils.async_utils import synchronizer
from modal.types import InputStatus
from modal_proto import api_pb2
from msgspec import Struct

from runner.preview import pickles
from runner.text.sanitize import strip_ansi

_Result = api_pb2.GenericResult


async def _ask(call: Any) -> Any:
    await call.hydrate()
    return await call._invocation().pop_function_call_outputs(timeout=0)


_ask_blocking = synchronizer.create_blocking(_ask)


class CallEnd(StrEnum):
    """How a call ended; UNKNOWN is no end: this workspace knows no such call."""

    RETURNED = "returned"
    TERMINATED = "terminated"
    TIMEOUT = "timeout"
    EXPIRED = "expired"
    CRASHED = "crashed"
    UNKNOWN = "unknown"


class CallResult(Struct, frozen=True):
    """The end of a call; `state` is what a body that returned says."""

    kind: CallEnd
    text: str = ""
    state: str = ""


def call_result(call_id: str, *, look_closer: bool) -> CallResult | None:
    """How a call ended; None while it is queued, runs, or waits to be started again after a preemption.

    `look_closer` also asks the call graph of one that has no result. Raises the client's error when Modal cannot be
    asked.
    """
    call = modal.FunctionCall.from_id(call_id)
    found = _answer(call)
    if found is not None or not look_closer:
        return found
    by_graph = _by_graph(call, otherwise=None)
    # The call may have ended between the two looks: what it says itself tells more.
    return by_graph and (_answer(call) or by_graph)


def _answer(call: modal.FunctionCall[Any]) -> CallResult | None:
    try:
        reply = _ask_blocking(call)
    except modal.exception.NotFoundError:
        return CallResult(CallEnd.UNKNOWN)
    if not reply.outputs:
        return None if reply.num_unfinished_inputs else CallResult(CallEnd.EXPIRED)
    output = reply.outputs[0]
    result, text = output.result, " ".join(strip_ansi(output.result.exception).split())[:400]
    match result.status:
        case _Result.GENERIC_STATUS_SUCCESS:
            return _returned(result.data, output.data_format)
        case _Result.GENERIC_STATUS_TIMEOUT:
            return CallResult(CallEnd.TIMEOUT, text)
        case _Result.GENERIC_STATUS_TERMINATED:
            return CallResult(CallEnd.TERMINATED)
        case _Result.GENERIC_STATUS_FAILURE if result.data:
            return CallResult(CallEnd.CRASHED, text)
    return _by_graph(call, otherwise=CallResult(CallEnd.CRASHED, text))


def _returned(data: bytes, data_format: int) -> CallResult:
    """What a body returned: the name of a state, and an error if there was one."""
    try:
        in_cbor = data_format == api_pb2.DATA_FORMAT_CBOR
        value = deserialize_data_format(data, data_format, None) if in_cbor else pickles.trace_pickle(data)
    except ValueError as error:
        return CallResult(CallEnd.RETURNED, f"a result that cannot be read: {error}"[:200])
    if not isinstance(value, dict):
        return CallResult(CallEnd.RETURNED, f"an unexpected result: {value!r}"[:200])
    return CallResult(CallEnd.RETURNED, str(value.get("error", "")), str(value.get("state", "")))


def _by_graph(call: modal.FunctionCall[Any], *, otherwise: CallResult | None) -> CallResult | None:
    """What the call graph says of a call; it tells a cancelled one from a crashed one."""
    ours = [i for i in call.get_call_graph() if i.function_call_id == call.object_id]
    status = ours[0].status if ours else InputStatus.PENDING
    match status:
        case InputStatus.TERMINATED:
            return CallResult(CallEnd.TERMINATED)
        case InputStatus.TIMEOUT:
            return CallResult(CallEnd.TIMEOUT)
        case InputStatus.FAILURE | InputStatus.INIT_FAILURE:
            return otherwise or CallResult(CallEnd.CRASHED, "the function's body failed")
    return otherwise


def terminate(call_id: str) -> bool:
    """End a call and its container; one that has ended already is fine. False when no such call is known here."""
    try:
        modal.FunctionCall.from_id(call_id).cancel(terminate_containers=True)
    except modal.exception.NotFoundError:
        return False
    except modal.exception.InvalidError:
        # Also said when it cannot be done just now.
        if call_result(call_id, look_closer=True) is None:
            raise
    return True
