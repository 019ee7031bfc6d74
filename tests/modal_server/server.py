"""The server: plumbing, lifecycle, and the controls a test turns."""

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import shutil
import signal
import time
from pathlib import Path

import aiohttp.web
import grpclib.server
from google.protobuf.json_format import MessageToDict
from grpclib import GRPCError, Status
from modal._utils.grpc_utils import custom_detail_codec
from modal_proto import api_grpc
from modal_proto import api_pb2 as pb

from tests.forks import Forks
from tests.modal_server.apps import Apps
from tests.modal_server.calls import Calls
from tests.modal_server.containers import Containers
from tests.modal_server.dicts import Dicts
from tests.modal_server.functions import Functions
from tests.modal_server.images import Images
from tests.modal_server.logs import Logs
from tests.modal_server.rpc import RPCS, TOKENS, WORKSPACE, ours, workspace_of
from tests.modal_server.state import App, Call, Fn, Input, Knobs, Task
from tests.modal_server.volumes import Volumes
from tests.modal_server.workspace import Workspace


def _read_at(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def bound_port(server: asyncio.AbstractServer | None) -> int:
    assert isinstance(server, asyncio.Server)
    return int(server.sockets[0].getsockname()[1])


class ModalServer(
    Logs, Workspace, Apps, Images, Functions, Calls, Containers, Volumes, Dicts, api_grpc.ModalClientBase
):
    def __init__(self, root: str | Path, port: int = 0, http_port: int = 0):
        self.root = Path(root).resolve()
        self.port, self.http_port = port, http_port
        self.knobs = Knobs()
        self.apps: dict[str, App] = {}
        self.fns: dict[str, Fn] = {}
        self.calls: dict[str, Call] = {}
        self.inputs: dict[str, Input] = {}
        self.tasks: dict[str, Task] = {}
        self.images: dict[str, pb.Image] = {}
        self.mounts: dict[str, list] = {}
        self.file_data: dict[str, tuple] = {}  # sha256 hex -> ("data", bytes) | ("blob", id)
        self.blobs: dict[str, bytes] = {}
        self.blocks: dict[str, bytes] = {}
        self.volumes: dict[str, dict] = {}  # id -> {name, env, version, created_at}
        self.dicts: dict[str, dict] = {}  # id -> {name, env, data}
        self.queues: dict[str, dict] = {}
        self.secrets: dict[str, dict] = {}
        self.seq = 0
        self.blocks_given = 0
        self.rpc_log: dict[str, int] = {}
        self.cond = asyncio.Condition()
        self.symlinks: list[Path] = []
        self._bg: set = set()
        (self.root / "volumes").mkdir(parents=True, exist_ok=True)
        # Containers have what their image has loaded; of the client they read what their environment says.
        self.forks = Forks(
            self.root, ["modal._container_entrypoint", "msgspec", "sqlite3", "decimal", "logging.handlers"]
        )
        self.forks.start(home=self.root)

    def mapping(self) -> dict:
        full = api_grpc.ModalClientBase.__mapping__(self)
        out = {}
        for path, h in full.items():
            name = path.rsplit("/", 1)[1]
            if name in RPCS:
                out[path] = h._replace(func=self._wrap(name, h.func))
        return out  # anything else -> UNIMPLEMENTED by grpclib

    def __mapping__(self):
        return self.mapping()

    def _wrap(self, name, func):
        async def handler(stream):
            self.rpc_log[name] = self.rpc_log.get(name, 0) + 1
            md = stream.metadata
            task_id = md.get("x-emu-task-id", "")
            if not task_id and md.get("x-modal-token-id") not in TOKENS:
                raise GRPCError(Status.UNAUTHENTICATED, "Token missing or invalid (emulator wants ak-emu)")
            WORKSPACE.set(workspace_of(task_id) if task_id else TOKENS[md["x-modal-token-id"]])
            asked = f"container:{name}" if task_id else name
            await asyncio.sleep(self._latency(asked))
            if asked in self.knobs.deny:
                raise GRPCError(Status.PERMISSION_DENIED, self.knobs.deny[asked])
            if self.knobs.outage_until > time.time() and not task_id:
                raise GRPCError(Status.UNAVAILABLE, "emulated outage")
            if self.knobs.unavailable > 0 and not task_id:
                self.knobs.unavailable -= 1
                raise GRPCError(Status.UNAVAILABLE, "emulated outage")
            fault = self._fault(asked)
            if fault is None or fault["status"] == "LOST":
                stream.recv_message = self._own_things_only(stream.recv_message)
                if fault:
                    stream.send_message = lambda reply: stream.cancel()
                await func(stream)
            elif fault["status"] == "RESET":
                await stream.cancel()
            elif fault["status"] == "HANG":
                await asyncio.sleep(3600)
            else:
                raise GRPCError(Status[fault["status"]], fault.get("message", "an emulated fault"))

        return handler

    def _latency(self, asked):
        everyone = "container:*" if asked.startswith("container:") else "*"
        return self.knobs.latency.get(asked, self.knobs.latency.get(everyone, 0.0))

    def _fault(self, asked):
        everyone = "container:*" if asked.startswith("container:") else "*"
        for fault in self.knobs.faults:
            if fault["rpc"] in (asked, everyone):
                if fault.get("after", 0) > 0:
                    fault["after"] -= 1
                elif fault.setdefault("n", 10**9) > 0:
                    fault["n"] -= 1
                    return fault
        return None

    @staticmethod
    def _own_things_only(receive):
        """What another workspace has is not there."""

        async def received():
            request = await receive()
            for field, value in request.ListFields():
                if field.name.endswith("_id") and isinstance(value, str) and value[2:3] == "-" and not ours(value):
                    raise GRPCError(Status.NOT_FOUND, f"{field.name} {value} not found")
            return request

        return received

    def _task(self, stream) -> Task:
        t = self.tasks.get(stream.metadata.get("x-emu-task-id", ""))
        if t is None:
            raise GRPCError(Status.FAILED_PRECONDITION, "not called from an emulated container")
        return t

    def spawn_bg(self, coro):
        t = asyncio.ensure_future(coro)
        self._bg.add(t)
        t.add_done_callback(self._bg.discard)

    async def notify(self):
        async with self.cond:
            self.cond.notify_all()

    async def wait_until(self, pred, timeout: float) -> bool:
        async def w():
            async with self.cond:
                await self.cond.wait_for(pred)

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(w(), max(0.0, timeout))
        return bool(pred())

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def http(self):
        return f"http://127.0.0.1:{self.http_port}"

    async def serve(self):
        self.loop = asyncio.get_running_loop()
        self.server = grpclib.server.Server([self], status_details_codec=custom_detail_codec)
        await self.server.start("127.0.0.1", self.port)
        self.port = bound_port(self.server._server)
        app = aiohttp.web.Application(client_max_size=4 << 30)
        app.router.add_route("*", "/blob/{id}", self._http_blob)
        app.router.add_put("/block/{sha}", self._http_put_block)
        app.router.add_get("/vol/{vid}", self._http_get_vol)
        app.router.add_post("/knobs", self._http_knobs)
        app.router.add_post("/well", self._http_well)
        app.router.add_post("/preempt/{task}", self._http_preempt)
        app.router.add_post("/expire/{call}", self._http_expire)
        app.router.add_post("/kill/{task}", self._http_kill)
        app.router.add_post("/clean", self._http_clean)
        app.router.add_get("/state", self._http_state)
        self.runner = aiohttp.web.AppRunner(app)
        await self.runner.setup()
        site = aiohttp.web.TCPSite(self.runner, "127.0.0.1", self.http_port)
        await site.start()
        self.http_port = bound_port(site._server)
        self.spawn_bg(self._scheduler())
        self.spawn_bg(self._background_commits())

    async def aclose(self):
        self.forks.close()
        for t in self.tasks.values():
            self._kill(t, signal.SIGKILL)
        await asyncio.sleep(0.1)
        mine = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for one in mine:
            one.cancel()
        if mine:
            await asyncio.wait(mine, timeout=2)
        self.server.close()
        # Python 3.12 and later wait here until every client has let go of its connection.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.server.wait_closed(), 2)
        await self.runner.cleanup()
        for p in self.symlinks:
            with contextlib.suppress(OSError):
                p.unlink()

    async def _http_blob(self, req):
        if req.method == "PUT":
            data = await req.read()
            self.blobs[req.match_info["id"]] = data
            return aiohttp.web.Response(headers={"ETag": f'"{hashlib.md5(data).hexdigest()}"'})
        data = self.blobs.get(req.match_info["id"])
        return aiohttp.web.Response(status=404) if data is None else aiohttp.web.Response(body=data)

    async def _http_put_block(self, req):
        self.blocks[req.match_info["sha"]] = await req.read()
        return aiohttp.web.Response(body=b"ok:" + req.match_info["sha"].encode())

    async def _http_get_vol(self, req):
        p = self._vpath(req.match_info["vid"], req.query["path"])
        self.blocks_given += 1
        if self.blocks_given == self.knobs.refuse_block:
            return aiohttp.web.Response(status=403)
        start, wanted = int(req.query["start"]), int(req.query["len"])
        data = await asyncio.to_thread(_read_at, p, start, wanted)
        headers = {}
        if self.knobs.digests:
            headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"
        if self.blocks_given == self.knobs.garble_block:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if self.knobs.cut_blocks_after and self.blocks_given > self.knobs.cut_blocks_after:
            reply = aiohttp.web.StreamResponse(headers={"Content-Length": str(wanted)})
            await reply.prepare(req)
            await reply.write(data[: len(data) // 2])
            req.transport.abort()
            return reply
        return aiohttp.web.Response(body=data, headers=headers)

    async def _http_knobs(self, req):
        self.blocks_given = 0
        for k, v in (await req.json()).items():
            setattr(self.knobs, k, v)
        await self.notify()
        return aiohttp.web.json_response(dataclasses.asdict(self.knobs))

    async def _http_well(self, req):
        self.knobs = Knobs()
        return await self._http_knobs(req)

    async def _http_preempt(self, req):
        t = self.tasks[req.match_info["task"]]
        self.spawn_bg(self._preempt(t, float(req.query.get("grace", "30"))))
        return aiohttp.web.json_response({})

    async def _http_kill(self, req):  # the container dies without a word
        self._kill(self.tasks[req.match_info["task"]], signal.SIGKILL)
        return aiohttp.web.json_response({})

    async def _http_expire(self, req):  # as if 7 days went by
        self.calls[req.match_info["call"]].expired = True
        return aiohttp.web.json_response({})

    @staticmethod
    def _told_name(object_id, thing):
        """A name, after that of its workspace and environment where these are not the first."""
        return "/".join(filter(None, [workspace_of(object_id), thing["env"].removeprefix("main"), thing["name"]]))

    async def _http_clean(self, req):  # as a new workspace, but for what is deployed
        for i in self.inputs.values():
            i.state, i.cancelled = "done", True
        deadline = time.monotonic() + 30
        while alive := [t for t in self.tasks.values() if t.returncode is None]:
            for t in alive:
                self._kill(t, signal.SIGKILL)
            await asyncio.sleep(0.02)
            if time.monotonic() > deadline:
                return aiohttp.web.Response(status=500, text=f"{len(alive)} containers do not end")
        mounted = {m.volume_id for f in self.fns.values() if f.defn and not f.base_id for m in f.defn.volume_mounts}
        for vid in list(self.volumes):
            store = self.root / "volumes" / vid
            while store.exists() and time.monotonic() < deadline:  # what a container kept may come while it is deleted
                shutil.rmtree(store, ignore_errors=True)
                await asyncio.sleep(0)
            if vid in mounted:
                store.mkdir()
            else:
                del self.volumes[vid]
        shutil.rmtree(self.root / "tasks", ignore_errors=True)
        for data in (self.tasks, self.inputs, self.calls, self.rpc_log, *(d["data"] for d in self.dicts.values())):
            data.clear()
        self.fns = {fid: fn for fid, fn in self.fns.items() if not fn.base_id}
        for a in self.apps.values():
            a.logs.clear()
        return aiohttp.web.json_response({})

    async def _http_state(self, req):
        return aiohttp.web.json_response(
            {
                "rpcs": self.rpc_log,
                "apps": {
                    a.id: {"name": a.name, "desc": a.description, "state": a.state, "logs": len(a.logs)}
                    for a in self.apps.values()
                },
                "calls": {
                    c.id: [[i.state, i.task_id, i.retry_count, i.result.status if i.result else None] for i in c.inputs]
                    for c in self.calls.values()
                },
                "tasks": {
                    t.id: {
                        "rc": t.returncode,
                        "gpu": t.gpu,
                        "pid": t.proc.pid if t.proc else None,
                        "function": self.fns[t.fn_id].name,
                        "call": t.input.call_id,
                    }
                    for t in self.tasks.values()
                },
                "functions": {
                    f"{self.apps[f.app_id].name}.{f.name}.{f.id}": MessageToDict(
                        f.defn, preserving_proto_field_name=True
                    )
                    for f in self.fns.values()
                    if f.defn and f.app_id in self.apps
                },
                "images": [MessageToDict(i, preserving_proto_field_name=True) for i in self.images.values()],
                "blocks_given": self.blocks_given,
                "volumes": {self._told_name(vid, v): vid for vid, v in self.volumes.items()},
            }
        )


ModalServer.__abstractmethods__ = frozenset()
