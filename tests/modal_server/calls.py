"""Function calls as the client sees them: spawn, poll, graph, cancel."""

import signal

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_server.rpc import nid, rpc
from tests.modal_server.state import Call, Input, R


class Calls:
    def _add_inputs(self, call: Call, items, itype):
        out = []
        for it in items:
            i = Input(nid("in"), it.idx, call.id, it.input, itype)
            call.inputs.append(i)
            self.inputs[i.id] = i
            out.append(pb.FunctionPutInputsResponseItem(idx=it.idx, input_id=i.id, input_jwt=i.id))
        return out

    @rpc
    async def FunctionMap(self, stream):
        req = await stream.recv_message()
        fn = self._fn(req.function_id)
        if self.apps[fn.app_id].state == pb.APP_STATE_STOPPED:
            raise GRPCError(Status.FAILED_PRECONDITION, "App is stopped")
        call = Call(nid("fc"), fn.id, req.parent_input_id)
        self.calls[call.id] = call
        items = self._add_inputs(call, req.pipelined_inputs, req.function_call_invocation_type)
        await self.notify()
        await stream.send_message(
            pb.FunctionMapResponse(
                function_call_id=call.id,
                pipelined_inputs=items,
                function_call_jwt=call.id,
                retry_policy=fn.defn.retry_policy,
                sync_client_retries_enabled=False,
            )
        )

    @rpc
    async def FunctionPutInputs(self, stream):
        req = await stream.recv_message()
        items = self._add_inputs(self._call(req.function_call_id), req.inputs, pb.FUNCTION_CALL_INVOCATION_TYPE_ASYNC)
        await self.notify()
        await stream.send_message(pb.FunctionPutInputsResponse(inputs=items))

    def _call(self, cid) -> Call:
        if cid not in self.calls:
            raise GRPCError(Status.NOT_FOUND, f"Function call {cid} not found")
        return self.calls[cid]

    @rpc
    async def FunctionGetOutputs(self, stream):
        req = await stream.recv_message()
        call = self._call(req.function_call_id)
        if call.expired:
            await stream.send_message(pb.FunctionGetOutputsResponse(num_unfinished_inputs=0))
            return

        def ready():
            return [
                i
                for i in call.inputs
                if i.state == "done" and req.start_idx <= i.idx <= max(req.end_idx, req.start_idx)
            ]

        await self.wait_until(ready, req.timeout)
        outs = [
            pb.FunctionGetOutputsItem(
                result=i.result,
                idx=i.idx,
                input_id=i.id,
                data_format=i.data_format,
                task_id=i.task_id,
                input_started_at=i.started_at,
                output_created_at=i.finished_at,
                retry_count=i.retry_count,
            )
            for i in ready()
        ]
        await stream.send_message(
            pb.FunctionGetOutputsResponse(
                outputs=outs,
                idxs=[o.idx for o in outs],
                num_unfinished_inputs=sum(i.state != "done" for i in call.inputs),
                last_entry_id="0-0",
            )
        )

    @rpc
    async def FunctionCallFromId(self, stream):
        req = await stream.recv_message()
        c = self._call(req.function_call_id)
        await stream.send_message(
            pb.FunctionCallFromIdResponse(
                function_call_id=c.id,
                num_inputs=len(c.inputs),
                metadata=pb.FunctionCallHandleMetadata(app_id=self.fns[c.fn_id].app_id, function_id=c.fn_id),
            )
        )

    @rpc
    async def FunctionCallGetInfo(self, stream):
        req = await stream.recv_message()
        c = self._call(req.function_call_id)
        n = {"pending": 0, "failed": 0, "succeeded": 0, "timeout": 0, "cancelled": 0}
        for i in c.inputs:
            n[
                "pending"
                if i.state != "done"
                else {
                    R.GENERIC_STATUS_SUCCESS: "succeeded",
                    R.GENERIC_STATUS_TIMEOUT: "timeout",
                    R.GENERIC_STATUS_TERMINATED: "cancelled",
                }.get(i.result.status, "failed")
            ] += 1
        await stream.send_message(
            pb.FunctionCallGetInfoResponse(
                info=pb.FunctionCallInfo(
                    function_call_id=c.id,
                    created_at=c.created_at,
                    total_inputs=len(c.inputs),
                    **{f"{k}_inputs": pb.InputCategoryInfo(total=v) for k, v in n.items()},
                )
            )
        )

    @rpc
    async def FunctionGetCallGraph(self, stream):
        req = await stream.recv_message()
        root = self._call(req.function_call_id)
        calls, frontier = [root], [root]
        while frontier:
            ids = {i.id for c in frontier for i in c.inputs}
            frontier = [c for c in self.calls.values() if c.parent_input_id in ids]
            calls += frontier
        res = pb.FunctionGetCallGraphResponse()
        for c in calls:
            d = self.fns[c.fn_id].defn
            res.function_calls.add(
                function_call_id=c.id,
                parent_input_id=c.parent_input_id if c is not root else "",
                function_name=d.function_name,
                module_name=d.module_name,
            )
            for i in c.inputs:
                res.inputs.add(
                    input_id=i.id, function_call_id=c.id, task_id=i.task_id, status=i.result.status if i.result else 0
                )
        await stream.send_message(res)

    @rpc
    async def FunctionCallFetch(self, stream):  # `modal function calls APP/FN --json`
        req = await stream.recv_message()
        res = pb.FunctionCallFetchResponse()
        S = pb.FunctionCallInputStatus
        name = {
            R.GENERIC_STATUS_SUCCESS: "SUCCESS",
            R.GENERIC_STATUS_TIMEOUT: "TIMEOUT",
            R.GENERIC_STATUS_TERMINATED: "TERMINATED",
            R.GENERIC_STATUS_INIT_FAILURE: "INIT_FAILURE",
            R.GENERIC_STATUS_INTERNAL_FAILURE: "INTERNAL_FAILURE",
        }
        ids = {
            f.id
            for f in self.fns.values()
            if f.id == req.function_id or (req.all_variants and f.base_id == req.function_id)
        }
        rows = [(c, i) for c in self.calls.values() if c.fn_id in ids for i in c.inputs]
        for c, i in rows[::-1][: req.tail.count] if req.HasField("tail") else rows:
            st = (
                name.get(i.result.status, "FAILURE") if i.result else ("RUNNING" if i.state == "running" else "PENDING")
            )
            v = [n for n, k in S.items() if n.endswith("_" + st)]
            x = res.function_call_inputs.add(function_call_id=c.id, status=S.Value(v[0]) if v else 0)
            x.enqueued_at.FromNanoseconds(int(c.created_at * 1e9))
            t = self.tasks.get(i.task_id)
            if t and t.started_at:
                x.started_at.FromNanoseconds(int((i.started_at or t.started_at) * 1e9))
                x.container_id, x.startup_time_seconds = t.id, max(0.0, (i.started_at or t.started_at) - t.created_at)
                if i.finished_at:
                    x.execution_time_seconds = i.finished_at - (i.started_at or t.started_at)
        await stream.send_message(res)

    @rpc
    async def FunctionCallCancel(self, stream):
        req = await stream.recv_message()
        for i in self._call(req.function_call_id).inputs:
            i.cancelled = True
            if i.state == "pending":
                self._finish(i, R(status=R.GENERIC_STATUS_TERMINATED, exception="Input was cancelled"))
            elif i.state == "running":
                t = self.tasks[i.task_id]
                if req.terminate_containers:
                    t.killing = "terminate"
                    self._finish(i, R(status=R.GENERIC_STATUS_TERMINATED, exception="Input was cancelled"))
                    self._kill(t, signal.SIGINT)
                    self.spawn_bg(self._kill_later(t, 5))
                else:
                    t.kill_event.set()
        await self.notify()
        await stream.send_message(Empty())
