"""The file with what a person has set: read as it is, changed by one value at a time. That of earlier releases, too."""

import codecs
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from runner.errors import Unreachable, UsageError
from runner.model import stored
from runner.system import atomic, locks
from runner.text import toml_text

FILE = "settings.toml"
# Of earlier releases: read where there is none in TOML, and put aside once there is.
JSON = "settings.json"
ASIDE = ".old"
LOCK = ".settings.lock"
LOCK_S = 20.0


def name_of(home: Path) -> str:
    """The file that counts in a data folder."""
    return JSON if not (home / FILE).exists() and (home / JSON).exists() else FILE


def read(home: Path) -> dict[str, Any]:
    """What the file says, unchecked; empty where there is none. Raises UsageError for one that cannot be understood."""
    path = home / name_of(home)
    atomic.tighten(path)
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        if path.name == JSON:
            return msgspec.json.decode(data, type=dict[str, Any])
        return toml_text.parse(data.decode())
    except FileNotFoundError:
        return {}
    except (OSError, *stored.UNREADABLE) as error:
        raise UsageError(f"{path} cannot be read ({error})", "mend or remove it") from error


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile. Raises Unreachable where somebody else does all the time."""
    home.mkdir(parents=True, exist_ok=True, mode=atomic.PRIVATE_FOLDER)
    path = home / LOCK
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, atomic.PRIVATE), "rb") as file:
        if not locks.take_within(file, path, LOCK_S):
            raise Unreachable(f"another process is changing {home / FILE}", "try again")
        yield


def put(home: Path, name: str, value: Any, carried: dict[str, Any], say: Callable[[str], None]) -> None:
    """Set one value, or take it out where it is None; whoever calls this has it `locked`.

    All else stays as a person has written it. Where that cannot be, the values stay and what was written is kept
    beside it, which is said. `carried` is what an earlier release's file says, in the terms of this one.
    """
    path, old = home / FILE, home / JSON
    if name_of(home) == JSON:
        values = {key: kept for key, kept in _without_null(carried).items() if key != name}
        _write(path, toml_text.whole(values if value is None else {**values, name: value}))
        old.replace(old.with_name(JSON + ASIDE))
        say(f"what was set in {JSON} is in {FILE} now; the old file is {JSON}{ASIDE}")
        return
    data = path.read_bytes() if path.exists() else b""
    bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    text = data.removeprefix(bom).decode()
    changed = toml_text.with_value(text, name, value)
    if changed is None:
        atomic.write(path.with_name(FILE + ASIDE), data, atomic.PRIVATE)
        values = {key: kept for key, kept in toml_text.parse(text).items() if key != name}
        _write(path, toml_text.whole(values if value is None else {**values, name: value}))
        say(f"{FILE} was written anew, its values alone: {name} is not in a line of its own; as it was: {FILE}{ASIDE}")
    elif changed != text or not path.exists():
        _write(path, changed, bom)


def _write(path: Path, text: str, bom: bytes = b"") -> None:
    atomic.write(path, bom + text.encode(), atomic.PRIVATE)


def _without_null(value: Any) -> Any:
    """What JSON says without its nulls, which TOML has not."""
    if isinstance(value, dict):
        return {name: _without_null(kept) for name, kept in value.items() if kept is not None}
    if isinstance(value, list):
        return [_without_null(kept) for kept in value if kept is not None]
    return value
