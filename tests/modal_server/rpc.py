"""Which methods are RPCs, ids, and constants of the protocol."""

import uuid

from modal_proto import api_pb2 as pb

BLOCK = 8 * 1024 * 1024
OUT, ERR, SYS = pb.FILE_DESCRIPTOR_STDOUT, pb.FILE_DESCRIPTOR_STDERR, pb.FILE_DESCRIPTOR_INFO
RPCS: set[str] = set()


def rpc(method):
    """Mark a method as served; the rest of the service answers UNIMPLEMENTED."""
    RPCS.add(method.__name__)
    return method


def nid(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:22]}"
