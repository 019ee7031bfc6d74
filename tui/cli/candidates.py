"""What an argument may be, by its name: runs, steps, paths, settings, recipes, flags. Only what this machine knows."""

import argparse
import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from runner.fleet.remembered import Remembered, remembered
from runner.model.states import LIVE, State
from runner.paths import data_dir_if_any

# So many names of a folder are looked at.
MOST_NAMES = 2000
# What a folder of a run on Modal holds from its beginning.
ON_MODAL = ("events.jsonl", "log", "run.json", "run.toml", "status.json")


class Candidate(NamedTuple):
    """A word that may stand there, and what it is; `open` where more of it is to come."""

    word: str
    about: str = ""
    open: bool = False


class TypedSoFar(NamedTuple):
    """What is being typed: the last word, the command, and what was given before it, by the name of the argument."""

    word: str
    command: str
    given: dict[str, list[str]]

    def first(self, name: str) -> str:
        """The first value of an argument."""
        return next(iter(self.given.get(name, ())), "")


Source = Callable[[TypedSoFar], Iterable[Candidate]]


def runs(asked: TypedSoFar) -> Iterator[Candidate]:
    """Tags, newest first, without those that are named already; ids where no tag begins so."""
    known = [r for r in _known() if not {r.tag, r.id} & {*asked.given.get("run", ())}]
    known = [r for r in known if _fits(asked.command, r)] or known
    if asked.word and not any(r.tag.startswith(asked.word) for r in known):
        yield from (Candidate(r.id, _about(r)) for r in known if r.id.startswith(asked.word))
    yield from (Candidate(r.tag, _about(r)) for r in known)
    if known:
        yield Candidate("last", "the newest run")


def steps(asked: TypedSoFar) -> Iterator[Candidate]:
    """The steps of a run's checkpoints: by its files on this machine, of one on Modal what it last said."""
    from runner.nanochat.layout import CHECKPOINT_DIRS, checkpoint_part

    run = _named(asked.first("run") or asked.first("source"))
    if run is None:
        return
    found = {run.saved_step} if run.saved_step is not None else set()
    if run.backend == "local":
        for kind in CHECKPOINT_DIRS.values():
            for model, is_folder in _names(Path(run.volume, run.path, kind)):
                of_it = _names(Path(run.volume, run.path, kind, model)) if is_folder else ()
                parts = [part for name, _ in of_it if (part := checkpoint_part(name))]
                found |= {step for what, step, _ in parts if what == "model"}
    yield from (Candidate(str(step)) for step in sorted(found, reverse=True))


def volume_paths(asked: TypedSoFar) -> Iterator[Candidate]:
    """`PATH` and `RUN:PATH`, a folder deeper each time."""
    name, colon, inside = asked.word.partition(":")
    run = _named(name) if colon and "/" not in name else None
    folder: Path | None
    if run:
        before, folder = f"{name}:", Path(run.volume, run.path)
    else:
        before, inside, folder = "", asked.word, _volume(asked)
        yield from (Candidate(f"{r.tag}:", _about(r), open=True) for r in _known())
    above, slash, _ = inside.rpartition("/")
    if run and run.backend != "local":
        yield from (Candidate(before + name) for name in ON_MODAL)
    elif folder and ".." not in above.split("/") and not above.startswith("/"):
        for name, is_folder in _names(folder / above):
            yield Candidate(f"{before}{above}{slash}{name}{'/' if is_folder else ''}", open=is_folder)


def recipes(asked: TypedSoFar) -> Iterator[Candidate]:
    """Recipes by name, those of the package and a person's own."""
    from runner.recipes import shelf

    home = data_dir_if_any()
    for one in shelf.kept(home or Path(os.devnull)):
        yield Candidate(one.name, "own" if one.own else "built in")


def setting_names(asked: TypedSoFar) -> Iterator[Candidate]:
    """Settings, and what each is for."""
    from runner.settings import MEANING

    yield from (Candidate(name, meaning) for name, meaning in MEANING.items())


def setting_values(asked: TypedSoFar) -> Iterator[Candidate]:
    """What a setting may be, where that can be told."""
    from typing import get_args, get_type_hints

    from runner.model.pricing import GPUS
    from runner.model.spec import GPU_COUNTS
    from runner.settings import MEANING, Settings
    from tui.presentation import key_presets, theme_names

    name = asked.first("name")
    if name not in MEANING:
        return
    by_hand = {
        "gpu": [*GPUS],
        "gpus": [str(count) for count in GPU_COUNTS],
        "theme": [*theme_names.NAMES],
        "keys_preset": [*key_presets.PRESETS],
    }
    hint = get_type_hints(Settings)[name]
    values = by_hand.get(name) or (["on", "off"] if hint is bool else [str(value) for value in get_args(hint) if value])
    yield from (Candidate(value) for value in values if hint is not tuple and "'" not in value)
    yield Candidate("default", "what is built in")


def stage_flags(asked: TypedSoFar) -> Iterator[Candidate]:
    """`base.matrix-lr=`: stages, then the flags of one, of the pinned upstream."""
    from runner.model.stage_flags import ENV, STAGES

    stage, dot, _ = asked.word.partition(".")
    if not dot:
        yield from (Candidate(f"{name}.", open=True) for name in (*STAGES, ENV))
    elif stage in STAGES:
        from runner.nanochat import code_facts
        from runner.nanochat.flag_list import listed

        facts = code_facts.pinned()
        if stage in facts.scripts:
            yield from (Candidate(one.word, one.help, open=True) for one in listed(facts, [stage]))


def _fixed(*words: str) -> Source:
    return lambda asked: map(Candidate, words)


def _table(file: str, name: str, *, ending: str = "", first: tuple[str, ...] = ()) -> Source:
    """What a table of the runner has, loaded when it is asked for."""

    def source(asked: TypedSoFar) -> Iterator[Candidate]:
        for word in (*first, *getattr(importlib.import_module(file), name)):
            yield Candidate(f"{word}{ending}", open=bool(ending))

    return source


def models(asked: TypedSoFar) -> Iterator[Candidate]:
    """Every even depth."""
    from runner.model.spec import MAX_DEPTH, MIN_DEPTH

    yield from (Candidate(f"d{depth}") for depth in range(MIN_DEPTH, MAX_DEPTH + 1, 2))


def secrets(asked: TypedSoFar) -> Iterator[Candidate]:
    """Those that are set: what else there is on Modal would have to be asked for."""
    from runner import settings

    home = data_dir_if_any()
    yield from map(Candidate, settings.load(home).secrets if home else ())


def variables(asked: TypedSoFar) -> Iterator[Candidate]:
    """Variables of this shell."""
    yield from map(Candidate, sorted(os.environ))


# By the name of an argument, or by its command and name where that tells more.
SOURCES: dict[str, Source] = {
    "run": runs,
    "source": runs,
    "step": steps,
    "recipe": recipes,
    "recipes name": recipes,
    "settings name": setting_names,
    "settings value": setting_values,
    "gpu": _table("runner.model.pricing", "GPUS"),
    "gpus": _table("runner.model.spec", "GPU_COUNTS"),
    "engine": _table("runner.model.spec", "ENGINES"),
    "backend": _fixed("local", "modal"),
    "task": _table("runner.model.spec", "TASKS"),
    "model": models,
    "stage": _table("runner.model.stage_flags", "STAGES"),
    "flags": stage_flags,
    "fault": _table("runner.model.overrides", "FAULTS", ending="@"),
    "level": _table("runner.logs.search", "LEVELS", first=("error",)),
    "secrets": secrets,
    "pass_env": variables,
    "path": volume_paths,
    "volume put to": volume_paths,
    "volume mv to": volume_paths,
    "every": _fixed("30s", "1m", "5m"),
    "stop_if_stalled": _fixed("20m", "1h"),
    "load_optimizer": _fixed("0", "1"),
}
# What the shell itself completes: files, or folders alone.
FILES = frozenset({"file", "csv", "svg", "bundle", "recipe"})
FOLDERS = frozenset({"volume", "code", "volume get to", "demo home"})


def names_of(command: str, action: argparse.Action) -> tuple[str, str]:
    """The names under which an argument is looked for: the one that tells more first."""
    return f"{command} {action.dest}", action.dest


def _known() -> list[Remembered]:
    home = data_dir_if_any()
    return remembered(home) if home else []


def _named(name: str) -> Remembered | None:
    """A run by its tag or id, or the newest."""
    known = _known()
    if name == "last":
        return known[0] if known else None
    return next((r for r in known if name and name in (r.tag, r.id)), None)


def _fits(command: str, run: Remembered) -> bool:
    """Whether a command can do something with a run."""
    if command == "resume":
        return run.state not in {*LIVE, State.DONE}
    return command != "cancel" or run.state in LIVE


def _about(run: Remembered) -> str:
    return f"{run.model} {run.state}{' on Modal' if run.backend == 'modal' else ''}"


def _volume(asked: TypedSoFar) -> Path | None:
    """The volume of this machine that a command is about."""
    from runner import settings

    home = data_dir_if_any()
    if asked.first("backend") == "modal":
        return None
    is_set = settings.load(home).volume if home else ""
    if given := asked.first("volume") or ("" if is_set.startswith(settings.ON_MODAL) else is_set):
        return Path(os.path.expanduser(given))
    return home / "volumes" / (asked.first("engine") or "rehearsal") if home else None


def _names(folder: Path) -> list[tuple[str, bool]]:
    """Names in a folder, and which of them are folders; none where it cannot be read."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                found.append((entry.name, entry.is_dir(follow_symlinks=False)))
                if len(found) >= MOST_NAMES:
                    break
    except OSError:
        return []
    return sorted(found)
