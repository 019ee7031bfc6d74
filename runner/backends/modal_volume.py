"""A Modal volume from outside its containers: what has been committed to it."""

import errno
import io
import time
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

import modal
from modal._utils.async_utils import synchronizer
from modal.types import FileEntryType
from modal_proto import api_pb2

from runner.backends.base import Entry
from runner.backends.modal_errors import reaching, require_token
from runner.errors import Unreachable

ATTEMPTS, PAUSE_S = 4, 0.3
TIMEOUT_S = 60.0
T = TypeVar("T")


async def _get_file(volume: Any, path: str, start: int, length: int) -> Any:
    """The client can read whole files only; a checkpoint is judged by its last 64 KiB."""
    request = api_pb2.VolumeGetFile2Request(volume_id=volume.object_id, path=path, start=start, len=length)
    return await volume.client._stub.VolumeGetFile2(request)


_get_file_blocking = synchronizer.create_blocking(_get_file)


class ModalVolume:
    """The Volume Protocol over a Modal volume of this name."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._volume: modal.Volume | None = None

    def make(self) -> None:
        """Create it (version 2) if it is not there."""
        require_token()
        with reaching():
            self._volume = modal.Volume.from_name(self.location, create_if_missing=True, version=2).hydrate()

    def _found(self) -> modal.Volume:
        if self._volume is None:
            require_token()
            with reaching():
                try:
                    self._volume = modal.Volume.from_name(self.location).hydrate()
                except modal.exception.NotFoundError as error:
                    if "nvironment '" in str(error) and self.location not in str(error):
                        raise
                    raise Unreachable(
                        f"there is no Modal volume {self.location}", "a launch makes it; --volume names another"
                    ) from error
        return self._volume

    def _asked(self, path: str, ask: Callable[[modal.Volume], T]) -> T:
        """Ask with patience: streamed replies are not tried again by the client."""
        volume = self._found()
        with reaching():
            for attempt in range(ATTEMPTS):
                try:
                    return ask(volume)
                except (modal.exception.NotFoundError, FileNotFoundError) as error:
                    raise FileNotFoundError(errno.ENOENT, "is not on the volume", path) from error
                except (modal.exception.ServiceError, modal.exception.InternalError, ConnectionError):
                    if attempt == ATTEMPTS - 1:
                        raise
                    time.sleep(PAUSE_S * 2**attempt)
        raise AssertionError("unreachable")

    def list(self, path: str) -> list[Entry]:
        folder = _checked(path)
        listed = self._asked(path, lambda v: v.listdir(folder or "/", recursive=False))
        kinds = (FileEntryType.FILE, FileEntryType.DIRECTORY)
        found = [
            Entry(e.path, e.type == kinds[1], 0 if e.type == kinds[1] else e.size, float(e.mtime))
            for e in listed
            if e.type in kinds
        ]
        if len(found) == 1 and found[0].path == folder and not found[0].is_dir:
            raise NotADirectoryError(errno.ENOTDIR, "is a file", path)
        return sorted(found, key=lambda e: (not e.is_dir, e.path))

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
        wanted = reply.len
        data = b"".join(self._asked(path, lambda v, url=url: _fetch(url)) for url in reply.get_urls)  # type: ignore[misc]
        if len(data) != wanted:
            raise Unreachable(f"{path} arrived short: {len(data):,} of {wanted:,} bytes", "try again")
        return data

    def write(self, path: str, data: bytes) -> None:
        name = _checked(path)

        def put(volume: modal.Volume) -> None:
            with volume.batch_upload(force=True) as batch:
                batch.put_file(io.BytesIO(data), f"/{name}")

        self._asked(path, put)

    def remove(self, path: str) -> None:
        name = _checked(path)
        self._asked(path, lambda v: v.remove_file(name, recursive=True))

    def rename(self, path: str, to: str) -> None:
        origin, target = _checked(path), _checked(to)
        self._asked(path, lambda v: v.copy_files([origin], target, recursive=True))
        self._asked(path, lambda v: v.remove_file(origin, recursive=True))


def _checked(path: str) -> str:
    """A path inside the volume, without leading slash. Raises FileNotFoundError for one that leaves it."""
    parts = [p for p in path.split("/") if p not in ("", ".")]
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise FileNotFoundError(errno.ENOENT, "is no path of a volume", path)
    return "/".join(parts)


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as reply:
        data: bytes = reply.read()
        return data
