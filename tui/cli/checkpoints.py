"""Checkpoints from the command line: what each is good for, and which may go."""

import argparse
import sys
from typing import TYPE_CHECKING

from runner.errors import Unreachable, UsageError
from runner.exit_codes import Exit
from runner.model.run import Run, needed_steps
from runner.text import units
from runner.volumes.best import prunable, stands_out
from runner.volumes.checkpoint_verdicts import Checkpoint, Verdict
from tui.cli.parser import Parser
from tui.cli.runs import say_kept
from tui.presentation import console, run_format
from tui.presentation.cells import Cell
from tui.presentation.phrases import kept_text

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet

RIGHT = frozenset({"step", "val bpb", "size", "ranks"})


def options(name: str, sub: Parser) -> None:
    """Add what the command takes."""
    sub.add_argument("--prune", action="store_true", help="delete all but the best and the last, after asking")
    sub.add_argument("-y", "--yes", action="store_true", help="with --prune: do not ask")
    sub.add_argument("--now", action="store_true", help="with --prune: for good, keep nothing in the trash")


def checkpoints(fleet: "Fleet", args: argparse.Namespace) -> int:
    """What was saved, by run, and what each is good for; `--prune` deletes what nobody needs."""
    runs = [fleet.registry.find(args.run, whole=args.prune)] if args.run else fleet.registry.all()
    found: list[tuple[Run, Checkpoint]] = []
    worst = Exit.OK
    for run_ in runs:
        try:
            found += [(run_, c) for c in fleet.checkpoints(run_)]
        except Unreachable as error:
            console.message(f"nanochat-tui: {error}")
            worst = Exit.UNREACHABLE
    if args.prune:
        return max(worst, _prune(fleet, args, found))
    if args.json:
        if found or worst is Exit.OK:
            console.as_json([c for _, c in found])
        return worst
    if not found and worst is not Exit.OK:
        return worst
    best = {r.id: stands_out(c for of, c in found if of is r) for r in runs}
    rows = [
        (
            r.tag,
            c.kind,
            f"{c.step:,}",
            f"{run_format.measured(c)} {run_format.BEST if (c.kind, c.step) in best[r.id] else ' '}",
            units.size(c.bytes),
            str(c.ranks),
            Cell(c.verdict, "success" if c.verdict is Verdict.COMPLETE else "error"),
            c.reason,
        )
        for r, c in found
    ]
    head = ("run", "kind", "step", "val bpb", "size", "ranks", "verdict", "reason")
    console.table(head, rows, right=RIGHT, plain=args.plain, optional=("ranks", "size", "val bpb", "kind"))
    return worst


def _prune(fleet: "Fleet", args: argparse.Namespace, found: list[tuple[Run, Checkpoint]]) -> int:
    """Delete what is neither the best nor the last of its run and kind."""
    runs = {r.id: r for r, _ in found}
    all_ = [r for place in {(r.backend, r.volume) for r in runs.values()} for r in fleet.runs_on_volume(*place)]
    gone = [
        (r, c) for r in runs.values() for c in prunable([c for of, c in found if of.id == r.id], needed_steps(r, all_))
    ]
    freed = sum(c.bytes for _, c in gone)
    for run_, one in gone:
        console.message(f"{run_.tag} {one.kind} step {one.step:,}: {units.size(one.bytes)}, {one.reason}")
    if gone and not args.yes:
        if not sys.stdin.isatty():
            raise UsageError("--prune deletes checkpoints", "say --yes to do it without being asked")
        days = 0 if args.now else min(fleet.kept_days(r.backend) for r, _ in gone)
        what = f"{units.pluralize(len(gone), 'checkpoint')}, {units.size(freed)}"
        if not console.confirm(f"delete {what} ({kept_text(days)})?"):
            console.message("nothing was deleted")
            return Exit.OK
    kept = []
    for run_ in runs.values():
        fleet.volume_of(run_)
        if paths := [path for of, one in gone if of.id == run_.id for path in one.paths]:
            kept.append(fleet.remove_files(run_.backend, run_.volume, paths, now=args.now))
    if args.json:
        console.as_json({"deleted": [c for _, c in gone], "bytes": freed})
    else:
        said = f"deleted {units.pluralize(len(gone), 'checkpoint')}, {units.size(freed)}"
        console.write(said if gone else "only best and last are there")
    if names := [one.id for one in kept if one]:
        say_kept(fleet, names)
    return Exit.OK


COMMANDS = {"checkpoints": checkpoints}
