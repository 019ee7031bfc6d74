"""The volume from the command line: ls, tree, du, cat, get, put, rm, mv, over the same pieces as the Volume screen."""

import argparse
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from runner.errors import Exit, NanochatError, NoSuchRun, UsageError
from runner.fleet.fleet import Fleet
from runner.fleet.registry import DownloadRequest
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.system.given_path import given_path
from runner.text import filenames, units
from runner.transfer import download, upload
from runner.transfer.download import Progress
from runner.volumes import deletion, directory_cache, disk_usage
from runner.volumes.base import BLOCK, Entry, Volume
from tui.presentation import console
from tui.presentation.phrases import transfer_text

# So many files that did not come are named.
MOST_TOLD = 20


class VolumePath(NamedTuple):
    """A place on a volume, as a person named it."""

    backend: str
    location: str
    volume: Volume
    path: str


def run(fleet: Fleet, args: argparse.Namespace) -> int:
    """Dispatch one subcommand of `volume`."""
    try:
        return COMMANDS[args.action](fleet, args)
    except BrokenPipeError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        name = filenames.path_for_terminal(Path(str(error.filename)).name)
        raise UsageError(f"{name}: {error.strerror}", "nanochat-tui volume ls shows what is there") from error
    except OSError as error:
        name = filenames.path_for_terminal(str(error.filename or ""))
        raise NanochatError(
            f"{name}: {error.strerror or error}", "see that it may be done, and that there is room"
        ) from error


def volume_path(fleet: Fleet, args: argparse.Namespace, text: str, *, whole: bool = False) -> VolumePath:
    """`PATH` on the volume that was chosen, or `RUN:PATH` in the folder of a run, wherever that is.

    What changes a volume takes the `whole` name of a run.
    """
    name, colon, inside = text.partition(":")
    if colon and "/" not in name:
        try:
            found = fleet.registry.find(name, whole=whole)
        except NoSuchRun:
            pass
        else:
            path = _plain(f"{found.path}/{inside}")
            return VolumePath(found.backend, found.volume, fleet.volume_of(found), path)
    engine = args.engine or ("nanochat" if args.backend == BackendName.MODAL else "rehearsal")
    location = fleet.volume_location(args.backend, engine)
    return VolumePath(args.backend, location, fleet.backend(args.backend).volume(location), _plain(text))


def _plain(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _record(entry: Entry) -> dict[str, Any]:
    return {
        "path": filenames.path_for_json(entry.path),
        "folder": entry.is_dir,
        "bytes": entry.bytes,
        "changed_at": entry.mtime,
    }


def _ls(fleet: Fleet, args: argparse.Namespace) -> int:
    place = volume_path(fleet, args, args.path)
    try:
        found = place.volume.list(place.path)
    except NotADirectoryError:
        found = [place.volume.stat(place.path)]
    entries = directory_cache.ordered(found, args.sort)
    if args.json:
        console.as_json([_record(e) for e in entries])
        return Exit.OK
    now = fleet.clock()
    tags = {r.path: r.tag for r in fleet.registry.all()}
    rows = [
        (
            filenames.path_for_terminal(e.name) + ("/" if e.is_dir else ""),
            units.UNKNOWN if e.is_dir else units.size(e.bytes),
            units.age(e.mtime, now) if e.mtime else units.UNKNOWN,
            tags.get(e.path, ""),
        )
        for e in entries
    ]
    right, first_to_go = frozenset({"size", "changed"}), ("run", "changed")
    console.table(("name", "size", "changed", "run"), rows, right=right, plain=args.plain, optional=first_to_go)
    return Exit.OK


def _walk(place: VolumePath, left_out: list[str] | None = None) -> Iterator[list[Entry]]:
    """A deep listing, with its progress on a terminal."""
    count = 0
    line = console.StatusLine()
    try:
        for batch in place.volume.scan(place.path, deep=True, left_out=left_out):
            count += len(batch)
            line.put(f"{count:,} entries")
            yield batch
    finally:
        line.clear()


def _tree(fleet: Fleet, args: argparse.Namespace) -> int:
    place = volume_path(fleet, args, args.path)
    left_out: list[str] = []
    entries = sorted((e for batch in _walk(place, left_out) for e in batch), key=lambda e: e.path.split("/"))
    _say_left_out(left_out)
    above = place.path.count("/") + 1 if place.path else 0
    if args.depth is not None and args.depth < 1:
        raise UsageError(f"--depth {args.depth}", "give 1 or more")
    kept = [e for e in entries if args.depth is None or e.path.count("/") - above < args.depth]
    if args.json:
        console.as_json([_record(e) for e in kept])
        return Exit.OK
    console.write(filenames.path_for_terminal(place.path) or place.location)
    for entry in kept:
        indent = "  " * (entry.path.count("/") - above + 1)
        size = "/" if entry.is_dir else f"  {units.size(entry.bytes)}"
        console.write(f"{indent}{filenames.path_for_terminal(entry.name)}{size}")
    return Exit.OK


def _say_left_out(folders: list[str]) -> None:
    for path in folders:
        console.message(f"nanochat-tui: {filenames.path_for_terminal(path)} may not be read, and is left out")


def _du(fleet: Fleet, args: argparse.Namespace) -> int:
    place = volume_path(fleet, args, args.path)
    found, left_out = disk_usage.DiskUsage(place.path), list[str]()
    for batch in _walk(place, left_out):
        found.add(batch)
    _say_left_out(left_out)
    whole = found.folders[place.path]
    runs = _runs_on(fleet, place)
    could_go = disk_usage.suggestions(found, runs)
    own = found.own(place.path)
    folders = found.children(place.path)
    if args.json:
        console.as_json(
            {
                "path": filenames.path_for_json(place.path),
                "bytes": whole.bytes,
                "files": whole.files,
                "usd_per_month": disk_usage.per_month(whole.bytes),
                "folders": [
                    {"path": filenames.path_for_json(t.path), "bytes": t.bytes, "files": t.files} for t in folders
                ],
                "could_go": [{"what": a.what, "why": a.why, "bytes": a.bytes} for a in could_go],
            }
        )
        return Exit.OK
    tags = {r.path: r.tag for r in runs}
    rows = [
        (
            units.size(t.bytes),
            f"{t.files:,}",
            filenames.path_for_terminal(t.path.rpartition("/")[2]) + "/",
            tags.get(t.path, ""),
        )
        for t in folders
    ]
    rows += [(units.size(own.bytes), f"{own.files:,}", "(files here)", "")] if own.files else []
    rows.append(
        (units.size(whole.bytes), f"{whole.files:,}", filenames.path_for_terminal(place.path) or place.location, "")
    )
    console.table(("size", "files", "name", "run"), rows, right=frozenset({"size", "files"}), plain=args.plain)
    if place.backend == BackendName.MODAL:
        price = units.money(disk_usage.per_month(whole.bytes))
        console.message(f"{price} a month, but for the first {units.size(disk_usage.free_tier())} of a workspace")
    for one in could_go:
        console.message(f"could go: {units.size(one.bytes)} {one.what}: {one.why}")
    return Exit.OK


def _runs_on(fleet: Fleet, place: VolumePath) -> list[Run]:
    return fleet.runs_on_volume(place.backend, place.location)


def _cat(fleet: Fleet, args: argparse.Namespace) -> int:
    place = volume_path(fleet, args, args.path)
    entry = place.volume.stat(place.path)
    if entry.is_dir:
        raise UsageError(f"{filenames.path_for_terminal(place.path)} is a folder", "name a file")
    if sys.stdout.isatty():
        data = place.volume.read(place.path)
        if b"\0" in data:
            raise UsageError(
                f"{filenames.path_for_terminal(entry.name)} is not text", "volume get brings it home, | less shows it"
            )
        for line in data.decode("utf-8", "replace").splitlines():
            console.write(line)
        return Exit.OK
    source = place.volume.open(entry)
    try:
        for number in range(-(-entry.bytes // BLOCK)):
            sys.stdout.buffer.write(source.block(number))
    finally:
        source.close()
    return Exit.OK


def _get(fleet: Fleet, args: argparse.Namespace) -> int:
    place = volume_path(fleet, args, args.path)
    called, folder = _called(fleet, place), given_path(args.to)
    items = download.list_files(place.volume, place.path, called)
    wanted = DownloadRequest(place.backend, place.location, place.path, str(folder), called, args.force)
    fleet.registry.begin_download(wanted)
    line = console.StatusLine()

    def told(progress: Progress) -> None:
        line.put(transfer_text(progress))

    bringing = download.Download(place.volume, items, folder, told=told, overwrite=args.force)
    try:
        with _interrupting(bringing.stop):
            whole = bringing.run() is download.End.WHOLE
    except UsageError:
        fleet.registry.end_download(wanted)
        raise
    except NanochatError:
        line.clear()
        _say_warnings(bringing.warnings)
        raise
    finally:
        line.clear()
    if whole:
        fleet.registry.end_download(wanted)
    progress = bringing.progress
    if not whole:
        console.message(f"stopped at {units.size(progress.bytes_done)}; the same command goes on from there")
        return Exit.INTERRUPTED
    renamed = [i for i in items if i.entry.name != i.target.rpartition("/")[2]]
    targets = sorted({item.target.partition("/")[0] for item in items})
    if args.json:
        console.as_json(
            {
                "files": progress.files,
                "bytes": progress.bytes,
                "read": progress.bytes_read,
                "to": [str(folder / t) for t in targets],
                "renamed": [{"path": filenames.path_for_json(i.entry.path), "to": i.target} for i in renamed],
                "warnings": bringing.warnings,
            }
        )
        return Exit.FAILED if bringing.warnings else Exit.OK
    for item in renamed:
        console.message(f"{filenames.path_for_terminal(item.entry.path)} is here as {item.target}")
    _say_warnings(bringing.warnings)
    where_to = ", ".join(str(folder / t) for t in targets) or str(folder)
    state = ", not all of it as it is there" if bringing.warnings else ""
    console.write(f"{units.size(progress.bytes)} in {units.pluralize(progress.files, 'file')}{state}: {where_to}")
    return Exit.FAILED if bringing.warnings else Exit.OK


def _say_warnings(warnings: list[str]) -> None:
    for warning in warnings[:MOST_TOLD]:
        console.message(f"nanochat-tui: {warning}")
    if len(warnings) > MOST_TOLD:
        console.message(f"nanochat-tui: and {len(warnings) - MOST_TOLD:,} more")


def _called(fleet: Fleet, place: VolumePath) -> str:
    """What a folder is called at home: a run's folder by its tag."""
    return next((r.tag for r in fleet.registry.all() if place.path == r.path), "")


def _put(fleet: Fleet, args: argparse.Namespace) -> int:
    origin = given_path(args.file)
    place = volume_path(fleet, args, args.to, whole=True)
    inside = args.to.endswith(("/", ":")) or not place.path or _is_folder(place)
    target = f"{place.path}/{origin.name}".lstrip("/") if inside else place.path
    sendings, left_out = upload.plan_upload(origin, target)
    there = upload.conflicts(place.volume, sendings)
    if there and not args.force:
        more = f" and {len(there) - 1:,} more" if len(there) > 1 else ""
        raise UsageError(f"{filenames.path_for_terminal(there[0])}{more} is there already", "--force replaces it")
    _refuse(deletion.plan_deletion([s.path for s in sendings], [], _runs_on(fleet, place)), args.force, "writes there")
    line, started, stop = console.StatusLine(), time.monotonic(), threading.Event()

    def told(progress: Progress) -> None:
        progress.per_s = progress.bytes_done / max(0.5, time.monotonic() - started)
        line.put(transfer_text(progress))

    try:
        with _interrupting(stop.set):
            upload.upload(place.volume, sendings, told=told, stopped=stop.is_set, over=args.force)
    except upload.UploadStopped as error:
        line.clear()
        console.message(f"nanochat-tui: {error}")
        return Exit.INTERRUPTED
    finally:
        line.clear()
    size = sum(s.bytes for s in sendings)
    for path in left_out:
        console.message(f"nanochat-tui: left out {filenames.path_for_terminal(str(path))}: a link or no regular file")
    if args.json:
        console.as_json(
            {"files": len(sendings), "bytes": size, "to": filenames.path_for_json(target), "left_out": len(left_out)}
        )
    else:
        sent = f"{units.size(size)} in {units.pluralize(len(sendings), 'file')}"
        console.write(f"{sent}: {place.location}/{filenames.path_for_terminal(target)}")
    return Exit.OK


@contextlib.contextmanager
def _interrupting(stop: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C inside means: stop soon, and leave nothing half done."""
    before = signal.signal(signal.SIGINT, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _refuse(wanted: deletion.Removal, force: bool, does: str) -> None:
    """Raises UsageError for what a live run uses, unless forced."""
    if wanted.blockers and not force:
        raise UsageError("; ".join(wanted.blockers), f"--force {does} all the same")


def _is_folder(place: VolumePath) -> bool:
    try:
        return place.volume.stat(place.path).is_dir
    except FileNotFoundError:
        return False


def _rm(fleet: Fleet, args: argparse.Namespace) -> int:
    places = [volume_path(fleet, args, path, whole=True) for path in args.path]
    if len({(p.backend, p.location) for p in places}) > 1:
        raise UsageError("these are on several volumes", "delete them one after the other")
    first = places[0]
    contents: list[Entry] = []
    for place in places:
        if not place.path:
            raise UsageError("that is the volume itself", "name what is in it")
        entry = place.volume.stat(place.path)
        if entry.is_dir and not args.recursive:
            raise UsageError(
                f"{filenames.path_for_terminal(place.path)} is a folder", "-r deletes it with all that is in it"
            )
        contents += [e for batch in _walk(place) for e in batch] if entry.is_dir else [entry]
    wanted = deletion.plan_deletion([p.path for p in places], contents, _runs_on(fleet, first))
    _refuse(wanted, args.force, "deletes it")
    for note in wanted.notes:
        console.message(f"nanochat-tui: {note}")
    if not args.yes:
        if not sys.stdin.isatty():
            raise UsageError("volume rm deletes for good", "say --yes to do it without being asked")
        what = f"{units.pluralize(wanted.files, 'file')}, {units.size(wanted.bytes)}"
        named = ", ".join(filenames.path_for_terminal(p) for p in wanted.paths[:4]) + (
            ", …" if len(wanted.paths) > 4 else ""
        )
        if not console.confirm(f"delete {named}: {what}, for good?"):
            console.message("nothing was deleted")
            return Exit.OK
    deletion.remove(first.volume, wanted.paths)
    if args.json:
        console.as_json(
            {"files": wanted.files, "bytes": wanted.bytes, "paths": [filenames.path_for_json(p) for p in wanted.paths]}
        )
    else:
        console.write(f"deleted {units.pluralize(wanted.files, 'file')}, {units.size(wanted.bytes)}")
    return Exit.OK


def _mv(fleet: Fleet, args: argparse.Namespace) -> int:
    origin, target = (volume_path(fleet, args, path, whole=True) for path in (args.path, args.to))
    if (origin.backend, origin.location) != (target.backend, target.location):
        raise UsageError("these are on two volumes", "volume get, then volume put")
    to = target.path
    if args.to.endswith(("/", ":")) or not to or _is_folder(target):
        to = f"{to}/{origin.path.rpartition('/')[2]}".lstrip("/")
    entry = origin.volume.stat(origin.path)
    inside = [e for batch in _walk(origin) for e in batch] if entry.is_dir else [entry]
    if to == origin.path or to.startswith(f"{origin.path}/"):
        raise UsageError(f"{filenames.path_for_terminal(origin.path)} cannot go into itself", "name another place")
    wanted = deletion.plan_deletion([origin.path], inside, _runs_on(fleet, origin))
    _refuse(wanted, args.force, "moves it")
    if not args.force and upload.exists(target.volume, to):
        raise UsageError(f"{filenames.path_for_terminal(to)} is there already", "--force replaces it")
    origin.volume.rename(origin.path, to)
    if args.json:
        console.as_json({"from": filenames.path_for_json(origin.path), "to": filenames.path_for_json(to)})
    else:
        console.write(f"{filenames.path_for_terminal(origin.path)} is now {filenames.path_for_terminal(to)}")
    return Exit.OK


COMMANDS: dict[str, Callable[[Fleet, argparse.Namespace], int]] = {
    "ls": _ls,
    "tree": _tree,
    "du": _du,
    "cat": _cat,
    "get": _get,
    "put": _put,
    "rm": _rm,
    "mv": _mv,
}
