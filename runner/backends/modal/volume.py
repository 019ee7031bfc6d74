"""A Modal volume from outside its containers: what has been committed to it."""

import asyncio
import errno
import io
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import modal
from modal._utils.async_utils import synchronizer
from modal.volume import _AbstractVolumeUploadContextManager
from modal_proto import api_pb2

from runner.backends.modal.block_http import UrlExpired, get_block
from runner.backends.modal.errors import is_transient, translating_errors
from runner.backends.modal.token import require_token
from runner.errors import FileChanged, NanochatError, Unreachable, VolumeGone, naming_path
from runner.paths import modal_command
from runner.system import read_only
from runner.text.filenames import path_for_terminal
from runner.volumes.base import BLOCK, CHANGE, Entries, Entry, Paths

ATTEMPTS, PAUSE_S = 4, 0.3
# A file that is not there may mean that its volume is gone; that is looked at no more often than this.
SEEN_S = 5.0
_FOLDER = api_pb2.FileEntry.DIRECTORY
_KINDS = (api_pb2.FileEntry.FILE, _FOLDER)
T = TypeVar("T")


async def _get_file(volume: Any, path: str, start: int, length: int) -> Any:
    """The client can read whole files only; a checkpoint is judged by its last 64 KiB."""
    request = api_pb2.VolumeGetFile2Request(volume_id=volume.object_id, path=path, start=start, len=length)
    return await volume.client._stub.VolumeGetFile2(request)


async def _scan(volume: Any, path: str, deep: bool) -> AsyncIterator[Entries]:
    """In batches, as they are sent: the client hands them over one by one, and takes no name that ends in *."""
    request = api_pb2.VolumeListFiles2Request(volume_id=volume.object_id, path=path, recursive=deep)
    async for batch in volume.client._stub.VolumeListFiles2.unary_stream(request):
        yield [
            Entry(e.path, e.type == _FOLDER, 0 if e.type == _FOLDER else e.size, float(e.mtime))
            for e in batch.entries
            if e.type in _KINDS
        ]


async def _upload(volume: Any, origin: Path, path: str, told: Callable[[int], None], over: bool) -> None:
    """The client's own way to put a file, which tells how far it is, and is cancelled when `told` has had enough."""
    problems: list[NanochatError] = []
    enough = asyncio.Event()

    def progress(task_id: object = None, advance: int = 0, **_: object) -> str:
        if advance and not problems:
            try:
                told(advance)
            except NanochatError as error:
                problems.append(error)
                enough.set()
        return "one"

    async def put() -> None:
        manager = _AbstractVolumeUploadContextManager.resolve(
            volume._metadata.version, volume.object_id, volume._client, progress_cb=progress, force=over
        )
        async with manager as batch:
            batch.put_file(origin, f"/{path}")

    tasks = [asyncio.create_task(put()), asyncio.create_task(enough.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks[not problems :]:
            task.cancel()
    if problems:
        await asyncio.wait(tasks)
        raise problems[0]
    await tasks[0]


async def _is_v1(volume: Any) -> bool:
    return bool(volume._is_v1)


_is_v1_blocking = synchronizer.create_blocking(_is_v1)
_get_file_blocking = synchronizer.create_blocking(_get_file)
_scan_blocking = synchronizer.create_blocking(_scan)
_upload_blocking = synchronizer.create_blocking(_upload)


class ModalVolume:
    """The Volume Protocol over a Modal volume of this name."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._volume: modal.Volume | None = None
        self._seen_at, self._looking = 0.0, threading.Lock()

    def make(self) -> None:
        """Create it (version 2) if it is not there."""
        read_only.refuse(CHANGE)
        with self._looking:
            try:
                self._volume = self._looked_up()
            except VolumeGone:
                with translating_errors():
                    self._volume = modal.Volume.from_name(self.location, create_if_missing=True, version=2).hydrate()

    def check_exists(self) -> None:
        """Raises VolumeGone when it is not there, Unreachable when it cannot be used."""
        self._found()

    def _found(self) -> modal.Volume:
        volume = self._volume
        if volume is None:
            with self._looking:
                volume = self._volume = self._volume or self._looked_up()
        return volume

    def _looked_up(self) -> modal.Volume:
        require_token()
        with translating_errors():
            try:
                volume = modal.Volume.from_name(self.location).hydrate()
            except modal.exception.NotFoundError as error:
                if "nvironment '" in str(error) and self.location not in str(error):
                    raise
                raise VolumeGone(
                    f"there is no Modal volume {self.location}", "a launch makes it; --volume names another"
                ) from error
            if _is_v1_blocking(volume):
                aside = modal_command("volume", "rename", self.location, f"{self.location}-v1")
                raise Unreachable(
                    f"the Modal volume {self.location} is of version 1, and runs need version 2",
                    f"--volume names another, or put it aside: {aside}",
                )
            return volume

    def _asked(self, path: str, ask: Callable[[modal.Volume], T]) -> T:
        """Ask with patience: streamed replies are not tried again by the client."""
        volume = self._found()
        with translating_errors():
            for attempt in range(ATTEMPTS):
                try:
                    return ask(volume)
                except (modal.exception.NotFoundError, FileNotFoundError) as error:
                    self._see_that_it_is_there(error)
                    raise FileNotFoundError(errno.ENOENT, "is not on the volume", path) from error
                except Exception as error:
                    if attempt == ATTEMPTS - 1 or not is_transient(error):
                        raise
                    time.sleep(PAUSE_S * 2**attempt)
        raise AssertionError("unreachable")

    def _see_that_it_is_there(self, error: Exception) -> None:
        """Raises Unreachable when not the file but its volume is gone, or is another one of that name by now."""
        with self._looking:
            if time.monotonic() - self._seen_at < SEEN_S:
                return
            was, self._volume = self._volume, None
            now = self._volume = self._looked_up()
            self._seen_at = time.monotonic()
            if was is not None and now.object_id != was.object_id:
                raise Unreachable(f"the Modal volume {self.location} was made anew meanwhile", "try again") from error

    def list(self, path: str) -> Entries:
        return sorted((e for batch in self.scan(path) for e in batch), key=lambda e: (not e.is_dir, e.path))

    def scan(self, path: str, *, deep: bool = False, left_out: Paths | None = None) -> Iterator[Entries]:
        """A listing that breaks in the middle is asked for again, and goes on with what had not come."""
        folder = _checked(path)
        came: set[str] = set()
        for batch in self._ask_again(path, folder, deep):
            if len(batch) == 1 and batch[0].path == folder and not batch[0].is_dir:
                raise NotADirectoryError(errno.ENOTDIR, "is a file", path)
            new = [e for e in batch if e.path not in came]
            came.update(e.path for e in new)
            yield new

    def _ask_again(self, path: str, folder: str, deep: bool) -> Iterator[Entries]:
        volume = self._found()
        with translating_errors():
            for attempt in range(ATTEMPTS):
                try:
                    yield from _scan_blocking(volume, folder or "/", deep)
                    return
                except (modal.exception.NotFoundError, FileNotFoundError) as error:
                    self._see_that_it_is_there(error)
                    raise FileNotFoundError(errno.ENOENT, "is not on the volume", path) from error
                except Exception as error:
                    if attempt == ATTEMPTS - 1 or not is_transient(error):
                        raise
                    time.sleep(PAUSE_S * 2**attempt)

    def stat(self, path: str) -> Entry:
        name = _checked(path)
        for batch in self._ask_again(path, name, False) if name else ():
            if len(batch) == 1 and batch[0].path == name and not batch[0].is_dir:
                return batch[0]
            break
        return Entry(name, True, 0, 0.0)

    def local_path(self, path: str) -> Path | None:
        return None

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        name = _checked(path)
        if offset < 0:
            size = self._asked(path, lambda v: _get_file_blocking(v, name, 0, 1)).size
            offset = max(0, size + offset)
        if length == 0:
            return b""
        reply = self._asked(path, lambda v: _get_file_blocking(v, name, offset, length or 0))
        if offset >= reply.size:
            return b""

        def block(url: str) -> bytes:
            return self._asked(path, lambda v: bytes(get_block(url)[0]))

        data = b"".join(map(block, reply.get_urls))
        if len(data) != reply.len:
            raise Unreachable(f"{path} arrived short: {len(data):,} of {reply.len:,} bytes", "try again")
        return data

    def write(self, path: str, data: bytes) -> None:
        read_only.refuse(CHANGE)
        name = _checked(path)

        def put(volume: modal.Volume) -> None:
            with volume.batch_upload(force=True) as batch:
                batch.put_file(io.BytesIO(data), f"/{name}")

        self._asked(path, put)

    def open(self, entry: Entry) -> "ModalBlockReader":
        return ModalBlockReader(self, entry)

    def addresses(self, entry: Entry) -> tuple[str, ...]:
        """One for each block of a file. Raises FileChanged when it is not of that size any more."""
        name = _checked(entry.path)
        reply = self._asked(entry.path, lambda v: _get_file_blocking(v, name, 0, 0))
        if reply.size != entry.bytes:
            raise FileChanged(f"{path_for_terminal(entry.name)} has changed on the volume", "start again")
        return tuple(reply.get_urls)

    def put(self, origin: Path, path: str, told: Callable[[int], None], *, over: bool) -> None:
        read_only.refuse(CHANGE)
        name = _named(path)

        def sent(volume: modal.Volume) -> bool:
            try:
                _upload_blocking(volume, origin, name, told, over)
            except FileExistsError:
                return False
            return True

        with naming_path(origin):
            origin.lstat()
            if not self._asked(path, sent):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)

    def remove(self, path: str) -> None:
        read_only.refuse(CHANGE)
        name = _named(path)
        self._asked(path, lambda v: v.remove_file(name, recursive=True))

    def rename(self, path: str, to: str) -> None:
        read_only.refuse(CHANGE)
        origin, target = _named(path), _named(to)
        self._asked(path, lambda v: v.copy_files([origin], target, recursive=True))
        self._asked(path, lambda v: v.remove_file(origin, recursive=True))


class ModalBlockReader:
    """The BlockReader Protocol over a file of a Modal volume: an address for each block, asked for again if stale."""

    def __init__(self, volume: ModalVolume, entry: Entry) -> None:
        self._volume, self._entry = volume, entry
        self._urls = volume.addresses(entry) if entry.bytes else ()
        self._unverified = threading.Event()

    @property
    def verified(self) -> bool:
        return not self._unverified.is_set()

    def block(self, number: int) -> memoryview:
        wanted = min(BLOCK, self._entry.bytes - number * BLOCK)
        problem = ""
        for attempt in range(ATTEMPTS):
            try:
                data, compared = get_block(self._urls[number])
            except UrlExpired as error:
                problem = str(error)
                self._urls = self._volume.addresses(self._entry)
            except OSError as error:
                problem = str(error)
            else:
                if len(data) == wanted:
                    if not compared:
                        self._unverified.set()
                    return data
                problem = f"{len(data):,} of {wanted:,} bytes came"
            time.sleep(PAUSE_S * 2**attempt)
        raise Unreachable(
            f"{path_for_terminal(self._entry.path)} could not be read ({problem})", "the same command goes on from here"
        )

    def unchanged(self) -> bool:
        """A file of one block came at once: it cannot be half of another."""
        try:
            return self._entry.bytes <= BLOCK or self._volume.stat(self._entry.path) == self._entry
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Addresses are not held."""


def _checked(path: str) -> str:
    """A path inside the volume, without leading slash. Raises FileNotFoundError for one that leaves it."""
    parts = [p for p in path.split("/") if p not in ("", ".")]
    if path.startswith("/") or ".." in parts or "\0" in path or path != path.encode("utf-8", "replace").decode():
        raise FileNotFoundError(errno.ENOENT, "is no path of a volume", path)
    return "/".join(parts)


def _named(path: str) -> str:
    """A path of something in the volume. Raises FileNotFoundError for the volume itself."""
    name = _checked(path)
    if not name:
        raise FileNotFoundError(errno.ENOENT, "is the volume itself", path)
    return name
