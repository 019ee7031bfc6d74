"""Which flags a script of somebody's nanochat takes, whether a value fits one, and how it is then given. Pure."""

import re
from typing import Literal

from msgspec import Struct

Kind = Literal["int", "float", "str", "switch", "onoff", "other"]
Style = Literal["argparse", "configurator", "none"]
NEAREST = 3
_LONGEST_NAME = 100
_ON, _OFF = ("on", "true", "1", "yes", ""), ("off", "false", "0", "no")
# What every release of argparse takes for a number, and not for a flag.
_NEGATIVE = re.compile(r"-\d+|-\d*\.\d+", re.ASCII)


class Flag(Struct, frozen=True, omit_defaults=True):
    """One flag, as its script spells it; all of its text can be shown as it stands.

    `kind`: "switch" takes no value, "onoff" has a `--no-` of its own, "other" is checked by code that is not known.
    `default`: what one would type for it, "" for none; only with `default_known` is that what the script does.
    `choices`: empty where any value does, or the script does not say them plainly.
    `nargs`: as argparse has it, "" for one word; `repeats`: given again for every word.
    `literal`: its value is read as Python's literal, of the type of the default.
    """

    name: str
    names: tuple[str, ...]
    kind: Kind = "str"
    default: str = ""
    default_known: bool = True
    choices: tuple[str, ...] = ()
    help: str = ""
    required: bool = False
    nargs: str = ""
    repeats: bool = False
    literal: bool = False

    @property
    def many(self) -> bool:
        """Whether its text is several words, quoted as in a shell."""
        return self.repeats or self.nargs not in ("", "?")

    @property
    def spelling(self) -> str:
        """As it is typed, with its dashes."""
        return next((n for n in self.names if n.startswith("--")), self.names[0])

    @property
    def off(self) -> str:
        """How one of kind "onoff" is turned off, "" where it cannot be."""
        turns = self.kind == "onoff" and not self.literal and self.spelling.startswith("--")
        return f"--no-{self.spelling[2:]}" if turns else ""


class ScriptFlags(Struct, frozen=True, omit_defaults=True):
    """The flags of a script in its own order. `open`: it may take more, so an unknown one cannot be refused.

    `style`: "configurator" sets constants of the script by `--name=value`; "none" where it reads no flags itself.
    """

    flags: tuple[Flag, ...] = ()
    open: bool = False
    style: Style = "argparse"

    def find(self, name: str) -> Flag | None:
        """The flag of that name, with or without dashes, `_` for `-` where that is no other; not by its `--no-`."""
        bare = name.lstrip("-")
        alike = bare.replace("_", "-")
        by_spelling = [(n, f) for f in self.flags for n in f.names]
        by_spelling.sort(key=lambda pair: (pair[0] != name, not pair[0].startswith("--")))
        for spelled, flag in by_spelling:
            if spelled == name or spelled.lstrip("-") == bare:
                return flag
        found = [f for spelled, f in by_spelling if spelled.lstrip("-").replace("_", "-") == alike]
        return found[0] if found and all(f == found[0] for f in found) else None


def read_flags(source: str) -> ScriptFlags:
    """The flags of a script by its text, which is never run.

    SyntaxError: it does not compile; `python_source.Unparsable`, a kind of it: it cannot be read at all.
    """
    from runner.nanochat import argparse_flags, configurator_flags
    from runner.nanochat.python_source import parse

    tree = parse(source)
    return configurator_flags.read(source, tree) or argparse_flags.read(tree)


def check_value(flag: Flag, text: str) -> str:
    """Why the script would refuse `text` for this flag, "" where it takes it, or where that cannot be known."""
    if "\0" in text or not _is_utf8(text):
        return "holds characters that no program can be given"
    if flag.kind in ("switch", "onoff"):
        return "" if text.strip().lower() in _ON + _OFF else "needs on or off"
    if flag.literal:
        return "cannot hold =" if flag.kind == "other" and "=" in text else _word_problem(flag, text)
    if not flag.many:
        return "" if flag.nargs == "?" and not text else _word_problem(flag, text)
    try:
        words = _words(text)
    except ValueError:
        return "has a quote that is not closed"
    return _count_problem(flag, words) or next((p for w in words if (p := _word_problem(flag, w))), "")


def to_argv(flag: Flag, text: str) -> tuple[str, ...]:
    """How the flag is given with a value, () for a switch that is off. ValueError where `check_value` refuses it."""
    if problem := check_value(flag, text):
        raise ValueError(f"{flag.spelling} {problem}")
    name = flag.spelling
    if flag.kind in ("switch", "onoff"):
        on = text.strip().lower() in _ON
        if flag.literal:
            return (f"{name}={on}",)
        return (name,) if on else (flag.off,) if flag.off else ()
    if flag.literal:
        return (f"{name}={_as_literal(flag, text)}",)
    if not flag.many:
        return (name,) if flag.nargs == "?" and not text else _one(name, text)
    words = _words(text)
    if flag.repeats and not flag.nargs:
        return tuple(part for word in words for part in _one(name, word))
    return _one(name, words[0]) if len(words) == 1 else (name, *words)


def nearest(flags: ScriptFlags, name: str) -> tuple[str, ...]:
    """Up to three names of flags that an unknown one may have meant, the nearest first."""
    from difflib import get_close_matches

    meant = name.lstrip("-").replace("_", "-").lower()[:_LONGEST_NAME]
    alike = {n.lstrip("-").replace("_", "-").lower(): f.name for f in flags.flags for n in f.names}
    return tuple(dict.fromkeys(alike[n] for n in get_close_matches(meant, alike, n=NEAREST)))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _words(text: str) -> list[str]:
    import shlex

    return shlex.split(text)


def _one(name: str, word: str) -> tuple[str, ...]:
    """One value; after a short name with a space, unless it would be taken for a flag."""
    joined = name.startswith("--") or word.startswith("-")
    return (f"{name}={word}",) if joined else (name, word)


def _count_problem(flag: Flag, words: list[str]) -> str:
    if flag.nargs.isdigit() and len(words) != int(flag.nargs):
        return f"needs {flag.nargs} word{'s' * (flag.nargs != '1')}"
    if not words and flag.nargs not in ("*", "..."):
        return "needs at least one word"
    one_by_one = len(words) == 1 or (flag.repeats and not flag.nargs) or flag.nargs == "..."
    taken_for_a_flag = [] if one_by_one else [w for w in words if w.startswith("-") and not _NEGATIVE.fullmatch(w)]
    return "cannot have several words where one begins with -" if taken_for_a_flag else ""


def _word_problem(flag: Flag, word: str) -> str:
    if word == "--" and not flag.literal:
        # Some releases of argparse lose it, even behind a `=`.
        return "cannot be --"
    number = _number(flag.kind, word)
    if flag.kind in ("int", "float") and number is None:
        return "needs a whole number" if flag.kind == "int" else "needs a number"
    if flag.literal and flag.kind == "float" and number is not None and number - number != 0:
        return "needs a finite number"
    if flag.choices and word not in flag.choices:
        same = number is not None and any(number == _number(flag.kind, c) for c in flag.choices)
        return "" if same else f"is one of {', '.join(flag.choices)}"
    return ""


def _number(kind: Kind, word: str) -> float | int | None:
    """The number that Python makes of a word, None for what is none of that kind."""
    try:
        return int(word) if kind == "int" else float(word) if kind == "float" else None
    except ValueError:
        return None


def _as_literal(flag: Flag, text: str) -> str:
    """What Python's literal reader turns into this very value, without a second `=`."""
    number = _number(flag.kind, text)
    if number is not None:
        return repr(number)
    if flag.kind == "other":
        return text
    from runner.nanochat.python_source import is_literal

    return repr(text).replace("=", "\\x3d") if "=" in text or is_literal(text) else text
