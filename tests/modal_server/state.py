"""What the cloud knows: apps, functions, calls, inputs, containers; and the knobs that make it misbehave."""

import asyncio
import dataclasses
import time
from typing import Any

from modal_proto import api_pb2 as pb

R = pb.GenericResult


@dataclasses.dataclass
class App:
    id: str
    description: str
    env: str
    state: pb.AppState.ValueType
    tags: dict
    name: str = ""  # deployment name
    version: int = 0
    function_ids: dict = dataclasses.field(default_factory=dict)
    class_ids: dict = dataclasses.field(default_factory=dict)
    created_at: float = dataclasses.field(default_factory=time.time)
    deployed_at: float = 0.0
    stopped_at: float = 0.0
    logs: list = dataclasses.field(default_factory=list)  # (seq, ts, Task|None, fd, text, fc_id, fu_id, in_id)


@dataclasses.dataclass
class Fn:
    id: str
    app_id: str
    name: str
    definition_id: str
    defn: pb.Function | None = None
    base_id: str = ""
    options: pb.FunctionOptions | None = None
    serialized_params: bytes = b""
    meta: pb.FunctionHandleMetadata | None = None


@dataclasses.dataclass
class Input:
    id: str
    idx: int
    call_id: str
    item: pb.FunctionInput
    invocation_type: int
    retry_count: int = 0
    crashes: int = 0
    state: str = "pending"  # pending | running | done
    cancelled: bool = False
    result: R | None = None
    data_format: int = 0
    task_id: str = ""
    started_at: float = 0.0
    finished_at: float = 0.0


@dataclasses.dataclass
class Call:
    id: str
    fn_id: str
    parent_input_id: str
    created_at: float = dataclasses.field(default_factory=time.time)
    inputs: list = dataclasses.field(default_factory=list)
    expired: bool = False


@dataclasses.dataclass
class Task:  # a "container"
    id: str
    app_id: str
    fn_id: str
    input: Input
    created_at: float
    proc: Any = None  # containers.Container
    delivered: bool = False
    kill_event: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)  # -> heartbeat cancel
    killing: str = ""  # "", "terminate", "timeout", "preempt"
    started_at: float = 0.0
    finished_at: float = 0.0
    returncode: int | None = None
    volumes: dict = dataclasses.field(default_factory=dict)  # vol id -> WorkCopy
    gpu: str = ""


@dataclasses.dataclass
class Knobs:
    """Test hooks: how the fake cloud misbehaves. Change them at run time with POST /knobs; POST /well resets them.

    An RPC is named as in Modal's protocol, "*" for all of them; with "container:" before it, as a container asks.
    """

    # {"rpc": name, "status": a gRPC status such as "ABORTED", "message": text, "n": how often, else for ever,
    # "after": calls that go well first}. "RESET" cuts the stream, "HANG" never answers, "LOST" does it all the same.
    faults: list = dataclasses.field(default_factory=list)
    latency: dict = dataclasses.field(default_factory=dict)  # name of an RPC -> seconds before it is looked at
    skip_reload: bool = False  # a commit tells the client not to reload the volume
    environments: list = dataclasses.field(default_factory=lambda: ["main"])

    image: dict = dataclasses.field(default_factory=dict)  # variables that containers have from their image
    schedule_delay: float = 0.0  # seconds an input stays queued ("waiting for a GPU")
    hold: bool = False  # never schedule (stuck pending)
    hold_parts: list = dataclasses.field(default_factory=list)  # names of functions that are never scheduled
    boot_fail: str = ""  # text -> image build failure on next ImageGetOrCreate
    background_commit: float = 2.0  # seconds between background commits (0 = only explicit/at exit)
    log_stream_break: int = 0  # cut the next N AppGetLogs streams after one batch
    unavailable: int = 0  # fail the next N RPCs with UNAVAILABLE
    outage_until: float = 0.0  # every RPC of a client fails with UNAVAILABLE until this time
    deny: dict = dataclasses.field(
        default_factory=dict
    )  # RPC name, or "container:" and the name -> text of a PERMISSION_DENIED
    cut_listings: int = 0  # break the next N listings of a volume in the middle
    digests: bool = True  # tell the digest of each block of a file
    refuse_block: int = 0  # the N-th block from now is refused, as if its address had expired
    garble_block: int = 0  # the N-th block from now has a wrong bit
    cut_blocks_after: int = 0  # every block after the N-th from now breaks off in the middle
    kept_logs: float = 1e9  # seconds that log entries are kept
    billing_lag: float = 0.0
    crash_reschedules: int = 0  # Modal: deployed apps reschedule crashed containers for ever; keep tests finite
