"""Cells set in lines of a width."""

from collections.abc import Iterable, Iterator

from rich.cells import cell_len, set_cell_size

from tui.presentation.cells import Cell


def flow(cells: Iterable[Cell], width: int, *, gap: str = "  ", most: int = 1) -> list[list[Cell]]:
    """Cells in at most so many lines of a width. A cell stays whole while it fits into a line, one that does not is
    divided between words; what is left over is cut at the end of the last line."""
    lines: list[list[Cell]] = [[]]
    used = 0
    for between, cell in _pieces(cells, width, gap):
        room = width - used - cell_len(between)
        if used and cell_len(cell.text) > room and len(lines) < most:
            lines.append([])
            used = 0
        piece = Cell((between if used else "") + cell.text, cell.tone)
        lines[-1].append(piece)
        used += cell_len(piece.text)
        if used > width:
            lines[-1] = _cut(lines[-1], width)
            break
    return lines


def _cut(line: list[Cell], width: int) -> list[Cell]:
    kept: list[Cell] = []
    room = max(0, width - 1)
    for text, tone in line:
        if cell_len(text) > room:
            return [*kept, Cell(set_cell_size(text, room) + "…", tone)]
        kept.append(Cell(text, tone))
        room -= cell_len(text)
    return kept


def _pieces(cells: Iterable[Cell], width: int, gap: str) -> Iterator[tuple[str, Cell]]:
    """What is never divided, each with what parts it from the one before."""
    for cell in cells:
        if cell_len(cell.text) <= width:
            yield gap, cell
            continue
        for number, word in enumerate(cell.text.split(" ")):
            yield (" " if number else gap), Cell(word, cell.tone)
