"""What the form of a new run begins with, of what is set; and what of it a command for a shell has to say. Pure."""

from collections.abc import Mapping

import msgspec

from runner.model.spec import RunSpec
from runner.planning.usual import OFF, usual_backend
from runner.settings import Effective, Settings

# The fields that settings have a say in, of which a command says what they came out as; those of a person's own code.
USUAL = ("backend", "engine", "gpu", "gpus")
OWN = ("code", "wandb", "secrets")


def first_values(defaults: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """What the form begins with, by field."""
    is_set = {
        "backend": usual_backend(settings),
        "engine": settings.engine,
        "gpu": settings.gpu,
        "gpus": str(settings.gpus or ""),
        "code": settings.code,
        "wandb": "" if settings.wandb == OFF else settings.wandb,
        "secrets": " ".join(settings.secrets),
    }
    return {**defaults, **{name: value for name, value in is_set.items() if value}}


def without(usual: Effective, names: list[str]) -> Effective:
    """What is usual where nothing is set under these names."""
    blank = {name: getattr(Settings(), name) for name in names}
    return msgspec.structs.replace(usual, settings=msgspec.structs.replace(usual.settings, **blank))


def flags(
    values: Mapping[str, str], first: Mapping[str, str], defaults: Mapping[str, str], spec: RunSpec | None
) -> dict[str, str]:
    """By field, what a command says of it: what was chosen, and what is set and obeyed, each as it came out."""
    said = {}
    for name in USUAL:
        value, chosen = values[name], values[name] != first[name]
        if values["from"] and (name == "backend" or value == "auto" or not chosen):
            # As it is in the run to go on from.
            continue
        comes_to = str(getattr(spec, name, value)) if spec else value
        if chosen:
            said[name] = comes_to if value == "auto" else value
        elif value == comes_to and value != defaults[name]:
            said[name] = value
    return said
