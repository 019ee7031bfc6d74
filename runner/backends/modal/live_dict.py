"""The Dict in which containers say how they are, from this side: it is read as data, and no pickle is loaded."""

import threading
from typing import Any

import modal
from modal._serialization import serialize
from modal._utils.async_utils import synchronizer
from modal_proto import api_pb2

from runner.preview import pickles


async def _get(live: Any, key: str) -> bytes | None:
    request = api_pb2.DictGetRequest(dict_id=live.object_id, key=serialize(key))
    reply = await live.client._stub.DictGet(request)
    return reply.value if reply.found else None


_get_blocking = synchronizer.create_blocking(_get)


class LiveDict:
    """It is looked up once; one that was deleted is made anew, and is empty."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._getting = threading.Lock()
        self._dict: modal.Dict | None = None

    def get(self, key: str) -> object:
        """What is under a key; None for nothing, and for what is no plain value. Raises the client's error."""
        try:
            value = self._value(key)
            return None if value is None else pickles.trace_pickle(value)
        except pickles.NotAPickle:
            return None

    def _value(self, key: str) -> bytes | None:
        for again in (False, True):
            with self._getting:
                if self._dict is None:
                    self._dict = modal.Dict.from_name(self._name, create_if_missing=True).hydrate()
                live = self._dict
            try:
                found: bytes | None = _get_blocking(live, key)
                return found
            except modal.exception.NotFoundError:
                if again:
                    raise
                self._dict = None
        raise AssertionError("unreachable")
