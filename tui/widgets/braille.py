"""Lines in braille: two dots by four a cell, several curves on one canvas, the later one in front. Pure."""

from collections.abc import Sequence

from runner.metrics.series import ColumnRange

# Bit of each dot of a braille cell, by row from the top, left then right column.
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
BLANK = 0x2800


def drawn_columns(pattern: Sequence[int], count: int) -> bytes:
    """Which columns of dots a dashed curve has, from a pattern of how many are drawn, left out, drawn, …"""
    once = b"".join(bytes([1 - nth % 2]) * many for nth, many in enumerate(pattern)) or b"\x01"
    return (once * (count // len(once) + 1))[:count]


class Canvas:
    """Cells of braille, each with the number of the curve that was drawn there last; -1 for none."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._bits = [bytearray(width) for _ in range(height)]
        self.owners = [[-1] * width for _ in range(height)]

    def _dots(self, x: int, top: int, bottom: int, curve: int) -> None:
        """Set the dots of one column from row `top` to row `bottom`, counted from the top of the canvas.

        In a cell the curve in front is alone: what shone through would make its line another.
        """
        cell, side = x >> 1, x & 1
        bits, owners = self._bits, self.owners
        for y in range(top, bottom + 1):
            row = y >> 2
            if owners[row][cell] != curve:
                owners[row][cell] = curve
                bits[row][cell] = DOTS[y & 3][side]
            else:
                bits[row][cell] |= DOTS[y & 3][side]

    def line(
        self, columns: Sequence[ColumnRange | None], low: float, high: float, curve: int = 0, dash: Sequence[int] = ()
    ) -> None:
        """Draw one curve, a column of values for each column of dots; between far points a straight line.

        What is above `high` or below `low` is left out.
        """
        most = self.height * 4 - 1
        scale = most / (high - low) if high > low else 0.0
        before: tuple[int, float] | None = None
        drawn = drawn_columns(dash, len(columns)) if dash else b""
        for x, column in enumerate(columns):
            if column is None:
                continue
            first, bottom, top, last = ((high - value) * scale for value in column)
            if before and x - before[0] > 1:
                self._bridge(*before, x, first, most, curve, drawn)
            elif before:
                # Joined to the column before, so that a steep curve has no holes.
                middle = (before[1] + first) / 2
                top, bottom = min(top, middle), max(bottom, middle)
            if not drawn or drawn[x]:
                self._dots(x, max(0, round(top)), min(most, round(bottom)), curve)
            before = (x, last)

    def _bridge(self, x0: int, y0: float, x1: int, y1: float, most: int, curve: int, drawn: bytes) -> None:
        slope = (y1 - y0) / (x1 - x0)
        for x in range(x0 + 1, x1):
            if drawn and not drawn[x]:
                continue
            here = y0 + slope * (x - x0)
            reach = abs(slope) / 2
            self._dots(x, max(0, round(here - reach)), min(most, round(here + reach)), curve)

    def is_free(self, row: int, first: int) -> bool:
        """Whether a row has no dots from a cell on."""
        return not any(self._bits[row][first:])

    def text(self, row: int, behind: str = "") -> str:
        """A row of cells; in one without dots is what is behind, else a space."""
        behind = behind or " " * self.width
        bits = self._bits[row]
        if not any(bits):
            return behind
        return "".join([chr(BLANK + dots) if dots else back for dots, back in zip(bits, behind, strict=True)])
