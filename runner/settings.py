"""What a person has set once for all runs on this machine: one file in the data folder."""

import codecs
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from runner.errors import UsageError
from runner.model import stored
from runner.model.spec import closest_name
from runner.system import atomic
from runner.system.given_path import given_path
from runner.text import addresses

FILE = "settings.json"


class Settings(Struct, frozen=True, omit_defaults=True):
    """Every setting with its default; `MEANING` says what each is for."""

    volume: str = ""
    keep_logs_gb: Decimal = Decimal(5)
    log_times: Literal["off", "clock", "since start"] = "off"
    log_wrap: bool = False
    local_usd_per_hour: Decimal = Decimal(0)
    ask_above_usd: Decimal = Decimal(50)
    monthly_limit_usd: Decimal = Decimal(0)
    bell: bool = True
    theme: str = ""
    on_notice: str = ""
    webhook: str = ""


MEANING = {
    "volume": "folder that serves as the volume of the local backend, where --volume is not given",
    "keep_logs_gb": "so many GB of logs of Modal runs stay on this disk; the oldest of ended runs go first",
    "log_times": "in the log view: off, clock, since start (its key t)",
    "log_wrap": "in the log view: long lines wrapped (its key w)",
    "local_usd_per_hour": "what an hour of this machine costs you; runs on it are then not free",
    "ask_above_usd": "a launch that is likely to cost more asks first; 0 never asks",
    "monthly_limit_usd": "a launch that would take the month's spending over this asks first; 0 is no limit",
    "bell": "ring the terminal's bell with a notice, and send it as a notification (OSC 9 and 777)",
    "theme": "colours of the app, as textual-light (Ctrl-P, Theme lists them all)",
    "on_notice": "command that is run with each notice: run, kind and text are in NANOCHAT_RUN, _KIND, _TEXT",
    "webhook": "address that each notice is sent to, as JSON, by POST",
}
# What may hold an address that is the key to what it leads to.
SECRET = ("webhook", "on_notice")


class LoadedSettings(Struct, frozen=True):
    """What is set; what of the file is not obeyed: all of it, values that make no sense, names of a newer release."""

    settings: Settings = Settings()
    damage: str = ""
    odd: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def read(home: Path) -> LoadedSettings:
    """What is set; a default stands for what cannot be understood, which is left as it is."""
    atomic.tighten(home / FILE)
    try:
        raw = _raw(home)
    except UsageError as error:
        return LoadedSettings(damage=str(error))
    good: dict[str, Any] = {}
    odd = []
    for name in sorted(raw.keys() & MEANING.keys()):
        try:
            good[name] = _valid(name, raw[name])
        except UsageError:
            odd.append(name)
    return LoadedSettings(Settings(**good), "", tuple(odd), tuple(sorted(raw.keys() - MEANING.keys())))


def load(home: Path) -> Settings:
    """The settings of a data folder; defaults for what is not set or makes no sense."""
    return read(home).settings


def check(home: Path) -> None:
    """Raises UsageError for a file of which nothing is obeyed."""
    _raw(home)


def _raw(home: Path) -> dict[str, Any]:
    """The file as it is. Raises UsageError where it is no JSON object."""
    path = home / FILE
    try:
        return msgspec.json.decode(path.read_bytes().removeprefix(codecs.BOM_UTF8), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except (OSError, *stored.UNREADABLE) as error:
        raise UsageError(f"{path} cannot be read ({error})", "mend or remove it") from error


def _valid(name: str, value: object) -> Any:
    """A value of the file or of a person, as its type. Raises UsageError."""
    field = next(f for f in msgspec.structs.fields(Settings) if f.name == name)
    # Of an address an error tells nothing: it may be read by others.
    refused = f"{name} cannot be {'that' if name in SECRET else repr(str(value)[:40])}"
    try:
        wanted = msgspec.convert(value, type=field.type, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        raise UsageError(refused, MEANING[name], field=name) from error
    if isinstance(wanted, str) and not wanted.isprintable():
        raise UsageError(refused, "leave out what cannot be seen", field=name)
    if name == "webhook" and wanted and (problem := addresses.problem(str(wanted))):
        raise UsageError(refused, problem, field=name)
    if isinstance(wanted, Decimal) and not (wanted.is_finite() and 0 <= wanted < 10**9):
        raise UsageError(refused, "give a number, 0 or more", field=name)
    return wanted


def changed(settings: Settings, name: str, value: str) -> Settings:
    """The settings with one of them as typed; `default` takes it back. Raises UsageError."""
    if name not in MEANING:
        raise UsageError(f"unknown setting {name[:40]!r}", closest_name(name, tuple(MEANING)), field=name)
    if value == "default":
        return msgspec.structs.replace(settings, **{name: getattr(Settings(), name)})
    is_flag = isinstance(getattr(settings, name), bool)
    said = {"on": "true", "off": "false"}.get(value, value) if is_flag else value
    said = said.strip()
    if name == "volume" and said:
        # It is that folder from wherever it is asked for.
        said = str(given_path(said, field=name))
    wanted = _valid(name, said)
    if name == "on_notice" and wanted and (problem := addresses.problem_of_command(wanted)):
        raise UsageError("on_notice cannot be that", problem, field=name)
    return msgspec.structs.replace(settings, **{name: wanted})


def setting_text(settings: Settings) -> dict[str, Any]:
    """Every setting as anybody may see it: of an address no more than the host."""
    found = {name: getattr(settings, name) for name in MEANING}
    return found | {name: addresses.host_only(name, found[name]) for name in SECRET}


def typed(value: object) -> str:
    """A value as it is typed."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def put(home: Path, name: str, value: str) -> Settings:
    """Set one of them for good; the settings with it. Others may have been set by somebody else meanwhile.

    What the file holds besides, as of a newer release, stays. Raises UsageError also for a file that is damaged.
    """
    kept = _raw(home)
    settings = changed(load(home), name, value)
    kept.pop(name, None)
    if name in (new := msgspec.to_builtins(settings)):
        kept[name] = new[name]
    atomic.write(home / FILE, msgspec.json.format(msgspec.json.encode(kept)) + b"\n", atomic.PRIVATE)
    return settings
