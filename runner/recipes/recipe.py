"""A launch that is written down: what was asked for, each thing where it was said, None where it was not. Pure."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct, field

from runner.model import stage_flags
from runner.model.code import Code
from runner.model.overrides import parse_overrides
from runner.model.spec import RunSpec
from runner.model.stage_flags import StageFlag
from runner.planning.usual import OFF


class Recipe(Struct, frozen=True, kw_only=True):
    """One launch, each field by the option that says it; `overrides` are by name, `flags` those of stages.

    `code` and `wandb` may be `off`, for none whatever is set. `packed` is that very state of `code`, where the file
    names it; `recipe` is the name of the one that this began as.
    """

    description: str = ""
    task: str | None = None
    model: str | None = None
    gpus: int | None = None
    gpu: str | None = None
    engine: str | None = None
    backend: str | None = None
    budget: str | None = None
    stop_if_stalled: str | None = None
    source: str | None = field(default=None, name="from")
    step: int | None = None
    code: str | None = None
    packed: Code | None = None
    wandb: str | None = None
    secrets: tuple[str, ...] | None = None
    pass_env: tuple[str, ...] | None = None
    tag: str | None = None
    recipe: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    flags: tuple[StageFlag, ...] = ()


def made(
    *, model: str | None = None, overrides: dict[str, Any] | None = None, flags: Iterable[StageFlag] = (), **said: Any
) -> Recipe:
    """A recipe of what was said: flags that an option stands for are that option. Raises UsageError."""
    left, model, given = stage_flags.typed(flags, model, overrides or {})
    known = {name: value for name, value in msgspec.to_builtins(parse_overrides(given)).items() if value is not None}
    return Recipe(model=model, overrides=known, flags=left, **said)


def over(lower: Recipe, upper: Recipe) -> Recipe:
    """What `upper` says, and what `lower` says of all else: each option, override and flag by itself."""
    said = {
        name: value if (value := getattr(upper, name)) is not None else getattr(lower, name)
        for name in Recipe.__struct_fields__
    }
    if upper.code is not None:
        said["packed"] = upper.packed
    if upper.source is not None:
        # A step is one of that run.
        said["step"] = upper.step
    said["description"] = upper.description or lower.description
    said["overrides"] = {**lower.overrides, **upper.overrides}
    said["flags"] = stage_flags.merged(lower.flags, upper.flags)
    return Recipe(**said)


def options(recipe: Recipe) -> dict[str, Any]:
    """The recipe by the names of a launch's options, only what it says; `flags` as `--set` takes them."""
    found = {
        name: value
        for name in Recipe.__struct_fields__
        if name not in ("description", "packed", "overrides", "flags") and (value := getattr(recipe, name)) is not None
    }
    return {**found, "overrides": dict(recipe.overrides), "flags": [str(one) for one in recipe.flags]}


def of_spec(spec: RunSpec, backend: str, description: str = "") -> Recipe:
    """The launch that asks for exactly this spec, whatever is set where it is launched."""
    return Recipe(
        description=description,
        task=spec.task,
        model=spec.model,
        gpus=spec.gpus,
        gpu=spec.gpu,
        engine=spec.engine,
        backend=str(backend),
        budget=str(spec.budget_usd) if spec.budget_usd is not None else None,
        stop_if_stalled=f"{spec.stop_if_stalled_s!r}s" if spec.stop_if_stalled_s is not None else None,
        source=spec.source or spec.tokenizer_from or None,
        step=spec.source_step,
        code=spec.code.origin if spec.code else OFF,
        packed=spec.code,
        wandb=OFF if spec.wandb is None else spec.wandb,
        secrets=spec.secrets,
        pass_env=spec.pass_env,
        recipe=spec.recipe or None,
        overrides=msgspec.to_builtins(spec.overrides),
        flags=spec.flags,
    )


def to_repeat(recipe: Recipe) -> Recipe:
    """What is kept of a launch under a name of its own: not its tag, which is taken by now, nor where it is from."""
    return msgspec.structs.replace(recipe, tag=None, recipe=None)


def trusts(recipe: Recipe) -> tuple[str, ...]:
    """What a recipe brings into a run that is not only a number: code, variables of this shell, Secrets."""
    said = []
    if recipe.code not in (None, OFF):
        said.append(f"code from {recipe.code}")
    if recipe.pass_env:
        said.append(f"variables of this shell: {', '.join(recipe.pass_env)}")
    if recipe.secrets:
        said.append(f"Secrets of Modal: {', '.join(recipe.secrets)}")
    if names := [one.name for one in recipe.flags if one.stage == stage_flags.ENV]:
        said.append(f"variables that it sets: {', '.join(names)}")
    return tuple(said)
