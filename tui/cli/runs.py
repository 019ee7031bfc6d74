"""What each subcommand does, over the same Fleet as the app."""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from runner import settings
from runner.errors import Exit, NanochatError, Unreachable, UsageError
from runner.fleet.fleet import Fleet
from runner.fleet.places import BACKENDS
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.model.spec import Overrides, RunSpec, closest_name, parse_money
from runner.monitoring import health, unsaved
from runner.monitoring.projection import spent_usd
from runner.nanochat import flops
from runner.paths import data_dir, readable_data_dir
from runner.planning import plan_text
from runner.planning.confirmation import ask_first
from runner.system import waiting
from runner.text import units
from runner.volumes.checkpoints import newest_complete
from tui.cli.json_records import as_json
from tui.presentation import console, run_format
from tui.presentation.cells import Cell

POLL_S = 0.25
CANCEL_WAIT_S = 60.0
# What works also where the data folder takes nothing: to see what is running, and to end it.
STILL = frozenset({"ls", "show", "logs", "watch", "cancel", "cost"})
RIGHT = frozenset({"gpus", "step", "loss", "bpb", "cost", "seen", "size", "ranks", "time"})


def dispatch(args: argparse.Namespace) -> int:
    """Dispatch one subcommand."""
    console.prepare(plain=args.plain)
    if args.command == "doctor" and args.bundle is not None:
        from tui.cli import report

        # It works also where what it reports on does not.
        with readable_data_dir() as (folder, _):
            return report.bundle(folder, args)
    looks_only = args.command in ("plan", "doctor") or (args.command == "settings" and not args.name)
    urgent = args.command in STILL
    with (
        readable_data_dir() if looks_only else contextlib.nullcontext((data_dir(to_write=not urgent), None)) as (
            folder,
            problem,
        )
    ):
        if problem and args.command != "doctor":
            console.message(f"nanochat-tui: {problem}; nothing that was kept there is known")
        fleet = Fleet(folder, volume=args.volume, say=_say, or_copy=urgent)
        with contextlib.closing(fleet), waiting.reporting(_say):
            args.home_problem = problem
            return COMMANDS[args.command](fleet, args)


def _say(text: str) -> None:
    console.message(f"nanochat-tui: {text}")


def _spec(fleet: Fleet, args: argparse.Namespace) -> tuple[RunSpec, str]:
    """What was asked for, and the backend it is for."""
    source = fleet.registry.find(args.source) if args.source else None
    backend = args.backend or (source.backend if source else BackendName.LOCAL)
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}", closest_name(backend, BACKENDS), field="backend")
    if source and backend != source.backend:
        raise UsageError(f"{source.tag} is on {source.backend}", "leave --backend out", field="backend")
    given = {name: value for name in Overrides.__struct_fields__ if (value := getattr(args, name)) is not None}
    spec = RunSpec.create(
        task=args.task,
        model=args.model,
        backend=backend,
        engine=args.engine,
        gpus=args.gpus,
        gpu=args.gpu,
        budget=args.budget,
        stop_if_stalled=args.stop_if_stalled,
        overrides=given,
        source=source.spec if source else None,
        source_id=source.id if source else "",
        source_step=args.step,
    )
    return spec, backend


def _plan(fleet: Fleet, args: argparse.Namespace) -> int:
    spec, backend = _spec(fleet, args)
    planned = fleet.plan(spec, backend)
    if args.json:
        console.as_json({"spec": spec, "plan": planned})
    else:
        for line in plan_text.lines(planned):
            console.write(line)
    return Exit.OK


def _launch(fleet: Fleet, args: argparse.Namespace) -> int:
    spec, backend = _spec(fleet, args)
    planned = fleet.plan(spec, backend)
    heading = _Heading(fleet, plan_text.headline(spec, backend, planned))
    if not args.yes:
        ask_first(fleet.confirmation_reason(spec, planned.usd.likely), heading.confirm)
    launched = fleet.launch(spec, backend=backend, tag=args.tag, force_restart=args.force_restart)
    heading.show()
    return _started(fleet, launched, args, "launched")


class _Heading:
    """The first line of a launch, before whatever else is said of it; a launch that is refused says only why."""

    def __init__(self, fleet: Fleet, line: str) -> None:
        self._line, self._say = line, fleet.say
        fleet.say = self._told

    def show(self) -> None:
        line, self._line = self._line, ""
        if line:
            console.message(line)

    def confirm(self, question: str) -> bool:
        self.show()
        return console.confirm(question)

    def _told(self, text: str) -> None:
        self.show()
        self._say(text)


def _resume(fleet: Fleet, args: argparse.Namespace) -> int:
    from tui.cli import logs

    run_ = fleet.poll_run(fleet.registry.find(args.run))
    newest = newest_complete(fleet.checkpoints(run_))
    begins = args.step if args.step is not None else newest.step if newest else None
    earlier = logs.log_of(fleet, run_)
    budget = parse_money(args.budget) if args.budget is not None else None
    if not args.yes:
        ask_first(fleet.confirmation_reason_for_resume(run_, budget), console.confirm)
    resumed = fleet.resume(run_, gpus=args.gpus, budget=budget, step=args.step)
    where = f"from step {begins:,}" if begins is not None else "from the beginning"
    return _started(fleet, resumed, args, f"attempt {resumed.attempt}, {where}, of", skip=len(earlier))


def _started(fleet: Fleet, run_: Run, args: argparse.Namespace, verb: str, *, skip: int = 0) -> int:
    if args.watch:
        from tui.cli import watch

        console.message(f"{verb} {run_.tag} ({run_.id}); Ctrl-C leaves it running")
        return watch.follow_to_end(fleet, run_, args, skip=skip)
    if args.json:
        console.as_json(_record(fleet, run_))
    else:
        console.write(f"{verb} {run_.tag} ({run_.id}); nanochat-tui watch {run_.tag}")
    return Exit.OK


def _record(fleet: Fleet, run_: Run) -> dict[str, Any]:
    return as_json(run_, spent_usd(run_), fleet.time_for(run_))


def _ls(fleet: Fleet, args: argparse.Namespace) -> int:
    if args.backend == BackendName.MODAL:
        fleet.discover()
    runs = fleet.poll_until_certain([r for r in fleet.poll_all() if args.backend in (None, r.backend)])
    _say_unreachable(fleet)
    for r in runs:
        if r.live and (lost := unsaved.unsaved_text(r.status)):
            console.message(f"nanochat-tui: {r.tag}: {lost}")
    if args.json:
        # What stood in the way of a look: the rest of such a row is what was last known.
        console.as_json([{**_record(fleet, r), "unreachable": fleet.unreachable.get(r.id)} for r in runs])
        return Exit.OK
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
            _sign(r, runs, fleet.time_for(r)),
        )
        for r in runs
    ]
    head = ("tag", "id", "task", "model", "on", "state", "step", "loss", "bpb", "cost", "seen")
    console.table(
        head, rows, right=RIGHT, plain=args.plain, optional=("id", "on", "bpb", "task", "model", "seen", "loss", "cost")
    )
    return Exit.OK


def _sign(run_: Run, runs: list[Run], now: float) -> str | Cell:
    """The age of the last sign of life; of a run that is not well, how it is."""
    if not run_.live:
        return units.age(run_.last_sign_of_life, now)
    word = health.health(run_, now, health.silences(run_, runs)).status
    if word in (health.HealthStatus.OK, health.HealthStatus.QUIET):
        return units.age(run_.last_sign_of_life, now)
    return Cell(word, "warning" if word is health.HealthStatus.SLOW else "error")


def _say_unreachable(fleet: Fleet) -> None:
    for text in sorted(set(fleet.unreachable.values())):
        console.message(f"nanochat-tui: {text}; showing what was last known")


def _show(fleet: Fleet, args: argparse.Namespace) -> int:
    [found] = fleet.poll_until_certain([fleet.poll_run(fleet.registry.find(args.run))])
    _say_unreachable(fleet)
    if args.json:
        detail = {"spec": found.spec, "stages": found.status.work.stages if found.status else []}
        unknown = found.status.work.unknown_lines if found.status else 0
        detail["unknown_lines"] = unknown
        detail["problems"] = found.outcome.problems if found.outcome else []
        detail["unreachable"] = fleet.unreachable.get(found.id)
        more = {"log": str(fleet.log_file(found)), "billed_usd_by_hour": fleet.billed(found)}
        console.as_json({**_record(fleet, found), **detail, **more})
        return Exit.OK
    console.write(
        f"{found.tag} ({found.id}): {run_format.final_line(found) if not found.live else health.phase(found)}"
    )
    fields = as_json(found, units.money(spent_usd(found)), fleet.time_for(found))
    for name in ("task", "model", "engine", "backend", "volume", "attempts"):
        console.write(f"  {name:<9} {fields[name]!s}")
    console.write(f"  {'folder':<9} {found.volume}/{found.path}")
    console.write(f"  {'on':<9} {run_format.hardware(found)}")
    console.write(f"  {'step':<9} {run_format.steps(found)}")
    if found.status and found.status.training.mfu is not None:
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


def _named(fleet: Fleet, names: list[str]) -> list[Run]:
    """The runs behind several whole names, each once; the first that is wrong is an error before anything is done."""
    found = {r.id: r for r in (fleet.registry.find(name, whole=True) for name in names)}
    return [fleet.poll_run(r) for r in found.values()]


def _cancel(fleet: Fleet, args: argparse.Namespace) -> int:
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
        console.as_json([_record(fleet, r) for r in asked])
    else:
        for r in asked:
            console.write(f"{r.tag} is {r.state}" if r.live else run_format.final_line(r))
    unanswered = not args.no_wait and any(r.live for r in asked)
    return max(worst, Exit.FAILED) if unanswered else worst


def _rm(fleet: Fleet, args: argparse.Namespace) -> int:
    deleted, worst = [], Exit.OK
    runs = _named(fleet, args.run)
    if not args.yes and not sys.stdin.isatty():
        raise UsageError("rm deletes checkpoints", "say --yes to do it without being asked")
    for run_ in runs:
        try:
            if not args.yes:
                held = 0 if args.forget else sum(c.bytes for c in fleet.checkpoints(run_))
                if not console.confirm(f"delete {run_.tag} ({run_.id}), {units.size(held)} of checkpoints, for good?"):
                    console.message(f"{run_.tag} is kept")
                    continue
            fleet.delete(run_, forget=args.forget)
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
    return worst


def _logs(fleet: Fleet, args: argparse.Namespace) -> int:
    from tui.cli import logs

    return logs.logs(fleet, args)


def _watch(fleet: Fleet, args: argparse.Namespace) -> int:
    from tui.cli import watch

    return watch.watch(fleet, args)


def _checkpoints(fleet: Fleet, args: argparse.Namespace) -> int:
    from tui.cli import checkpoints

    return checkpoints.checkpoints(fleet, args)


def _doctor(fleet: Fleet, args: argparse.Namespace) -> int:
    from tui.cli import doctor

    return doctor.doctor(fleet, args)


def _settings(fleet: Fleet, args: argparse.Namespace) -> int:
    if args.name and args.value is None:
        raise UsageError(f"no value for {args.name[:40]!r}", "give one, or `default`")
    if args.name:
        fleet.put_setting(args.name, args.value)
    settings.check(fleet.home)
    if args.json:
        console.as_json(settings.setting_text(fleet.settings))
        return Exit.OK
    rows = [
        (name, settings.typed(value), settings.MEANING[name])
        for name, value in settings.setting_text(fleet.settings).items()
    ]
    console.table(("setting", "value", "meaning"), rows, right=frozenset(), plain=args.plain)
    return Exit.OK


def _money(fleet: Fleet, args: argparse.Namespace) -> int:
    from tui.cli import cost

    return cost.cost(fleet, args) if args.command == "cost" else cost.compare(fleet, args)


def _volume(fleet: Fleet, args: argparse.Namespace) -> int:
    from tui.cli import volume

    return volume.run(fleet, args)


COMMANDS: dict[str, Callable[[Fleet, argparse.Namespace], int]] = {
    "plan": _plan,
    "launch": _launch,
    "ls": _ls,
    "show": _show,
    "logs": _logs,
    "watch": _watch,
    "cancel": _cancel,
    "resume": _resume,
    "rm": _rm,
    "checkpoints": _checkpoints,
    "doctor": _doctor,
    "settings": _settings,
    "cost": _money,
    "compare": _money,
    "volume": _volume,
}
