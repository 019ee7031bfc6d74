"""Words of a shell: a line that is being typed is read, and what is put into one is quoted, whatever it holds. Pure."""

import re
from itertools import groupby
from typing import NamedTuple

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "v": "\v"}
_HEX = re.compile(r"x([0-9A-Fa-f]{1,2})|([0-7]{1,3})")
# What means nothing to bash, zsh and readline, wherever in a word it stands.
_PLAIN = re.compile(r"[A-Za-z0-9_./:=@%+,-]")


class Typed(NamedTuple):
    """A line up to the cursor: its words that are whole, and the last, which is being typed.

    What the shell will replace begins after the first `kept` letters of the last word; `quote` is the one that is open
    there: none, `'`, `"` or `$'`.
    """

    words: list[str]
    last: str
    kept: int
    quote: str


def read(line: str, breaks: str = "") -> Typed:
    """A line as bash reads it; `breaks` are the characters after which it begins to replace."""
    words: list[str] = []
    word, begun, kept, quote, at = "", False, 0, "", 0
    while at < len(line):
        char = line[at]
        at += 1
        if quote == "'":
            quote, word = ("", word) if char == "'" else (quote, word + char)
        elif quote == '"':
            if char == "\\" and line[at : at + 1] in ("$", "`", '"', "\\", "\n") and line[at : at + 1]:
                char, at = line[at], at + 1
                word += char
            else:
                quote, word = ("", word) if char == '"' else (quote, word + char)
        elif quote == "$'":
            if char == "\\" and at < len(line):
                char, at = _escape(line, at)
                word += char
            else:
                quote, word = ("", word) if char == "'" else (quote, word + char)
        elif char == "\\":
            word, begun, at = word + line[at : at + 1], True, at + 1
        elif char in "'\"" or (char == "$" and line[at : at + 1] == "'"):
            quote, begun, before = "$'" if char == "$" else char, True, len(word)
            at += char == "$"
            if not _closes(line, at, quote):
                kept = before
        elif char in " \t\n":
            if begun:
                words.append(word)
            word, begun, kept = "", False, 0
        else:
            word, begun = word + char, True
            if char in breaks:
                kept = len(word)
    return Typed(words, word, kept, quote)


def _closes(line: str, at: int, quote: str) -> bool:
    """Whether a quote that was opened is closed again in the rest of a line."""
    end = quote[-1]
    while at < len(line):
        if line[at] == "\\" and quote != "'":
            at += 1
        elif line[at] == end:
            return True
        at += 1
    return False


def _escape(line: str, at: int) -> tuple[str, int]:
    """What stands after a backslash in `$'…'`, and where it ends."""
    if found := _HEX.match(line, at):
        return chr(int(found[1], 16) if found[1] else int(found[2], 8) & 0xFF), found.end()
    return _ESCAPES.get(line[at], line[at]), at + 1


def quoted(text: str, quote: str = "") -> str:
    """Text as one word, or as the rest of one in which a quote is open: nothing in it means anything to a shell."""
    if quote == "$'":
        return "'" + "".join(map(_ansi, text)) + "'"
    # What is not seen on a terminal is given by its code.
    parts = ((seen, "".join(part)) for seen, part in groupby(text, str.isprintable))
    said = "".join(_QUOTED[quote](part) if seen else _dollar(part) for seen, part in parts)
    # What is put in the place of an open quote begins and ends with that quote: readline would add its own.
    before = "" if said.startswith(quote) else quote * 2
    return before + said + ("" if said.endswith(quote) else quote * 2)


def _bare(part: str) -> str:
    return "".join(c if _PLAIN.match(c) or not c.isascii() else f"\\{c}" for c in part)


def _single(part: str) -> str:
    return "'" + part.replace("'", "'\\''") + "'"


def _double(part: str) -> str:
    # A `!` is history even there, and no backslash takes that from it.
    return '"' + re.sub(r'([\\$`"])', r"\\\1", part).replace("!", "\"'!'\"") + '"'


def _dollar(part: str) -> str:
    return "$'" + "".join(map(_ansi, part)) + "'"


def _ansi(char: str) -> str:
    """A letter between `$'` and `'`."""
    if char in "'\\":
        return f"\\{char}"
    if char.isascii() and char.isprintable():
        return char
    errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", errors))


_QUOTED = {"": _bare, "'": _single, '"': _double}
