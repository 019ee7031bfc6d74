"""Images, mounts, secrets and blobs."""

import hashlib
import sys

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_server.rpc import OUT, nid, rpc
from tests.modal_server.state import R


class Images:
    @rpc
    async def ImageGetOrCreate(self, stream):
        req = await stream.recv_message()
        key = "im-" + hashlib.sha256(req.image.SerializeToString(deterministic=True)).hexdigest()[:22]
        cached = key in self.images and not req.force_build
        self.images[key] = req.image
        if self.knobs.boot_fail or not cached:  # "not built yet" -> client joins the build stream
            await stream.send_message(pb.ImageGetOrCreateResponse(image_id=key))
        else:
            await stream.send_message(
                pb.ImageGetOrCreateResponse(
                    image_id=key, result=R(status=R.GENERIC_STATUS_SUCCESS), metadata=self._image_meta()
                )
            )

    @staticmethod
    def _image_meta():
        v = sys.version_info
        return pb.ImageMetadata(
            python_version_info=f"Python {v.major}.{v.minor}.{v.micro}",
            image_builder_version="2025.06",
            workdir="/root",
        )

    @rpc
    async def ImageJoinStreaming(self, stream):
        req = await stream.recv_message()
        cmds = list(self.images[req.image_id].dockerfile_commands)
        for n, c in enumerate(cmds):
            await stream.send_message(
                pb.ImageJoinStreamingResponse(
                    entry_id=f"{n + 1}-0", task_logs=[pb.TaskLogs(data=f"=> Step {n}: {c}\n", file_descriptor=OUT)]
                )
            )
        if self.knobs.boot_fail:
            res, self.knobs.boot_fail = R(status=R.GENERIC_STATUS_FAILURE, exception=self.knobs.boot_fail), ""
            self.images.pop(req.image_id, None)
            await stream.send_message(pb.ImageJoinStreamingResponse(result=res))
        else:
            await stream.send_message(
                pb.ImageJoinStreamingResponse(result=R(status=R.GENERIC_STATUS_SUCCESS), metadata=self._image_meta())
            )

    @rpc
    async def MountBatchedCheckExistence(self, stream):
        req = await stream.recv_message()
        await stream.send_message(
            pb.MountBatchedCheckExistenceResponse(
                missing_sha256_hex_hashes=[h for h in req.sha256_hex_hashes if h not in self.file_data]
            )
        )

    @rpc
    async def MountPutFile(self, stream):
        req = await stream.recv_message()
        which = req.WhichOneof("data_oneof")
        if which:
            self.file_data[req.sha256_hex] = ("data", req.data) if which == "data" else ("blob", req.data_blob_id)
        await stream.send_message(pb.MountPutFileResponse(exists=req.sha256_hex in self.file_data))

    def _file_bytes(self, sha):
        kind, v = self.file_data[sha]
        return v if kind == "data" else self.blobs[v]

    @rpc
    async def MountGetOrCreate(self, stream):
        req = await stream.recv_message()  # named global mounts (modal client, python standalone) are empty here
        files = [(f.filename, f.sha256_hex, f.mode) for f in req.files]
        mid = "mo-" + hashlib.sha256(repr((req.deployment_name, sorted(files))).encode()).hexdigest()[:22]
        self.mounts[mid] = files
        await stream.send_message(
            pb.MountGetOrCreateResponse(
                mount_id=mid, handle_metadata=pb.MountHandleMetadata(content_checksum_sha256_hex=mid[3:])
            )
        )

    @rpc
    async def SecretGetOrCreate(self, stream):
        req = await stream.recv_message()
        sid = next((i for i, s in self.secrets.items() if req.deployment_name and s["name"] == req.deployment_name), "")
        if not sid:
            if (
                req.deployment_name
                and not req.env_dict
                and req.object_creation_type == pb.OBJECT_CREATION_TYPE_UNSPECIFIED
            ):
                raise GRPCError(Status.NOT_FOUND, f"Secret '{req.deployment_name}' not found")
            sid = nid("st")
            self.secrets[sid] = {"name": req.deployment_name, "env": dict(req.env_dict)}
        await stream.send_message(
            pb.SecretGetOrCreateResponse(
                secret_id=sid, metadata=pb.SecretMetadata(name=req.deployment_name, environment_name="main")
            )
        )

    @rpc
    async def BlobCreate(self, stream):
        await stream.recv_message()
        bid = nid("bl")
        await stream.send_message(
            pb.BlobCreateResponse(
                blob_id=bid, blob_ids=[bid], upload_urls=pb.UploadUrlList(items=[f"{self.http}/blob/{bid}"])
            )
        )

    @rpc
    async def BlobGet(self, stream):
        req = await stream.recv_message()
        await stream.send_message(pb.BlobGetResponse(download_url=f"{self.http}/blob/{req.blob_id}"))
