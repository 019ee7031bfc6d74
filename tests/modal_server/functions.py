"""Functions and their variants (with_options)."""

import hashlib

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_server.rpc import nid, rpc
from tests.modal_server.state import Fn


class Functions:
    def _fn_meta(self, fn: Fn, d) -> pb.FunctionHandleMetadata:
        fn.meta = pb.FunctionHandleMetadata(
            function_name=fn.name,
            function_type=d.function_type,
            definition_id=fn.definition_id,
            app_id=fn.app_id,
            function_schema=d.function_schema,
            supported_input_formats=d.supported_input_formats,
            supported_output_formats=d.supported_output_formats,
            base_function_id=fn.base_id,
        )
        return fn.meta

    @rpc
    async def FunctionPrecreate(self, stream):
        req = await stream.recv_message()
        fid = req.existing_function_id or nid("fu")
        fn = self.fns.get(fid) or Fn(fid, req.app_id, req.function_name, nid("de"))
        self.fns[fid] = fn
        await stream.send_message(pb.FunctionPrecreateResponse(function_id=fid, handle_metadata=self._fn_meta(fn, req)))

    @rpc
    async def FunctionCreate(self, stream):
        req = await stream.recv_message()
        d = req.function if req.HasField("function") else req.function_data.ranked_functions[0].function
        gpu = d.resources.gpu_config.gpu_type
        if gpu and gpu.split("-")[0].rstrip("!") not in {
            "H100",
            "H200",
            "B200",
            "B300",
            "A100",
            "A10",
            "A10G",
            "L40S",
            "L4",
            "T4",
            "RTX",
            "ANY",
        }:
            raise GRPCError(Status.INVALID_ARGUMENT, f"Invalid GPU type: {gpu}")
        if d.timeout_secs and not 1 <= d.timeout_secs <= 86400:
            raise GRPCError(
                Status.INVALID_ARGUMENT, f"Function timeout must be between 1s and 24h, got {d.timeout_secs}"
            )
        fid = req.existing_function_id or nid("fu")
        fn = self.fns.get(fid) or Fn(fid, req.app_id, d.function_name, nid("de"))
        fn.defn = pb.Function()
        fn.defn.CopyFrom(d)
        self.fns[fid] = fn
        await stream.send_message(
            pb.FunctionCreateResponse(
                function_id=fid, function=d, function_data=self._fn_data(fn), handle_metadata=self._fn_meta(fn, d)
            )
        )

    def _fn(self, fid) -> Fn:
        if fid not in self.fns:
            raise GRPCError(Status.NOT_FOUND, f"No such function {fid}")
        return self.fns[fid]

    def _fn_data(self, fn: Fn):
        d = fn.defn
        assert d
        fd = pb.FunctionData(
            module_name=d.module_name,
            function_name=d.function_name,
            function_type=d.function_type,
            timeout_secs=d.timeout_secs,
        )
        fd.ranked_functions.add(rank=0, function=d)
        return fd

    @rpc
    async def FunctionGet(self, stream):
        req = await stream.recv_message()
        a = self._by_name(req.app_name, req.environment_name or "main")
        if not a or req.object_tag not in a.function_ids:
            raise GRPCError(Status.NOT_FOUND, f"No function '{req.object_tag}' in app '{req.app_name}'")
        fn = self.fns[a.function_ids[req.object_tag]]
        await stream.send_message(
            pb.FunctionGetResponse(function_id=fn.id, handle_metadata=fn.meta, function=self._fn_data(fn))
        )

    @rpc
    async def FunctionGetById(self, stream):
        req = await stream.recv_message()
        fn = self._fn(req.function_id)
        await stream.send_message(pb.FunctionGetByIdResponse(handle_metadata=fn.meta, function=self._fn_data(fn)))

    @rpc
    async def FunctionBindParams(self, stream):  # f.with_options(gpu=..., timeout=...)
        req = await stream.recv_message()
        base = self._fn(req.function_id)
        key = hashlib.sha256(req.SerializeToString(deterministic=True)).hexdigest()[:22]
        fid = nid("fu", key)
        d = pb.Function()
        d.CopyFrom(base.defn)
        o = req.function_options
        if o.HasField("resources"):
            d.resources.MergeFrom(o.resources)
        if o.HasField("timeout_secs"):
            d.timeout_secs = o.timeout_secs
        if o.HasField("retry_policy"):
            d.retry_policy.CopyFrom(o.retry_policy)
        if o.replace_volume_mounts:
            del d.volume_mounts[:]
            d.volume_mounts.extend(o.volume_mounts)
        if o.replace_secret_ids:
            del d.secret_ids[:]
            d.secret_ids.extend(o.secret_ids)
        fn = Fn(fid, base.app_id, base.name, nid("de"), d, base.id, o, req.serialized_params)
        self.fns[fid] = fn
        await stream.send_message(
            pb.FunctionBindParamsResponse(bound_function_id=fid, handle_metadata=self._fn_meta(fn, d))
        )

    @rpc
    async def FunctionGetCurrentStats(self, stream):
        req = await stream.recv_message()
        ids = {f.id for f in self.fns.values() if req.function_id in (f.id, f.base_id)}
        ins = [i for c in self.calls.values() if c.fn_id in ids for i in c.inputs]
        await stream.send_message(
            pb.FunctionStats(
                backlog=sum(i.state == "pending" for i in ins),
                num_running_inputs=sum(i.state == "running" for i in ins),
                num_total_tasks=sum(t.fn_id in ids and t.returncode is None for t in self.tasks.values()),
            )
        )
