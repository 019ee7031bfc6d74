"""The trash of a folder that is a volume: what is deleted stays there for days, and one rename brings it back."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from stat import S_ISDIR
from typing import Any

import msgspec
from msgspec import Struct

from runner.errors import NanochatError, UsageError
from runner.model import stored
from runner.system import atomic, read_only
from runner.system.client_log import LOG
from runner.system.placing import move_into
from runner.volumes.base import CHANGE, TRASH, Volume
from runner.volumes.deletion import in_order, outermost
from runner.volumes.folder import FolderVolume

RECORD, KEPT = "what.json", "kept"
# What is being taken out for good; a kill leaves it for the next sweep.
GOING = ".going"
RECORD_BYTES = 16 << 20
DAY_S = 86_400.0
# What nobody finished: its maker is long dead.
UNFINISHED_S = 3600.0
# So long is kept what has lost its record.
UNKNOWN_DAYS = 7
FOR_GOOD = "--now deletes it for good"


class Trashed(Struct, frozen=True):
    """What went at once: its paths on the volume, when (epoch seconds) and until when it is kept, the run, if one."""

    id: str
    paths: tuple[str, ...]
    deleted_at: float
    until: float
    files: int = 0
    bytes: int = 0
    # The record of a run that was deleted as a whole, as this machine had it.
    run: Any = None
    # Where the volume is: known to who reads it.
    location: str = ""

    @property
    def tag(self) -> str:
        """What the run was called; empty for files."""
        return str(self.run.get("tag", "")) if isinstance(self.run, dict) else ""

    def is_called(self, name: str) -> bool:
        """Whether a person means it by a name: its id, a path of it, the tag or id of its run."""
        run = self.run if isinstance(self.run, dict) else {}
        return name in (self.id, *self.paths, run.get("tag"), run.get("id"))


class TrashUsage(Struct, frozen=True):
    """How much is in the trash, and when the last of it goes."""

    bytes: int = 0
    files: int = 0
    until: float = 0.0


def put(
    volume: Volume, paths: Iterable[str], now: float, days: int, *, run: Any = None, weight: tuple[int, int] = (0, 0)
) -> Trashed | None:
    """Move what is there of these paths into the trash; None where nothing was. `weight` is files and bytes, as known.

    Raises UsageError for what it cannot take: then nothing has gone, or what has gone is in the trash.
    """
    read_only.refuse(CHANGE)
    folder = _folder_of(volume)
    there = [path for path in in_order(outermost(paths)) if os.path.lexists(folder.straight(path))]
    if not there:
        return None
    trash = _made(folder)
    _same_disk(folder, trash, there)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    entry = Trashed(f"{stamp}-{os.urandom(3).hex()}", tuple(there), now, now + days * DAY_S, *weight, run)
    place = trash / entry.id
    moved = 0
    try:
        place.mkdir()
        # First what and from where: a kill then leaves each thing in its place, or here.
        atomic.write(place / RECORD, msgspec.json.encode(entry))
        for path in there:
            target = place / KEPT / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                folder.straight(path).rename(target)
                moved += 1
    except OSError as error:
        if not moved:
            with contextlib.suppress(NanochatError):
                _remove(place)
        why = error.strerror or str(error)
        raise UsageError(f"the trash of {volume.location} cannot take it ({why})", FOR_GOOD) from error
    return msgspec.structs.replace(entry, location=volume.location)


def entries(volume: Volume) -> list[Trashed]:
    """What can be brought back, the newest first; of each the paths that are still there."""
    found = []
    for place in _places(volume):
        entry = _read(place)
        if entry and (there := tuple(path for path in entry.paths if _kept(place, path) is not None)):
            found.append(msgspec.structs.replace(entry, paths=there, location=volume.location))
    return sorted(found, key=lambda e: (-e.deleted_at, e.id))


def restore(volume: Volume, entry: Trashed) -> None:
    """Bring all of it back to where it was. Raises UsageError where something is in its place by now."""
    read_only.refuse(CHANGE)
    folder = _folder_of(volume)
    place = Path(os.path.realpath(volume.location)) / TRASH / entry.id
    ways = []
    # A checkpoint's meta file comes last: what is half brought back is incomplete, never wrong.
    for path in reversed(in_order(entry.paths)):
        origin, target = _kept(place, path), folder.straight(path)
        if origin is None:
            raise UsageError(f"{path} is in the trash no more", "nanochat-tui restore lists what is")
        if os.path.lexists(target) and not _is_same(origin, target):
            raise UsageError(f"{path} is there already", "move it away first")
        ways.append((origin, target))
    for origin, target in ways:
        target.parent.mkdir(parents=True, exist_ok=True)
        if _is_same(origin, target):
            # A kill came between its new name and the end of the old one.
            origin.unlink()
        elif S_ISDIR(origin.lstat().st_mode):
            origin.rename(target)
        else:
            move_into(origin, target, over=False)
    _remove(place)


def sweep(volume: Volume, now: float) -> int:
    """Take out for good whatever was kept long enough, and what a kill left half done; how many went."""
    count = 0
    # Who only looks leaves it to others.
    for place in () if read_only.is_set() else _places(volume, going=True):
        # What cannot be taken out now is tried again, and holds up nothing else.
        with contextlib.suppress(OSError, NanochatError):
            if place.name.endswith(GOING) or _is_due(place, now):
                _remove(place)
                count += 1
    return count


def empty(volume: Volume) -> TrashUsage:
    """Take out everything for good; how much that was."""
    read_only.refuse(CHANGE)
    held = usage(volume)
    for place in _places(volume, going=True):
        _remove(place)
    return held


def usage(volume: Volume, stop: Callable[[], bool] = lambda: False) -> TrashUsage:
    """How much the trash holds, counted file by file."""
    size = files = 0
    until = 0.0
    for place in _places(volume, going=True):
        entry = _read(place)
        until = max(until, entry.until if entry else 0.0)
        for top, _, names in os.walk(place / KEPT):
            if stop():
                break
            for name in names:
                with contextlib.suppress(OSError):
                    size, files = size + Path(top, name).lstat().st_size, files + 1
    return TrashUsage(size, files, until)


def has_trash(volume: Volume) -> bool:
    """Whether what is deleted there could be kept: on a folder of this machine."""
    return isinstance(volume, FolderVolume)


def _folder_of(volume: Volume) -> FolderVolume:
    if not isinstance(volume, FolderVolume):
        raise UsageError(f"{volume.location} has no trash", FOR_GOOD)
    return volume


def _places(volume: Volume, *, going: bool = False) -> Iterator[Path]:
    """The folders of the trash, one for each time that something was deleted."""
    trash = Path(os.path.realpath(volume.location)) / TRASH
    if not isinstance(volume, FolderVolume) or trash.is_symlink():
        return
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for place in sorted(trash.iterdir()):
            if (going or not place.name.endswith(GOING)) and not place.is_symlink() and place.is_dir():
                yield place


def _made(volume: FolderVolume) -> Path:
    """The trash, made where there is none. Raises UsageError for a link or a file in its place."""
    trash = Path(os.path.realpath(volume.location)) / TRASH
    try:
        trash.mkdir(exist_ok=True)
        if trash.is_symlink():
            raise FileExistsError
    except FileExistsError as error:
        raise UsageError(f"{trash} is no folder of ours", FOR_GOOD) from error
    except OSError as error:
        raise UsageError(f"{trash} cannot be made ({error.strerror or error})", FOR_GOOD) from error
    return trash


def _same_disk(volume: FolderVolume, trash: Path, paths: Sequence[str]) -> None:
    """A trash takes what one rename brings there. Raises UsageError."""
    device = trash.stat().st_dev
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if volume.straight(path).lstat().st_dev != device:
                raise UsageError(f"{path} is on another disk than the trash of its volume", FOR_GOOD)


def _read(place: Path) -> Trashed | None:
    """A record of the trash; None for what is damaged or of somebody else."""
    try:
        with (place / RECORD).open("rb") as file:
            entry = msgspec.json.decode(file.read(RECORD_BYTES), type=Trashed)
    except (OSError, *stored.UNREADABLE):
        return None
    return entry if entry.id == place.name else None


def _kept(place: Path, path: str) -> Path | None:
    """Where something lies in the trash; None where it does not, or where a link leads elsewhere."""
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts or "\0" in path:
        return None
    full = place.joinpath(KEPT, *parts)
    straight = os.path.realpath(full.parent) == str(Path(os.path.realpath(place)).joinpath(KEPT, *parts[:-1]))
    return full if straight and os.path.lexists(full) else None


def _is_same(origin: Path, target: Path) -> bool:
    """Whether one file has both names."""
    try:
        return os.path.samestat(origin.lstat(), target.lstat())
    except FileNotFoundError:
        return False


def _is_due(place: Path, now: float) -> bool:
    entry = _read(place)
    if entry is None:
        # Nobody can say until when: as long as it is kept by itself, from when it was last touched.
        days = UNKNOWN_DAYS if (place / KEPT).exists() else 0
        return now - place.stat().st_mtime > days * DAY_S + UNFINISHED_S
    if any(_kept(place, path) is not None for path in entry.paths):
        return now > entry.until
    return now - entry.deleted_at > UNFINISHED_S


def _remove(place: Path) -> None:
    """Take a folder of the trash out for good; renamed first, as half of it must not be brought back."""
    try:
        going = place if place.name.endswith(GOING) else place.with_name(f"{place.name}{GOING}")
        place.rename(going)
        shutil.rmtree(going)
    except FileNotFoundError:
        return
    except OSError as error:
        LOG.warning("%s could not be taken out of the trash: %s", place, error)
        raise NanochatError(f"{place} could not be deleted", error.strerror or str(error)) from error
