"""A launch as asked for, with what is set for all runs in the place of what was not said. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

from runner.errors import UsageError
from runner.model import spec
from runner.model.backend_name import BackendName
from runner.model.code import Code
from runner.model.spec import RunSpec
from runner.settings import Effective, Settings

# What one says to have no W&B, or no code of one's own, where it is set.
OFF = "off"


def usual_backend(settings: Settings) -> str:
    """Where a launch runs when nobody says where."""
    return settings.backend or BackendName.LOCAL


def usual_engine(named: str, backend: str, overrides: dict[str, Any]) -> str:
    """What a launch would train with, where `named` is what was said or set of it."""
    return named or spec.usual_engine(backend, overrides)


def own_options(
    settings: Settings,
    pack: Callable[[str], Code],
    *,
    code: str | None,
    wandb: str | None,
    secrets: Sequence[str] | None,
    usual: bool,
    on_modal: bool,
) -> dict[str, Any]:
    """Code, W&B project and Secrets of a launch: what was said, else, where the `usual` ones count, what is set.

    `off` is no W&B and no code, `pack` makes of the words for code what is trained. Raises what that raises.
    """
    text = code if code is not None else settings.code if usual else ""
    wanted = text != OFF and (text or code is not None)
    project = wandb if wandb is not None else (settings.wandb or None) if usual else None
    return {
        "code": pack(text) if wanted else None,
        "wandb": None if project == OFF else project,
        "secrets": secrets if secrets is not None else settings.secrets if usual and on_modal else (),
    }


def with_usual(
    create: Callable[..., RunSpec],
    usual: Effective,
    *,
    engine: str | None = None,
    gpus: int | None = None,
    gpu: str | None = None,
) -> tuple[RunSpec, tuple[str, ...]]:
    """The spec that `create` makes of what was said and what is set, and a line for each setting that is passed over.

    What was said counts. A setting for GPUs or engine with which it cannot be is passed over: gpus first.
    Raises UsageError for what could not be without settings either.
    """
    settings, said = usual.settings, {"engine": engine, "gpus": gpus, "gpu": gpu}
    spare = {name: getattr(settings, name) for name in ("gpus", "engine") if said[name] is None}
    is_set = {name: value for name, value in spare.items() if value}
    kind = gpu or settings.gpu or None
    first: UsageError | None = None
    for without in ((), ("gpus",), ("engine",), ("gpus", "engine")):
        if not is_set.keys() >= set(without):
            continue
        kept = {name: value for name, value in is_set.items() if name not in without}
        try:
            made = create(**{**said, "gpu": kind, **kept})
        except UsageError as error:
            first = first or error
            if len(without) == len(is_set):
                raise
        else:
            origin = [f"{usual.origins.get(name, '')}: {name} = {is_set[name]}" for name in without]
            return made, tuple(f"{one} is passed over ({first.what if first else ''})" for one in origin)
    raise AssertionError("the last of them has none of the settings")
