"""What charts draw, and how much of it: the curves, and the stretch of their axis that is in view. No drawing."""

from array import array
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace
from rich.style import Style

from runner.metrics.series import Mark, Series

AXES = ("step", "time", "tokens", "dollars")
# Tones of curves: those of the theme by number, and what stands for them in a theme that has none.
TONES = ("accent", "warning", "success", "error", "secondary", "")
# How curves differ without colour: what is drawn beside the name, and how many columns of dots are drawn, left out, …
DASHES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("──", ()),
    ("╌╌", (6, 3)),
    ("┈┈", (1, 2)),
    ("─·", (8, 2, 1, 2)),
    ("━╸", (12, 6)),
    ("··", (1, 5)),
)
# How much of what came before a smoothed point keeps; the slider stops at these.
FACTORS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
# An axis begins at 0 unless a curve begins after this share of it, as a run that goes on from another's checkpoint.
LATE = 0.2


def tone_name(tones: Callable[[str], Style], curve: int) -> str:
    """The name of the tone of a curve by its number."""
    nth = curve % len(TONES)
    own = f"curve-{nth + 1}"
    return own if tones(own) else TONES[nth]


def curve_tone(tones: Callable[[str], Style], curve: int) -> Style:
    """The tone of a curve by its number."""
    return tones(tone_name(tones, curve))


class Layer(Struct, frozen=True):
    """One curve: whose it is, its points, and what a step is in tokens and a second in dollars.

    The name is "" where the chart is called by the curve. `raw` is what a smoothed curve is of; one that is `measured`
    is never smoothed, `usual` is how much another one is where nobody has chosen. `steps` and `seconds` are the first
    and last of its run, so that its charts have one axis.
    """

    name: str
    series: Series
    marks: Sequence[Mark] = ()
    tokens_per_step: float = 0.0
    usd_per_s: float = 0.0
    raw: Series | None = None
    measured: bool = False
    usual: float = 0.0
    steps: tuple[float, float] | None = None
    seconds: tuple[float, float] | None = None

    def axis(self, name: str, of: Series | None = None) -> tuple["array[float]", float]:
        """The places of the points on an axis: raw, and what to multiply them by."""
        series = self.series if of is None else of
        if name in ("step", "tokens"):
            return series.steps, self.tokens_per_step if name == "tokens" else 1.0
        return series.seconds, self.usd_per_s if name == "dollars" else 1.0

    def ends(self, name: str) -> tuple[float, float] | None:
        """Where an axis begins and ends for it; None where it has none."""
        places, by = self.axis(name)
        known = self.steps if name in ("step", "tokens") else self.seconds
        if not by or not len(places):
            return None
        first, last = places[0], places[-1]
        if known:
            first, last = min(first, known[0]), max(last, known[1])
        return (0.0 if 0 <= first <= last * LATE else first) * by, last * by


class PlotWindow(Struct):
    """What of the curves is shown, the same in every chart of a screen. `begin` and `end` are None for everything.

    `hover` is where the mouse is, before `cursor`. `smoothing` is None for what is usual, `raw` too; `whole_range`
    shows also how curves began, however far from the rest that is. `image` asks for a picture where one can be.
    """

    axis: str = "step"
    begin: float | None = None
    end: float | None = None
    cursor: float | None = None
    log: bool = False
    hover: float | None = None
    smoothing: float | None = None
    raw: bool | None = None
    whole_range: bool = False
    image: bool = False

    def copy(self) -> "PlotWindow":
        """The same window, which stays as it is when this one is moved."""
        return replace(self)

    @property
    def at(self) -> float | None:
        """The place whose values are told."""
        return self.cursor if self.hover is None else self.hover

    def whole(self, layers: Sequence[Layer]) -> tuple[float, float]:
        """The ends of the axis over all curves."""
        ends = [found for one in layers if (found := one.ends(self.axis))]
        begin, end = (min(e[0] for e in ends), max(e[1] for e in ends)) if ends else (0.0, 1.0)
        return (begin, end) if end > begin else (begin, begin + 1.0)

    def span(self, layers: Sequence[Layer]) -> tuple[float, float]:
        """The stretch of the axis that is drawn."""
        whole = self.whole(layers)
        begin = whole[0] if self.begin is None else self.begin
        end = whole[1] if self.end is None else self.end
        return (begin, end) if end > begin else (begin, begin + 1.0)

    def zoom(self, by: float, whole: tuple[float, float], around: float | None = None) -> None:
        """Show less (`by` under 1) or more, around a place, the cursor or the middle; never more than there is."""
        begin = whole[0] if self.begin is None else self.begin
        end = whole[1] if self.end is None else self.end
        around = self.cursor if around is None else around
        if around is None or not begin <= around <= end:
            around = (begin + end) / 2
        begin, end = around - (around - begin) * by, around + (end - around) * by
        if by < 1 and end - begin <= 1e-9 * max(1.0, abs(whole[0]), abs(whole[1])):
            return
        if begin <= whole[0] and end >= whole[1]:
            self.begin = self.end = None
        else:
            self.begin, self.end = max(whole[0], begin), min(whole[1], end)

    def pan(self, by: float, whole: tuple[float, float]) -> None:
        """Move what is shown by so much of the axis, as far as there is something."""
        if self.begin is None or self.end is None:
            return
        by = min(max(by, whole[0] - self.begin), whole[1] - self.end)
        self.begin, self.end = self.begin + by, self.end + by

    def show_all(self) -> None:
        """The whole axis, without the cursor."""
        self.begin = self.end = self.cursor = self.hover = None

    def move(self, by: float, whole: tuple[float, float]) -> None:
        """Move the cursor by a share of what is shown; at the edge what is shown moves along."""
        begin = whole[0] if self.begin is None else self.begin
        end = whole[1] if self.end is None else self.end
        width = end - begin
        at = (self.cursor if self.cursor is not None else end) + by * width
        self.cursor, self.hover = min(max(at, whole[0]), whole[1]), None
        if self.begin is not None and self.cursor < begin:
            self.begin, self.end = self.cursor, self.cursor + width
        elif self.end is not None and self.cursor > end:
            self.begin, self.end = self.cursor - width, self.cursor
