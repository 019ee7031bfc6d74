"""The text of a recipe: TOML, keys as options are spelled. It may be a stranger's: nothing of it is believed. Pure."""

import re
from decimal import Decimal
from typing import Any

import msgspec

from runner.errors import UsageError
from runner.model import stage_flags
from runner.model.code import Code
from runner.model.overrides import Overrides, closest_name, parse_overrides
from runner.model.stage_flags import ENV, StageFlag
from runner.recipes.recipe import Recipe, made
from runner.text import toml_text
from runner.text.sanitize import sanitize_line
from runner.text.secrets import looks_secret, secret_hint

MOST_BYTES, MOST_CHARS = 32_768, 4096
OVERRIDES, SET = "overrides", "set"
_TEXTS = ("description", "task", "model", "gpu", "engine", "backend", "from", "code", "wandb", "tag", "recipe")
_AMOUNTS = ("budget", "stop-if-stalled")
_COUNTS = ("gpus", "step")
_LISTS = ("secrets", "pass-env")
# What tells one state of code from another, with what each may hold.
_CODE = {
    "code-sha": re.compile(r"[0-9a-f]{64}"),
    "code-commit": re.compile(r"[0-9a-f]{7,64}"),
    "code-base": re.compile(r"[0-9a-f]{7,64}"),
    "code-branch": re.compile(r"[^\s]{1,250}"),
}
DIRTY = "code-dirty"
# In the order in which they are written.
KEYS = (
    "description", "recipe", "task", "model", "from", "step", "backend", "engine", "gpus", "gpu", "budget",
    "stop-if-stalled", "tag", "code", *_CODE, DIRTY, "wandb", *_LISTS,
)  # fmt: skip
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LINE = re.compile(r"\(at (line \d+),[^)]*\)|\(at end of document\)")


def read(text: str, file: str) -> Recipe:
    """The recipe that a text says. Raises UsageError, with the file and the key or line that is wrong."""
    raw = _parsed(text, file)
    known = (*KEYS, OVERRIDES, SET)
    for key in raw:
        if key not in known:
            raise _wrong(file, f"unknown key {_shown(key)}", closest_name(key[:80], known))
    said: dict[str, Any] = {}
    for key in KEYS:
        if key in raw and key not in _CODE and key != DIRTY:
            said[_field(key)] = _value(file, key, raw[key])
    if said.get("recipe") and not NAME.fullmatch(said["recipe"]):
        raise _wrong(file, "recipe is no name", "leave it out")
    try:
        return made(
            model=said.pop("model", None),
            overrides=_overrides(file, raw.get(OVERRIDES, {})),
            flags=_flags(file, raw.get(SET, {})),
            packed=_packed(file, raw),
            **said,
        )
    except UsageError as error:
        if error.what.startswith(f"{file}: "):
            raise
        raise _wrong(file, error.what, error.hint) from error


def write(recipe: Recipe) -> str:
    """The text that says a recipe."""
    found: dict[str, Any] = {}
    for key in KEYS:
        value = _of_code(recipe, key) if key in _CODE or key == DIRTY else getattr(recipe, _field(key))
        if value not in (None, "") or (key == "wandb" and value == ""):
            found[key] = list(value) if isinstance(value, tuple) else value
    if recipe.overrides:
        found[OVERRIDES] = {name.replace("_", "-"): _plain(value) for name, value in recipe.overrides.items()}
    tables: dict[str, dict[str, Any]] = {}
    for one in recipe.flags:
        tables.setdefault(one.stage, {})[one.name] = _natural(one.value)
    return toml_text.whole(found | ({SET: tables} if tables else {}))


def _wrong(file: str, what: str, hint: str) -> UsageError:
    return UsageError(f"{file}: {sanitize_line(what)}", sanitize_line(hint), field="recipe")


def _shown(value: object) -> str:
    text = sanitize_line(str(value))
    return repr(text if len(text) <= 40 else f"{text[:39]}…")


def _field(key: str) -> str:
    return {"from": "source"}.get(key, key.replace("-", "_"))


def _parsed(text: str, file: str) -> dict[str, Any]:
    if len(text) > MOST_BYTES:
        raise _wrong(file, f"it is longer than {MOST_BYTES // 1024} KiB", "a recipe is a short file")
    try:
        return toml_text.parse(text)
    except RecursionError as error:
        raise _wrong(file, "it is no TOML: too many brackets", "nanochat-tui recipes NAME shows one that is") from error
    except ValueError as error:
        place = _LINE.search(str(error))
        line = (place[1] or f"line {text.count(chr(10)) + 1}") if place else "a number"
        said = _LINE.sub("", str(error)).strip() if place else "it has too many digits"
        raise _wrong(file, f"{line}: {said[:120]}", "mend that line") from error


def _value(file: str, key: str, value: Any) -> Any:
    """The value of a key outside of tables. Raises UsageError."""
    if key in _COUNTS:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**12:
            raise _wrong(file, f"{key} = {_shown(value)} is not a whole number", f"write {key} = 8")
        return value
    if key in _LISTS:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise _wrong(file, f"{key} is not a list of names", f'write {key} = ["NAME"]')
        return tuple(_text(file, key, one) for one in value)
    if key in _AMOUNTS and isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        kind = "text" if key in _TEXTS else "an amount"
        raise _wrong(file, f"{key} = {_shown(value)} is not {kind}", f'write {key} = "…"')
    return _text(file, key, value)


def _text(file: str, key: str, value: str) -> str:
    if len(value) > MOST_CHARS or not value.isprintable():
        raise _wrong(file, f"{key} cannot be used", "give one line of text")
    return value


def _packed(file: str, raw: dict[str, Any]) -> Code | None:
    """The very state of the code that a file names."""
    said: dict[str, Any] = {}
    for key, shape in _CODE.items():
        value = raw.get(key)
        if value is not None:
            if not isinstance(value, str) or not shape.fullmatch(value) or not value.isprintable():
                raise _wrong(file, f"{key} cannot be {_shown(value)}", "leave it as the run has written it")
            said[key.removeprefix("code-")] = value
    dirty = raw.get(DIRTY, False)
    if not isinstance(dirty, bool):
        raise _wrong(file, f"{DIRTY} is not true or false", "leave it as the run has written it")
    if "sha" not in said:
        if said or dirty:
            raise _wrong(file, "it says more of its code, and no code-sha", "add that, or leave all of it out")
        return None
    if not raw.get("code"):
        raise _wrong(file, "code-sha without code", "say where it is from, as code = …")
    return Code(origin=str(raw["code"]), dirty=dirty, **said)


def _of_code(recipe: Recipe, key: str) -> Any:
    value = getattr(recipe.packed, key.removeprefix("code-")) if recipe.packed else None
    return value or None


def _table(file: str, name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(file, f"{name} is no table", f"write [{name}]")
    return value


def _overrides(file: str, value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in _table(file, OVERRIDES, value).items():
        plain = name.replace("-", "_")
        if plain not in Overrides.__struct_fields__:
            known = [known.replace("_", "-") for known in Overrides.__struct_fields__]
            raise _wrong(file, f"[{OVERRIDES}] has an unknown key {_shown(name)}", closest_name(name[:80], known))
        if plain == "fault":
            if not isinstance(one, list) or not all(isinstance(word, str) for word in one):
                raise _wrong(file, f"[{OVERRIDES}] fault is not a list of text", 'write fault = ["crash@30"]')
            found[plain] = one
            continue
        if isinstance(one, dict | list) or not isinstance(one, str | int | float | Decimal):
            raise _wrong(file, f"[{OVERRIDES}] {plain} = {_shown(one)} cannot be", "give a number, true or false")
        found[plain] = float(one) if isinstance(one, Decimal) else one
        _check_override(file, plain, found[plain])
    return found


def _check_override(file: str, name: str, value: Any) -> None:
    try:
        parse_overrides({name: value})
    except UsageError as error:
        said = f"[{OVERRIDES}] {name.replace('_', '-')} = {_shown(value)} cannot be"
        raise _wrong(file, said, error.hint) from error


def _flags(file: str, value: Any) -> tuple[StageFlag, ...]:
    texts = []
    for stage, table in _table(file, SET, value).items():
        if stage not in (*stage_flags.STAGES, ENV):
            raise _wrong(
                file, f"[{SET}.{_shown(stage)[1:-1]}] is no stage", f"use {', '.join((*stage_flags.STAGES, ENV))}"
            )
        for name, one in _table(file, f"{SET}.{stage}", table).items():
            if not isinstance(one, str | int | float | Decimal):
                raise _wrong(file, f"[{SET}.{stage}] {_shown(name)} is not one value", "give text, a number or true")
            said = ("true" if one else "false") if isinstance(one, bool) else str(one)
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name):
                raise _wrong(file, f"[{SET}.{stage}] {_shown(name)} is no name", "give a flag without its dashes")
            if looks_secret(name if stage == ENV else "", said):
                raise _wrong(file, f"[{SET}.{stage}] {name} {secret_hint(stage, name)[0]}", secret_hint(stage, name)[1])
            texts.append(f"{stage}.{name}={said}")
    return stage_flags.parse(texts)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _natural(text: str) -> Any:
    """A value as a person would write it in TOML: a number where it reads back as the same text."""
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text) and text != "-0":
        return int(text)
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,14})\.[0-9]{1,15}", text):
        return Decimal(text)
    return text


def checked_name(name: str) -> str:
    """A name for a recipe. Raises UsageError."""
    if not NAME.fullmatch(name) or name.endswith(".toml"):
        raise UsageError(
            f"{_shown(name)} is no name for a recipe", "use letters, digits, . _ -, at most 64", field="recipe"
        )
    return name


def as_builtins(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says, for JSON: as its file has it."""
    found: dict[str, Any] = msgspec.to_builtins(toml_text.parse(write(recipe)))
    return found
