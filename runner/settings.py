"""What a person has set once for all runs on this machine: one file in the data folder."""

import os
from decimal import Decimal
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from runner.errors import UsageError
from runner.spec import closest

FILE = "settings.json"


class Settings(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Every setting with its default; `MEANING` says what each is for."""

    volume: str = ""
    keep_logs_gb: Decimal = Decimal(5)
    log_times: Literal["off", "clock", "since start"] = "off"
    log_wrap: bool = False
    local_usd_per_hour: Decimal = Decimal(0)
    ask_above_usd: Decimal = Decimal(50)
    monthly_limit_usd: Decimal = Decimal(0)
    bell: bool = True
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
    "on_notice": "command that is run with each notice: run, kind and text are in NANOCHAT_RUN, _KIND, _TEXT",
    "webhook": "address that each notice is sent to, as JSON, by POST",
}


def load(home: Path) -> Settings:
    """What is set. Raises UsageError for a file that cannot be understood, which is left as it is."""
    path = home / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Settings)
    except FileNotFoundError:
        return Settings()
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: {error}", "mend or remove the file") from error


def changed(settings: Settings, name: str, value: str) -> Settings:
    """The settings with one of them as typed; `default` takes it back. Raises UsageError."""
    if name not in MEANING:
        raise UsageError(f"unknown setting {name[:40]!r}", closest(name, tuple(MEANING)), field=name)
    if value == "default":
        return msgspec.structs.replace(settings, **{name: getattr(Settings(), name)})
    field = next(f for f in msgspec.structs.fields(Settings) if f.name == name)
    said = {"on": "true", "off": "false"}.get(value, value) if field.type is bool else value
    try:
        wanted = msgspec.convert(said.strip(), type=field.type, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"{name} cannot be {value[:40]!r}", MEANING[name], field=name) from error
    if name == "webhook" and wanted and not str(wanted).startswith(("http://", "https://")):
        raise UsageError(f"{name} cannot be {value[:40]!r}", "give an address that begins with https://", field=name)
    if isinstance(wanted, Decimal) and not (wanted.is_finite() and 0 <= wanted < 10**9):
        raise UsageError(f"{name} cannot be {value[:40]!r}", "give a number, 0 or more", field=name)
    return msgspec.structs.replace(settings, **{name: wanted})


def shown(value: object) -> str:
    """A value as it is typed."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def put(home: Path, name: str, value: str) -> Settings:
    """Set one of them for good; the settings with it. Others may have been set by somebody else meanwhile."""
    settings = changed(load(home), name, value)
    _save(home, settings)
    return settings


def _save(home: Path, settings: Settings) -> None:
    """Replace the file at once, so that no reader sees half of it."""
    partial = home / f"{FILE}.{os.getpid()}.part"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(settings)) + b"\n")
    partial.replace(home / FILE)
