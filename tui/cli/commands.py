"""Every command by its name: what it is for, and the file that knows what it takes and does. Loads none of them."""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from tui.cli.start import VALUED


class Command(NamedTuple):
    """A file of this folder, a line of help, and how many runs are named: one, some, perhaps one, or none."""

    file: str
    help: str
    runs: str = ""


COMMANDS = {
    "plan": Command("launching", "show what a launch would do, how long it takes and what it costs"),
    "launch": Command("launching", "start a run; it goes on without this terminal"),
    "recipes": Command("recipes", "launches by name, with the time and money each is likely to take; NAME shows one"),
    "flags": Command("flags", "every flag of every stage that --set takes, with its default"),
    "ls": Command("runs", "list all runs"),
    "show": Command("runs", "everything about one run", "1"),
    "logs": Command("logs", "print a run's log", "1"),
    "view": Command("view", "read any nanochat log: a file, or - for standard input"),
    "watch": Command("watch", "follow a run to its end; exit code 0 if it is done, 1 if not", "1"),
    "cancel": Command("runs", "stop runs now, keeping what is saved", "+"),
    "resume": Command("launching", "resume a run from its newest complete checkpoint", "1"),
    "rm": Command("runs", "delete runs with their logs and checkpoints", "+"),
    "restore": Command("restore", "bring back what was deleted from a volume of this machine; alone, list what can be"),
    "find": Command("find", "search runs, checkpoints, files, settings, commands, logs; exit code 1 if nothing fits"),
    "cost": Command("cost", "what runs have cost and will cost, by run, day, month and model"),
    "compare": Command("cost", "several runs side by side: final numbers, and settings that differ", "+"),
    "checkpoints": Command("checkpoints", "list checkpoints and what each is good for", "?"),
    "volume": Command("volume", "files of a volume: ls, tree, du, cat, get, put, rm, mv"),
    "demo": Command("demo", "open the app on a folder of made-up and recorded runs; nothing of yours is touched"),
    "completion": Command(
        "completion_scripts", "print what lets a shell complete commands, runs, steps, paths and settings"
    ),
    "serve": Command("serve", "the app in a browser: for this machine alone or, with --token, for others"),
    "settings": Command("settings", "what is set for all runs on this machine; NAME VALUE changes it"),
    "keys": Command("keys", "every key of the app by its id, as it is mapped, and what of [keys] is not obeyed"),
    "doctor": Command(
        "doctor", "check this machine, the engines and the backends; exit code 1 if something stops a launch"
    ),
}
# Other names of commands: each stands for these words. Nothing that spends money is among them.
ALIASES: dict[str, tuple[str, ...]] = {
    "list": ("ls",),
    "ps": ("ls",),
    "status": ("show",),
    "info": ("show",),
    "log": ("logs",),
    "tail": ("logs", "-f"),
    "attach": ("watch",),
    "follow": ("watch",),
    "stop": ("cancel",),
    "delete": ("rm",),
    "undo": ("restore",),
    "search": ("find",),
    "costs": ("cost",),
    "config": ("settings",),
    "files": ("volume", "ls"),
    "download": ("volume", "get"),
    "upload": ("volume", "put"),
}
# Words of other tools that are answered with ours.
MEANT = {
    **dict.fromkeys(("kill", "abort"), "cancel"),
    **dict.fromkeys(("start", "run", "train"), "launch"),
    "remove": "rm",
    **dict.fromkeys(("trash", "undelete"), "restore"),
    **dict.fromkeys(("continue", "restart"), "resume"),
    "get": "volume get",
    "put": "volume put",
    **dict.fromkeys(("estimate", "price"), "plan"),
    "diff": "compare",
    "check": "doctor",
    "ui": "nanochat-tui alone, which opens the app",
}
# Asked by the scripts of `completion`; no person types it.
COMPLETE = "__complete"


def command_at(words: Sequence[str]) -> int:
    """Where the command stands: the first word that is no option and no option's value; the end if there is none."""
    is_value = False
    for at, word in enumerate(words):
        if not word.startswith("-") and not is_value:
            return at
        is_value = word in VALUED
    return len(words)


def expanded(words: Sequence[str]) -> tuple[str, list[str]]:
    """The command of a command line, and its words, both with the command's own name in the place of an alias."""
    at = command_at(words)
    if at == len(words):
        return "", list(words)
    meant = ALIASES.get(words[at], (words[at],))
    return meant[0], [*words[:at], *meant, *words[at + 1 :]]


def also_called(*words: str) -> list[str]:
    """The aliases of a command, or of one that is below it: `logs` has `tail`, which is `logs -f`."""
    exact = [alias for alias, meant in ALIASES.items() if meant == words]
    longer = [(alias, meant) for alias, meant in ALIASES.items() if meant[: len(words)] == words != meant]
    return exact + [f"{alias} ({' '.join(meant)})" for alias, meant in longer]


def command_lines() -> dict[str, str]:
    """Every command as it is typed, and what it is for."""
    return {f"nanochat-tui {name}{' RUN' if c.runs in ('1', '+') else ''}": c.help for name, c in COMMANDS.items()}


def module_of(name: str) -> ModuleType:
    """The file of a command, loaded."""
    return importlib.import_module(f"tui.cli.{COMMANDS[name].file}")
