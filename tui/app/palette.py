"""The palette: every command by its name, one line each, what one means first, and what works here."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from rich.text import Text
from textual.command import DiscoveryHit, Hit, Hits, Provider

from runner.system import read_only
from tui.presentation.keymap import KEYS, TITLES

if TYPE_CHECKING:
    from tui.app.base_app import TerminalApp

# Textual's own commands that have no key of ours.
OWN = ("Theme", "Screenshot")
# What a command counts that works here, that is done on another screen, that is typed in a shell.
HERE, ELSEWHERE, SHELL = 1.0, 0.5, 0.4
# Ways back, which are nothing to go to another screen for.
BACK = ("back", "clear", "undo")


class Command(NamedTuple):
    """Its name, its keys, what it does in a few words; the screen where it does that, where that is another one."""

    label: str
    keys: str
    help: str
    place: str = ""
    counts: float = HERE

    def line(self) -> Text:
        place = f"{self.place}: " if self.place else ""
        label = f"{self.label:<13}" if len(self.label) < 13 else f"{self.label}  "
        return Text.assemble((label, "bold"), f"{self.keys:<10} {place}{self.help}", no_wrap=True)


def score(wanted: str, command: Command) -> float:
    """How well a command fits what was typed, 0 for not at all: every word begins a word of it, best of its name."""
    label, others = command.label.lower().split(), f"{command.help} {command.keys} {command.place}".lower().split()
    found = command.counts
    for word in wanted.lower().split():
        if any(part == word for part in label):
            found *= 1.0
        elif any(part.startswith(word) for part in label):
            found *= 0.9
        elif any(part.strip("(),:;").startswith(word) for part in others):
            found *= 0.3
        else:
            return 0.0
    return found


class Commands(Provider):
    """What has a key here, then the app's, then other screens', then the command line's, each with how it is done."""

    def _all(self) -> Iterable[tuple[Command, Callable[[], object]]]:
        app = cast("TerminalApp", self.app)
        here = app.sections(self.screen)
        for section in (*here, *app.sections_elsewhere(self.screen)):
            for key in KEYS:
                # Of what has the same name here and elsewhere, as Back, only what is here is meant.
                left_out = ("command_palette", *(() if section in here else BACK))
                if key.screen == section and key.action not in left_out and key.id not in app.hidden:
                    act = partial(app.act_later, self.screen, key)
                    place, counts = ("", HERE) if section in here else (TITLES[section], ELSEWHERE)
                    yield (
                        Command(
                            key.label,
                            app.keys.label(key.id, first=True),
                            key.does(looking=read_only.is_set()),
                            place,
                            counts,
                        ),
                        act,
                    )
        for title, about, own, _ in app.get_system_commands(self.screen):
            if title in OWN:
                yield Command(title, "", about), own
        for typed, about in app.commands.items():
            yield Command(typed, "copies it:", about, "", SHELL), partial(app.copy, typed, typed)

    async def discover(self) -> Hits:
        for command, act in self._all():
            yield DiscoveryHit(command.line(), act, text=command.label)

    async def search(self, query: str) -> Hits:
        for number, (command, act) in enumerate(self._all()):
            if (found := score(query, command)) > 0:
                # Of those that fit alike, in the order of the table.
                yield Hit(found - number * 1e-5, command.line(), act, text=command.label)
