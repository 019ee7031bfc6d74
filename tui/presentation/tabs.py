"""The head of every screen: screens by number and name, whose Modal it is, what is spent. Pure."""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from rich.cells import cell_len

from runner.text import units
from runner.text.sanitize import sanitize_line
from tui.presentation.cells import Cell

GAP = 2
BRAND = "nanochat"


class Tab(NamedTuple):
    """A screen that has a number, and the mode of the app that it is."""

    key: str
    mode: str
    name: str


TABS = (
    Tab("1", "runs", "Runs"),
    Tab("2", "watch", "Watch"),
    Tab("3", "launch", "New"),
    Tab("4", "volume", "Volume"),
    Tab("5", "cost", "Cost"),
    Tab("6", "checkpoints", "Checkpoints"),
)


class Standing(NamedTuple):
    """What is true of all runs now: how many live, how many of these are in trouble, what they cost, whose they are."""

    live: int = 0
    alerts: int = 0
    usd_per_hour: Decimal = Decimal(0)
    today_usd: Decimal = Decimal(0)
    month_usd: Decimal = Decimal(0)
    limit_usd: Decimal | None = None
    workspace: str = ""
    # What else a person must know of all that is shown, as that it is read only.
    notes: tuple[str, ...] = ()


def facts(now: Standing) -> list[Cell]:
    """What stands at the right end, the first to stay first."""
    cells = [Cell(note, "warning") for note in now.notes]
    cells += [Cell(f"{units.money(now.usd_per_hour)}/h", "accent")] if now.usd_per_hour else []
    cells.append(Cell(f"today {units.money(now.today_usd)}"))
    cells += [Cell(sanitize_line(now.workspace), "dim")] if now.workspace else []
    if now.limit_usd:
        cells.append(Cell(f"month {units.money(now.month_usd)} of {units.money(now.limit_usd)}"))
    elif now.month_usd != now.today_usd:
        cells.append(Cell(f"month {units.money(now.month_usd)}", "dim"))
    return cells


class TabPiece(NamedTuple):
    """Words of the head and the column that they begin at; `mode` is the screen that a click on them opens."""

    at: int
    text: str
    tone: str = ""
    mode: str = ""


def arranged(current: str, now: Standing, width: int) -> list[TabPiece]:
    """The head in so many cells: names of screens go before what is spent, and of what stands right the last first."""
    right = facts(now)
    for brand in (True, False):
        for kept in range(len(right), 0, -1):
            if brand and kept < len(right):
                break
            tabs = _tabs(now, brand=brand, named=[tab.mode for tab in TABS])
            if _end(tabs) + GAP + _width(right[:kept]) + 1 <= width:
                return [*tabs, *_placed(right[:kept], width)]
    tabs = _tabs(now, brand=False, named=[current])
    while right and _end(tabs) + GAP + _width(right) + 1 > width:
        right.pop()
    return [piece for piece in (*tabs, *_placed(right, width)) if piece.at + cell_len(piece.text) <= width]


def _tabs(now: Standing, *, brand: bool, named: Sequence[str]) -> list[TabPiece]:
    found, at = [], 1
    if brand:
        found.append(TabPiece(at, BRAND, "accent"))
        at += cell_len(BRAND) + GAP
    for tab in TABS:
        text = f"{tab.key} {tab.name}" if tab.mode in named else tab.key
        found.append(TabPiece(at, text, "", tab.mode))
        at += cell_len(text)
        if tab.mode == "runs":
            badges = [Cell(f" ●{now.live}", "success")] if now.live else []
            badges += [Cell(f" !{now.alerts}", "error")] if now.alerts else []
            for badge in badges:
                found.append(TabPiece(at, badge.text, badge.tone, tab.mode))
                at += cell_len(badge.text)
        at += GAP
    return found


def _width(cells: Sequence[Cell]) -> int:
    return sum(cell_len(cell.text) + GAP for cell in cells) - GAP


def _end(pieces: Sequence[TabPiece]) -> int:
    return max((piece.at + cell_len(piece.text) for piece in pieces), default=0)


def _placed(cells: Sequence[Cell], width: int) -> list[TabPiece]:
    """At the right end, the most important last, where the eye looks for it."""
    at, found = width - 1 - _width(cells), []
    for cell in reversed(cells):
        found.append(TabPiece(at, cell.text, cell.tone))
        at += cell_len(cell.text) + GAP
    return found
