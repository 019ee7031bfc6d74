"""`find`: one search over everything, as the app's prompt does it."""

import argparse
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError
from runner.exit_codes import Exit
from runner.finding.hits import KEPT, Group, Hit, Kind, Results
from runner.finding.names import Named
from runner.text import filenames
from tui.cli.commands import COMMANDS as ALL
from tui.cli.parser import Parser
from tui.presentation import console
from tui.presentation.found import TITLES, when, where

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet

MOST = 10


def options(name: str, sub: Parser) -> None:
    """Add what the command takes."""
    sub.add_argument(
        "text", metavar="TEXT", help="letters of a name, exact text of a log; ~regex, level:error: logs alone"
    )
    sub.add_argument("-n", "--most", type=int, default=MOST, metavar="N", help=f"so many of a kind (default {MOST})")
    sub.add_argument("--kind", choices=[str(kind) for kind in Kind], help="only hits of this kind")


def find(fleet: "Fleet", args: argparse.Namespace) -> int:
    """`nanochat-tui find TEXT`."""
    from runner.fleet.finding import Finder

    if not args.text.strip():
        raise UsageError("nothing to look for", "give a text")
    if not 0 < args.most <= KEPT:
        raise UsageError(f"--most {args.most}", f"give 1 to {KEPT}")
    results, line = Results(args.most), console.StatusLine()
    commands = [Named(name, name, command.help) for name, command in ALL.items()]
    try:
        for batch in Finder(fleet, commands, only=Kind(args.kind) if args.kind else None).search(args.text):
            results.add(batch)
            line.put(results.progress)
    finally:
        line.clear()
    for problem in results.problems:
        console.message(f"nanochat-tui: {problem}")
    groups = results.groups({})
    if args.json:
        console.as_json({group.kind: _group(group) for group in groups})
    else:
        for group in groups:
            _print(group, fleet.clock())
    if not groups:
        console.message(f"nothing has {args.text!r}")
    return Exit.OK if groups else Exit.FAILED


def _group(group: Group) -> dict[str, Any]:
    return {"hits": [_record(hit) for hit in group.hits], "more": group.more}


def _record(hit: Hit) -> dict[str, Any]:
    """A hit as programs read it: the names are a promise."""
    found = {"text": hit.name if hit.kind is not Kind.FILE else filenames.path_for_json(hit.name)}
    return {
        **found,
        "about": hit.about or None,
        "run": hit.run or None,
        "tag": hit.tag or None,
        "volume": hit.location or None,
        "path": filenames.path_for_json(hit.path) if hit.path else None,
        "bytes": hit.bytes,
        "step": hit.step,
        "line": hit.line + 1 if hit.line is not None else None,
        "at": hit.at,
    }


def _print(group: Group, now: float) -> None:
    """The hits of a kind, a line each."""
    more = f", the first {len(group.hits)}" if group.more else ""
    console.write(f"{TITLES[group.kind]}: {len(group.hits) + group.more:,}{more}")
    for hit in group.hits:
        place, what = where(hit)
        words = [place, what, when(hit, now)]
        console.write(f"  {'  '.join(word for word in words if word)}")
    if group.more:
        console.write(f"  … {group.more:,} more")


COMMANDS = {"find": find}
