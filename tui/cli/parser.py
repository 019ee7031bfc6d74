"""The parser of all commands: what is wrong is one line with what to do. Loads nothing else."""

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

RUN_HELP = "id, tag, unique prefix of either (not where something is deleted or ended), or 'last'"
READ_ONLY = "only look: nothing is launched, ended, deleted, sent, saved or set (also NANOCHAT_TUI_READ_ONLY=1)"


class Parser(argparse.ArgumentParser):
    """Errors are one line with what to do, as everywhere; help ends with examples."""

    @property
    def words(self) -> tuple[str, ...]:
        """The command that it is of: `("volume", "ls")`."""
        return tuple(self.prog.split()[1:])

    @property
    def actions(self) -> list[argparse.Action]:
        """All that it takes, in the order of its help."""
        return self._actions

    def below(self) -> "dict[str, Parser]":
        """The parsers of the commands below it, by name."""
        return next((dict(a.choices) for a in self._actions if isinstance(a, argparse._SubParsersAction)), {})

    def format_help(self) -> str:
        """The page of help, with the command's other names and examples."""
        from tui.cli.commands import also_called
        from tui.cli.examples import EXAMPLES

        names = also_called(*self.words) if self.words else []
        examples = EXAMPLES.get(" ".join(self.words), ())
        more = [f"other names: {', '.join(names)}\n"] if names else []
        more += ["examples:\n" + "".join(f"  nanochat-tui {line}\n" for line in examples)] if examples else []
        return "\n".join([super().format_help(), *more])

    def _print_message(self, message: str, file: Any = None) -> None:
        """Help in characters that the terminal has."""
        from tui.presentation import console

        super()._print_message(console.in_terminal(message), file)

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
        if message.startswith("the following arguments are required: RUN"):
            hint = f"name a run, or last; nanochat-tui ls lists them ({hint})"
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
    found.add_argument("--read-only", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    found.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return found


def add_every(sub: Parser) -> None:
    """`--every TIME`, of each command that follows a run."""
    help_ = "instead of the log, how it stands each 30s, 1m or 1h, in whole sentences for a screen reader"
    sub.add_argument("--every", type=_seconds, default=None, metavar="TIME", help=help_)


def _seconds(text: str) -> float:
    from runner.model.spec import parse_seconds

    return parse_seconds(text, field="every")
