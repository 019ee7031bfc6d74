"""The parser of all commands: what is wrong is one line with what to do. Loads nothing else."""

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

RUN_HELP = "id, tag, unique prefix of either (not where something is deleted or ended), or 'last'"


class Parser(argparse.ArgumentParser):
    """Errors are one line with what to do, as everywhere."""

    def error(self, message: str) -> NoReturn:
        from runner.errors import UsageError

        hint = f"{self.prog} --help"
        choice = re.fullmatch(r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice:
            known = re.findall(r"[\w-]+", choice[3])
            raise UsageError(f"unknown {choice[1]} {choice[2][:40]!r}", f"{nearest(choice[2], known)} ({hint})")
        unknown = re.fullmatch(r"unrecognized arguments: (--[\w-]+)\b.*", message)
        if unknown and (near := nearest(unknown[1], [*self.options()])).startswith("did you mean"):
            hint = f"{near} ({hint})"
        raise UsageError(message[:200], hint)

    def options(self) -> Iterator[str]:
        """The long options of a command and of all below it."""
        for action in self._actions:
            yield from (name for name in action.option_strings if name.startswith("--"))
            for below in action.choices.values() if isinstance(action.choices, dict) else ():
                yield from below.options() if isinstance(below, Parser) else ()


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint at the word that was meant."""
    from runner.model.overrides import closest_name

    return closest_name(word, list(known))


def common() -> Parser:
    """What every command takes."""
    found = Parser(add_help=False)
    found.add_argument("--json", action="store_true", help="print JSON")
    found.add_argument("--plain", action="store_true", help="no colours, no live rewriting of lines")
    found.add_argument("--volume", default=argparse.SUPPRESS, metavar="DIR", help=argparse.SUPPRESS)
    found.add_argument("--env", default=argparse.SUPPRESS, metavar="NAME", help=argparse.SUPPRESS)
    found.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return found
