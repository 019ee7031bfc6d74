"""What a person has set once for all runs on this machine: in one file of the data folder, or in the environment."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from runner import settings_file
from runner.errors import UsageError
from runner.model.overrides import closest_name
from runner.model.spec import GPU_COUNTS, gpu_kind
from runner.settings_file import FILE as FILE
from runner.system import read_only
from runner.system.given_path import given_path
from runner.text.secrets import redact


class Settings(Struct, frozen=True, omit_defaults=True):
    """Every setting with its default; `MEANING` says what each is for."""

    backend: Literal["", "local", "modal"] = ""
    engine: Literal["", "rehearsal", "nanochat"] = ""
    gpu: str = ""
    gpus: int = 0
    volume: str = ""
    code: str = ""
    wandb: str = ""
    secrets: tuple[str, ...] = ()
    env: str = ""
    keep_logs_gb: Decimal = Decimal(5)
    trash_days: int = 7
    log_times: Literal["off", "clock", "since start"] = "off"
    log_wrap: bool = False
    local_usd_per_hour: Decimal = Decimal(0)
    ask_above_usd: Decimal = Decimal(50)
    monthly_limit_usd: Decimal = Decimal(0)
    bell: bool = True
    theme: str = ""
    keys_preset: Literal["default", "vim", "emacs", "function-keys"] = "default"
    keys: dict[str, tuple[str, ...]] = {}
    on_notice: str = ""
    webhook: str = ""


MEANING = {
    "backend": "where a launch runs without --backend: local or modal (built in: local)",
    "engine": "what it trains with without --engine: rehearsal or nanochat (built in: nanochat on Modal alone)",
    "gpu": "GPU kind without --gpu, as H100 or B200 (built in: H100)",
    "gpus": "GPUs without --gpus: 1, 2, 4 or 8, also for a test; 0 is built in: 1 for a test, else 8",
    "volume": "without --volume: folder that serves as the volume of this machine, or modal:NAME, a volume on Modal",
    "code": "nanochat to train with without --code: a folder, or an address with a branch or commit",
    "wandb": "project of Weights & Biases that runs report to; off for none",
    "secrets": "names of secrets on Modal that a job gets, as huggingface, wandb",
    "env": "environment of Modal that runs are started in (built in: that of your Modal profile)",
    "keep_logs_gb": "so many GB of logs of Modal runs stay on this disk; the oldest of ended runs go first",
    "trash_days": "so many days what is deleted on this machine's volumes can be brought back; 0 deletes at once",
    "log_times": "in the log view: off, clock, since start (its key t)",
    "log_wrap": "in the log view: long lines wrapped (its key w)",
    "local_usd_per_hour": "what an hour of this machine costs you; runs on it are then not free",
    "ask_above_usd": "a launch that is likely to cost more asks first; 0 never asks",
    "monthly_limit_usd": "a launch that would take the month's spending over this asks first; 0 is no limit",
    "bell": "ring the terminal's bell with a notice, and send it as a notification (OSC 9 and 777)",
    "theme": "colours of the app, as nanochat-light; auto is dark or light as the terminal (Ctrl-P, Theme lists all)",
    "keys_preset": "keys of the app: default, vim, emacs, function-keys; nanochat-tui keys lists them by their ids",
    "keys": "your own keys over those, by id: a table [keys] in the file, or ID=KEY ID=KEY,KEY as a value",
    "on_notice": "command that is run with each notice: run, kind and text are in NANOCHAT_RUN, _KIND, _TEXT",
    "webhook": "address that each notice is sent to, as JSON, by POST",
}
# What may hold an address that is the key to what it leads to.
SECRET = ("webhook", "on_notice")
VARIABLES = {name: f"NANOCHAT_TUI_{name.upper()}" for name in MEANING}
# What others call it means the same, where ours is not set.
ALSO = {"theme": "TEXTUAL_THEME"}
BUILT_IN = "built in"
ON_MODAL = "modal:"
# What Modal takes as a name of a volume or a secret, and of an environment; what Weights & Biases takes of a project.
_OBJECT, _ENVIRONMENT = r"[A-Za-z0-9._-]{1,64}", r"(?i)(?!en-)[a-z0-9][a-z0-9._-]{0,63}"
_PROJECT = r"[^/\\#?%:]{1,128}"
MOST_CODE = 4000
MOST_TRASH_DAYS = 3650


class LoadedSettings(Struct, frozen=True):
    """What is set; what of the file is not obeyed: all of it, values that make no sense, names of a newer release.

    `given` are the names that the file `file` sets.
    """

    settings: Settings = Settings()
    damage: str = ""
    odd: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    file: str = FILE


class Effective(Struct, frozen=True):
    """What holds where no flag says otherwise; by name what each value comes from: a variable, a file, `built in`."""

    settings: Settings
    origins: dict[str, str]
    loaded: LoadedSettings = LoadedSettings()


def read(home: Path) -> LoadedSettings:
    """What the file sets; a default stands for what cannot be understood, which is left as it is."""
    file = settings_file.name_of(home)
    try:
        raw = settings_file.read(home)
    except UsageError as error:
        return LoadedSettings(damage=str(error), file=file)
    good: dict[str, Any] = {}
    odd = []
    for name in sorted(raw.keys() & MEANING.keys()):
        try:
            good[name] = _valid(name, raw[name])
        except UsageError:
            odd.append(name)
    unknown = tuple(sorted(raw.keys() - MEANING.keys()))
    return LoadedSettings(Settings(**good), "", tuple(odd), unknown, tuple(good), file)


def load(home: Path) -> Settings:
    """The settings of a data folder; defaults for what is not set or makes no sense."""
    return read(home).settings


def effective(home: Path, environ: Mapping[str, str], wrong: list[UsageError] | None = None) -> Effective:
    """What holds: a variable before the file before what is built in; an empty variable is none.

    Raises UsageError for a variable that makes no sense; where there is a list for what is `wrong`, it is passed over.
    """
    loaded = read(home)
    values, origins = {}, {}
    for name, variable in VARIABLES.items():
        origins[name] = loaded.file if name in loaded.given else BUILT_IN
        variable = next((v for v in (variable, ALSO.get(name, "")) if environ.get(v, "").strip()), "")
        if not variable:
            continue
        said = environ[variable]
        try:
            values[name] = _typed(name, said)
        except UsageError as error:
            problem = UsageError(f"{variable}: {error.what}", error.hint, field=name)
            if wrong is None:
                raise problem from error
            wrong.append(problem)
        else:
            origins[name] = variable
    return Effective(msgspec.structs.replace(loaded.settings, **values), origins, loaded)


def without_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment for a job: it has its orders from its record, and some variables hold what is for the person."""
    ours = frozenset(VARIABLES.values())
    return {name: value for name, value in environ.items() if name not in ours}


def check(home: Path) -> None:
    """Raises UsageError for a file of which nothing is obeyed."""
    settings_file.read(home)


def _valid(name: str, value: object) -> Any:
    """A value of the file or of a person, as its type. Raises UsageError."""
    field = next(f for f in msgspec.structs.fields(Settings) if f.name == name)
    # Of an address an error tells nothing: it may be read by others.
    refused = f"{name} cannot be {'that' if name in (*SECRET, 'code') else repr(str(value)[:40])}"
    if name == "keys":
        value = _keys(value)
    if name == "secrets" and isinstance(value, str):
        value = [word for part in value.split(",") if (word := part.strip())]
    try:
        wanted = msgspec.convert(value, type=field.type, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        raise UsageError(refused, MEANING[name], field=name) from error
    if isinstance(wanted, str) and not wanted.isprintable():
        raise UsageError(refused, "leave out what cannot be seen", field=name)
    if isinstance(wanted, Decimal) and not (wanted.is_finite() and 0 <= wanted < 10**9):
        raise UsageError(refused, "give a number, 0 or more", field=name)
    if name == "gpu" and wanted:
        wanted = gpu_kind(wanted)
    if name == "webhook" and wanted:
        from runner.text import addresses

        if problem := addresses.problem(str(wanted)):
            raise UsageError(refused, problem, field=name)
    if not _makes_sense(name, wanted):
        raise UsageError(refused, MEANING[name], field=name)
    return wanted


def _keys(value: object) -> object:
    """Keys by the id of an action, of a table with dots in its names too; what is no name of a key is left to tell."""
    if isinstance(value, str):
        words = [word.partition("=") for word in value.split()]
        return {_visible(id): [_visible(key) for key in keys.split(",") if key] for id, _, keys in words}
    if not isinstance(value, dict):
        return value
    found: dict[str, list[str]] = {}
    for name, said in value.items():
        if isinstance(said, dict):
            below = _keys(said)
            found |= {f"{name}.{id}": keys for id, keys in below.items()} if isinstance(below, dict) else {}
        else:
            found[_visible(name)] = [_visible(str(key)) for key in (said if isinstance(said, list) else [said])]
    return found


def _visible(text: str) -> str:
    """A text that can be shown: what cannot be seen in it is no key, and told as that."""
    return "".join(char if char.isprintable() else "�" for char in text)


def _makes_sense(name: str, value: Any) -> bool:
    """Whether a value of the right type can be meant."""
    match name:
        case "gpus":
            return value in (0, *GPU_COUNTS)
        case "trash_days":
            return bool(0 <= value <= MOST_TRASH_DAYS)
        case "volume":
            return not value.startswith(ON_MODAL) or bool(re.fullmatch(_OBJECT, value.removeprefix(ON_MODAL)))
        case "code":
            # What begins with a dash would be an option to whatever command it is given to.
            return len(value) <= MOST_CODE and not value.startswith("-") and value == value.strip()
        case "wandb":
            return not value or (bool(re.fullmatch(_PROJECT, value)) and value == value.strip())
        case "secrets":
            return len(set(value)) == len(value) and all(re.fullmatch(_OBJECT, one) for one in value)
        case "env":
            return not value or bool(re.fullmatch(_ENVIRONMENT, value))
    return True


def _typed(name: str, text: str) -> Any:
    """A value as typed; `default` is what is built in. Raises UsageError."""
    if text == "default":
        return getattr(Settings(), name)
    is_flag = isinstance(getattr(Settings(), name), bool)
    said = ({"on": "true", "off": "false"}.get(text, text) if is_flag else text).strip()
    is_folder = (name == "volume" and said and not said.startswith(ON_MODAL)) or (
        name == "code" and said.split("/")[0] in (".", "..", "~")
    )
    if is_folder:
        # It is that folder from wherever it is asked for.
        said = str(given_path(said, field=name))
    wanted = _valid(name, said)
    if name == "on_notice" and wanted:
        from runner.text import addresses

        if problem := addresses.problem_of_command(wanted):
            raise UsageError("on_notice cannot be that", problem, field=name)
    return wanted


def changed(settings: Settings, name: str, value: str) -> Settings:
    """The settings with one of them as typed; `default` takes it back. Raises UsageError."""
    if name not in MEANING:
        raise UsageError(f"unknown setting {name[:40]!r}", closest_name(name, tuple(MEANING)), field=name)
    return msgspec.structs.replace(settings, **{name: _typed(name, value)})


def setting_text(settings: Settings) -> dict[str, Any]:
    """Every setting as anybody may see it: of an address no more than the host."""
    from runner.text import addresses

    found = {name: getattr(settings, name) for name in MEANING}
    shown = {name: addresses.host_only(name, found[name]) for name in SECRET}
    return found | shown | {"code": redact(settings.code)}


def typed(value: object) -> str:
    """A value as it is typed."""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, dict):
        return " ".join(f"{name}={typed(kept)}" for name, kept in value.items())
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def put(home: Path, name: str, value: str, say: Callable[[str], None] = lambda text: None) -> Settings:
    """Set one of them for good; what the file sets with it. Others may have been set by somebody else meanwhile.

    What the file holds besides, as of a newer release or a person's comments, stays; where it cannot, that is said.
    Raises UsageError also for a file that is damaged.
    """
    read_only.refuse("change settings")
    if name not in MEANING:
        changed(Settings(), name, value)
    with settings_file.locked(home):
        raw = settings_file.read(home)
        loaded = read(home)
        settings = changed(loaded.settings, name, value)
        new = getattr(settings, name)
        carried = raw | {known: _stored(getattr(loaded.settings, known)) for known in loaded.given}
        taken_back = value == "default"
        settings_file.put(home, name, None if taken_back else _stored(new), carried, say)
    return settings


def _stored(value: Any) -> Any:
    """A value as it is in the file."""
    if isinstance(value, Decimal) and value.as_tuple().exponent == 0:
        return int(value)
    if isinstance(value, dict):
        return {name: _stored(kept) for name, kept in value.items()}
    return list(value) if isinstance(value, tuple) else value
