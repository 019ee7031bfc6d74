"""`plan`, `launch` and `resume`: what a run would do and cost, and the start of it."""

import argparse
from typing import TYPE_CHECKING

from runner.exit_codes import Exit
from runner.model.overrides import Overrides, flag, override_help
from runner.model.spec import parse_money
from runner.model.stage_flags import STAGES
from tui.cli.parser import Parser, add_every
from tui.presentation import console

if TYPE_CHECKING:
    from runner.fleet.asking import AskedLaunch
    from runner.fleet.fleet import Fleet
    from runner.model.run import Run
    from runner.recipes.recipe import Recipe


def options(name: str, sub: Parser) -> None:
    """Add what each of these commands takes."""
    if name == "resume":
        sub.add_argument("--gpus", type=int, default=None, metavar="N", help="other GPUs, before there is a checkpoint")
        sub.add_argument("--budget", default=None, metavar="USD", help="a new budget, of which what is spent is a part")
        sub.add_argument("-y", "--yes", action="store_true", help="also where settings say to ask first")
        sub.add_argument("--step", type=int, default=None, metavar="N", help="go back to this checkpoint")
        sub.add_argument("--code", default=None, metavar="SOURCE", help="train other code from here on")
        sub.add_argument("--include-secrets", action="store_true", help="pack files also that look like secrets")
        sub.add_argument("--watch", action="store_true", help="follow it to its end")
        add_every(sub)
    else:
        _spec_options(sub, launch=name == "launch")


def _spec_options(sub: Parser, *, launch: bool) -> None:
    tasks = "test (10 steps, the default), speedrun (everything), or one stage: base, sft, eval, tokenizer (no GPU)"
    which = sub.add_mutually_exclusive_group()
    which.add_argument(
        "--recipe",
        default="",
        metavar="NAME",
        help="begin with a recipe, by name or file; what is typed goes before it",
    )
    which.add_argument("--file", default="", metavar="FILE", help="begin with a file, as the run.toml of a run")
    sub.add_argument("--save-recipe", default="", metavar="NAME", help="keep all that is asked for as a recipe")
    sub.add_argument("--task", default=None, metavar="TASK", help=tasks)
    sub.add_argument("--from", dest="source", metavar="RUN", help="the run to continue, or a tokenizer run")
    sub.add_argument("--step", type=int, default=None, metavar="N", help="with --from: this step, else the newest")
    sub.add_argument("--model", default=None, metavar="dN", help="d12, d26, d32 or any even depth (default d12)")
    sub.add_argument(
        "--gpus",
        type=int,
        default=None,
        metavar="N",
        help="1, 2, 4 or 8 (default as set, else 1 for test, 8 for the rest)",
    )
    sub.add_argument(
        "--gpu", default=None, metavar="KIND", help="GPU kind (default as set, else H100; H100! is never an H200)"
    )
    sub.add_argument(
        "--engine",
        default=None,
        metavar="ENGINE",
        help="rehearsal or nanochat (default: as set, else nanochat on Modal, a free rehearsal on this machine)",
    )
    sub.add_argument("--backend", default=None, metavar="BACKEND", help="local or modal (default as set, else local)")
    sub.add_argument(
        "--budget", default=None, metavar="USD", help="most dollars over all attempts; the job stops before"
    )
    sub.add_argument("--stop-if-stalled", default=None, metavar="TIME", help="end it after 20m, 1h without progress")
    if launch:
        sub.add_argument("--tag", default=None, help="name of the run (default: made up)")
        sub.add_argument("--force-restart", action="store_true", help="start anew under a tag that is taken")
        sub.add_argument("--watch", action="store_true", help="follow the run to its end")
        add_every(sub)
        sub.add_argument("-y", "--yes", action="store_true", help="launch it also where settings say to ask first")
    own = sub.add_argument_group("your own nanochat")
    own.add_argument(
        "--code",
        default=None,
        metavar="SOURCE",
        help="a folder, owner/name[@REF], an address of git[@REF], or upstream@COMMIT (default: the pinned upstream)",
    )
    own.add_argument("--include-secrets", action="store_true", help="pack files also that look like secrets")
    own.add_argument(
        "--set",
        dest="flags",
        action="append",
        default=[],
        metavar="STAGE.FLAG=VALUE",
        help=f"any flag of a stage's script, or env.NAME=VALUE; stages: {', '.join(STAGES)}",
    )
    own.add_argument(
        "--wandb", nargs="?", const="", default=None, metavar="PROJECT", help="log to Weights & Biases, as one run"
    )
    own.add_argument(
        "--secret", dest="secrets", action="append", default=[], metavar="NAME", help="a Secret of Modal, by its name"
    )
    own.add_argument(
        "--pass-env",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable of this shell that the job on this machine gets",
    )
    group = sub.add_argument_group("overrides")
    for name, (help_, switch) in override_help().items():
        if switch:
            group.add_argument(flag(name), action=argparse.BooleanOptionalAction, default=None, help=help_)
        else:
            action = "append" if name == "fault" else "store"
            group.add_argument(flag(name), action=action, default=None, metavar="X", help=help_)


def _typed(args: argparse.Namespace) -> "Recipe":
    """What was typed, as a recipe: nothing where nothing was."""
    from pathlib import Path

    from runner.model import stage_flags
    from runner.recipes.recipe import made

    code = args.code
    if code and Path(code).is_dir():
        # It is that folder from wherever it is launched again.
        code = str(Path(code).absolute())
    return made(
        task=args.task,
        model=args.model,
        gpus=args.gpus,
        gpu=args.gpu,
        engine=args.engine,
        backend=args.backend,
        budget=args.budget,
        stop_if_stalled=args.stop_if_stalled,
        source=args.source,
        step=args.step,
        code=code,
        wandb=args.wandb,
        secrets=tuple(args.secrets) or None,
        pass_env=tuple(args.pass_env) or None,
        tag=getattr(args, "tag", None),
        overrides={name: given for name in Overrides.__struct_fields__ if (given := getattr(args, name)) is not None},
        flags=stage_flags.parse(args.flags),
    )


def _asked(fleet: "Fleet", args: argparse.Namespace) -> tuple["AskedLaunch", "Recipe"]:
    """What was asked for, by a recipe and by what was typed, which goes before it; and both as one recipe."""
    from runner.fleet.asking import asked_for
    from runner.recipes import shelf
    from runner.recipes.recipe import over, trusts

    recipe = _typed(args)
    if args.save_recipe:
        shelf.check_free(args.save_recipe, fleet.home)
    notes: tuple[str, ...] = ()
    if args.recipe or args.file:
        lower, kept = shelf.find(args.recipe, fleet.home) if args.recipe else (_of_file(args.file), None)
        notes = trusts(lower) if kept is None or kept.own else ()
        recipe = over(lower, recipe)
    asked = asked_for(fleet, recipe, include_secrets=args.include_secrets)
    said = tuple(f"{args.recipe or args.file}: {note}" for note in notes)
    return asked._replace(passed_over=(*said, *asked.passed_over)), recipe


def _of_file(path: str) -> "Recipe":
    from runner.recipes import shelf
    from runner.system.given_path import given_path

    return shelf.from_file(given_path(path, field="file"))


def _save(fleet: "Fleet", recipe: "Recipe", name: str) -> None:
    """Keep a recipe under a name, if there is one."""
    if name:
        from runner.recipes import shelf
        from runner.recipes.recipe import to_repeat

        path = shelf.save(to_repeat(recipe), name, fleet.home)
        fleet.say(f"kept as {path}: nanochat-tui launch --recipe {name}")


def _plan(fleet: "Fleet", args: argparse.Namespace) -> int:
    from runner.planning import plan_text

    (spec, backend, passed_over), recipe = _asked(fleet, args)
    planned = fleet.plan(spec, backend)
    for line in passed_over:
        fleet.say(line)
    _save(fleet, recipe, args.save_recipe)
    if args.json:
        console.as_json({"spec": spec, "plan": planned})
    else:
        for line in plan_text.lines(planned):
            console.write(line)
    return Exit.OK


def _launch(fleet: "Fleet", args: argparse.Namespace) -> int:
    from runner.planning import plan_text
    from runner.planning.confirmation import ask_first

    (spec, backend, passed_over), recipe = _asked(fleet, args)
    planned = fleet.plan(spec, backend)
    heading = _Heading(fleet, plan_text.headline(spec, backend, planned))
    for line in passed_over:
        fleet.say(line)
    reason = "" if args.yes else fleet.confirmation_reason(spec, planned.usd.likely)
    ask_first(reason, heading.confirm)
    unasked = not (args.yes or reason)
    _save(fleet, recipe, args.save_recipe)
    tag = recipe.tag or ""
    launched = fleet.launch(spec, backend=backend, tag=tag, force_restart=args.force_restart, unasked=unasked)
    heading.show()
    return _started(fleet, launched, args, "launched")


class _Heading:
    """The first line of a launch, before whatever else is said of it; a launch that is refused says only why."""

    def __init__(self, fleet: "Fleet", line: str) -> None:
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


def _resume(fleet: "Fleet", args: argparse.Namespace) -> int:
    from runner.planning.confirmation import ask_first
    from runner.volumes.checkpoint_verdicts import newest_complete
    from tui.cli import logs

    run_ = fleet.poll_run(fleet.registry.find(args.run))
    newest = newest_complete(fleet.checkpoints(run_))
    begins = args.step if args.step is not None else newest.step if newest else None
    earlier = logs.log_of(fleet, run_)
    budget = parse_money(args.budget) if args.budget is not None else None
    reason = "" if args.yes else fleet.confirmation_reason_for_resume(run_, budget)
    ask_first(reason, console.confirm)
    unasked = not (args.yes or reason)
    code = fleet.code(args.code, include_secrets=args.include_secrets) if args.code is not None else None
    resumed = fleet.resume(run_, gpus=args.gpus, budget=budget, step=args.step, code=code, unasked=unasked)
    where = f"from step {begins:,}" if begins is not None else "from the beginning"
    return _started(fleet, resumed, args, f"attempt {resumed.attempt}, {where}, of", skip=len(earlier))


def _started(fleet: "Fleet", run_: "Run", args: argparse.Namespace, verb: str, *, skip: int = 0) -> int:
    if args.watch or args.every is not None:
        from tui.cli import watch

        console.message(f"{verb} {run_.tag} ({run_.id}); Ctrl-C leaves it running")
        return watch.follow_to_end(fleet, run_, args, skip=skip)
    if args.json:
        from tui.cli.json_records import record

        console.as_json(record(fleet, run_))
    else:
        console.write(f"{verb} {run_.tag} ({run_.id}); nanochat-tui watch {run_.tag}")
    return Exit.OK


COMMANDS = {"plan": _plan, "launch": _launch, "resume": _resume}
