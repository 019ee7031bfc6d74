"""The key table as bindings of Textual, each by its id, so that a person's own keys can be put in its place."""

from textual.binding import Binding, BindingType

from tui.presentation.key_choice import Chosen, chosen, keys_of_files
from tui.presentation.keymap import KEYS, MOVES, READING

# What is added to the id of a movement where a screen has some of its keys for files.
AMONG_FILES = "/files"
# As a key it is nowhere on a keyboard: Textual has no other way to say that an action has none.
NO_KEY = "none"
_OF_FILES = keys_of_files(chosen().keys)


def bindings(screen: str) -> list[BindingType]:
    """The bindings of one screen, or of the app for ""."""
    return [Binding(k.keys, k.action, k.label, show=k.footer, id=k.id) for k in KEYS if k.screen == screen]


def through(screen: str, action: str) -> list[BindingType]:
    """The keys of a part of a screen for when it has not the focus: `action` is called with what each does there."""
    return [Binding(k.keys, f"{action}({k.action!r})", show=False, id=k.id) for k in KEYS if k.screen == screen]


def key_overrides(keys: Chosen) -> dict[str, str]:
    """What Textual is to put in the place of the table's keys, by the id of a binding."""
    found = dict(keys.changed)
    taken = keys_of_files(keys.keys)
    for name in MOVES:
        if (id := f"move.{name}") in found:
            found[id + AMONG_FILES] = tuple(key for key in found[id] if key not in taken)
    return {id: ",".join(mine) or NO_KEY for id, mine in found.items()}


def closing(*ids: str) -> list[BindingType]:
    """What closes a window that is opened by these keys."""
    return [Binding(k.keys, "dismiss", show=False, id=k.id) for k in KEYS if k.id in ids]


def moves(*, among: str = "", **actions: str) -> list[BindingType]:
    """Bindings of a widget for the movements that it knows: `moves(down="move(1)")`.

    `among` "text" letters move, too; "files" have keys of their own, which go before those of movement.
    """
    found: list[BindingType] = []
    for name, action in actions.items():
        keys = [key for key in MOVES[name].split(",") if among != "files" or key not in _OF_FILES]
        id = f"move.{name}{AMONG_FILES if among == 'files' else ''}"
        found.append(Binding(",".join(keys), action, show=False, id=id))
        if among == "text" and name in READING:
            found.append(Binding(READING[name], action, show=False, id=f"read.{name}"))
    return found
