"""The flags that a person may set, of all stages, and how a word that names one is completed. Pure."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from runner.model.overrides import flag as option
from runner.model.stage_flags import DEPTH, OWN, STAGES, TYPED
from runner.model.stages import STAGES as STAGES_OF
from runner.nanochat.code_facts import CodeFacts
from runner.nanochat.flag_help import flag_help
from runner.nanochat.flags import Flag

_KINDS = {"int": "whole number", "float": "number", "str": "text", "switch": "on, off", "onoff": "on, off"}


class ListedFlag(Struct, frozen=True):
    """A flag of a stage: `default` as one would type it, `takes` its choices or kind, `instead` the typed option."""

    stage: str
    name: str
    default: str
    takes: str
    help: str
    instead: str = ""

    @property
    def word(self) -> str:
        """What is typed before its value."""
        return f"{self.stage}.{self.name}="


def stages_of(task: str) -> tuple[str, ...]:
    """The stages of a task whose scripts take flags."""
    return tuple(stage for stage in STAGES if stage in STAGES_OF.get(task, ()))


def listed(code: CodeFacts, stages: Iterable[str] = STAGES) -> list[ListedFlag]:
    """All flags of these stages that are not nanochat-tui's own, in the order of the scripts."""
    return [
        _listed(stage, flag)
        for stage in stages
        if stage in code.scripts
        for flag in code.scripts[stage].flags.flags
        if flag.name.replace("_", "-") not in OWN
    ]


def _listed(stage: str, flag: Flag) -> ListedFlag:
    plain = flag.name.replace("_", "-")
    typed = TYPED.get(stage, {}).get(plain)
    instead = "--model" if (stage, plain) == ("base", DEPTH) else option(typed) if typed else ""
    default = {"true": "on", "false": "off"}.get(flag.default, flag.default) if _is_switch(flag) else flag.default
    takes = ", ".join(flag.choices) or _KINDS.get(flag.kind, "")
    return ListedFlag(
        stage,
        flag.name,
        default if flag.default_known else "?",
        f"{takes} …" if flag.many else takes,
        flag.help or flag_help(stage, flag.name),
        instead,
    )


def _is_switch(flag: Flag) -> bool:
    return flag.kind in ("switch", "onoff")


def fitting(flags: Iterable[ListedFlag], letters: str) -> list[ListedFlag]:
    """The flags that have every word of what was typed in their name, or else in their help; those by name first."""
    words = letters.lower().replace("_", "-").split()
    names = [(one, f"{one.stage}.{one.name}".lower().replace("_", "-")) for one in flags]
    by_name = [one for one, name in names if all(word in name for word in words)]
    known = set(by_name)
    rest = [
        one
        for one, name in names
        if one not in known and all(word in f"{name} {one.help} {one.instead}".lower() for word in words)
    ]
    return by_name + rest


def completed(text: str, flags: Sequence[ListedFlag]) -> str:
    """The words with the last one completed, to a stage and its dot or to a flag and its `=`, if it begins one."""
    before, word = _last_word(text)
    if not word or "=" in word:
        return text
    stage, dot, _ = word.partition(".")
    if not dot:
        found = next((f"{one.stage}." for one in flags if one.stage.startswith(stage)), "")
    else:
        found = next((one.word for one in flags if one.word.startswith(word)), "")
        found = found or next((one.word for one in flags if one.word.startswith(word.replace("_", "-"))), "")
    return before + found if found else text


def with_flag(text: str, cursor: int, word: str) -> tuple[str, int]:
    """The words with `stage.flag=` among them, and where a value for it is typed.

    One that is there already is gone to; a word without `=` at the cursor is what was begun of it.
    """
    at, words = 0, text.split(" ")
    for one in words:
        if one.startswith(word):
            return text, at + len(word)
        at += len(one) + 1
    begin = text.rfind(" ", 0, cursor) + 1
    end = text.find(" ", cursor) if text.find(" ", cursor) >= 0 else len(text)
    if text[begin:end] and "=" not in text[begin:end]:
        return f"{text[:begin]}{word}{text[end:]}", begin + len(word)
    kept = text.rstrip()
    made = f"{kept} {word}" if kept else word
    return made, len(made)


def begun(text: str, cursor: int) -> str:
    """The word at the cursor, where it is no more than the beginning of a flag."""
    begin = text.rfind(" ", 0, cursor) + 1
    word = text[begin:].split(" ", 1)[0]
    return "" if "=" in word else word


def _last_word(text: str) -> tuple[str, str]:
    at = text.rfind(" ") + 1
    return text[:at], text[at:]
