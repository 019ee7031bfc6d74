"""The palette: every command that works here by its name, one line each, what one means first."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from rich.text import Text
from textual.command import DiscoveryHit, Hit, Hits, Provider

from tui.presentation.keymap import KEYS, key_label

if TYPE_CHECKING:
    from tui.app.base_app import TerminalApp

# Textual's own commands that have no key of ours.
OWN = ("Theme", "Screenshot")


class Command(NamedTuple):
    """Its name, its keys, what it does in a few words."""

    label: str
    keys: str
    help: str

    def line(self) -> Text:
        return Text.assemble((f"{self.label:<13}", "bold"), f"{self.keys:<10} {self.help}", no_wrap=True)


def score(wanted: str, command: Command) -> float:
    """How well a command fits what was typed, 0 for not at all: every word begins a word of it, best of its name."""
    label, others = command.label.lower().split(), f"{command.help} {command.keys}".lower().split()
    found = 1.0
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
    """The keys of the screen that the palette was opened on, of its log and of its curves, and those of the app."""

    def _all(self) -> Iterable[tuple[Command, Callable[[], object]]]:
        app = cast("TerminalApp", self.app)
        for section in app.sections(self.screen):
            for key in KEYS:
                if key.screen == section and key.action != "command_palette":
                    act = partial(app.act_later, self.screen, key)
                    yield Command(key.label, key_label(key.keys.split(",")[0]), key.help), act
        for title, about, own, _ in app.get_system_commands(self.screen):
            if title in OWN:
                yield Command(title, "", about), own

    async def discover(self) -> Hits:
        for command, act in self._all():
            yield DiscoveryHit(command.line(), act, text=command.label)

    async def search(self, query: str) -> Hits:
        for number, (command, act) in enumerate(self._all()):
            if (found := score(query, command)) > 0:
                # Of those that fit alike, in the order of the table.
                yield Hit(found - number * 1e-4, command.line(), act, text=command.label)
