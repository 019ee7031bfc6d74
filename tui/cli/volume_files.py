"""`volume get`, `put`, `rm` and `mv`: files brought, sent, deleted and moved."""

import argparse
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from runner.errors import NanochatError, UsageError
from runner.exit_codes import Exit
from runner.fleet.registry import DownloadRequest
from runner.system.given_path import given_path
from runner.text import filenames, units
from runner.transfer import corpus, download, upload
from runner.transfer.download import TransferProgress
from runner.volumes import deletion, run_records
from runner.volumes.base import Entry
from runner.volumes.best import best_of
from runner.volumes.checkpoint_verdicts import Verdict
from tui.cli.runs import say_kept
from tui.cli.volume_path import VolumePath, is_folder, runs_on, volume_path, walk
from tui.presentation import console
from tui.presentation.phrases import kept_text, transfer_text

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet

# So many files that did not come are named.
MOST_TOLD = 20


def _get(fleet: "Fleet", args: argparse.Namespace) -> int:
    place, folder = volume_path(fleet, args, args.path), given_path(args.to)
    named = _of_step(fleet, place, args.step) if args.step is not None else {place.path: _called(fleet, place)}
    found = [item for path, called in named.items() for item in download.list_files(place.volume, path, called)]
    items = list({item.target: item for item in found}.values())
    wanted = [
        DownloadRequest(place.backend, place.location, path, str(folder), called, args.force)
        for path, called in named.items()
    ]
    for request in wanted:
        fleet.registry.begin_download(request)
    line = console.StatusLine()

    def told(progress: TransferProgress) -> None:
        line.put(transfer_text(progress))

    bringing = download.Download(place.volume, items, folder, told=told, overwrite=args.force)
    try:
        with _interrupting(bringing.stop):
            whole = bringing.run() is download.End.WHOLE
    except UsageError:
        _end(fleet, wanted)
        raise
    except NanochatError:
        line.clear()
        _say_warnings(bringing.warnings)
        raise
    finally:
        line.clear()
    if whole:
        _end(fleet, wanted)
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


def _end(fleet: "Fleet", wanted: list[DownloadRequest]) -> None:
    for request in wanted:
        fleet.registry.end_download(request)


def _of_step(fleet: "Fleet", place: VolumePath, words: str) -> dict[str, str]:
    """The files of the checkpoints of one step below a path, of each kind of them, with what each is called at home.

    `words` is the step, or `best` or `last`, which are of those that are complete.
    """
    runs = fleet.registry.all()
    run = next((r for r in runs if r.volume == place.location and f"{place.path}/".startswith(f"{r.path}/")), None)
    if run is None:
        raise UsageError("--step is about checkpoints of a run", "name one, as RUN: or RUN:base_checkpoints")
    saved = fleet.checkpoints(run)
    found = [c for c in saved if f"{c.path}/".startswith(f"{place.path}/")]
    whole = [c for c in found if c.verdict is Verdict.COMPLETE]
    by_kind = {kind: [c for c in whole if c.kind is kind] for kind in {c.kind for c in whole}}
    if words == "best":
        chosen = [c for of in by_kind.values() for c in of if c.step == next(iter(best_of(of)), None)]
    elif words == "last":
        chosen = [max(of, key=lambda c: c.step) for of in by_kind.values()]
    else:
        # As people write it, as it is shown, as the names of its files have it.
        chosen = [c for c in found if words in (str(c.step), f"{c.step:,}", f"{c.step:06d}")]
    if not chosen:
        which = f"of step {words[:20]!r}" if words not in ("best", "last") else "that is complete"
        steps = ", ".join(f"{step:,}" for step in sorted({c.step for c in found}))
        elsewhere = ", ".join(sorted({f"{run.tag}:{c.path.removeprefix(f'{run.path}/')}" for c in saved}))
        hint = f"there are {steps}" if steps else f"they are in {elsewhere}" if elsewhere else "none was saved"
        raise UsageError(f"{run.tag} has no checkpoint {which}{' there' if elsewhere and not found else ''}", hint)
    for one in chosen:
        if one.verdict is not Verdict.COMPLETE:
            console.message(f"nanochat-tui: {one.kind} step {one.step:,} is not complete: {one.reason}")
    tags = {r.path: r.tag for r in runs}
    return {path: download.home_name(path, tags) for c in chosen for path in c.paths}


def _called(fleet: "Fleet", place: VolumePath) -> str:
    """What a folder is called at home: a run's folder by its tag, a folder of its checkpoints by its place in there."""
    name = download.home_name(place.path, {r.path: r.tag for r in fleet.registry.all()})
    return name if "/" not in name or is_folder(place) else ""


def _put(fleet: "Fleet", args: argparse.Namespace) -> int:
    origin = given_path(args.file)
    place = volume_path(fleet, args, args.to, whole=True)
    if corpus.is_corpus(place.path) and fleet.backend(place.backend).make_volume(place.location):
        # Text may come before the first run.
        console.message(f"made the volume {place.location}")
    inside = args.to.endswith(("/", ":")) or not place.path or is_folder(place)
    target = f"{place.path}/{origin.name}".lstrip("/") if inside else place.path
    target = corpus.target_of(origin, target)
    sendings, left_out = upload.plan_upload(origin, target)
    own_text = corpus.is_corpus(target)
    if own_text:
        engine = run_records.engine_of(place.volume) or args.engine or "nanochat"
        for said in corpus.check(place.volume, sendings, engine, whole=origin.is_dir(), anyway=args.anyway):
            console.message(f"nanochat-tui: {said}")
    line, started, stop = console.StatusLine(), time.monotonic(), threading.Event()

    def told(progress: TransferProgress) -> None:
        progress.per_s = progress.bytes_done / max(0.5, time.monotonic() - started)
        line.put(transfer_text(progress))

    try:
        with _interrupting(stop.set):
            left, there = (sendings, []) if args.force else upload.unsent(place.volume, sendings, stopped=stop.is_set)
            if there:
                more = f" and {len(there) - 1:,} more" if len(there) > 1 else ""
                raise UsageError(
                    f"{filenames.path_for_terminal(there[0])}{more} is there already", "--force replaces it"
                )
            wanted = deletion.plan_deletion([s.path for s in left], [], runs_on(fleet, place))
            _refuse(wanted, args.force, "writes there")
            upload.upload(place.volume, left, told=told, stopped=stop.is_set, over=args.force)
            if own_text and origin.is_dir():
                corpus.mark(place.volume, len(sendings))
    except upload.UploadStopped as error:
        line.clear()
        console.message(f"nanochat-tui: {error}")
        return Exit.INTERRUPTED
    finally:
        line.clear()
    size = sum(s.bytes for s in sendings)
    if already := len(sendings) - len(left):
        console.message(f"nanochat-tui: already on the volume, unchanged: {units.pluralize(already, 'file')}")
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


def _rm(fleet: "Fleet", args: argparse.Namespace) -> int:
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
        contents += [e for batch in walk(place) for e in batch] if entry.is_dir else [entry]
    wanted = deletion.plan_deletion([p.path for p in places], contents, runs_on(fleet, first))
    _refuse(wanted, args.force, "deletes it")
    for note in wanted.notes:
        console.message(f"nanochat-tui: {note}")
    if not args.yes:
        if not sys.stdin.isatty():
            raise UsageError("volume rm deletes files", "say --yes to do it without being asked")
        what = f"{units.pluralize(wanted.files, 'file')}, {units.size(wanted.bytes)}"
        named = ", ".join(filenames.path_for_terminal(p) for p in wanted.paths[:4]) + (
            ", …" if len(wanted.paths) > 4 else ""
        )
        days = 0 if args.now else fleet.kept_days(first.backend)
        if not console.confirm(f"delete {named}: {what} ({kept_text(days)})?"):
            console.message("nothing was deleted")
            return Exit.OK
    kept = fleet.remove_files(first.backend, first.location, wanted.paths, now=args.now)
    if args.json:
        console.as_json(
            {"files": wanted.files, "bytes": wanted.bytes, "paths": [filenames.path_for_json(p) for p in wanted.paths]}
        )
    else:
        console.write(f"deleted {units.pluralize(wanted.files, 'file')}, {units.size(wanted.bytes)}")
    if kept:
        say_kept(fleet, [kept.paths[0] if len(kept.paths) == 1 else kept.id])
    return Exit.OK


def _mv(fleet: "Fleet", args: argparse.Namespace) -> int:
    origin, target = (volume_path(fleet, args, path, whole=True) for path in (args.path, args.to))
    if (origin.backend, origin.location) != (target.backend, target.location):
        raise UsageError("these are on two volumes", "volume get, then volume put")
    to = target.path
    if args.to.endswith(("/", ":")) or not to or is_folder(target):
        to = f"{to}/{origin.path.rpartition('/')[2]}".lstrip("/")
    entry = origin.volume.stat(origin.path)
    inside = [e for batch in walk(origin) for e in batch] if entry.is_dir else [entry]
    if to == origin.path or to.startswith(f"{origin.path}/"):
        raise UsageError(f"{filenames.path_for_terminal(origin.path)} cannot go into itself", "name another place")
    wanted = deletion.plan_deletion([origin.path], inside, runs_on(fleet, origin))
    _refuse(wanted, args.force, "moves it")
    if not args.force and upload.exists(target.volume, to):
        raise UsageError(f"{filenames.path_for_terminal(to)} is there already", "--force replaces it")
    origin.volume.rename(origin.path, to)
    if args.json:
        console.as_json({"from": filenames.path_for_json(origin.path), "to": filenames.path_for_json(to)})
    else:
        console.write(f"{filenames.path_for_terminal(origin.path)} is now {filenames.path_for_terminal(to)}")
    return Exit.OK


ACTIONS = {"get": _get, "put": _put, "rm": _rm, "mv": _mv}
