"""`ls`, `show`, `cancel` and `rm`: runs as they are, stopped, deleted."""

import argparse
import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from runner.errors import NanochatError, Unreachable, UsageError
from runner.exit_codes import Exit
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.monitoring import health, unsaved
from runner.monitoring.projection import spent_usd
from runner.text import units
from tui.cli.json_records import as_json, record, records
from tui.cli.parser import Parser
from tui.presentation import console, run_format
from tui.presentation.cells import Cell

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet

POLL_S = 0.25
CANCEL_WAIT_S = 60.0
RIGHT = frozenset({"gpus", "step", "loss", "bpb", "cost", "updated", "size", "ranks", "time"})


def options(name: str, sub: Parser) -> None:
    """Add what each of these commands takes."""
    if name == "ls":
        sub.add_argument("--backend", choices=("local", "modal"), help="only runs of this backend")
    elif name == "show":
        sub.add_argument("--diff", action="store_true", help="how its code differs from the commit that it is built on")
    elif name == "cancel":
        sub.add_argument("--no-wait", action="store_true", help="do not wait for the end")
    elif name == "rm":
        sub.add_argument("-y", "--yes", action="store_true", help="do not ask")
        sub.add_argument("--now", action="store_true", help="for good, and free its bytes: keep nothing in the trash")
        sub.add_argument("--forget", action="store_true", help="remove the record also when the volume is gone")


def _ls(fleet: "Fleet", args: argparse.Namespace) -> int:
    if args.backend == BackendName.MODAL:
        fleet.discover()
    runs = fleet.poll_until_certain([r for r in fleet.poll_all() if args.backend in (None, r.backend)])
    _say_unreachable(fleet)
    for r in runs:
        if r.live and (lost := unsaved.unsaved_text(r.status)):
            console.message(f"nanochat-tui: {r.tag}: {lost}")
    if args.json:
        # What stood in the way of a look: the rest of such a row is what was last known.
        told = records(fleet, runs)
        console.as_json([{**one, "unreachable": fleet.unreachable.get(one["id"])} for one in told])
        return Exit.OK
    like = health.silences_of(runs)
    rows = [
        (
            r.tag,
            r.id,
            r.spec.task,
            r.spec.model,
            run_format.hardware(r),
            run_format.marked(r),
            run_format.steps(r),
            run_format.loss(r),
            units.decimals(r.status.training.val_bpb if r.status else None, 4),
            units.money(spent_usd(r)),
            _sign(r, like(r), fleet.time_for(r)),
        )
        for r in runs
    ]
    head = ("tag", "id", "task", "model", "on", "state", "step", "loss", "bpb", "cost", "updated")
    optional = ("id", "on", "bpb", "task", "model", "updated", "loss", "cost")
    console.table(head, rows, right=RIGHT, plain=args.plain, optional=optional)
    return Exit.OK


def _sign(run_: Run, like: Mapping[str, float], now: float) -> str | Cell:
    """The age of the last heartbeat; of a run that is not well, how it is."""
    if not run_.live:
        return units.age(run_.last_heartbeat, now)
    word = health.health(run_, now, like).status
    if word in (health.HealthStatus.OK, health.HealthStatus.QUIET):
        return units.age(run_.last_heartbeat, now)
    return Cell(word, "warning" if word is health.HealthStatus.SLOW else "error")


def _say_unreachable(fleet: "Fleet") -> None:
    for text in sorted(set(fleet.unreachable.values())):
        console.message(f"nanochat-tui: {text}; showing what was last known")


def _show(fleet: "Fleet", args: argparse.Namespace) -> int:
    [found] = fleet.poll_until_certain([fleet.poll_run(fleet.registry.find(args.run))])
    _say_unreachable(fleet)
    if args.diff:
        return _diff(fleet, found)
    if args.json:
        detail = {"spec": found.spec, "stages": found.status.work.stages if found.status else []}
        unknown = found.status.work.unknown_lines if found.status else 0
        detail["unknown_lines"] = unknown
        detail["problems"] = found.outcome.problems if found.outcome else []
        detail["unreachable"] = fleet.unreachable.get(found.id)
        more = {"log": str(fleet.log_file(found)), "billed_usd_by_hour": fleet.billed(found)}
        console.as_json({**record(fleet, found), **detail, **more})
        return Exit.OK
    console.write(
        f"{found.tag} ({found.id}): {run_format.final_line(found) if not found.live else health.phase(found)}"
    )
    fields = as_json(found, units.money(spent_usd(found)), fleet.time_for(found))
    for name in ("task", "model", "engine", "backend", "volume", "attempts"):
        console.write(f"  {name:<9} {fields[name]!s}")
    console.write(f"  {'folder':<9} {found.volume}/{found.path}")
    if found.spec.code:
        console.write(f"  {'code':<9} {run_format.code(found.spec.code)}")
    for earlier in found.earlier_code:
        said = run_format.code(earlier.code) if earlier.code else "the pinned upstream"
        console.write(f"  {'before':<9} {said}, to attempt {earlier.until}")
    for one in found.spec.flags:
        console.write(f"  {'set':<9} {one}")
    if found.status and found.status.work.wandb_link:
        console.write(f"  {'W&B':<9} {found.status.work.wandb_link}")
    console.write(f"  {'on':<9} {run_format.hardware(found)}")
    console.write(f"  {'step':<9} {run_format.steps(found)}")
    if found.status and found.status.training.mfu is not None:
        from runner.nanochat import flops

        console.write(f"  {'MFU':<9} {flops.said(found.status.training.mfu, found.status.training.mfu_printed)}")
    if found.live and (lost := unsaved.unsaved_text(found.status)):
        console.write(f"  {'saved':<9} {lost}")
    console.write(f"  {'cost':<9} {fields['cost_usd']}")
    if billed := fleet.billed(found):
        console.write(f"  {'billed':<9} {units.money(sum(billed.values(), Decimal(0)))} for {_hours(billed)}")
    for stage in found.status.work.stages if found.status else []:
        took = stage.ended_at - stage.started_at if stage.ended_at and stage.started_at else None
        console.write(f"  {stage.name:<10}{stage.state.value:<9}{units.duration(took):>7}  {stage.note}".rstrip())
    for warning in found.status.work.warnings if found.status else []:
        console.write(f"  {'warning':<9} {warning}")
    if found.outcome and found.outcome.line and not found.outcome.problems:
        console.write(f"  {'see':<9} line {found.outcome.line:,} of its log")
    if found.outcome and found.outcome.advice:
        console.write(f"  {'do':<9} {found.outcome.advice}")
    for problem in found.outcome.problems if found.outcome else ():
        console.write(f"  line {problem.line:>8,}  {problem.text}")
    return Exit.OK


def _hours(billed: dict[str, Decimal]) -> str:
    """Which hours a bill is of; it is the app's, so runs that share an hour share its bill."""
    first, last = min(billed), max(billed)
    when = first if first == last else f"{first} to {last}"
    return f"all runs of its app in the hours {when}"


def _named(fleet: "Fleet", names: list[str]) -> list[Run]:
    """The runs behind several whole names, each once; the first that is wrong is an error before anything is done."""
    found = {r.id: r for r in (fleet.registry.find(name, whole=True) for name in names)}
    return [fleet.poll_run(r) for r in found.values()]


def _diff(fleet: "Fleet", run_: Run) -> int:
    """The difference that was recorded at launch, line by line, made harmless."""
    for line in fleet.code_diff(run_).decode("utf-8", "replace").splitlines():
        console.write(line)
    return Exit.OK


def _cancel(fleet: "Fleet", args: argparse.Namespace) -> int:
    asked, worst = [], Exit.OK
    for run_ in _named(fleet, args.run):
        try:
            asked.append(fleet.cancel(run_))
        except NanochatError as error:
            console.message(f"nanochat-tui: {error}")
            worst = max(worst, error.exit_code)
    deadline = time.monotonic() + CANCEL_WAIT_S
    while not args.no_wait and any(r.live for r in asked) and time.monotonic() < deadline:
        time.sleep(POLL_S)
        asked = [fleet.poll_run(r) for r in asked]
    if args.json:
        console.as_json(records(fleet, asked))
    else:
        for r in asked:
            console.write(f"{r.tag} is {r.state}" if r.live else run_format.final_line(r))
    unanswered = not args.no_wait and any(r.live for r in asked)
    return max(worst, Exit.FAILED) if unanswered else worst


def _rm(fleet: "Fleet", args: argparse.Namespace) -> int:
    from tui.presentation.phrases import kept_text

    deleted, kept, worst = [], list[Run](), Exit.OK
    runs = _named(fleet, args.run)
    if not args.yes and not sys.stdin.isatty():
        raise UsageError("rm deletes checkpoints", "say --yes to do it without being asked")
    for run_ in runs:
        try:
            if not args.yes:
                held = 0 if args.forget else sum(c.bytes for c in fleet.checkpoints(run_))
                days = 0 if args.now else fleet.kept_days(run_.backend)
                what = f"delete {run_.tag} ({run_.id}), {units.size(held)} of checkpoints"
                if not console.confirm(f"{what} ({kept_text(days)})?"):
                    console.message(f"{run_.tag} is kept")
                    continue
            kept += [run_] if fleet.delete(run_, forget=args.forget, now=args.now) else []
            deleted.append(run_)
        except NanochatError as error:
            hint = "; rm --forget removes the record alone" if isinstance(error, Unreachable) else ""
            console.message(f"nanochat-tui: {error}{hint}")
            worst = max(worst, error.exit_code)
    if args.json:
        console.as_json([r.id for r in deleted])
    else:
        for run_ in deleted:
            console.write(f"deleted {run_.tag} ({run_.id})")
    if kept:
        say_kept(fleet, [run_.id if len(kept) > 1 else run_.tag for run_ in kept])
    return worst


def say_kept(fleet: "Fleet", names: list[str]) -> None:
    """How what was deleted comes back, or is freed at once."""
    from tui.presentation.phrases import command_line

    days = units.pluralize(fleet.kept_days(BackendName.LOCAL), "day")
    back = command_line("restore", *names[:3])
    console.message(f"nanochat-tui: kept {days} in the trash: {back} brings it back, restore --empty frees its bytes")


COMMANDS = {"ls": _ls, "show": _show, "cancel": _cancel, "rm": _rm}
