"""Prices and what a run costs. Money is Decimal dollars; time is seconds."""

from decimal import Decimal

from msgspec import Struct

from runner.model.backend_name import BackendName
from runner.model.stages import Part

PRICES_DATE = "2026-10-04"
PRICES_SOURCE = "modal.com/pricing"


class Gpu(Struct, frozen=True):
    """A GPU kind: price in dollars per hour, memory in GiB, dense bf16 peak in FLOP/s."""

    usd_per_hour: Decimal
    memory_gib: int
    peak_flops: float


GPUS: dict[str, Gpu] = {
    "T4": Gpu(Decimal("0.59"), 16, 65e12),
    "L4": Gpu(Decimal("0.80"), 24, 121e12),
    "A10": Gpu(Decimal("1.10"), 24, 125e12),
    "L40S": Gpu(Decimal("1.95"), 48, 362e12),
    "A100-40GB": Gpu(Decimal("2.10"), 40, 312e12),
    "A100-80GB": Gpu(Decimal("2.50"), 80, 312e12),
    "RTX-PRO-6000": Gpu(Decimal("3.03"), 96, 504e12),
    "H100": Gpu(Decimal("3.95"), 80, 989e12),
    "H100!": Gpu(Decimal("3.95"), 80, 989e12),
    "H200": Gpu(Decimal("4.54"), 141, 989e12),
    "B200": Gpu(Decimal("6.25"), 180, 2250e12),
    "B300": Gpu(Decimal("7.10"), 270, 2250e12),
}
# Behind a kind: no other in its place, not even a better one.
EXACTLY = "!"
CPU_CORE_USD_PER_HOUR = Decimal("0.0473")
MEMORY_GIB_USD_PER_HOUR = Decimal("0.008")
CENT = Decimal("0.01")
STORAGE_GIB_USD_PER_MONTH, STORAGE_FREE_GIB = Decimal("0.09"), 1024


def chip(kind: str) -> str:
    """What a GPU of that kind is, whether or not another would do."""
    return kind.removesuffix(EXACTLY)


class Prices(Struct, frozen=True):
    """Dollars per hour of each GPU kind, of a CPU core and of a GiB of memory; where they are from, and of when.

    `local` is what an hour of this machine costs the person, nothing unless they say so.
    """

    gpus: dict[str, Decimal]
    core: Decimal
    gib: Decimal
    source: str
    date: str
    local: Decimal = Decimal(0)


class Resources(Struct, frozen=True):
    """What a container asks for: CPU cores, GiB of memory, GPUs."""

    cores: int
    gib: int
    gpu: str = ""
    gpus: int = 0


def resources_for(part: Part | None, engine: str, *, gpu: str, gpus: int) -> Resources:
    """The container that prepares, or trains, for an engine; a rehearsal needs no GPU."""
    if engine == "rehearsal":
        return Resources(1, 2)
    return Resources(16, 32) if part is Part.PREPARE else Resources(4 * gpus, 32 * gpus, gpu, gpus)


DATED = Prices(
    gpus={kind: gpu.usd_per_hour for kind, gpu in GPUS.items() if kind == chip(kind)},
    core=CPU_CORE_USD_PER_HOUR,
    gib=MEMORY_GIB_USD_PER_HOUR,
    source=PRICES_SOURCE,
    date=PRICES_DATE,
)


class TimeRange(Struct, frozen=True):
    """Low, likely and high seconds."""

    low: float
    likely: float
    high: float

    def __add__(self, other: "TimeRange") -> "TimeRange":
        return TimeRange(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def times(self, count: float) -> "TimeRange":
        return TimeRange(self.low * count, self.likely * count, self.high * count)


ZERO = TimeRange(0.0, 0.0, 0.0)


class MoneyRange(Struct, frozen=True, array_like=True):
    """Low, likely and high dollars; stored as three amounts in that order."""

    low: Decimal
    likely: Decimal
    high: Decimal

    def __add__(self, other: "MoneyRange") -> "MoneyRange":
        return MoneyRange(self.low + other.low, self.likely + other.likely, self.high + other.high)

    @staticmethod
    def of(seconds: TimeRange, usd_per_hour: Decimal) -> "MoneyRange":
        """What a range of times costs at an hourly rate."""
        return MoneyRange(*(dollars(s, usd_per_hour) for s in (seconds.low, seconds.likely, seconds.high)))

    @staticmethod
    def exactly(usd: Decimal) -> "MoneyRange":
        return MoneyRange(usd, usd, usd)


FREE = MoneyRange(Decimal(0), Decimal(0), Decimal(0))


def range_around(likely: float, down: float = 0.85, up: float = 1.25) -> TimeRange:
    """A range around a likely time."""
    return TimeRange(likely * down, likely, likely * up)


def hourly_rate(backend: str, holds: Resources, prices: Prices = DATED) -> Decimal:
    """Dollars per hour of a container, or of this machine."""
    if backend == BackendName.LOCAL:
        return prices.local
    around = holds.cores * prices.core + holds.gib * prices.gib
    return around + (holds.gpus * prices.gpus[chip(holds.gpu)] if holds.gpus else 0)


def dollars(seconds: float, usd_per_hour: Decimal) -> Decimal:
    """Cost of `seconds` at an hourly rate, unrounded."""
    return Decimal(str(seconds)) * usd_per_hour / 3600
