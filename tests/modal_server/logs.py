"""Log entries of apps: stream, fetch, count."""

import time

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_server.rpc import ERR, OUT, SYS, rpc
from tests.modal_server.state import Task


class Logs:
    def log(self, app_id, text, fd=OUT, task: Task | None = None, fc="", inp=""):
        self.seq += 1
        self.apps[app_id].logs.append(
            (self.seq, time.time(), task.id if task else "", fd, text, fc, task.fn_id if task else "", inp)
        )

    def _log_match(self, rec, req, fd):
        _, _, task, f, text, fc, fu, _inp = rec
        return (
            (not req.task_id or req.task_id == task)
            and (not req.function_call_id or req.function_call_id == fc)
            and (not req.function_id or req.function_id in (fu, self.fns[fu].base_id if fu in self.fns else ""))
            and (not fd or fd == f)
            and (not req.search_text or req.search_text in text)
        )

    @staticmethod
    def _log_batch(rec):
        seq, ts, task, fd, text, fc, fu, inp = rec
        item = pb.TaskLogs(
            data=text,
            timestamp=ts,
            timestamp_ns=int(ts * 1e9),
            file_descriptor=fd,
            function_call_id=fc,
            input_id=inp,
            container_id=task,
        )
        return pb.TaskLogsBatch(task_id=task, items=[item], entry_id=f"{seq}-0", function_id=fu, input_id=inp)

    @rpc
    async def AppGetLogs(self, stream):
        req = await stream.recv_message()
        app = self._app(req.app_id) if req.app_id else self.apps[self.tasks[req.task_id].app_id]
        last = int(req.last_entry_id.split("-")[0]) if req.last_entry_id else 0
        deadline = time.monotonic() + req.timeout
        while True:
            recs = [r for r in app.logs if r[0] > last]
            for r in recs:
                last = r[0]
                if self._log_match(r, req, req.file_descriptor):
                    await stream.send_message(self._log_batch(r))
            if recs and self.knobs.log_stream_break > 0:
                self.knobs.log_stream_break -= 1
                raise GRPCError(Status.UNAVAILABLE, "emulated broken log stream")
            if app.state == pb.APP_STATE_STOPPED and not self._app_live_tasks(app.id):
                await stream.send_message(pb.TaskLogsBatch(app_done=True))
                return
            left = deadline - time.monotonic()
            if left <= 0:
                return
            n = len(app.logs)
            await self.wait_until(lambda n=n: len(app.logs) > n or app.state == pb.APP_STATE_STOPPED, min(left, 5.0))

    @rpc
    async def AppFetchLogs(self, stream):
        req = await stream.recv_message()
        s, u = req.since.ToNanoseconds() / 1e9, req.until.ToNanoseconds() / 1e9
        recs = [r for r in self._app(req.app_id).logs if s <= r[1] < u and self._log_match(r, req, req.source)]
        await stream.send_message(
            pb.AppFetchLogsResponse(batches=[self._log_batch(r) for r in recs[-(req.limit or 10**9) :]])
        )

    @rpc
    async def AppCountLogs(self, stream):
        req = await stream.recv_message()
        s, u, b = req.since.ToNanoseconds() / 1e9, req.until.ToNanoseconds() / 1e9, req.bucket_secs
        res, start = pb.AppCountLogsResponse(app_id=req.app_id), int(s // b * b)
        recs = [r for r in self._app(req.app_id).logs if s <= r[1] < u and self._log_match(r, req, req.source)]
        while start < u:
            k = res.buckets.add()
            k.bucket_start_at.FromSeconds(start)
            inb = [r for r in recs if start <= r[1] < start + b]
            k.stdout_logs, k.stderr_logs, k.system_logs = (sum(r[3] == f for r in inb) for f in (OUT, ERR, SYS))
            start += b
        await stream.send_message(res)
