"""Apps: create, publish, look up, tag, stop."""

import asyncio
import signal
import time

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_server.rpc import nid, ours, rpc
from tests.modal_server.state import App, R


class Apps:
    def _app(self, app_id) -> App:
        if app_id not in self.apps:
            raise GRPCError(Status.NOT_FOUND, f"No such app {app_id}")
        return self.apps[app_id]

    def _check_environment(self, name):
        if name and name not in self.knobs.environments:
            raise GRPCError(Status.NOT_FOUND, f"Environment '{name}' not found")

    def _by_name(self, name, env):
        self._check_environment(env)
        for a in self.apps.values():
            if ours(a.id) and a.name == name and a.env == env and a.state == pb.APP_STATE_DEPLOYED:
                return a

    def _app_live_tasks(self, app_id):
        return [t for t in self.tasks.values() if t.app_id == app_id and t.returncode is None]

    def _lifecycle(self, a: App):
        return pb.AppLifecycle(
            app_state=a.state,
            created_at=a.created_at,
            created_by="emu",
            deployed_at=a.deployed_at,
            version=a.version,
            stopped_at=a.stopped_at,
        )

    def _app_meta(self, a: App):
        return pb.AppHandleMetadata(
            description=a.description,
            app_id=a.id,
            environment_name=a.env,
            lifecycle=self._lifecycle(a),
            functions=a.function_ids,
        )

    @rpc
    async def AppCreate(self, stream):
        req = await stream.recv_message()
        a = App(nid("ap"), req.description, req.environment_name or "main", req.app_state, dict(req.tags))
        self.apps[a.id] = a
        await stream.send_message(
            pb.AppCreateResponse(
                app_id=a.id, app_page_url=f"{self.http}/apps/{a.id}", app_logs_url=f"{self.http}/apps/{a.id}"
            )
        )

    @rpc
    async def AppGetByDeploymentName(self, stream):
        req = await stream.recv_message()
        a = self._by_name(req.name, req.environment_name or "main")
        await stream.send_message(
            pb.AppGetByDeploymentNameResponse(
                app_id=a.id if a else "",
                environment_name=a.env if a else "main",
                lifecycle=self._lifecycle(a) if a else None,
            )
        )

    @rpc
    async def AppGetOrCreate(self, stream):
        req = await stream.recv_message()
        a = self.apps.get(req.app_name) or self._by_name(req.app_name, req.environment_name or "main")
        if not a and req.object_creation_type == pb.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
            a = App(
                nid("ap"), req.app_name, req.environment_name or "main", pb.APP_STATE_DEPLOYED, {}, name=req.app_name
            )
            self.apps[a.id] = a
        if not a:
            raise GRPCError(Status.NOT_FOUND, f"App '{req.app_name}' not found")
        await stream.send_message(pb.AppGetOrCreateResponse(app_id=a.id, handle_metadata=self._app_meta(a)))

    @rpc
    async def AppGetLayout(self, stream):
        req = await stream.recv_message()
        await stream.send_message(pb.AppGetLayoutResponse(app_layout=self._layout(self._app(req.app_id))))

    @rpc
    async def AppGetInfo(self, stream):
        req = await stream.recv_message()
        await stream.send_message(pb.AppGetInfoResponse(info=self._app_meta(self._app(req.app_id))))

    @rpc
    async def AppList(self, stream):
        await stream.recv_message()
        res = pb.AppListResponse()
        for a in [a for a in self.apps.values() if ours(a.id)]:
            res.apps.add(
                app_id=a.id,
                description=a.description,
                state=a.state,
                created_at=a.created_at,
                stopped_at=a.stopped_at,
                name=a.name,
                n_running_tasks=len(self._app_live_tasks(a.id)),
            )
        await stream.send_message(res)

    @rpc
    async def AppPublish(self, stream):
        req = await stream.recv_message()
        a = self._app(req.app_id)
        a.function_ids, a.class_ids, a.tags = dict(req.function_ids), dict(req.class_ids), dict(req.tags)
        if req.app_state:
            a.state = req.app_state
        if req.app_state == pb.APP_STATE_DEPLOYED:
            a.name, a.deployed_at, a.version = req.name, time.time(), a.version + 1
        await stream.send_message(
            pb.AppPublishResponse(url=f"{self.http}/apps/{a.id}", deployed_at=a.deployed_at or time.time())
        )

    @rpc
    async def AppHeartbeat(self, stream):
        await stream.recv_message()
        await stream.send_message(Empty())

    @rpc
    async def AppSetTags(self, stream):
        req = await stream.recv_message()
        self._app(req.app_id).tags = dict(req.tags)
        await stream.send_message(Empty())

    @rpc
    async def AppGetTags(self, stream):
        req = await stream.recv_message()
        await stream.send_message(pb.AppGetTagsResponse(tags=self._app(req.app_id).tags))

    async def _stop_app(self, a: App, why: str):
        (
            a.state,
            a.stopped_at,
        ) = pb.APP_STATE_STOPPED, time.time()
        for i in self.inputs.values():
            if self.fns[self.calls[i.call_id].fn_id].app_id == a.id and i.state != "done":
                self._finish(i, R(status=R.GENERIC_STATUS_TERMINATED, exception=why))
        for t in self._app_live_tasks(a.id):
            t.killing = "terminate"
            self._kill(t, signal.SIGTERM)
        await self.notify()

    @rpc
    async def AppStop(self, stream):
        req = await stream.recv_message()
        await self._stop_app(self._app(req.app_id), "App was stopped")
        await stream.send_message(Empty())

    @rpc
    async def AppClientDisconnect(self, stream):
        req = await stream.recv_message()
        a = self._app(req.app_id)
        if a.state in (pb.APP_STATE_EPHEMERAL, pb.APP_STATE_INITIALIZING):
            await self._stop_app(a, "App client disconnected")
        elif a.state == pb.APP_STATE_DETACHED:
            self.spawn_bg(self._stop_detached_when_idle(a))
        await stream.send_message(Empty())

    async def _stop_detached_when_idle(self, a):
        def busy():
            return any(
                i.state != "done" for i in self.inputs.values() if self.fns[self.calls[i.call_id].fn_id].app_id == a.id
            ) or self._app_live_tasks(a.id)

        while busy():
            await asyncio.sleep(0.2)
        if a.state == pb.APP_STATE_DETACHED:
            await self._stop_app(a, "done")

    @rpc
    async def TaskList(self, stream):
        req = await stream.recv_message()
        res = pb.TaskListResponse()
        for t in self.tasks.values():
            if ours(t.id) and t.returncode is None and (not req.app_id or t.app_id == req.app_id):
                res.tasks.add(
                    task_id=t.id,
                    app_id=t.app_id,
                    app_description=self.apps[t.app_id].description,
                    started_at=t.started_at,
                    enqueued_at=t.created_at,
                )
        await stream.send_message(res)

    @rpc
    async def ContainerStop(self, stream):
        req = await stream.recv_message()
        t = self.tasks[req.task_id]
        t.killing = "preempt"  # stopped containers' inputs are rescheduled
        self._kill(t, signal.SIGINT)
        await stream.send_message(pb.ContainerStopResponse())
