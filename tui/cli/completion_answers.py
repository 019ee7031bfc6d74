"""What may come next on a command line, answered from the parsers themselves, as the scripts of `completion` ask."""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tui.cli import candidates
from tui.cli.candidates import Candidate, TypedSoFar
from tui.cli.commands import ALIASES, COMMANDS, expanded
from tui.cli.parser import Parser

# What the shell is told to do itself, in the first line of an answer; `open`: put no space after the word.
FILES, FOLDERS, OPEN, NOTHING = "files", "folders", "open", "-"
ABOUT = 60


class Answer(NamedTuple):
    """The words that may stand there, or what the shell completes itself."""

    words: tuple[Candidate, ...] = ()
    shell: str = NOTHING


def complete(argv: Sequence[str]) -> int:
    """Print what may come next: `bash LINE BREAKS`, or `zsh|fish WORD… LAST`. Never fails: then there is nothing."""
    try:
        said = _for_shell(argv[0], argv[1:])
    except Exception:
        from runner.system.client_log import LOG

        LOG.debug("nothing is completed", exc_info=True)
        return 0
    sys.stdout.buffer.write(said.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()
    return 0


def _for_shell(shell: str, words: Sequence[str]) -> str:
    """An answer as the script of a shell reads it."""
    from tui.cli.shell_words import quoted, read

    if shell == "bash":
        typed = read(words[0], words[1])
        found = answer(typed.words[1:], typed.last)
        fit = [one for one in found.words if one.word.startswith(typed.last)]
        lines = [quoted(one.word[typed.kept :], typed.quote) for one in fit]
        shell_does = OPEN if len(fit) == 1 and fit[0].open else found.shell
        return "\n".join([shell_does, *dict.fromkeys(lines)]) + "\n"
    found = answer(list(words[:-1]), words[-1])
    if shell == "zsh":
        rows = [f"{quoted(one.word)}\t{OPEN if one.open else NOTHING}\t{_shown(one)}" for one in found.words]
        return "\n".join([found.shell, *rows]) + "\n"
    # To fish a tab ends the word.
    rows = [f"{one.word}\t{_said(one.about)}" for one in found.words if "\t" not in one.word]
    return "\0".join([found.shell, *rows])


def _shown(one: Candidate) -> str:
    from runner.text.filenames import path_for_terminal

    word = path_for_terminal(one.word)
    return f"{word:<24}  {_said(one.about)}" if one.about else word


def _said(about: str) -> str:
    from runner.text.sanitize import sanitize_line

    about = sanitize_line(about)
    return about if len(about) <= ABOUT else about[: ABOUT - 3].rstrip() + "..."


def answer(words: list[str], last: str) -> Answer:
    """What may stand in the place of the `last` word, after these."""
    from tui.cli.main import parser

    command, words = expanded(words)
    if command == "help":
        return Answer(tuple(_commands())) if words[-1] == "help" else Answer()
    if command and command not in COMMANDS:
        return Answer()
    place = _Place(parser(command))
    for word in words:
        place.take(word)
    return place.answer(last)


def _commands() -> Iterator[Candidate]:
    for name, command in COMMANDS.items():
        yield Candidate(name, command.help)
    yield from (Candidate(alias, f"is {' '.join(meant)}") for alias, meant in ALIASES.items())


class _Place:
    """Where a command line has come to: the parser that is being filled, and the argument whose value comes next."""

    def __init__(self, top: Parser) -> None:
        self._parser, self._given = top, dict[str, list[str]]()
        self._option: argparse.Action | None = None
        self._left = self._positionals()
        self._only_words = False

    def take(self, word: str) -> None:
        """Go on by a word that is whole."""
        if self._option and not (self._option.nargs == "?" and word.startswith("-")):
            self._note(self._option, word)
            self._option = None
            return
        self._option = None
        if word == "--" and not self._only_words:
            self._only_words = True
        elif word.startswith("-") and not self._only_words:
            name, equals, value = word.partition("=")
            option = self._options().get(name)
            if option and equals:
                self._note(option, value)
            elif option and option.nargs != 0:
                self._option = option
            elif option:
                self._note(option, "")
        elif self._left:
            self._positional(self._left[0], word)

    def answer(self, last: str) -> Answer:
        """What may stand in the place of the word that is being typed."""
        if self._option:
            return self._values(self._option, last)
        name, equals, value = last.partition("=")
        if last.startswith("-") and not self._only_words:
            option = self._options().get(name) if equals else None
            if option:
                found = self._values(option, value)
                return found._replace(words=tuple(one._replace(word=f"{name}={one.word}") for one in found.words))
            return Answer(tuple(self._option_names()))
        return self._values(self._left[0], last) if self._left else Answer(tuple(self._option_names()))

    def _positionals(self) -> list[argparse.Action]:
        return [action for action in self._parser.actions if not action.option_strings]

    def _options(self) -> dict[str, argparse.Action]:
        return {name: action for action in self._parser.actions for name in action.option_strings}

    def _note(self, action: argparse.Action, value: str) -> None:
        self._given.setdefault(action.dest, []).append(value)

    def _positional(self, action: argparse.Action, word: str) -> None:
        below = self._parser.below()
        if action.nargs == argparse.PARSER and word in below:
            self._parser = below[word]
            self._left = self._positionals()
            return
        self._note(action, word)
        if action.nargs not in ("+", "*"):
            self._left.pop(0)

    def _option_names(self) -> Iterator[Candidate]:
        """Those that are not given yet, or may be given again."""
        for action in self._parser.actions:
            again = isinstance(action, argparse._AppendAction)
            if action.option_strings and action.help != argparse.SUPPRESS and (again or action.dest not in self._given):
                yield from (Candidate(name, action.help or "") for name in action.option_strings if name[:2] == "--")

    def _values(self, action: argparse.Action, last: str) -> Answer:
        if action.nargs == argparse.PARSER:
            below = self._parser.below()
            return Answer(tuple(_commands() if self._parser.words == () else _below(action, below)))
        if action.choices:
            return Answer(tuple(Candidate(str(choice)) for choice in action.choices))
        names = candidates.names_of(" ".join(self._parser.words), action)
        source = next((candidates.SOURCES[name] for name in names if name in candidates.SOURCES), None)
        asked = TypedSoFar(last, self._parser.words[0] if self._parser.words else "", self._given)
        shell = FOLDERS if _any(names, candidates.FOLDERS) else FILES if _any(names, candidates.FILES) else NOTHING
        if source is None or (shell != NOTHING and _is_path(last)):
            return Answer((), shell)
        return Answer(tuple(source(asked)))


def _below(action: argparse.Action, below: dict[str, Parser]) -> Iterator[Candidate]:
    yield from (Candidate(name, one.description or "") for name, one in below.items())


def _any(names: Iterable[str], of: frozenset[str]) -> bool:
    """Whether the name that tells most of those is there; `volume put to` is no folder although `to` may be."""
    return any(name in of for name in names)


def _is_path(word: str) -> bool:
    return os.sep in word or word.startswith(("~", "."))
