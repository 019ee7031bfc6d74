"""Names of keys: as Textual has them, as people type them into a file, as they are shown. Loads no Textual."""

import re
import string
import unicodedata

_SHORT = {
    "solidus": "slash",
    "reverse_solidus": "backslash",
    "commercial_at": "at",
    "hyphen_minus": "minus",
    "plus_sign": "plus",
    "low_line": "underscore",
}


def _named(char: str) -> str:
    name = unicodedata.name(char).lower().replace("-", "_").replace(" ", "_")
    return _SHORT.get(name, name)


# The characters of a keyboard that are no letters or digits, by their names.
PUNCTUATION = {_named(char): char for char in string.punctuation}
_ARROW_SIGNS = {"up": "↑", "down": "↓", "left": "←", "right": "→"}
_OF_CHARACTER = {char: name for name, char in (PUNCTUATION | _ARROW_SIGNS).items()}
_FUNCTION = tuple(f"f{n}" for n in range(1, 25))
_ARROWS = ("up", "down", "left", "right", "home", "end", "pageup", "pagedown", "insert", "delete")
_OTHERS = ("enter", "escape", "space", "tab", "backspace")
NAMED = (*_FUNCTION, *_ARROWS, *_OTHERS)
_ALIASES = {
    "esc": "escape",
    "return": "enter",
    "pgdn": "pagedown",
    "pgup": "pageup",
    "page_down": "pagedown",
    "page_up": "pageup",
    "del": "delete",
    "ins": "insert",
}
_MODIFIERS = {"ctrl": "ctrl", "control": "ctrl", "c": "ctrl", "alt": "alt", "meta": "alt", "m": "alt", "shift": "shift"}
_MODIFIED = re.compile(r"(ctrl|control|alt|meta|shift|[cm])[+-](.+)", re.IGNORECASE)
# A terminal sends the same for both.
_SAME = {
    "ctrl+i": "tab",
    "ctrl+m": "enter",
    "ctrl+h": "backspace",
    "ctrl+left_square_bracket": "escape",
    "alt+escape": "escape",
    "shift+space": "space",
    "shift+enter": "enter",
}
_LABELS = {
    **PUNCTUATION,
    "escape": "Esc",
    "enter": "Enter",
    "space": "Space",
    "tab": "Tab",
    "backspace": "Backspace",
    "delete": "Del",
    "insert": "Ins",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "home": "Home",
    "end": "End",
    **_ARROW_SIGNS,
}
# What a field for text does with keys that are no characters.
EDITING = frozenset(
    "left right home end backspace delete enter ctrl+left ctrl+right shift+left shift+right shift+home shift+end"
    " ctrl+shift+left ctrl+shift+right ctrl+shift+a ctrl+a ctrl+c ctrl+d ctrl+e ctrl+k ctrl+u ctrl+v ctrl+w ctrl+x"
    " ctrl+backspace alt+backspace super+c super+backspace".split()
)


def is_typed(key: str) -> bool:
    """Whether a field for text takes it as a character."""
    return len(key) == 1 or key in PUNCTUATION or key == "space"


def normal(text: str) -> str:
    """The name that Textual has for a key as a person has written it: `?`, `Ctrl-S`, `alt+<`, `F5`; "" for none."""
    held: list[str] = []
    rest = text.strip() if len(text) > 1 else text
    while found := _MODIFIED.fullmatch(rest):
        held.append(_MODIFIERS[found[1].lower()])
        rest = found[2]
    key = _plain(rest)
    if not key or len(held) != len(set(held)):
        return ""
    is_letter = len(key) == 1 and key.isalpha()
    if "shift" in held and is_typed(key) and key != "space":
        # Letters alone have another name for it; which sign a key has with it is told by the sign.
        if not is_letter:
            return ""
        held.remove("shift")
        key = key.upper()
    if "ctrl" in held:
        key = key.lower()
        if key == "space":
            return ""
    if held == ["alt"] and is_letter and key.isupper():
        return f"alt+shift+{key.lower()}"
    if len(held) > 1 and (is_typed(key) or set(held) != {"ctrl", "shift"}):
        return ""
    whole = "".join(f"{name}+" for name in ("alt", "ctrl", "shift") if name in held) + key
    return _SAME.get(whole, whole)


def _plain(text: str) -> str:
    """A key without Ctrl and the like."""
    if len(text) == 1:
        return "space" if text == " " else _OF_CHARACTER.get(text, text if text.isalnum() else "")
    name = text.lower().replace(" ", "_")
    name = _ALIASES.get(name, _SHORT.get(name, name))
    return name if name in PUNCTUATION or name in NAMED else ""


def label(key: str) -> str:
    """A key as people write it."""
    *held, name = re.split(r"\+(?=.)", key)
    said = re.sub(r"^f(?=\d)", "F", _LABELS.get(name, name.upper() if "ctrl" in held and len(name) == 1 else name))
    return "".join(f"{word.capitalize()}-" for word in held) + said
