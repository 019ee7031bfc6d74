"""A recipe in the form of a new run: what its fields are then, and what a command says beside its name. Pure."""

import shlex
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from runner.errors import UsageError
from runner.fleet.places import BACKENDS
from runner.model.backend_name import BackendName
from runner.model.overrides import SWITCHES, closest_name, flag, parse_override_words
from runner.model.spec import ENGINES, GPU_COUNTS, TASKS, RunSpec, gpu_kind
from runner.planning.usual import OFF
from runner.recipes.recipe import Recipe, of_spec, to_repeat

ON = "on"
# What a command can say over a recipe, but not take back.
PLAIN = ("task", "model", "gpus", "gpu", "engine", "backend", "budget", "stop-if-stalled", "tag", "from", "step")


class Loaded(NamedTuple):
    """A recipe that was read: the words it was asked for with, what the fields became, and notes for people."""

    words: str
    recipe: Recipe
    values: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def says(self, name: str) -> bool:
        """Whether it says a field, which then is not what is set."""
        return name in _said(self.recipe)


def loaded(words: str, recipe: Recipe, first: Mapping[str, str], trusted: Iterable[str]) -> Loaded:
    """The form with a recipe in it, where what it does not say is as in `first`. Raises UsageError."""
    values = {**first, **_said(recipe), "recipe": words}
    for name, known in (("task", TASKS), ("engine", ENGINES), ("backend", BACKENDS)):
        if name in _said(recipe) and values[name] not in known:
            raise UsageError(f"{words}: unknown {name} {values[name][:40]!r}", closest_name(values[name], known))
    if recipe.gpus is not None and recipe.gpus not in GPU_COUNTS:
        raise UsageError(f"{words}: {recipe.gpus} GPUs", f"choose one of {', '.join(map(str, GPU_COUNTS))}")
    return Loaded(words, recipe, values, tuple(f"{words}: {one}" for one in trusted))


def of_run(spec: RunSpec, backend: str, overrides: Mapping[str, object]) -> dict[str, str]:
    """A run as the fields of a form that launches it anew, with other `overrides`."""
    recipe = to_repeat(of_spec(spec, backend))
    return _said(msgspec.structs.replace(recipe, overrides={**recipe.overrides, **overrides}))


def override_words(overrides: Mapping[str, object]) -> str:
    """Overrides as they are typed into a form."""
    return " ".join(_words(Recipe(overrides=dict(overrides))))


def _said(recipe: Recipe) -> dict[str, str]:
    """What a recipe says, by field."""
    found: dict[str, str | None] = {
        "task": recipe.task,
        "model": recipe.model,
        "engine": recipe.engine,
        "backend": recipe.backend,
        "gpu": gpu_kind(recipe.gpu) if recipe.gpu else None,
        "gpus": str(recipe.gpus) if recipe.gpus is not None else None,
        "budget": recipe.budget,
        "stop-if-stalled": recipe.stop_if_stalled,
        "tag": recipe.tag,
        "from": recipe.source,
        "step": str(recipe.step) if recipe.step is not None else None,
        "overrides": " ".join(_words(recipe)) or None,
        "code": "" if recipe.code == OFF else recipe.code,
        "set": shlex.join(map(str, recipe.flags)) or None,
        "wandb": {OFF: "", "": ON}.get(recipe.wandb, recipe.wandb) if recipe.wandb is not None else None,
        "secrets": " ".join(recipe.secrets) if recipe.secrets is not None else None,
        "pass-env": " ".join(recipe.pass_env) if recipe.pass_env is not None else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _words(recipe: Recipe) -> list[str]:
    words = []
    for name, value in recipe.overrides.items():
        typed = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(typed if value else f"no-{typed}")
        else:
            words += [f"{typed}={one}" for one in (value if isinstance(value, list | tuple) else [value])]
    return words


def override_options(overrides: Mapping[str, object]) -> list[str]:
    """Overrides as options of a command."""
    words: list[str] = []
    for name, given in overrides.items():
        for value in given if isinstance(given, list) else [given]:
            if name in SWITCHES:
                words.append(flag(name) if value == "true" else flag(f"no_{name}"))
            else:
                words += [flag(name), str(value)]
    return words


def beside(
    base: Loaded, values: Mapping[str, str], code: str, backend: str, listed: Mapping[str, list[str]], continued: bool
) -> list[str] | None:
    """The options that make of a recipe what the form says; None where something would have to be taken back.

    `code` is what counts of that field, `listed` the names that count for this backend; `continued` where a run is.
    """
    was, recipe = base.values, base.recipe
    changed = {name for name in values if values[name] != was[name]}
    if continued and recipe.backend not in (None, backend):
        return None
    if "from" in changed and values["step"]:
        changed.add("step")
    words: list[str] = []
    for name in PLAIN:
        if name not in changed or (name == "backend" and continued):
            continue
        if values[name] in ("", "auto"):
            return None
        words += [f"--{name}", values[name]]
    before, now = parse_override_words(was["overrides"]), parse_override_words(values["overrides"])
    flags_before, flags = _flags(was["set"]), _flags(values["set"])
    if before.keys() - now.keys() or flags_before.keys() - flags.keys():
        return None
    words += override_options({name: value for name, value in now.items() if before.get(name) != value})
    if "code" in changed:
        if continued and not code:
            return None
        words += ["--code", code or OFF]
    for name, value in flags.items():
        words += ["--set", f"{name}={value}"] if flags_before.get(name) != value else []
    if "wandb" in changed:
        if continued and not values["wandb"]:
            return None
        words += ["--wandb"] if values["wandb"] == ON else ["--wandb", values["wandb"] or OFF]
    for name, option, said, place in (
        ("secrets", "--secret", recipe.secrets, BackendName.MODAL),
        ("pass-env", "--pass-env", recipe.pass_env, BackendName.LOCAL),
    ):
        if not listed[name] and (said or (name in changed and backend == place)):
            return None
        if name in changed:
            words += [part for one in listed[name] for part in (option, one)]
    return words


def _flags(text: str) -> dict[str, str]:
    """Flags of stages as typed, by name; the last of a name counts."""
    return {name: value for name, _, value in (one.partition("=") for one in shlex.split(text))}


def to_keep(spec: RunSpec, backend: str, code: str, stalled: str, *, packed: bool = False) -> Recipe:
    """What is kept of the form: its spec, with `code` and the time `stalled` as they were typed.

    Of code that was `packed` by a recipe that very state is kept.
    """
    words = code or (None if spec.code else OFF)
    asked = msgspec.structs.replace(
        of_spec(spec, backend), code=words, packed=spec.code if packed else None, stop_if_stalled=stalled or None
    )
    return to_repeat(asked)
