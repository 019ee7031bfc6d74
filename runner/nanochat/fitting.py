"""The flags of a plan, and those that a person adds, as the scripts of somebody's nanochat take them."""

from collections.abc import Iterable

from runner.errors import UsageError
from runner.model.overrides import flag as option
from runner.model.spec import RunSpec
from runner.model.stage_flags import TYPED, StageFlag
from runner.nanochat.code_facts import SCRIPTS, CodeFacts, Script
from runner.nanochat.flags import Flag, check_value, nearest, to_argv

# What a run would be another without, and take another time and other money.
ESSENTIAL = ("depth", "num-iterations", "target-param-data-ratio", "target-flops")


def script_of(code: CodeFacts, stage: str) -> Script:
    """The script of a stage. Raises UsageError for code that has none."""
    found = code.scripts.get(stage)
    if found is None:
        raise UsageError(
            f"this code has no {SCRIPTS[stage]}.py",
            "choose a --task that does without it, or other --code",
            field="code",
        )
    return found


def fitted_flags(stage: str, script: Script, ours: tuple[str, ...], own: Iterable[StageFlag]) -> tuple[str, ...]:
    """The plan's flags in the spelling of the script, without those that it has not; then a person's, which win."""
    mine = [one for one in own if one.stage == stage]
    replaced = {script.flags.find(one.name) or one.name for one in mine}
    kept: list[str] = []
    for words in _grouped(ours):
        known = script.flags.find(_name(words))
        if known is None and not script.flags.open:
            continue
        if (known or _name(words)) not in replaced:
            kept += _respelled(words, known)
    for one in mine:
        known = script.flags.find(one.name)
        kept += to_argv(known, one.value) if known else (f"--{one.name}={one.value}",)
    return tuple(kept)


def unknown_flags(stage: str, script: Script, ours: tuple[str, ...], spec: RunSpec) -> tuple[str, ...]:
    """What is left out of the plan's flags, in words. Raises UsageError where the run would be another one."""
    for one in spec.flags:
        if one.stage == stage:
            _check(stage, script, one)
    if script.flags.open:
        return ()
    left = []
    asked = {name: typed for name, typed in TYPED.get(stage, {}).items() if getattr(spec.overrides, typed) is not None}
    for words in _grouped(ours):
        name = _name(words)
        if script.flags.find(name) is not None:
            continue
        near = _near(script, name)
        if name in asked or name in ESSENTIAL:
            said = option(asked[name]) if name in asked else f"--{name}"
            raise UsageError(f"{script.module} of this code has no --{name}, which {said} needs", near, field="code")
        left.append(
            f"{script.module} of this code has no --{name}: {' '.join(words)} is left out{f' ({near})' if near else ''}"
        )
    return tuple(left)


def _check(stage: str, script: Script, one: StageFlag) -> None:
    """Raises UsageError for a flag that the script does not take, or a value that the flag does not."""
    known = script.flags.find(one.name)
    if known is None:
        if script.flags.open:
            return
        raise UsageError(
            f"--set {stage}.{one.name}: {script.module} has no such flag", _near(script, one.name), field="set"
        )
    if problem := check_value(known, one.value):
        raise UsageError(f"--set {stage}.{one.name}={one.value[:40]}: {problem}", known.help[:100], field="set")


def _near(script: Script, name: str) -> str:
    found = nearest(script.flags, name)
    return f"it has {', '.join(f'--{n}' for n in found)}" if found else ""


def _grouped(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """`--a=1 -x 5` -> [(--a=1), (-x, 5)]."""
    groups: list[tuple[str, ...]] = []
    for word in words:
        if word.startswith("-"):
            groups.append((word,))
        else:
            groups[-1] = (*groups[-1], word)
    return groups


def _name(words: tuple[str, ...]) -> str:
    return words[0].partition("=")[0].lstrip("-")


def _respelled(words: tuple[str, ...], known: Flag | None) -> tuple[str, ...]:
    """One flag in the script's own spelling."""
    name, equals, value = words[0].partition("=")
    if known is None or name in known.names:
        return words
    return (f"{known.spelling}{equals}{value}", *words[1:])
