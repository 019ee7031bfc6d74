"""Which methods are RPCs, ids, and constants of the protocol."""

import contextvars
import uuid

from modal_proto import api_pb2 as pb

BLOCK = 8 * 1024 * 1024
OUT, ERR, SYS = pb.FILE_DESCRIPTOR_STDOUT, pb.FILE_DESCRIPTOR_STDERR, pb.FILE_DESCRIPTOR_INFO
RPCS: set[str] = set()


def rpc(method):
    """Mark a method as served; the rest of the service answers UNIMPLEMENTED."""
    RPCS.add(method.__name__)
    return method


# The workspace of whoever asks, "" for the first; an id of another one ends with ".NAME".
WORKSPACE = contextvars.ContextVar("workspace", default="")
TOKENS = {"ak-emu": "", "ak-other": "other"}


def nid(prefix: str, key: str = "") -> str:
    name = WORKSPACE.get()
    return f"{prefix}-{key or uuid.uuid4().hex[:22]}" + (f".{name}" if name else "")


def workspace_of(object_id: str) -> str:
    return object_id.partition(".")[2]


def ours(object_id: str) -> bool:
    """Whether an object is of the workspace that asks; images and mounts are everybody's."""
    return object_id[:3] in ("im-", "mo-", "en-") or workspace_of(object_id) == WORKSPACE.get()
