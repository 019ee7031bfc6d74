"""Scheduling, and the containers themselves: one real `modal._container_entrypoint` process per input."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from pathlib import Path

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2 as pb

from tests.forks import Forks
from tests.modal_server.rpc import ERR, OUT, SYS, WORKSPACE, nid, rpc, workspace_of
from tests.modal_server.state import App, Input, R, Task
from tests.modal_server.volumes import WorkCopy, members


class Container:
    """A process of its own session, what it prints, and how it ended."""

    def __init__(self, pid: int, line: socket.socket, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader):
        self.pid, self._line, self.stdout, self.stderr = pid, line, stdout, stderr
        self.returncode: int | None = None

    @classmethod
    async def start(cls, forks: Forks, env: dict[str, str], cwd: Path) -> "Container":
        (out, out_w), (err, err_w) = os.pipe(), os.pipe()
        with Path(os.devnull).open() as nothing:
            fds = (nothing.fileno(), out_w, err_w)
            module = "modal._container_entrypoint"
            pid, line = await asyncio.to_thread(forks.spawn, module, [], env, str(cwd), fds, session=True)
        os.close(out_w)
        os.close(err_w)
        line.setblocking(False)
        return cls(pid, line, await _reader(out), await _reader(err))

    async def wait(self) -> int:
        """The exit status, as soon as the process itself has ended: what it left behind may keep its pipes open."""
        status = await asyncio.get_running_loop().sock_recv(self._line, 4)
        self._line.close()
        self.returncode = os.waitstatus_to_exitcode(int.from_bytes(status, "big"))
        return self.returncode


async def _reader(fd: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=1 << 20)
    pipe = os.fdopen(fd, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


class Containers:
    @rpc
    async def ContainerHello(self, stream):
        await stream.recv_message()
        self._task(stream)
        await stream.send_message(Empty())

    @rpc
    async def ContainerHeartbeat(self, stream):  # long poll, as Modal's worker does
        await stream.recv_message()
        t = self._task(stream)
        try:
            await asyncio.wait_for(t.kill_event.wait(), 10)
        except TimeoutError:
            await stream.send_message(pb.ContainerHeartbeatResponse())
        else:
            t.kill_event.clear()
            await stream.send_message(
                pb.ContainerHeartbeatResponse(cancel_input_event=pb.CancelInputEvent(input_ids=[t.input.id]))
            )

    @rpc
    async def FunctionGetInputs(self, stream):
        await stream.recv_message()
        t = self._task(stream)
        if t.delivered:
            item = pb.FunctionGetInputsItem(kill_switch=True)
        else:
            t.delivered, i = True, t.input
            item = pb.FunctionGetInputsItem(
                input_id=i.id,
                input=i.item,
                function_call_id=i.call_id,
                function_call_invocation_type=i.invocation_type,
                retry_count=i.retry_count,
                function_map_idx=i.idx,
            )
        await stream.send_message(pb.FunctionGetInputsResponse(inputs=[item]))

    @rpc
    async def FunctionPutOutputs(self, stream):
        req = await stream.recv_message()
        self._task(stream)
        for o in req.outputs:
            i = self.inputs[o.input_id]
            if i.state != "done" and o.retry_count == i.retry_count:
                if (
                    o.result.status != R.GENERIC_STATUS_SUCCESS
                    and o.result.status != R.GENERIC_STATUS_TERMINATED
                    and self._maybe_retry(i)
                ):
                    continue
                i.started_at = o.input_started_at
                if o.result.status == R.GENERIC_STATUS_TERMINATED and not o.result.exception:
                    o.result.exception = "Input was cancelled"
                self._finish(i, o.result, o.data_format)
        await self.notify()
        await stream.send_message(Empty())

    @rpc
    async def TaskResult(self, stream):  # import error / init failure inside the container
        req = await stream.recv_message()
        i = self._task(stream).input
        if i.state != "done":
            req.result.status = R.GENERIC_STATUS_INIT_FAILURE
            self._finish(i, req.result, pb.DATA_FORMAT_PICKLE)
            await self.notify()
        await stream.send_message(Empty())

    def _finish(self, i: Input, result: R, fmt=pb.DATA_FORMAT_PICKLE):
        i.state, i.result, i.data_format, i.finished_at = "done", result, fmt, time.time()

    def _maybe_retry(self, i: Input) -> bool:
        p = self.fns[self.calls[i.call_id].fn_id].defn.retry_policy
        if i.cancelled or i.retry_count >= p.retries:
            return False
        delay = min(p.initial_delay_ms * (p.backoff_coefficient or 1) ** i.retry_count, p.max_delay_ms or 60000) / 1000
        i.retry_count += 1
        i.state = "backoff"
        self.spawn_bg(self._requeue(i, delay))
        return True

    async def _requeue(self, i: Input, delay: float):
        await asyncio.sleep(delay)
        if i.state != "done":
            i.state, i.task_id = "pending", ""
            await self.notify()

    def _held(self, i: Input) -> bool:
        return self.knobs.hold or self.fns[self.calls[i.call_id].fn_id].name in self.knobs.hold_parts

    def _may_start(self, i: Input) -> bool:
        return i.state == "pending" and not self._held(i)

    async def _scheduler(self):
        while True:
            await self.wait_until(lambda: any(self._may_start(i) for i in self.inputs.values()), 3600)
            for i in [i for i in self.inputs.values() if self._may_start(i)]:
                i.state = "queued"
                self.spawn_bg(self._start_after(i, self.knobs.schedule_delay))

    async def _start_after(self, i: Input, delay: float):
        WORKSPACE.set(workspace_of(i.id))
        await asyncio.sleep(delay)
        if i.state == "queued" and self._held(i):
            i.state = "pending"
        if i.state == "queued":
            i.state = "running"
            try:
                await self._run_container(i)
            except Exception as e:  # noqa: BLE001 - emulator bug or bad app -> visible to the client
                import traceback

                traceback.print_exc()
                self._finish(i, R(status=R.GENERIC_STATUS_INTERNAL_FAILURE, exception=f"emulator: {e!r}"))
                await self.notify()

    def _layout(self, a: App) -> pb.AppLayout:
        lay, seen = pb.AppLayout(function_ids=a.function_ids, class_ids=a.class_ids), set()
        for fid in list(a.function_ids.values()) + [f.id for f in self.fns.values() if f.app_id == a.id]:
            if fid not in seen:
                seen.add(fid)
                lay.objects.add(object_id=fid, function_handle_metadata=self.fns[fid].meta)
            for dep in self.fns[fid].defn.object_dependencies if self.fns[fid].defn else []:
                if dep.object_id not in seen:
                    seen.add(dep.object_id)
                    if dep.object_id.startswith("vo-"):
                        lay.objects.add(object_id=dep.object_id, volume_metadata=self._vmeta(dep.object_id))
                    else:
                        lay.objects.add(object_id=dep.object_id)
        return lay

    def _kill(self, t: Task, sig):
        with contextlib.suppress(ProcessLookupError):
            if t.proc and t.proc.returncode is None:
                os.kill(t.proc.pid, sig)

    async def _kill_later(self, t: Task, delay: float):
        await asyncio.sleep(delay)
        self._kill(t, signal.SIGKILL)

    async def _preempt(self, t: Task, grace: float):
        t.killing = "preempt"
        self.log(t.app_id, "Container preempted; the input will be rescheduled\n", SYS, t, t.input.call_id, t.input.id)
        self._kill(t, signal.SIGINT)
        await self._kill_later(t, grace)

    async def _timeout(self, t: Task, secs: float):
        await asyncio.sleep(secs)
        if t.input.state == "running" and t.returncode is None:
            t.killing = "timeout"
            if not self._maybe_retry(t.input):
                self._finish(
                    t.input,
                    R(
                        status=R.GENERIC_STATUS_TIMEOUT,
                        exception=f"Task's current input {t.input.id} hit its timeout of {secs:.0f}s",
                    ),
                )
            await self.notify()
            self._kill(t, signal.SIGINT)
            await self._kill_later(t, 2)

    def _source(self, mounts) -> Path:
        """The files that a client uploaded for a function, laid out once: what Python compiles of them is kept, too."""
        folder = self.root / "source" / "-".join(sorted(mounts))
        if not folder.exists():
            partial = folder.with_name(folder.name + ".partial")
            for mount in mounts:
                for name, sha, mode in self.mounts.get(mount, []):
                    path = partial / name.lstrip("/")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(self._file_bytes(sha))
                    path.chmod(mode or 0o644)
            partial.mkdir(parents=True, exist_ok=True)
            partial.rename(folder)
        return folder

    async def _run_container(self, i: Input):
        fn = self.fns[self.calls[i.call_id].fn_id]
        d, app = fn.defn, self.apps[fn.app_id]
        t = Task(nid("ta"), app.id, fn.id, i, time.time())
        t.gpu = d.resources.gpu_config.gpu_type
        self.tasks[t.id], i.task_id = t, t.id
        home = self.root / "tasks" / t.id
        rootfs = home / "rootfs"
        (rootfs / "root").mkdir(parents=True)
        source = self._source(d.mount_ids)
        env = {k: v for k, v in os.environ.items() if not k.startswith("MODAL_")} | self.knobs.image
        binds = []
        for vm in d.volume_mounts:
            store = self.root / "volumes" / vm.volume_id
            if vm.sub_path:
                store = store / vm.sub_path.lstrip("/")
                store.mkdir(parents=True, exist_ok=True)
            w = WorkCopy(store, home / "vol" / vm.volume_id)
            t.volumes[vm.volume_id] = w
            binds.append((w.work, Path(vm.mount_path)))
        for sid in d.secret_ids:
            env.update(self.secrets[sid]["env"])
        args = pb.ContainerArguments(
            task_id=t.id,
            function_id=fn.id,
            app_id=app.id,
            function_def=d,
            environment_name=app.env,
            app_layout=self._layout(app),
            serialized_params=fn.serialized_params,
        )
        (home / "args.bin").write_bytes(args.SerializeToString())
        env.update(
            MODAL_SERVER_URL=self.url,
            MODAL_TASK_ID=t.id,
            MODAL_IS_REMOTE="1",
            MODAL_IMAGE_ID=d.image_id,
            MODAL_ENVIRONMENT=app.env,
            MODAL_CONTAINER_ARGUMENTS_PATH=str(home / "args.bin"),
            MODAL_OVERRIDE_HEADERS=f"x-emu-task-id:{t.id}",
            MODAL_CLOUD_PROVIDER="CLOUD_PROVIDER_EMU",
            MODAL_REGION="local",
            PYTHONUNBUFFERED="1",
            PYTHONPATH=os.pathsep.join([str(source / "root"), str(source / "pkg")]),
            HOME=str(rootfs / "root"),
        )
        for src, dst in binds:
            (rootfs / str(dst).lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (rootfs / str(dst).lstrip("/")).symlink_to(src)
        (rootfs / "tmp").mkdir()
        env.update(NANOCHAT_TUI_MOUNT=str(rootfs / "vol"), TMPDIR=str(rootfs / "tmp"))
        t.proc = await Container.start(self.forks, env, rootfs / "root")
        t.started_at = time.time()
        tmo = asyncio.ensure_future(self._timeout(t, d.timeout_secs)) if d.timeout_secs else None
        pumps = [asyncio.ensure_future(self._pump(t, p, fd)) for p, fd in ((t.proc.stdout, OUT), (t.proc.stderr, ERR))]
        rc = await t.proc.wait()
        for entry in members(t.proc.pid):  # a container takes all that runs in it with it
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(entry.name), signal.SIGKILL)
        await asyncio.wait(pumps, timeout=5)
        if tmo:
            tmo.cancel()
        for w in t.volumes.values():
            w.commit()
        t.returncode, t.finished_at = rc, time.time()
        if i.state == "running" and i.task_id == t.id:
            if t.killing == "preempt":  # reschedule, same attempt number
                i.state, i.task_id = "pending", ""
            elif t.killing == "" and i.crashes < self.knobs.crash_reschedules:
                i.crashes += 1
                i.state, i.task_id = "pending", ""
            elif not self._maybe_retry(i):
                self._finish(
                    i,
                    R(
                        status=R.GENERIC_STATUS_FAILURE,
                        exitcode=rc,
                        exception=f"Container terminated unexpectedly with exit code {rc}",
                    ),
                )
        await self.notify()

    async def _pump(self, t: Task, pipe, fd):
        buf = b""
        while True:
            try:
                chunk = await pipe.read(65536)
            except (OSError, ValueError):
                break
            if not chunk:
                break
            *lines, buf = (buf + chunk).split(b"\n")
            for ln in lines:
                self.log(t.app_id, ln.decode("utf-8", "replace") + "\n", fd, t, t.input.call_id, t.input.id)
            await self.notify()
        if buf:
            self.log(t.app_id, buf.decode("utf-8", "replace"), fd, t, t.input.call_id, t.input.id)
            await self.notify()

    async def _background_commits(self):
        while True:
            await asyncio.sleep(self.knobs.background_commit or 1)
            if self.knobs.background_commit:
                for t in list(self.tasks.values()):
                    if t.returncode is None:
                        for w in t.volumes.values():
                            await asyncio.to_thread(w.commit, t.proc.pid if t.proc else 0)
