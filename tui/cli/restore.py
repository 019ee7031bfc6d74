"""`restore`: what was deleted from volumes of this machine, listed, brought back, or gone for good."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError
from runner.exit_codes import Exit
from runner.text import filenames, units
from runner.volumes import trash
from runner.volumes.trash import Trashed
from tui.cli.parser import Parser
from tui.presentation import console
from tui.presentation.phrases import trashed_name

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet


def options(name: str, sub: Parser) -> None:
    """Add what the command takes."""
    sub.add_argument("what", nargs="*", metavar="RUN|PATH", help="run, path on the volume, or id of the list")
    sub.add_argument("--empty", action="store_true", help="delete all that is kept for good, after asking")
    sub.add_argument("-y", "--yes", action="store_true", help="with --empty: do not ask")


def restore(fleet: "Fleet", args: argparse.Namespace) -> int:
    """`nanochat-tui restore [RUN|PATH …]`, `restore --empty`."""
    if args.empty and args.what:
        raise UsageError("--empty is for all of it", "name nothing with it")
    kept = fleet.trash()
    if args.empty:
        return _empty(fleet, args, kept)
    if not args.what:
        return _list(fleet, args, kept)
    wanted = list(dict.fromkeys(_meant(kept, name).id for name in args.what))
    # As they are listed, the last that was deleted first: a folder before what had gone out of it.
    back = [entry for entry in kept if entry.id in wanted]
    for entry in back:
        run = fleet.restore(entry)
        if not args.json:
            console.write(f"{run.tag if run else trashed_name(entry)} is back")
    if args.json:
        console.as_json([_record(entry) for entry in back])
    return Exit.OK


def _meant(kept: list[Trashed], name: str) -> Trashed:
    """The one that a person names. Raises UsageError for none, or where several are called so."""
    found = [entry for entry in kept if entry.is_called(name)] or [e for e in kept if e.is_called(name.strip("/"))]
    said = filenames.path_for_terminal(name[:60])
    if not found:
        raise UsageError(f"no {said} in the trash", "nanochat-tui restore lists what is there")
    if len(found) > 1:
        raise UsageError(f"{said} was deleted {len(found)} times", f"name one of {', '.join(e.id for e in found[:4])}")
    return found[0]


def _record(entry: Trashed) -> dict[str, Any]:
    return {
        "id": entry.id,
        "run": entry.tag or None,
        "paths": [filenames.path_for_json(path) for path in entry.paths],
        "volume": entry.location,
        "files": entry.files,
        "bytes": entry.bytes,
        "deleted_at": entry.deleted_at,
        "until": entry.until,
    }


def _list(fleet: "Fleet", args: argparse.Namespace, kept: list[Trashed]) -> int:
    if args.json:
        console.as_json([_record(entry) for entry in kept])
        return Exit.OK
    now = fleet.clock()
    rows = [
        (
            trashed_name(entry),
            units.size(entry.bytes) if entry.bytes else units.UNKNOWN,
            f"{units.age(entry.deleted_at, now)} ago",
            f"in {units.age(now, entry.until)}",
            entry.id,
            filenames.path_for_terminal(entry.location),
        )
        for entry in kept
    ]
    head = ("what", "size", "deleted", "goes for good", "id", "volume")
    console.table(head, rows, right=frozenset({"size"}), plain=args.plain, optional=("volume", "id"))
    if not kept:
        console.message("nothing was deleted that is kept")
    return Exit.OK


def _empty(fleet: "Fleet", args: argparse.Namespace, kept: list[Trashed]) -> int:
    folders = fleet.local_folders()
    volumes = [fleet.backend("local").volume(folder) for folder in folders]
    held = sum(trash.usage(volume).bytes for volume in volumes)
    if kept and not args.yes:
        if not sys.stdin.isatty():
            raise UsageError("--empty deletes for good", "say --yes to do it without being asked")
        if not console.confirm(f"delete what was deleted {len(kept)} times, {units.size(held)}, for good?"):
            console.message("nothing was deleted")
            return Exit.OK
    freed = sum(trash.empty(volume).bytes for volume in volumes)
    if args.json:
        console.as_json({"bytes": freed, "entries": len(kept)})
    else:
        console.write(f"{units.size(freed)} freed")
    return Exit.OK


COMMANDS = {"restore": restore}
