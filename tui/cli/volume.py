"""The volume from the command line: ls, tree, du, cat, get, put, rm, mv, over the same pieces as the Volume screen."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import NanochatError, UsageError
from runner.exit_codes import Exit
from runner.fleet.places import BACKENDS
from runner.model.backend_name import BackendName
from runner.model.spec import ENGINES
from runner.text import filenames, units
from runner.volumes import directory_cache, disk_usage, trash
from runner.volumes.base import BLOCK, Entry
from runner.volumes.trash import TrashUsage
from tui.cli import volume_files
from tui.cli.parser import Parser, common
from tui.cli.volume_path import runs_on, say_left_out, volume_path, walk
from tui.presentation import console
from tui.presentation.phrases import trash_text

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet


def options(name: str, volume: Parser) -> None:
    """Add the actions on a volume, and what each takes."""
    volume.epilog = "PATH is relative to the volume; RUN:PATH is in the folder of a run, wherever it is"
    actions, shared = volume.add_subparsers(dest="action", metavar="ACTION", required=True), [common()]

    def add(name: str, help_: str, *, path: str | None = "?") -> Parser:
        sub = actions.add_parser(name, parents=shared, help=help_, description=help_, allow_abbrev=False)
        sub.add_argument("--backend", choices=BACKENDS, help="whose volume (default as set, else local)")
        sub.add_argument("--engine", choices=ENGINES, help="the volume of this engine (default as set)")
        if path is not None:
            sub.add_argument("path", metavar="PATH", nargs=path or None, default="")
        return sub

    sort = ("name", "size", "time")
    add("ls", "what is in a folder").add_argument("--sort", choices=sort, default="name", help="name, size or time")
    add("tree", "a folder with all that is below it").add_argument("--depth", type=int, metavar="N", help="so deep")
    add("du", "disk usage by folder, and what can be deleted")
    add("cat", "a file, on standard output", path="")
    get = add("get", "download a file, a folder or a whole run (RUN:); resumes where it was interrupted", path="")
    get.add_argument("to", metavar="FOLDER", nargs="?", default=".", help="into this folder (default: here)")
    get.add_argument("--step", metavar="N", help="of the checkpoints of a run, this one alone: its step, best or last")
    put = add("put", "upload a file or folder to the volume", path=None)
    put.add_argument("file", metavar="FILE")
    put.add_argument("to", metavar="PATH", nargs="?", default="")
    put.add_argument("--anyway", action="store_true", help="send text to train on although it does not look right")
    rm = add("rm", "delete files and folders, after saying what depends on them", path="+")
    rm.add_argument("-r", "--recursive", action="store_true", help="folders, too")
    rm.add_argument("-y", "--yes", action="store_true", help="do not ask")
    rm.add_argument("--now", action="store_true", help="for good, and free their bytes: keep nothing in the trash")
    mv = add("mv", "give a file or folder another place on the volume", path="")
    mv.add_argument("to", metavar="TO")
    for sub, what in (
        (get, "replace files that are here"),
        (put, "replace files that are there"),
        (rm, "also what a live run uses"),
        (mv, "also what a live run uses, and over what is there"),
    ):
        sub.add_argument("-f", "--force", action="store_true", help=what)


def run(fleet: "Fleet", args: argparse.Namespace) -> int:
    """Dispatch one subcommand of `volume`."""
    try:
        return ACTIONS[args.action](fleet, args)
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


def _record(entry: Entry) -> dict[str, Any]:
    return {
        "path": filenames.path_for_json(entry.path),
        "folder": entry.is_dir,
        "bytes": entry.bytes,
        "changed_at": entry.mtime,
    }


def _ls(fleet: "Fleet", args: argparse.Namespace) -> int:
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


def _tree(fleet: "Fleet", args: argparse.Namespace) -> int:
    place = volume_path(fleet, args, args.path)
    left_out: list[str] = []
    entries = sorted((e for batch in walk(place, left_out) for e in batch), key=lambda e: e.path.split("/"))
    say_left_out(left_out)
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


def _du(fleet: "Fleet", args: argparse.Namespace) -> int:
    place = volume_path(fleet, args, args.path)
    found, left_out = disk_usage.DiskUsage(place.path), list[str]()
    for batch in walk(place, left_out):
        found.add(batch)
    say_left_out(left_out)
    whole = found.folders[place.path]
    runs = runs_on(fleet, place)
    could_go = disk_usage.suggestions(found, runs)
    held = trash.usage(place.volume) if not place.path else TrashUsage()
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
                "trash": {"bytes": held.bytes, "files": held.files, "until": held.until if held.files else None},
                "could_go": [{"what": a.what, "why": a.why, "bytes": a.bytes, "again": a.again} for a in could_go],
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
    if said := trash_text(held, fleet.clock()):
        console.message(f"{said}; nanochat-tui restore --empty frees it now")
    for one in could_go:
        console.message(f"could go: {units.size(one.bytes)} {one.what}: {one.why}")
    return Exit.OK


def _cat(fleet: "Fleet", args: argparse.Namespace) -> int:
    place = volume_path(fleet, args, args.path)
    entry = place.volume.stat(place.path)
    if entry.is_dir:
        raise UsageError(f"{filenames.path_for_terminal(place.path)} is a folder", "name a file")
    if sys.stdout.isatty():
        data = place.volume.read(place.path)
        if b"\0" in data:
            raise UsageError(
                f"{filenames.path_for_terminal(entry.name)} is not text", "volume get downloads it, | less shows it"
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


ACTIONS: dict[str, Callable[["Fleet", argparse.Namespace], int]] = {
    "ls": _ls,
    "tree": _tree,
    "du": _du,
    "cat": _cat,
    **volume_files.ACTIONS,
}
COMMANDS = {"volume": run}
