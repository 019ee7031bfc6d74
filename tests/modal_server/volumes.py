"""Volumes v1 and v2, and the working copy that a container has of one."""

import asyncio
import contextlib
import os
import shutil
import stat
import threading
import time
import urllib.parse
from pathlib import Path

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_server.rpc import BLOCK, nid, ours, rpc

LISTED = 500  # entries in one message of a listing


class WorkCopy:
    """A container's private view of a Volume: commit() publishes, reload() refreshes; the last writer wins.

    As on Modal, a file that is open for writing is left out of a commit, and any open file prevents a reload.
    """

    def __init__(self, store: Path, work: Path):
        self.store, self.work = store, work
        work.mkdir(parents=True, exist_ok=True)
        self.base: dict[str, tuple] = {}
        self.lock = threading.Lock()
        self._fetch()

    @staticmethod
    def _signature(path: Path) -> tuple:
        stat = path.lstat()
        return (path.is_dir(), stat.st_mtime_ns, 0 if path.is_dir() else stat.st_size)

    def _scan(self, root: Path) -> dict[str, tuple]:
        found = {}
        # What goes meanwhile is not there: files and folders change under a commit.
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                path = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    found[str(path.relative_to(root))] = self._signature(path)
        return found

    def reload(self, session: int) -> None:
        with self.lock:
            for path in open_files(session, self.work):
                raise OSError(f"there are open files preventing the operation: path {path.name} is open")
            self._fetch()

    def _fetch(self) -> None:
        for rel, signature in sorted(self._scan(self.store).items()):
            if signature[0]:
                (self.work / rel).mkdir(parents=True, exist_ok=True)
            elif self.base.get(rel) != signature and not rel.endswith(".emu-tmp"):
                try:
                    shutil.copy2(self.store / rel, self.work / rel)
                except FileNotFoundError:
                    # Another container has deleted it since.
                    continue
            self.base[rel] = signature

    def commit(self, session: int = 0) -> None:
        with self.lock:
            writing = {str(p.relative_to(self.work)) for p in open_files(session, self.work, writing=True)}
            now = self._scan(self.work)
            for rel, signature in now.items():
                if signature[0]:
                    (self.store / rel).mkdir(parents=True, exist_ok=True)
                elif self.base.get(rel) != signature and rel not in writing:
                    self._publish(rel)
            for rel in sorted(set(self.base) - set(now), reverse=True):
                path = self.store / rel
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
                del self.base[rel]

    def _publish(self, rel: str) -> None:
        target = self.store / rel
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".emu-tmp")
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(self.work / rel, partial)
            self.base[rel] = self._signature(partial)
            partial.replace(target)


def open_files(session: int, root: Path, *, writing: bool = False) -> list[Path]:
    """Files under `root` that a process of a session holds open."""
    found = []
    for entry in members(session) if session else ():
        with contextlib.suppress(OSError):
            for fd in (entry / "fd").iterdir():
                with contextlib.suppress(OSError):
                    path = fd.readlink()
                    flags = int((entry / "fdinfo" / fd.name).read_text().split("flags:")[1].split()[0], 8)
                    if path.is_relative_to(root) and (not writing or flags & 3):
                        found.append(path)
    return found


def members(session: int) -> list[Path]:
    """The folders in /proc of the processes of a session: what runs in one container."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                found.append(entry)
    return found


def _entries(folder: Path, base: Path, deep: bool) -> list[pb.FileEntry]:
    """What is in a folder, or in all below it; of a file, itself."""
    if folder.is_file():
        return [_file_entry(str(folder.relative_to(base)), folder.lstat())]
    found, folders = [], [folder]
    while folders:
        here = folders.pop()
        inside = "" if here == base else f"{here.relative_to(base)}/"
        with os.scandir(here) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.name.endswith(".emu-tmp"):
                    continue
                found.append(_file_entry(inside + entry.name, entry.stat(follow_symlinks=False)))
                if deep and entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
    return found


def _file_entry(path: str, of: os.stat_result) -> pb.FileEntry:
    kinds = {stat.S_IFLNK: pb.FileEntry.SYMLINK, stat.S_IFDIR: pb.FileEntry.DIRECTORY}
    kind = kinds.get(stat.S_IFMT(of.st_mode), pb.FileEntry.FILE)
    size = of.st_size if kind == pb.FileEntry.FILE else 0
    return pb.FileEntry(path=path, type=kind, mtime=int(of.st_mtime), size=size)


class Volumes:
    def _vmeta(self, vid):
        v = self.volumes[vid]
        return pb.VolumeMetadata(
            version=v["version"],
            name=v["name"],
            creation_info=pb.CreationInfo(created_at=v["created_at"], created_by="emu"),
        )

    def _vpath(self, vid, path) -> Path:
        if vid not in self.volumes:
            raise GRPCError(Status.NOT_FOUND, f"No such volume {vid}")
        base = (self.root / "volumes" / vid).resolve()
        p = (base / path.lstrip("/")).resolve()
        if p != base and base not in p.parents:
            raise GRPCError(Status.INVALID_ARGUMENT, "path escapes the volume")
        return p

    def _named(self, table, prefix, req, extra):
        self._check_environment(req.environment_name)
        for oid, o in table.items():
            if (
                ours(oid)
                and req.deployment_name
                and o["name"] == req.deployment_name
                and o["env"] == (req.environment_name or "main")
            ):
                if req.object_creation_type == pb.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
                    raise GRPCError(Status.ALREADY_EXISTS, f"'{req.deployment_name}' already exists")
                return oid
        if req.object_creation_type == pb.OBJECT_CREATION_TYPE_UNSPECIFIED:
            raise GRPCError(
                Status.NOT_FOUND, f"'{req.deployment_name}' not found in environment '{req.environment_name or 'main'}'"
            )
        oid = nid(prefix)
        table[oid] = {
            "name": req.deployment_name,
            "env": req.environment_name or "main",
            "created_at": time.time(),
            **extra,
        }
        return oid

    @rpc
    async def VolumeGetOrCreate(self, stream):
        req = await stream.recv_message()
        vid = self._named(self.volumes, "vo", req, {"version": req.version or pb.VOLUME_FS_VERSION_V1})
        (self.root / "volumes" / vid).mkdir(parents=True, exist_ok=True)
        await stream.send_message(
            pb.VolumeGetOrCreateResponse(volume_id=vid, version=self.volumes[vid]["version"], metadata=self._vmeta(vid))
        )

    @rpc
    async def VolumeGetById(self, stream):
        req = await stream.recv_message()
        self._vpath(req.volume_id, "")
        await stream.send_message(
            pb.VolumeGetByIdResponse(volume_id=req.volume_id, metadata=self._vmeta(req.volume_id))
        )

    @rpc
    async def VolumeList(self, stream):
        await stream.recv_message()
        res = pb.VolumeListResponse(environment_name="main")
        for vid, v in [(vid, v) for vid, v in self.volumes.items() if ours(vid)]:
            res.items.add(label=v["name"], volume_id=vid, created_at=v["created_at"], metadata=self._vmeta(vid))
        await stream.send_message(res)

    async def _list(self, stream, resp):
        req = await stream.recv_message()
        p, base = self._vpath(req.volume_id, req.path or "/"), self._vpath(req.volume_id, "")
        if not p.exists():
            raise GRPCError(Status.NOT_FOUND, f"{req.path}: No such file or directory")
        entries = await asyncio.to_thread(_entries, p, base, req.recursive)
        cut = self.knobs.cut_listings > 0
        self.knobs.cut_listings -= cut
        for at in range(0, len(entries) // 2 if cut else len(entries), LISTED):
            await stream.send_message(resp(entries=entries[at : at + LISTED]))
        if cut:
            raise GRPCError(Status.UNAVAILABLE, "the listing broke off")

    @rpc
    async def VolumeListFiles(self, stream):
        await self._list(stream, pb.VolumeListFilesResponse)

    @rpc
    async def VolumeListFiles2(self, stream):
        await self._list(stream, pb.VolumeListFiles2Response)

    @rpc
    async def VolumeGetFile2(self, stream):
        req = await stream.recv_message()
        p = self._vpath(req.volume_id, req.path)
        if not p.is_file():
            raise GRPCError(Status.NOT_FOUND, f"{req.path}: No such file")
        size = p.stat().st_size
        start, ln = req.start, min(req.len or size, max(0, size - req.start))
        q, pos, urls = urllib.parse.quote(req.path), start, []
        while pos < start + ln:  # one URL per 8 MiB-aligned block
            end = min(start + ln, (pos // BLOCK + 1) * BLOCK)
            urls.append(f"{self.http}/vol/{req.volume_id}?path={q}&start={pos}&len={end - pos}")
            pos = end
        await stream.send_message(pb.VolumeGetFile2Response(get_urls=urls, size=size, start=start, len=ln))

    @rpc
    async def VolumePutFiles(self, stream):  # v1
        req = await stream.recv_message()
        for f in req.files:
            p = self._vpath(req.volume_id, f.filename)
            if p.exists() and req.disallow_overwrite_existing_files:
                raise GRPCError(Status.ALREADY_EXISTS, f"{f.filename}: already exists")
            p.parent.mkdir(parents=True, exist_ok=True)
            p.write_bytes(self._file_bytes(f.sha256_hex))
        await stream.send_message(Empty())

    @rpc
    async def VolumePutFiles2(self, stream):  # v2: content-addressed 8 MiB blocks
        req = await stream.recv_message()
        res = pb.VolumePutFiles2Response()
        for fi, f in enumerate(req.files):
            if self._vpath(req.volume_id, f.path).exists() and req.disallow_overwrite_existing_files:
                raise GRPCError(Status.ALREADY_EXISTS, f"{f.path}: already exists")
            for bi, b in enumerate(f.blocks):
                if b.contents_sha256.hex() not in self.blocks:
                    res.missing_blocks.add(
                        file_index=fi, block_index=bi, put_url=f"{self.http}/block/{b.contents_sha256.hex()}"
                    )
        if not res.missing_blocks:
            for f in req.files:
                p = self._vpath(req.volume_id, f.path)
                p.parent.mkdir(parents=True, exist_ok=True)
                with p.open("wb") as out:
                    for bi, b in enumerate(f.blocks):
                        out.seek(bi * BLOCK)
                        out.write(self.blocks[b.contents_sha256.hex()])
                    out.truncate(f.size)
        await stream.send_message(res)

    async def _remove(self, stream):
        req = await stream.recv_message()
        p = self._vpath(req.volume_id, req.path)
        if not p.exists():
            raise GRPCError(Status.NOT_FOUND, f"{req.path}: No such file or directory")
        if p.is_dir():
            if not req.recursive:
                raise GRPCError(Status.INVALID_ARGUMENT, f"{req.path} is a directory; pass recursive")
            shutil.rmtree(p)
        else:
            p.unlink()
        await stream.send_message(Empty())

    @rpc
    async def VolumeRemoveFile(self, stream):
        await self._remove(stream)

    @rpc
    async def VolumeRemoveFile2(self, stream):
        await self._remove(stream)

    async def _copy(self, stream):
        req = await stream.recv_message()
        dst = self._vpath(req.volume_id, req.dst_path)
        for s in req.src_paths:
            src = self._vpath(req.volume_id, s)
            if not src.exists():
                raise GRPCError(Status.NOT_FOUND, f"{s}: No such file")
            to = dst / src.name if dst.is_dir() or len(req.src_paths) > 1 else dst
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(src, to, dirs_exist_ok=True) if src.is_dir() else shutil.copy2(src, to)
        await stream.send_message(Empty())

    @rpc
    async def VolumeCopyFiles(self, stream):
        await self._copy(stream)

    @rpc
    async def VolumeCopyFiles2(self, stream):
        await self._copy(stream)

    @rpc
    async def VolumeCommit(self, stream):
        req = await stream.recv_message()
        task = self._task(stream)
        w = task.volumes.get(req.volume_id)
        if w is None:
            raise GRPCError(Status.NOT_FOUND, "volume is not mounted in this container")
        await asyncio.to_thread(w.commit, task.proc.pid)
        await stream.send_message(pb.VolumeCommitResponse(skip_reload=self.knobs.skip_reload))

    @rpc
    async def VolumeReload(self, stream):
        req = await stream.recv_message()
        task = self._task(stream)
        w = task.volumes.get(req.volume_id)
        if w is None:
            raise GRPCError(Status.NOT_FOUND, "volume is not mounted in this container")
        await asyncio.to_thread(w.commit, task.proc.pid)
        try:
            await asyncio.to_thread(w.reload, task.proc.pid)
        except OSError as error:
            raise GRPCError(Status.FAILED_PRECONDITION, str(error)) from error
        await stream.send_message(Empty())

    @rpc
    async def VolumeDelete(self, stream):
        req = await stream.recv_message()
        shutil.rmtree(self._vpath(req.volume_id, ""))
        self.volumes.pop(req.volume_id)
        await stream.send_message(Empty())
