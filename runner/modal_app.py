"""The Modal side: images, functions, and the entry point of `modal run -m runner.modal_app`.

`app` trains for money; `rehearsal` goes the same way on small CPU containers with a slim image.
"""

import shlex
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import modal

from runner.backends.modal import keys, names
from runner.backends.modal.names import APPS, LIVE_DICT, MOUNT, TAG
from runner.errors import NanochatError, UsageError
from runner.model import pricing, stage_flags
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.model.spec import usual_engine
from runner.model.stages import Part
from runner.nanochat.command_lines import COMMIT, REPOSITORY
from runner.planning import budget, legs, plan_text
from runner.planning.confirmation import ask_first, forget_typed_ahead
from runner.planning.legs import PREPARE_TIMEOUT_S, TRAIN_TIMEOUT_S
from runner.planning.usual import OFF
from runner.text.sanitize import sanitize_line

NANOCHAT = "/opt/nanochat"
PYTHON = "3.11"
MSGSPEC = "msgspec>=0.19,<0.23"
SETTINGS = {
    "NANOCHAT_DIR": NANOCHAT,
    "NANOCHAT_PYTHON": f"{NANOCHAT}/.venv/bin/python",
    # uv is to use the Python of the image: nanochat's .python-version would have it download another.
    "UV_PYTHON": PYTHON,
    "UV_PYTHON_DOWNLOADS": "never",
    # The volume is another file system: a hard link from uv's cache into the venv cannot be made across it.
    "UV_LINK_MODE": "copy",
    # Only the driver's libraries: torch brings its own CUDA, and the base image's must not be found before it.
    "LD_LIBRARY_PATH": "/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
}

slim = modal.Image.debian_slim(python_version=PYTHON).uv_pip_install(MSGSPEC)
image = (
    modal.Image.from_registry("nvidia/cuda:12.8.1-devel-ubuntu24.04", add_python=PYTHON)
    .entrypoint([])
    .apt_install("git", "build-essential", "curl")
    .uv_pip_install(MSGSPEC, "uv==0.9.7")
    .env(SETTINGS)
    .run_commands(
        f"git clone --filter=blob:none {REPOSITORY} {NANOCHAT}",
        f"cd {NANOCHAT} && git checkout --detach {COMMIT} && uv sync --frozen --extra gpu",
    )
)
# The package comes last, and is not built in: editing it builds nothing again. It is more than its modules.
slim, image = (one.add_local_python_source("runner", ignore=names.left_out) for one in (slim, image))

tags = {TAG: names.source_fingerprint()} if modal.is_local() else {}
app = modal.App(APPS["nanochat"], tags=tags)
rehearsal = modal.App(APPS["rehearsal"], tags=tags)
live = modal.Dict.from_name(LIVE_DICT, create_if_missing=True)


def _resources(part: Part, engine: str) -> dict[str, Any]:
    """What a part holds. Each call brings its volume: an app that is bound to none outlives every one of them."""
    holds = pricing.resources_for(part, engine, gpu="", gpus=1)
    return {"cpu": float(holds.cores), "memory": holds.gib * 1024}


def _asked(run: Run) -> dict[str, Any]:
    """What the part that trains asks for, besides its function's own."""
    holds = pricing.resources_for(Part.TRAIN, run.spec.engine, gpu=run.spec.gpu, gpus=run.spec.gpus)
    asked: dict[str, Any] = {"cpu": float(holds.cores), "memory": holds.gib * 1024}
    rate = pricing.hourly_rate(BackendName.MODAL, holds, run.prices)
    spent = run.status.spent_usd if run.status else Decimal(0)
    most = legs.limit_s(run.spec, BackendName.MODAL) or TRAIN_TIMEOUT_S
    asked["timeout"] = budget.timeout_s(run.spec.budget_usd, spent, rate, most)
    if holds.gpus:
        asked["gpu"] = f"{holds.gpu}:{holds.gpus}"
    return asked


def _attend(
    part: Part, engine: str, run_id: str, attempt: int, volume: str, leg: int = 1, limit_s: int | None = None
) -> dict[str, str]:
    from runner.backends.modal.container import CallRequest, run_call

    mounted: dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount]
    mounted = {MOUNT: modal.Volume.from_name(volume)}

    def hand_over(run: Run, leg: int) -> str:
        asked = _asked(run)
        options = {**asked, "volumes": mounted, **keys.options(run)}
        function = modal.Function.from_name(run.app or APPS[engine], Part.TRAIN).with_options(**options)
        return function.spawn(run_id, attempt, volume, leg, asked["timeout"]).object_id

    asked = CallRequest(part, run_id, attempt, leg, limit_s)
    return run_call(asked, volume=modal.Volume.from_name(volume), live=live, hand_over=hand_over)


Body = Callable[..., dict[str, str]]


def _functions(to: modal.App, engine: str, of: modal.Image) -> Callable[[Part, int], Callable[[Body], Any]]:
    """A decorator for the functions of an engine, with what both of its parts share."""

    def function(part: Part, timeout: int) -> Callable[[Body], Any]:
        decorate: Callable[[Body], Any] = to.function(
            image=of,
            name=part,
            timeout=timeout,
            startup_timeout=1800,
            single_use_containers=True,
            retries=0,
            **_resources(part, engine),
        )
        return decorate

    return function


_real, _small = _functions(app, "nanochat", image), _functions(rehearsal, "rehearsal", slim)


@_real(Part.PREPARE, PREPARE_TIMEOUT_S)
def prepare(run_id: str, attempt: int, volume: str) -> dict[str, str]:
    """CPU only: data, tokenizer, evaluation data, attention kernel; then spawns `train`."""
    return _attend(Part.PREPARE, "nanochat", run_id, attempt, volume)


@_real(Part.TRAIN, TRAIN_TIMEOUT_S)
def train(run_id: str, attempt: int, volume: str, leg: int = 1, limit_s: int = TRAIN_TIMEOUT_S) -> dict[str, str]:
    """All that needs the GPUs, which `prepare` asks for with `with_options`; then it spawns the next leg, if any."""
    return _attend(Part.TRAIN, "nanochat", run_id, attempt, volume, leg, limit_s)


@_small(Part.PREPARE, PREPARE_TIMEOUT_S)
def rehearse_prepare(run_id: str, attempt: int, volume: str) -> dict[str, str]:
    """Do as `prepare`, with the rehearsal engine."""
    return _attend(Part.PREPARE, "rehearsal", run_id, attempt, volume)


@_small(Part.TRAIN, TRAIN_TIMEOUT_S)
def rehearse_train(
    run_id: str, attempt: int, volume: str, leg: int = 1, limit_s: int = TRAIN_TIMEOUT_S
) -> dict[str, str]:
    """Do as `train`, with the rehearsal engine, on CPUs."""
    return _attend(Part.TRAIN, "rehearsal", run_id, attempt, volume, leg, limit_s)


# An app of its own: `modal run` keeps its app only while the command runs, and a run must outlive that.
launcher = modal.App(f"{APPS['nanochat']}-launcher")


@launcher.local_entrypoint()
def main(
    task: str = "",
    model: str = "",
    engine: str = "",
    gpus: int = 0,
    gpu: str = "",
    budget: str = "",
    recipe: str = "",
    yes: bool = False,
    tag: str = "",
    force_restart: bool = False,
    code: str = "",
    set: str = "",
    wandb: str = "",
    secret: str = "",
) -> None:
    """Show the plan and its price, ask above the limits, and spawn a run that outlives this command.

    Without a recipe it is a test of d12; what is given goes before what a recipe says. `set` and `secret` may be
    several, with a space between them; `wandb` is a project, or `on` for the code's own.
    """
    from runner.fleet.asking import asked_for
    from runner.fleet.fleet import Fleet
    from runner.paths import data_dir
    from runner.recipes import shelf
    from runner.recipes.recipe import Recipe, made, over, trusts

    try:
        fleet = Fleet(data_dir(), say=_say)
        found = shelf.find(recipe, fleet.home)[0] if recipe else Recipe(code=OFF, wandb=OFF, secrets=())
        wanted = over(
            over(Recipe(engine=usual_engine(BackendName.MODAL), gpu="H100", backend=BackendName.MODAL), found),
            made(
                task=task or None,
                model=model or None,
                engine=engine or None,
                gpus=gpus or None,
                gpu=gpu or None,
                budget=budget or None,
                tag=tag or None,
                code=code or None,
                flags=stage_flags.parse(shlex.split(set)),
                wandb="" if wandb == "on" else wandb or None,
                secrets=tuple(secret.split()) or None,
            ),
        )
        if wanted.backend != BackendName.MODAL:
            raise UsageError(f"the recipe is for {wanted.backend}", f"nanochat-tui launch --recipe {recipe}")
        spec, _, passed_over = asked_for(fleet, wanted)
        for line in (*(trusts(found) if recipe else ()), *passed_over):
            _say(line)
        planned = fleet.plan(spec, BackendName.MODAL)
        _say(plan_text.headline(spec, BackendName.MODAL, planned))
        for line in plan_text.lines(planned):
            _say(line)
        reason = "" if yes else fleet.confirmation_reason(spec, planned.usd.likely)
        ask_first(reason, _confirmed)
        run = fleet.launch(
            spec,
            backend=BackendName.MODAL,
            tag=wanted.tag or "",
            force_restart=force_restart,
            unasked=not (yes or reason),
        )
    except NanochatError as error:
        sys.stderr.write(f"nanochat-tui: {error}\n")
        raise SystemExit(error.exit_code) from error
    _say(f"launched {run.tag} ({run.id}), call {run.calls[-1].call_id}")
    _say(f"watch it: nanochat-tui watch {run.tag}")


def _say(line: str) -> None:
    sys.stdout.write(f"{sanitize_line(line)}\n")


def _confirmed(question: str) -> bool:
    forget_typed_ahead()
    return input(f"{sanitize_line(question)} [y/N] ").strip().lower() in ("y", "yes")
