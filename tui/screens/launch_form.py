"""The form of a new run: its fields, the spec that they make, and the command for a shell that says the same. Pure."""

import functools
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from runner.errors import UsageError
from runner.fleet.places import BACKENDS
from runner.model import stage_flags
from runner.model.backend_name import BackendName
from runner.model.code import Code
from runner.model.identifiers import check_tag
from runner.model.overrides import parse_override_words
from runner.model.pricing import GPUS
from runner.model.run import Run
from runner.model.spec import ENGINES, GPU_COUNTS, TASKS, TOKENIZER_TASK, RunSpec
from runner.planning.usual import OFF, usual_engine, with_usual
from runner.settings import VARIABLES, Effective
from tui.screens.launch_recipe import ON, Loaded, beside, override_options
from tui.screens.launch_usual import USUAL, flags, without

CHOICES: dict[str, tuple[str, ...]] = {
    "task": TASKS,
    "engine": ("auto", *ENGINES),
    "backend": BACKENDS,
    "gpu": tuple(GPUS),
    "gpus": ("auto", *map(str, GPU_COUNTS)),
}
FIELDS = (
    ("recipe", "", "a name, F3 lists them"),
    ("task", "test", ""),
    ("model", "d12", "d12, d26, d32 or an even depth"),
    ("engine", "auto", ""),
    ("backend", "local", ""),
    ("gpu", "H100", ""),
    ("gpus", "auto", ""),
    ("budget", "", "most dollars, as 25"),
    ("stop-if-stalled", "", "end it after 20m without progress"),
    ("tag", "", "a name, else made up"),
    ("from", "", "a run to continue"),
    ("step", "", "its checkpoint, else the newest"),
    ("overrides", "", "as save-every=20 iterations=100"),
    ("code", "", "folder or owner/name@REF"),
    ("set", "", "as base.matrix-lr=0.03"),
    ("wandb", "", "a project, or on"),
    ("secrets", "", "names of Modal Secrets"),
    ("pass-env", "", "names of variables"),
)
NAMES = tuple(name for name, _, _ in FIELDS)
DEFAULTS = {name: value for name, value, _ in FIELDS}
# What is said in a form of its own in the command.
APART = ("recipe", "overrides", "code", "set", "wandb", "secrets", "pass-env")
# The field of an error that has another name for it.
FIELD_OF = {"secret": "secrets"}


class Filled(NamedTuple):
    """The form as it is filled in: what it holds and what it began with, by field; the run to continue, the recipe."""

    values: Mapping[str, str]
    first: Mapping[str, str]
    effective: Effective
    source: Run | None = None
    loaded: Loaded | None = None

    @property
    def backend(self) -> str:
        return self.source.backend if self.source else self.values["backend"]

    @property
    def _continued(self) -> bool:
        """Whether the model of another run is gone on with; what takes only a tokenizer begins anew."""
        return self.source is not None and self.source.spec.task != TOKENIZER_TASK

    def is_said(self, name: str) -> bool:
        """Whether a field holds something else than it begins with."""
        return self.values[name] != self.first[name]

    def _counts(self, name: str) -> bool:
        """Whether a field means something: it was filled in, or what is set for it counts, which a rehearsal has no
        use for, and a run that is continued has said already."""
        named = "" if self.values["engine"] == "auto" else self.values["engine"]
        given = parse_override_words(self.values["overrides"])
        return self.is_said(name) or (not self._continued and usual_engine(named, self.backend, given) == "nanochat")

    def _own(self, name: str) -> str:
        return self.values[name] if self._counts(name) else ""

    @property
    def code(self) -> str:
        """The words for a person's own code; empty for the pinned upstream, or for that of the run to continue."""
        return self._own("code")

    @property
    def packed(self) -> Code | None:
        """The very state of code that the recipe names, as long as the field says its code."""
        if self.loaded is None or not self.code or self.values["code"] != self.loaded.values["code"]:
            return None
        return self.loaded.recipe.packed

    def code_notes(self) -> tuple[str, ...]:
        """What a person has to know of code that a recipe names by its content."""
        if self.loaded is None or self.packed is None:
            return ()
        said = f"its code is {self.packed.sha[:12]}, that of the recipe; without its name it is packed anew"
        shell = () if self._beside(self.loaded) is not None else (f"the command packs {self.code} as it is now",)
        return f"{self.loaded.words}: {said}", *shell

    def _listed(self, name: str, backend: BackendName) -> list[str]:
        """Names that are for one backend alone."""
        return self._own(name).replace(",", " ").split() if self.backend == backend else []

    def _set(self) -> list[str]:
        try:
            return shlex.split(self.values["set"])
        except ValueError as error:
            raise UsageError("set: a quote is not closed", "give STAGE.FLAG=VALUE, with spaces", field="set") from error

    def read(self) -> tuple[RunSpec, tuple[str, ...]]:
        """The form as a spec, whose code has no content yet, and a line for each setting or flag that is passed over.

        What is left as it was is taken from the run to continue. Raises UsageError with the field that is wrong.
        """
        values, source = self.values, self.source
        if values["tag"]:
            check_tag(values["tag"])
        said: dict[str, Any] = {name: values[name] for name in ("engine", "gpus", "gpu") if self.is_said(name)}
        said = {name: None if value == "auto" else value for name, value in said.items()}
        if said.get("gpus"):
            said["gpus"] = int(said["gpus"])
        wandb = self._own("wandb")
        create = functools.partial(
            RunSpec.create,
            task=values["task"],
            model=None if source and values["model"] == DEFAULTS["model"] else values["model"],
            backend=self.backend,
            budget=values["budget"] or None,
            stop_if_stalled=values["stop-if-stalled"] or None,
            overrides=parse_override_words(values["overrides"]),
            source=source.spec if source else None,
            source_id=source.id if source else "",
            source_step=_step(values["step"]),
            code=Code(sha="", origin=self.code) if self.code else None,
            flags=self._set(),
            wandb=None if wandb in ("", OFF) else "" if wandb == ON else wandb,
            secrets=self._listed("secrets", BackendName.MODAL),
            pass_env=self._listed("pass-env", BackendName.LOCAL),
            recipe=(self.loaded.recipe.recipe or "") if self.loaded else "",
        )
        idle = stage_flags.idle(stage_flags.parse(self._set()), values["task"])
        if self._continued:
            return create(**said), idle
        # Where auto was chosen over what is set, that counts no more.
        usual = without(self.effective, [name for name, value in said.items() if value is None])
        spec, passed_over = with_usual(create, usual, **said)
        return spec, (*passed_over, *idle)

    def _beside(self, base: Loaded) -> list[str] | None:
        listed = {
            "secrets": self._listed("secrets", BackendName.MODAL),
            "pass-env": self._listed("pass-env", BackendName.LOCAL),
        }
        return beside(base, self.values, self.code, self.backend, listed, self.source is not None)

    def command(self, spec: RunSpec | None, *more: str) -> str:
        """The same launch, for a shell: by its recipe and what differs from it, or all of it where that cannot be."""
        if self.loaded and (differs := self._beside(self.loaded)) is not None:
            return shlex.join(["nanochat-tui", "launch", "--recipe", self.loaded.words, *differs, *more])
        emptied = [n for n in ("code", "secrets") if self.is_said(n) and not self.values[n] and not self.source]
        words = ["nanochat-tui", "launch"]
        usual = flags(self.values, self.first, DEFAULTS, spec)
        for name in NAMES:
            value = self.values[name]
            if name in APART:
                continue
            if name in USUAL:
                words += [f"--{name}", usual[name]] if name in usual else []
            elif value and (value != DEFAULTS[name] or name == "task" or (name == "model" and not self.values["from"])):
                words += [f"--{name}", value]
        words += override_options(parse_override_words(self.values["overrides"]))
        words += ["--code", self.code] if self.code else []
        words += [part for one in self._set() for part in ("--set", one)]
        if wandb := self._own("wandb"):
            words += ["--wandb"] if wandb == ON else ["--wandb", wandb]
        elif self.is_said("wandb"):
            words += ["--wandb", OFF]
        for name, option, backend in (
            ("secrets", "--secret", BackendName.MODAL),
            ("pass-env", "--pass-env", BackendName.LOCAL),
        ):
            words += [part for one in self._listed(name, backend) for part in (option, one)]
        variables = [f"{VARIABLES[name]}=default " for name in emptied]
        return "".join(variables) + shlex.join([*words, *more])


def _step(typed: str) -> int | None:
    if typed and not typed.isdecimal():
        raise UsageError(f"{typed!r} is no step", "give a number", field="step")
    return int(typed) if typed else None
