"""The line of keys at the foot of a screen: what works here, and at its right end, always, the way out and the help."""

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.keys import key_to_character
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets._toast import ToastRack

from tui.presentation.bindings import NO_KEY
from tui.presentation.key_names import PUNCTUATION
from tui.presentation.keymap import KEYS, key_label

# By what they do, whatever their keys are: back, help, quit, in this order.
PINNED = {"Back": 0, "Close": 0, "Help": 1, "Quit": 2}
GAP = 2
TABLE = {key.id: number for number, key in enumerate(KEYS)}


class Item(NamedTuple):
    """A key as its binding names it, and the words for it."""

    key: str
    label: str
    id: str = ""

    @property
    def words(self) -> tuple[str, str]:
        return key_label(self.key).replace("Enter", "⏎"), self.label

    @property
    def width(self) -> int:
        return cell_len(" ".join(self.words))


def _pinned(items: Sequence[Item], width: int) -> list[Item]:
    """Those at the right end, as far as there is room for them."""
    pinned = sorted((i for i in items if i.label in PINNED), key=lambda i: PINNED[i.label])
    while pinned and room_for(pinned) > width:
        pinned.pop(0)
    return pinned


def room_for(items: Sequence[Item]) -> int:
    """How wide items are beside each other."""
    return sum(i.width + GAP for i in items)


def arranged(items: Sequence[Item], width: int) -> tuple[list[tuple[int, Item]], int]:
    """Where each item begins, and how many there is no room for: whole ones go, from the right, the pinned last."""
    pinned = _pinned(items, width)
    right = width - room_for(pinned)
    placed, at = [], 1
    others = [i for i in items if i.label not in PINNED]
    for item in others:
        if at + item.width + GAP > right:
            break
        placed.append((at, item))
        at += item.width + GAP
    left_out = len(others) - len(placed)
    for item in pinned:
        placed.append((right + 1, item))
        right += item.width + GAP
    return placed, left_out


def _place(active: Sequence[Binding]) -> Callable[[Binding], tuple[int, int]]:
    """Where a binding stands: its section as it comes, in it the order of the table, which remapped keys are out of."""
    sections = list(dict.fromkeys((binding.id or "").partition(".")[0] for binding in active))
    return lambda binding: (sections.index((binding.id or "").partition(".")[0]), TABLE.get(binding.id or "", 0))


class KeyLine(Widget):
    """Drawn from the bindings that are active; a click on one presses it."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"keys--key", "keys--label", "keys--idle"}
    DEFAULT_CSS = """
    KeyLine { dock: bottom; height: 1; background: $surface; }
    KeyLine > .keys--key { color: $text-accent; text-style: bold; }
    KeyLine > .keys--label { color: $foreground; }
    KeyLine > .keys--idle { color: $text-muted; }
    """
    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__()
        self._drawn: list[Item] = []
        self._idle: frozenset[str] = frozenset()

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        """Said whenever the focus moves, most often with the same keys as before."""
        if screen is self.screen:
            if self.items != self._drawn:
                self.refresh()
            self.leave_room()

    def mute(self, idle: frozenset[str]) -> None:
        """Keys, by id, that would do nothing now; pressed, they say why."""
        if idle != self._idle:
            self._idle = idle
            self.refresh()

    def on_resize(self) -> None:
        self.leave_room()

    def leave_room(self) -> None:
        """What is told lies over the keys up to those that are always seen, and cuts none of them."""
        # While nothing is told, nothing is laid out anew for it.
        for rack in [one for one in self.screen.children if isinstance(one, ToastRack) and one.display]:
            rack.styles.padding = (0, room_for(_pinned(self.items, self.size.width)), 0, 0)

    @property
    def items(self) -> list[Item]:
        """The keys that are shown, each once."""
        active = [b.binding for b in self.screen.active_bindings.values() if b.binding.show]
        typed = self.screen.focused.check_consume_key if self.screen.focused else lambda key, character: False
        # Textual leaves out what a field takes as text before it puts a person's keys in their place, and does not know
        # the characters of some keys by their names.
        meant = (
            b for b in active if b.key != NO_KEY and not typed(b.key, PUNCTUATION.get(b.key, key_to_character(b.key)))
        )
        found = sorted(meant, key=_place(active))
        first = {binding.action: binding for binding in reversed(found)}
        kept = [binding for binding in found if first[binding.action] is binding]
        return [Item(binding.key, binding.description, binding.id or "") for binding in kept]

    def render_line(self, y: int) -> Strip:
        self._drawn = self.items
        placed, _ = arranged(self._drawn, self.size.width)
        key, label, idle = (self.get_component_rich_style(f"keys--{name}") for name in ("key", "label", "idle"))
        segments, at = [], 0
        for begin, item in placed:
            (name, words), muted = item.words, item.id in self._idle
            segments += [Segment(" " * (begin - at), self.rich_style), Segment(name, idle if muted else key)]
            segments.append(Segment(f" {words}", idle if muted else label))
            at = begin + item.width
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def on_click(self, event: events.Click) -> None:
        for begin, item in arranged(self._drawn, self.size.width)[0]:
            if begin <= event.x < begin + item.width:
                self.app.simulate_key(item.key)
