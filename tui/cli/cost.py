"""`cost` and `compare`: what runs have cost and will cost, and several runs side by side."""

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import UsageError
from runner.exit_codes import Exit
from runner.metrics.compare import UPSTREAM, as_csv, as_svg, differences, final_numbers, thinned_note
from runner.metrics.series import CurvesReader
from runner.model.run import Run
from runner.monitoring.ledger import per_hour, spending
from runner.monitoring.projection import is_free, project, spent_usd
from runner.nanochat import layout
from runner.system.new_files import new_file, whole_files
from runner.text import units
from runner.text.filenames import path_for_json
from tui.cli.parser import Parser
from tui.presentation import code_words, console, run_format
from tui.presentation.cells import Cell

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet


def options(name: str, sub: Parser) -> None:
    """Add what each of these commands takes."""
    if name == "compare":
        sub.add_argument("--csv", metavar="FILE", help="write every point of their curves to a new file")
        sub.add_argument("--svg", metavar="FILE", help="write their loss and val bpb as a picture")
        sub.add_argument(
            "--code", action="store_true", help="which files of their code differ from those of the first run"
        )
        sub.add_argument("--diff", action="store_true", help="only how the code of the last differs from the first's")


def cost(fleet: "Fleet", args: argparse.Namespace) -> int:
    """Spent, projected and estimated, by run, day, month and model."""
    runs, now = [r for r in fleet.poll_all() if not is_free(r)], time.time()
    found = spending(runs, fleet.deleted_accounts, now)
    if args.json:
        console.as_json(
            {
                "total_usd": found.total,
                "usd_per_hour_now": per_hour(runs),
                "days": found.days,
                "months": found.months,
                "models": found.models,
                "deleted": [{"id": a.id, "tag": a.tag, "model": a.model, "spent_usd": a.usd} for a in found.deleted],
                "runs": [_figures(fleet, run, now) for run in runs],
            }
        )
        return Exit.OK
    if not runs and not found.deleted:
        console.message("No run has cost anything yet.")
        return Exit.OK
    rows = []
    for run in runs:
        likely = project(run, now)
        estimate = units.money_range(run.estimate.usd) if run.estimate else units.UNKNOWN
        ends = units.money(likely.usd.likely) if likely else units.UNKNOWN
        rows.append((run.tag, run_format.state(run), run.spec.model, estimate, ends, units.money(spent_usd(run, now))))
    head = ("run", "state", "model", "estimated", "likely", "spent")
    right = frozenset({"estimated", "likely", "spent"})
    if rows:
        console.table(head, rows, right=right, plain=args.plain, optional=("estimated", "model", "likely"))
    gone = {units.pluralize(len(found.deleted), "run"): found.deleted_usd} if found.deleted else {}
    everything = (("deleted", gone), ("day", found.days), ("month", found.months), ("model", found.models))
    for name, sums in (*everything, ("all", {"": found.total})):
        for what, usd in list(sums.items())[:12]:
            console.write(f"{name:<7} {what:<11} {units.money(usd):>10}")
    return Exit.OK


def _figures(fleet: "Fleet", run: Run, now: float) -> dict[str, object]:
    likely = project(run, now)
    billed = None if run.live else fleet.billed(run)
    return {
        "id": run.id,
        "tag": run.tag,
        "state": run.state.value,
        "model": run.spec.model,
        "spent_usd": spent_usd(run, now),
        "estimated_usd": run.estimate.usd if run.estimate else None,
        "projected_usd": likely.usd if likely else None,
        "billed_usd_by_hour": billed,
        "budget_usd": run.spec.budget_usd,
        "prices": {"source": run.prices.source, "date": run.prices.date},
    }


def compare(fleet: "Fleet", args: argparse.Namespace) -> int:
    """Final numbers and the settings that differ; `--csv` and `--svg` write the curves to files."""
    found = {r.id: r for r in (fleet.registry.find(name) for name in args.run)}
    runs = [fleet.poll_run(r) for r in found.values()]
    if len(runs) < 2:
        raise UsageError("one run alone", "name two runs or more")
    if args.diff:
        return _diff(fleet, runs[0], runs[-1])
    csv, svg = (new_file(path) if path is not None else None for path in (args.csv, args.svg))
    if csv and csv == svg:
        raise UsageError(f"{csv} cannot be both", "name two files")
    now = time.time()
    rows, differ = final_numbers(runs, now), differences(runs)
    known = []
    for run in runs if csv or svg else ():
        fleet.pull_log(run)
        read = CurvesReader(fleet.log_file(run).with_name(layout.EVENTS_FILE))
        while read.read():
            pass
        known.append(read.curves())
    if csv:
        _write(csv, as_csv(runs, known))
    if svg:
        _write(svg, [as_svg(runs, known)])
    for line in thinned_note(runs, known) if known else ():
        console.message(f"nanochat-tui: {line}")
    differing = [(run, fleet.code_difference(runs[0], run)[0]) for run in runs[1:]] if args.code else []
    if args.json:
        tags = [r.tag for r in runs]
        console.as_json(
            {
                "runs": tags,
                "final": {row.name: dict(zip(tags, row.values, strict=True)) for row in rows},
                "settings": {row.name: dict(zip(tags, row.values, strict=True)) for row in differ},
                **({"code": {run.tag: _files(runs[0], run, files) for run, files in differing}} if args.code else {}),
            }
        )
        return Exit.OK
    lines: list[Sequence[str | Cell]] = [
        (
            row.label,
            *(
                Cell(run_format.said(v, row.digits), "success" if n in row.best else "")
                for n, v in enumerate(row.values)
            ),
        )
        for row in [*rows, *differ]
    ]
    head = ("", *(r.tag for r in runs))
    console.table(head, lines, right=frozenset(r.tag for r in runs), plain=args.plain)
    for run, files in differing:
        for said in code_words.lines(runs[0], run, files, most=len(files)):
            console.write(said)
    return Exit.OK


def _files(old: Run, new: Run, files: code_words.Files) -> dict[str, str] | None:
    """What became of each file; null where one of them trains the pinned upstream."""
    return None if code_words.upstream_of([old, new]) else {path_for_json(name): change for name, change in files}


def _diff(fleet: "Fleet", old: Run, new: Run) -> int:
    """The difference of two runs' code, line by line, made harmless."""
    if upstream := code_words.upstream_of([old, new]):
        raise UsageError(
            f"{' and '.join(upstream)} train{'s' * (len(upstream) == 1)} {UPSTREAM}", "show RUN --diff has the rest"
        )
    for line in fleet.code_difference(old, new)[1].splitlines():
        console.write(line)
    return Exit.OK


def _write(path: Path, pieces: Iterable[str]) -> None:
    with whole_files([path]) as (new,):
        new.file.writelines(piece.encode() for piece in pieces)


COMMANDS = {"cost": cost, "compare": compare}
