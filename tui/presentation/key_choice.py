"""Which keys hold: those of the table, of a preset over them, and over both what a person has set; what cannot be."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from runner.text.sanitize import sanitize_line
from tui.presentation import key_names
from tui.presentation.key_presets import PRESETS
from tui.presentation.keymap import CHANGING, KEYS, MOVES, READING, Row, key_label, rows

Keys = dict[str, tuple[str, ...]]

# What always does it, whatever else is set: nobody is locked in, and arrows move.
FIXED = {
    "app.leave": "ctrl+c",
    "view.quit": "ctrl+c",
    **{f"move.{name}": keys.split(",")[0] for name, keys in MOVES.items()},
}
# What must have a key besides: the way to all others.
NEEDED = ("app.help", "app.leave", "view.help", "view.quit")
SETTING, PRESET, BUILT_IN = "[keys]", "keys_preset", "built in"
# What a clash that cannot be said of two actions is with; as in the table, with their keys.
TEXT = "what is typed into its fields"
OTHERS = {
    "the next field": ("tab", "shift+tab"),
    "quitting": ("ctrl+q",),
}
FIELDS = {"moving between its fields": ("up", "down", "pageup", "pagedown", "enter", "tab", "shift+tab")}


class Place(NamedTuple):
    """What has the keys at one time: sections of the table, the movements that are known there."""

    title: str
    sections: tuple[str, ...]
    moves: tuple[str, ...] = ()
    reading: bool = False
    # Text is typed there: a key that a field takes would never arrive.
    typing: bool = False


_LIST = ("down", "up", "page_down", "page_up", "half_down", "half_up", "top", "bottom")
_CURVES = ("down", "up", "left", "right", "page_up", "page_down")
PLACES = (
    Place("Runs", ("runs", ""), _LIST),
    Place("Watch", ("log", "watch", ""), tuple(MOVES), reading=True),
    Place("Watch", ("metrics", "watch", "log", ""), _CURVES),
    Place("Compare", ("metrics", "compare", ""), _CURVES),
    Place("Cost", ("cost", ""), _LIST),
    Place("New run", ("launch", ""), typing=True),
    Place("Volume", ("volume", "files", ""), (*_LIST, "left", "right")),
    Place("Checkpoints", ("checkpoints", "files", ""), (*_LIST, "left", "right")),
    Place("Sizes", ("sizes", "files", ""), (*_LIST, "left", "right")),
    Place("nanochat-tui view", ("log", "view"), tuple(MOVES), reading=True),
)


class Clash(NamedTuple):
    """A key that would do two things at one place; of what is no action, `other` says what it is."""

    place: str
    key: str
    id: str
    other: str


class Chosen(NamedTuple):
    """The keys of every action by its id, where each comes from, and what was set and is not obeyed, in words."""

    keys: Keys
    origins: dict[str, str]
    told: tuple[str, ...] = ()

    @property
    def changed(self) -> Keys:
        """Those that are not as in the table."""
        return {row.id: self.keys[row.id] for row in rows() if self.keys[row.id] != row.keys}

    def label(self, id: str, *, first: bool = False) -> str:
        """The keys of an action as people write them; "" where it has none."""
        return key_label(",".join(self.keys[id][:1] if first else self.keys[id]))


def only_looking(chosen: Chosen) -> Chosen:
    """The same without keys for what changes something."""
    return chosen._replace(keys=chosen.keys | dict.fromkeys(CHANGING, ()))


def ids() -> dict[str, Row]:
    """Everything that has a key, by its id."""
    return {row.id: row for row in rows()}


def chosen(preset: str = "default", own: Mapping[str, Sequence[str]] | None = None) -> Chosen:
    """The keys that hold. What of `own` makes no sense, or would clash, is told; that action keeps what it had."""
    table = ids()
    before = {id: row.keys for id, row in table.items()} | _preset(preset)
    told: list[str] = []
    wanted = {}
    for id, names in (own or {}).items():
        if problem := _problem(table, id, names):
            told.append(problem)
        else:
            wanted[id] = _with_fixed(id, tuple(dict.fromkeys(map(key_names.normal, names))))
    # All at once, so that two may swap theirs; whoever loses what is set for it may clash with another in turn.
    while found := next((c for c in clashes(before | wanted) if c.id in wanted or c.other in wanted), None):
        loser, other = _loser(found, [*wanted])
        del wanted[loser]
        stays = key_label(",".join(before[loser])) or "without a key"
        said = table[other].label + f" ({other})" if other in table else other
        told.append(f"{loser} cannot be {key_label(found.key)}: that is {said} on {found.place}; it stays {stays}")
    keys = before | wanted
    origins = {id: SETTING if id in wanted else PRESET if keys[id] != table[id].keys else BUILT_IN for id in table}
    return Chosen(keys, origins, tuple(map(sanitize_line, told)))


def summary(chosen: Chosen) -> str:
    """What is not obeyed, in one line; "" for nothing."""
    if not chosen.told:
        return ""
    more = len(chosen.told) - 1
    return f"{SETTING}: {chosen.told[0]}" + (f"; and {more} more (nanochat-tui keys)" if more else "")


def clashes(keys: Keys) -> Iterator[Clash]:
    """Every key that would do two things at one place, and does not in the table."""
    for place in PLACES:
        meant = dict(_taken(place, keys))
        by_key: dict[str, list[str]] = {}
        for id, own in meant.items():
            for key in own:
                by_key.setdefault(key, []).append(id)
        allowed = _ALLOWED[place]
        for key, there in by_key.items():
            for at, one in enumerate(there):
                for other in there[at + 1 :]:
                    if (one, other) not in allowed:
                        yield Clash(place.title, key, one, other)
        for id in meant if place.typing else ():
            if id.startswith(f"{place.sections[0]}."):
                yield from (
                    Clash(place.title, key, id, TEXT)
                    for key in meant[id]
                    if key_names.is_typed(key) or key in key_names.EDITING
                )


def _taken(place: Place, keys: Keys) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What has keys at a place, by its id or, of what is not in the table, in words."""
    yield from ((f"move.{name}", keys[f"move.{name}"]) for name in place.moves)
    if place.reading:
        yield from ((f"read.{name}", keys[f"read.{name}"]) for name in READING)
    for section in place.sections:
        yield from ((key.id, keys[key.id]) for key in KEYS if key.screen == section)
    yield from OTHERS.items()
    yield from FIELDS.items() if place.typing else ()


def _shared(place: Place) -> frozenset[tuple[str, str]]:
    """What has a key in common in the table itself: there the one that has the focus goes first."""
    meant = list(_taken(place, {row.id: row.keys for row in rows()}))
    return frozenset(
        (one, other)
        for at, (one, keys) in enumerate(meant)
        for other, others in meant[at + 1 :]
        if set(keys) & set(others)
    )


_ALLOWED = {place: _shared(place) for place in PLACES}


def _preset(name: str) -> Keys:
    return {id: _with_fixed(id, tuple(keys.split(","))) for id, keys in PRESETS.get(name, {}).items()}


def _with_fixed(id: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    fixed = FIXED.get(id)
    return keys if fixed is None or fixed in keys else (*keys, fixed)


def _problem(table: Mapping[str, Row], id: str, names: Sequence[str]) -> str:
    """What is wrong with one line of what is set."""
    if id not in table:
        hint = "keys_preset is a setting of its own" if id == "preset" else _near(id, table)
        return f"there is no action {id[:40]!r}: {hint}"
    if id in NEEDED and not names:
        return f"{id} must have a key; it stays {key_label(','.join(table[id].keys))}"
    for name in names:
        if not key_names.normal(name):
            hint = _near(name.lower(), (*key_names.PUNCTUATION, *key_names.NAMED))
            return f"{id}: {name[:20]!r} is no key: {hint}"
    return ""


def _near(word: str, known: Iterable[str]) -> str:
    """A hint at what was meant."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}?" if near else "nanochat-tui keys lists all"


def _loser(clash: Clash, wanted: list[str]) -> tuple[str, str]:
    """Which of the two loses what was set for it: of two that were set, the later."""
    if clash.other not in wanted or (clash.id in wanted and wanted.index(clash.id) > wanted.index(clash.other)):
        return clash.id, clash.other
    return clash.other, clash.id
