"""Makes the pages of docs/ from what they are about; `python -m tests.docs` holds them to it, `--write` renews them."""

import argparse
import inspect
import re
import sys
import types
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

import runner
from runner import settings
from runner.exit_codes import EXIT_MEANING, Exit
from runner.model import events
from runner.model.paid import Account
from runner.model.run import Run
from runner.model.status import Status
from tui.cli.commands import COMMANDS, also_called
from tui.cli.examples import EXAMPLES
from tui.cli.main import parser
from tui.cli.parser import Parser
from tui.presentation.key_choice import chosen
from tui.presentation.key_presets import PRESETS
from tui.presentation.keymap import key_label, rows

DOCS = Path(__file__).parents[1] / "docs"
INTRO = """# Reference

Made from the program's own tables by `make docs`; `make check` holds it to them.
For the tasks a person has, in their order, see [README](../README.md); for programs, [the Python API](api.md).
"""
API = """# Python API

What the app and the command line do, from Python. Made from the code by `make docs`; `make check` holds it to that.
Names that are not here may change between releases.
"""
WRITING = (
    "`nanochat-tui settings keys_preset emacs` (or `vim`, `function-keys`, `default`) chooses a set of them. Over it",
    f"go your own, by the ids below, in `{settings.FILE}` of the data folder:\n",
    """```toml
[keys]
"runs.cancel" = "X"             # instead of c
"log.search" = ["/", "Ctrl-S"]  # several; the first is shown
"runs.delete" = []              # none
```\n""",
    "A key is written as it is shown here, or as Textual names it (`ctrl+s`, `question_mark`). An id or a key that",
    "does not exist, and a key that would do two things on one screen, is told, and that action keeps what it had.",
    "Arrows, `PgUp`, `PgDn`, `Home` and `End` always move, `Ctrl-C` always quits. `nanochat-tui keys` lists them.\n",
)
FILES = (
    ("run.json", Run, "What was asked for; in a run's folder on the volume, written by the client alone."),
    (
        "status.json",
        Status,
        "What the job says of itself; beside it, rewritten by the job alone, once a second at most.",
    ),
    ("An account", Account, "What a deleted run has paid; in `spent/` of the volume."),
)


def main() -> int:
    pages = {
        DOCS / "reference.md": "\n".join([INTRO, *keys(), *commands(), *exit_codes(), *all_settings(), *formats()]),
        DOCS / "api.md": "\n".join([API, *examples(), *names()]),
    }
    for page, text in pages.items():
        if "--write" in sys.argv[1:]:
            page.write_text(text)
        elif not page.exists() or page.read_text() != text:
            print(f"docs/{page.name} is not what it is made from: python -m tests.docs --write")
            return 1
    return 0


def table(*rows: tuple[str, ...]) -> Iterator[str]:
    """A table of Markdown, its head first."""
    for number, row in enumerate(rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        if number == 0:
            yield "|" + "---|" * len(row)
    yield ""


def examples() -> Iterator[str]:
    for path in sorted((DOCS / "examples").glob("*.py")):
        yield f"## [{path.name}](examples/{path.name})\n"
        yield f"```python\n{path.read_text()}```\n"


def names() -> Iterator[str]:
    for name in ("Fleet", "RunSpec", *(n for n in runner.__all__ if n not in ("Fleet", "RunSpec"))):
        kind = getattr(runner, name)
        yield f"## {name}\n"
        yield f"{doc(kind)}\n"
        if issubclass(kind, Enum):
            yield ", ".join(f"`{one.name}`" for one in kind) + "\n"
        elif issubclass(kind, msgspec.Struct):
            hints = get_type_hints(kind)
            yield from table(("field", "type"), *((f"`{f}`", spelled(hints[f])) for f in kind.__struct_fields__))
        for member, value in vars(kind).items():
            function = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
            if not member.startswith("_") and inspect.isfunction(function) and function.__doc__:
                given = "" if isinstance(value, property) else str(inspect.signature(getattr(kind, member)))
                yield f"- **`{member}{plain(given)}`** {doc(function)}"
        yield ""


def plain(text: str) -> str:
    """A signature without the modules of its types, without `self`, its defaults as they are typed."""
    text = re.sub(r"(->|:) '([A-Z]\w*)'", r"\1 \2", text)
    text = re.sub(r"<[\w.]+: ('[^']*')>", r"\1", re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text))
    return text.replace("(self, *, ", "(*, ").replace("(self, ", "(").replace("(self)", "()")


def keys() -> Iterator[str]:
    yield "## Keys\n"
    yield from WRITING
    for section in dict.fromkeys(row.section for row in rows()):
        yield f"### {section[0].upper()}{section[1:]}\n"
        mine = [row for row in rows() if row.section == section]
        yield from table(
            ("key", "does", "id"), *((f"`{key_label(','.join(r.keys))}`", r.help, f"`{r.id}`") for r in mine)
        )
    yield "### Presets\n"
    yield "What each has in the place of the keys above; the first one is what the foot of a screen shows.\n"
    names = [name for name, preset in PRESETS.items() if preset]
    by_name = {name: chosen(name) for name in names}
    changed = [row.id for row in rows() if any(row.id in PRESETS[name] for name in names)]
    shown = {
        (id, name): f"`{by_name[name].label(id)}`" if id in PRESETS[name] else "" for id in changed for name in names
    }
    yield from table(("id", *names), *((f"`{id}`", *(shown[id, name] for name in names)) for id in changed))


def commands() -> Iterator[str]:
    yield "## Commands\n"
    yield "`nanochat-tui` alone opens the app. Every command takes `--json`, `--plain`, `--volume` and `--debug`.\n"
    for name in COMMANDS:
        as_plan = below(parser("plan"))["plan"] if name == "launch" else None
        yield from command(f"nanochat-tui {name}", below(parser(name))[name], as_plan)


def below(of: Parser) -> dict[str, Parser]:
    """The subcommands of a parser, by name."""
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def command(name: str, of: Parser, base: Parser | None = None) -> Iterator[str]:
    """A command, its options, and what is below it; of one that takes all that `base` takes only the rest."""
    more, known = below(of), set(base.options()) if base else set()
    rows, words = [], [name]
    for action in of._actions:
        if action.help == argparse.SUPPRESS or action.dest in ("help", "json", "plain", "volume", "debug", "action"):
            continue
        metavar = str(action.metavar or "")
        if not action.option_strings:
            words.append({"?": f"[{metavar}]", "+": f"{metavar} …"}.get(str(action.nargs), metavar))
            continue
        if known.issuperset(action.option_strings):
            continue
        flags = ", ".join(f"`{flag}`" for flag in action.option_strings)
        choices = "|".join(map(str, action.choices)) if action.choices else metavar
        takes = f" `{choices}`" if action.nargs != 0 and choices else ""
        rows.append((flags + takes, action.help or ""))
    yield f"### `{' '.join(words)}`\n"
    said = of.description or ""
    yield f"{said[:1].upper()}{said[1:]}. {'It takes what `plan` takes, and:' if base else ''}".rstrip() + "\n"
    if names := also_called(*of.words):
        yield f"Other names: {', '.join(f'`{one}`' for one in names)}.\n"
    if rows:
        yield from table(("option", "is"), *rows)
    if examples := EXAMPLES.get(" ".join(of.words)):
        yield "\n".join(["```sh", *(f"nanochat-tui {line}" for line in examples), "```\n"])
    for part, sub in more.items():
        yield from command(f"{name} {part}", sub)


def exit_codes() -> Iterator[str]:
    yield "## Exit codes\n"
    yield from table(("code", "means"), *((str(int(code)), EXIT_MEANING[code]) for code in Exit))


def all_settings() -> Iterator[str]:
    yield "## Settings\n"
    yield f'They are in `{settings.FILE}` of the data folder, one to a line as `gpu = "B200"`, for you to write or for'
    yield "`nanochat-tui settings NAME VALUE`, which changes that line alone; `VALUE` may be `default`. The variable"
    yield "`NANOCHAT_TUI_` with the name in capitals goes before the file, a flag before both. `nanochat-tui settings`"
    yield "says where each value comes from.\n"
    defaults = settings.setting_text(settings.Settings())
    rows = ((f"`{name}`", f"`{settings.typed(defaults[name])}`", said) for name, said in settings.MEANING.items())
    yield from table(("setting", "default", "is"), *rows)


def formats() -> Iterator[str]:
    yield "## Files on the volume\n"
    yield "`schema` is the number of the format. Readers pass over fields they do not know, and take what is missing as"
    yield "its default. Times are seconds since the epoch, sizes bytes, money decimal dollars as text.\n"
    told: set[type] = set()
    for name, kind, said in FILES:
        yield f"### {name}\n"
        yield f"{said}\n"
        yield from struct(kind, told)
    yield "### events.jsonl\n"
    yield "A line of JSON an event, in the order in which it came: `t` (when), `attempt` and `stage` of the job,"
    yield "`type`, and what the event says.\n"
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
    rows = [(f"`{kind.__struct_config__.tag}`", fields(kind), doc(kind)) for kind in kinds if kind is not events.Event]
    yield from table(("type", "fields", "is"), *rows)


def struct(kind: type[msgspec.Struct], told: set[type]) -> Iterator[str]:
    """The fields of a record, then those of the records that are in it, each once."""
    if kind in told:
        return
    told.add(kind)
    hints = get_type_hints(kind)
    names = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    yield f"**{kind.__name__}.** {doc(kind)}\n"
    yield from table(("field", "type"), *((f"`{stored}`", spelled(hints[name])) for name, stored in names))
    for hint in hints.values():
        for part in (hint, *get_args(hint), *(x for a in get_args(hint) for x in get_args(a))):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                yield from struct(part, told)


def fields(kind: Any) -> str:
    hints = get_type_hints(kind)
    return ", ".join(f"`{name}` {spelled(hints[name])}" for name in kind.__struct_fields__)


def doc(kind: Any) -> str:
    return re.sub(r"\s+", " ", inspect.getdoc(kind) or "") if kind.__doc__ else ""


def spelled(hint: Any) -> str:
    """A type as a reader of JSON needs it."""
    origin, args = get_origin(hint), get_args(hint)
    if hasattr(hint, "__metadata__"):
        return spelled(args[0])
    if origin is Literal:
        return ", ".join(f"`{arg}`" for arg in args)
    if origin in (Union, types.UnionType):
        return " or ".join(spelled(arg) for arg in args)
    if hint is type(None):
        return "null"
    if origin in (list, tuple):
        return f"list of {', '.join(dict.fromkeys(spelled(arg) for arg in args if arg is not Ellipsis))}"
    if origin is dict:
        return f"object of {spelled(args[1])} by {spelled(args[0])}"
    if isinstance(hint, type) and issubclass(hint, Enum) and not issubclass(hint, IntEnum):
        return ", ".join(f"`{one.value}`" for one in hint if one.value)
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", Decimal: "dollars"}
    return plain.get(hint, getattr(hint, "__name__", str(hint)))


if __name__ == "__main__":
    sys.exit(main())
