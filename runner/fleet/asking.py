"""From a recipe, as a file or typed options say it, to the spec of a launch: what is set or continued fills in."""

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from runner.errors import UsageError
from runner.model import stage_flags
from runner.model.backend_name import BackendName
from runner.model.overrides import closest_name
from runner.model.spec import TOKENIZER_TASK, RunSpec
from runner.planning.usual import OFF, own_options, usual_backend, usual_engine, with_usual
from runner.recipes.recipe import Recipe

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet
    from runner.model.code import Code
    from runner.model.run import Run


class AskedLaunch(NamedTuple):
    """The spec of a launch, the backend it is for, and a line for each setting or flag that is passed over."""

    spec: RunSpec
    backend: str
    passed_over: tuple[str, ...] = ()


def asked_for(fleet: "Fleet", recipe: Recipe, *, include_secrets: bool = False) -> AskedLaunch:
    """What a launch would be; code is packed, or the very state that the recipe names is found. Raises UsageError."""
    from runner.fleet.places import BACKENDS

    source = fleet.registry.find(recipe.source) if recipe.source else None
    backend = recipe.backend or (source.backend if source else usual_backend(fleet.settings))
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend[:40]!r}", closest_name(backend, BACKENDS), field="backend")
    if source and backend != source.backend:
        raise UsageError(f"{source.tag} is on {source.backend}", "leave --backend out", field="backend")
    # A run that takes another's tokenizer begins anew.
    continued = source is not None and source.spec.task != TOKENIZER_TASK
    engine = usual_engine(recipe.engine or fleet.settings.engine, backend, recipe.overrides)

    def pack(text: str) -> "Code":
        if recipe.packed:
            return fleet.same_code(recipe.packed, backend, source)
        return fleet.code(text, include_secrets=include_secrets)

    create = functools.partial(
        RunSpec.create,
        task=recipe.task or "test",
        model=recipe.model,
        backend=backend,
        budget=recipe.budget,
        stop_if_stalled=recipe.stop_if_stalled,
        overrides=recipe.overrides,
        source=source.spec if source else None,
        source_id=source.id if source else "",
        source_step=recipe.step,
        flags=[str(one) for one in recipe.flags],
        pass_env=recipe.pass_env or (),
        recipe=recipe.recipe or "",
        **own_options(
            fleet.settings,
            pack,
            code=recipe.code,
            wandb=recipe.wandb,
            secrets=recipe.secrets,
            # What a run continues has said it already; a rehearsal has no use for it.
            usual=not continued and engine == "nanochat",
            on_modal=backend == BackendName.MODAL,
        ),
    )
    said: dict[str, Any] = {"engine": recipe.engine, "gpus": recipe.gpus, "gpu": recipe.gpu}
    idle = stage_flags.idle(recipe.flags, recipe.task or "test")
    if source and continued:
        # What that run is goes before what is usual here.
        return AskedLaunch(_without(create(**said), recipe, source), backend, idle)
    spec, passed_over = with_usual(create, fleet.effective, **said)
    return AskedLaunch(spec, backend, (*passed_over, *idle))


def _without(spec: RunSpec, recipe: Recipe, source: "Run") -> RunSpec:
    """The spec of what continues a run, without what of that run it is to do without."""
    if recipe.code == OFF and source.spec.code:
        spec = msgspec.structs.replace(spec, code=None)
    if recipe.wandb == OFF:
        spec = msgspec.structs.replace(spec, wandb=None)
    if recipe.secrets == ():
        spec = msgspec.structs.replace(spec, secrets=())
    return spec if recipe.pass_env != () else msgspec.structs.replace(spec, pass_env=())
