"""Dicts and queues."""

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_server.rpc import rpc


class Dicts:
    def _entries(self, dict_id):
        if dict_id not in self.dicts:
            raise GRPCError(Status.NOT_FOUND, f"No such dict {dict_id}")
        return self.dicts[dict_id]["data"]

    @rpc
    async def DictDelete(self, stream):
        req = await stream.recv_message()
        self._entries(req.dict_id)
        del self.dicts[req.dict_id]
        await stream.send_message(Empty())

    @rpc
    async def DictGetOrCreate(self, stream):
        req = await stream.recv_message()
        did = self._named(self.dicts, "di", req, {"data": {}})
        self.dicts[did]["data"].update({e.key: e.value for e in req.data})
        await stream.send_message(
            pb.DictGetOrCreateResponse(dict_id=did, metadata=pb.DictMetadata(name=req.deployment_name))
        )

    @rpc
    async def DictUpdate(self, stream):
        req = await stream.recv_message()
        data, created = self._entries(req.dict_id), True
        for e in req.updates:
            if req.if_not_exists and e.key in data:
                created = False
            else:
                data[e.key] = e.value
        await stream.send_message(pb.DictUpdateResponse(created=created))

    @rpc
    async def DictGet(self, stream):
        req = await stream.recv_message()
        v = self._entries(req.dict_id).get(req.key)
        await stream.send_message(pb.DictGetResponse(found=v is not None, value=v))

    @rpc
    async def DictPop(self, stream):
        req = await stream.recv_message()
        v = self._entries(req.dict_id).pop(req.key, None)
        await stream.send_message(pb.DictPopResponse(found=v is not None, value=v))

    @rpc
    async def DictContains(self, stream):
        req = await stream.recv_message()
        await stream.send_message(pb.DictContainsResponse(found=req.key in self._entries(req.dict_id)))

    @rpc
    async def DictLen(self, stream):
        req = await stream.recv_message()
        await stream.send_message(pb.DictLenResponse(len=len(self._entries(req.dict_id))))

    @rpc
    async def DictContents(self, stream):
        req = await stream.recv_message()
        for k, v in list(self._entries(req.dict_id).items()):
            await stream.send_message(pb.DictEntry(key=k, value=v if req.values else b""))

    @rpc
    async def DictClear(self, stream):
        req = await stream.recv_message()
        self._entries(req.dict_id).clear()
        await stream.send_message(Empty())

    @rpc
    async def QueueGetOrCreate(self, stream):
        req = await stream.recv_message()
        qid = self._named(self.queues, "qu", req, {"parts": {}})
        await stream.send_message(
            pb.QueueGetOrCreateResponse(queue_id=qid, metadata=pb.QueueMetadata(name=req.deployment_name))
        )

    @rpc
    async def QueuePut(self, stream):
        req = await stream.recv_message()
        self.queues[req.queue_id]["parts"].setdefault(req.partition_key, []).extend(req.values)
        await self.notify()
        await stream.send_message(Empty())

    @rpc
    async def QueueGet(self, stream):
        req = await stream.recv_message()
        part = self.queues[req.queue_id]["parts"].setdefault(req.partition_key, [])
        await self.wait_until(lambda: part, req.timeout)
        n = req.n_values or 1
        vals, part[:] = part[:n], part[n:]
        await stream.send_message(pb.QueueGetResponse(values=vals))
