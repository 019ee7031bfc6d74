"""Which lines a chart draws of its curves: raw, smoothed, or both; how each looks, and its value. No drawing."""

from collections.abc import Sequence

from msgspec import Struct

from runner.metrics.series import EMA, ColumnRange, Series
from runner.metrics.smoothing import smoothed_at, smoothed_columns
from tui.widgets.plot_window import DASHES, Layer, PlotWindow

RAW_MARK = "░░"


class Line(Struct, frozen=True):
    """One line: the layer that it is of, its points, how much they are smoothed, and the number that it looks like.

    `raw` stands behind a smoothed one; `told` is in the heading.
    """

    layer: Layer
    series: Series
    number: int
    factor: float = 0.0
    raw: bool = False
    told: bool = True

    def columns(self, axis: str, span: tuple[float, float], count: int) -> list[ColumnRange | None]:
        """What it has in so many columns of a stretch of the axis."""
        places, by = self.layer.axis(axis, self.series)
        if not by:
            return [None] * count
        begin, end = span[0] / by, span[1] / by
        if self.factor:
            return smoothed_columns(self.series, places, begin, end, count, self.factor)
        return self.series.columns(places, begin, end, count)

    def value(self, axis: str, at: float | None) -> tuple[float, float | None]:
        """Its last value, or the one nearest to a place, with that place."""
        places, by = self.layer.axis(axis, self.series)
        number = self.series.nearest(places, at / by) if at is not None and by else None
        known = len(self.series) - 1 if number is None else number
        found = smoothed_at(self.series, known, self.factor) if self.factor else self.series.values[known]
        return found, None if number is None else places[number] * by

    def begins(self, axis: str, span: tuple[float, float]) -> bool:
        """Whether its first point is in view."""
        places, by = self.layer.axis(axis, self.series)
        return bool(by and len(places) and places[0] * by >= span[0])


def lines(layers: Sequence[Layer], view: PlotWindow) -> list[Line]:
    """The lines of a chart, the later ones in front: of one run raw and smoothed, of several smoothed alone."""
    behind = {id(layer.raw) for layer in layers if layer.raw is not None}
    own = [layer for layer in layers if id(layer.series) not in behind]
    # Behind one that only wavers it would be a broad band.
    shows_raw = len(own) == 1 and not own[0].usual if view.raw is None else view.raw
    found: list[Line] = []
    for number, layer in enumerate(own):
        # A raw curve without points is none.
        source = layer.raw or layer.series
        factor = _factor(layer, view.smoothing)
        smooth = factor > 0 or (layer.raw is not None and view.smoothing is None)
        if smooth and shows_raw:
            beside = next((one for one in layers if one.series is source and one is not layer), None)
            found.append(Line(beside or layer, source, number, raw=True, told=beside is not None))
        as_read = smooth and layer.raw is not None and (factor == 0 or factor == EMA)
        found.append(Line(layer, layer.series if as_read else source, number, 0.0 if as_read else factor))
    # All that is raw is behind all that is smoothed.
    return sorted(found, key=lambda line: not line.raw)


def _factor(layer: Layer, wanted: float | None) -> float:
    if layer.measured:
        return 0.0
    return layer.usual if wanted is None else wanted


def look(line: Line, several: bool) -> tuple[str, tuple[int, ...]]:
    """What stands for a line in the heading, and its dashes."""
    if line.raw:
        return RAW_MARK, ()
    return DASHES[line.number % len(DASHES)] if several else DASHES[0]
