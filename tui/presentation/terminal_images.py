"""Pictures in terminals that can: which of them can, told by what is exported, and the bytes that each wants. Pure.

Nothing is ever asked of a terminal: an answer that comes late would be read as keys.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

# Of the Kitty protocol: what stands for a piece of a picture, and what says which row and column of it that is.
PLACEHOLDER = "\U0010eeee"
_NUMBERS = (
    "305 30d-30e 310 312 33d-33f 346 34a-34c 350-352 357 35b 363-36f 483-487 592-595 597-599 59c-5a1 5a8-5a9 "
    "5ab-5ac 5af 5c4 610-617 657-65b 65d-65e 6d6-6dc 6df-6e2 6e4 6e7-6e8 6eb-6ec 730 732-733 735-736 73a 73d "
    "73f-741 743 745 747 749-74a 7eb-7f1 7f3 816-819 81b-823 825-827 829-82d 951 953-954 f82-f83 f86-f87 "
    "135d-135f 17dd 193a 1a17 1a75-1a7c 1b6b 1b6d-1b73 1cd0-1cd2 1cda-1cdb 1ce0 1dc0-1dc1 1dc3-1dc9 1dcb-1dcc "
    "1dd1-1de6 1dfe 20d0-20d1 20d4-20d7 20db-20dc 20e1 20e7 20e9 20f0 2cef-2cf1 2de0-2dff a66f a67c-a67d "
    "a6f0-a6f1 a8e0-a8f1 aab0 aab2-aab3 aab7-aab8 aabe-aabf aac1 fe20-fe26 10a0f 10a38 1d185-1d189 1d1aa-1d1ad "
    "1d242-1d244 "
)
CHUNK = 4096


def _diacritics() -> Iterator[str]:
    for part in _NUMBERS.split():
        first, _, last = part.partition("-")
        yield from map(chr, range(int(first, 16), int(last or first, 16) + 1))


DIACRITICS = tuple(_diacritics())


class Protocol(StrEnum):
    """How a terminal takes a picture."""

    KITTY = "kitty"
    ITERM2 = "iterm2"
    SIXEL = "sixel"


def protocol(env: Mapping[str, str]) -> Protocol | None:
    """How the terminal of an environment takes pictures; None where it does not, or something is between us and it."""
    term, program = env.get("TERM", ""), env.get("TERM_PROGRAM", "")
    between = any(env.get(name) for name in ("TMUX", "STY", "ZELLIJ")) or term.startswith(("screen", "tmux"))
    if between or env.get("NO_COLOR") or term in ("", "dumb", "linux"):
        return None
    if term in ("xterm-kitty", "xterm-ghostty") or env.get("KITTY_WINDOW_ID") or program == "ghostty":
        # A colour names the picture: it has to arrive as it was sent.
        return Protocol.KITTY if env.get("COLORTERM") in ("truecolor", "24bit") else None
    if program in ("iTerm.app", "WezTerm") or env.get("LC_TERMINAL") == "iTerm2":
        return Protocol.ITERM2
    # Others know Sixel if they are built or set up for it, which nothing exported says.
    return Protocol.SIXEL if term.startswith(("foot", "contour", "mlterm")) else None


def kitty(png: bytes, number: int, columns: int, rows: int) -> str:
    """Gives Kitty a picture by a number, to be shown wherever its placeholders stand; no answer is wanted."""
    data = base64.b64encode(png).decode()
    pieces = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    first = f"a=T,U=1,q=2,f=100,t=d,i={number},c={columns},r={rows},"
    return "".join(
        f"\x1b_G{first if not nth else 'q=2,'}m={int(nth < len(pieces) - 1)};{piece}\x1b\\"
        for nth, piece in enumerate(pieces)
    )


def kitty_forget(number: int) -> str:
    """Takes a picture back from Kitty."""
    return f"\x1b_Ga=d,d=I,q=2,i={number}\x1b\\"


def kitty_colour(number: int) -> tuple[int, int, int]:
    """The colour of placeholders, which says whose they are."""
    return number >> 16 & 255, number >> 8 & 255, number & 255


def kitty_cells(row: int, first: int, last: int) -> str:
    """Placeholders for the columns from `first` to before `last` of a row of a picture, each saying which it is."""
    return "".join(f"{PLACEHOLDER}{DIACRITICS[row]}{DIACRITICS[column]}" for column in range(first, last))


def iterm2(png: bytes, columns: int, rows: int) -> str:
    """A picture over so many cells from the cursor on, which stays where it is."""
    said = f"inline=1;size={len(png)};width={columns};height={rows};preserveAspectRatio=0;doNotMoveCursor=1"
    return f"\x1b]1337;File={said}:{base64.b64encode(png).decode()}\x07"


def sixel(width: int, height: int, palette: Sequence[tuple[int, int, int]], pixels: bytes) -> str:
    """A picture as Sixel: a colour for each number in `pixels`, six rows at a time."""
    colours = "".join(
        f"#{nth};2;{red * 100 // 255};{green * 100 // 255};{blue * 100 // 255}"
        for nth, (red, green, blue) in enumerate(palette)
    )
    bands = [_band(width, [pixels[y * width : (y + 1) * width] for y in range(top, min(top + 6, height))])
             for top in range(0, height, 6)]  # fmt: skip
    return f'\x1bP0;1;0q"1;1;{width};{height}{colours}{"-".join(bands)}\x1b\\'


def _band(width: int, rows: Sequence[bytes]) -> str:
    found = []
    for colour in sorted(set().union(*map(set, rows))):
        # Each row with one bit for where it has the colour, put together by adding up.
        mask = bytes(int(nth == colour) for nth in range(256))
        bits = [int.from_bytes(row.translate(mask), "big") << nth for nth, row in enumerate(rows)]
        found.append(f"#{colour}{_repeated((sum(bits)).to_bytes(width, 'big'))}")
    return "$".join(found)


def _repeated(columns: bytes) -> str:
    parts, at = [], 0
    while at < len(columns):
        end = at + 1
        while end < len(columns) and columns[end] == columns[at]:
            end += 1
        sign = chr(63 + columns[at])
        parts.append(sign * (end - at) if end - at < 4 else f"!{end - at}{sign}")
        at = end
    return "".join(parts)


def placed(picture: str, column: int, line: int) -> str:
    """A picture at a place of the screen, counted from 0; the cursor and its style stay as they were."""
    return f"\x1b7\x1b[{line + 1};{column + 1}H{picture}\x1b8"
