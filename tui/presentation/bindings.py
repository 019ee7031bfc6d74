"""The key table as bindings of Textual, each by its id, so that a person's own keys can be put in its place."""

from textual.binding import Binding, BindingType

from tui.presentation.key_choice import Chosen
from tui.presentation.keymap import KEYS, MOVES, READING

# As a key it is nowhere on a keyboard: Textual has no other way to say that an action has none.
NO_KEY = "none"


def bindings(screen: str) -> list[BindingType]:
    """The bindings of one screen, or of the app for ""."""
    return [Binding(k.keys, k.action, k.label, show=k.footer, id=k.id) for k in KEYS if k.screen == screen]


def through(screen: str, action: str) -> list[BindingType]:
    """The keys of a part of a screen for when it has not the focus: `action` is called with what each does there."""
    return [Binding(k.keys, f"{action}({k.action!r})", show=False, id=k.id) for k in KEYS if k.screen == screen]


def key_overrides(keys: Chosen) -> dict[str, str]:
    """What Textual is to put in the place of the table's keys, by the id of a binding."""
    return {id: ",".join(mine) or NO_KEY for id, mine in keys.changed.items()}


def closing(*ids: str) -> list[BindingType]:
    """What closes a window that is opened by these keys."""
    return [Binding(k.keys, "dismiss", show=False, id=k.id) for k in KEYS if k.id in ids]


def moves(*, among: str = "", **actions: str) -> list[BindingType]:
    """Bindings of a widget for the movements that it knows: `moves(down="move(1)")`; `among` "text" a pager's, too."""
    found: list[BindingType] = []
    for name, action in actions.items():
        found.append(Binding(MOVES[name], action, show=False, id=f"move.{name}"))
        if among == "text" and name in READING:
            found.append(Binding(READING[name], action, show=False, id=f"read.{name}"))
    return found
