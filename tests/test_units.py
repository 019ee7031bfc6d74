"""Numbers as people say them: the unit fits what is shown, also at its edge, and no time ends a command."""

import math
from decimal import Decimal

import pytest
from rich.cells import cell_len

from runner.text import units
from tui.presentation.console import table


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0"), (812, "812"), (999, "999"), (999.6, "1K"), (1000, "1K"), (1234, "1.23K"), (99_940, "99.9K"),
        (99_999, "100K"), (742_000, "742K"), (999_499, "999K"), (999_500, "1M"), (999_999, "1M"),
        (1_680_000_000, "1.68B"), (999_999_999, "1B"),
    ],
)  # fmt: skip
def test_a_count_never_shows_a_thousand_of_a_unit(number: float, said: str) -> None:
    assert units.count(number) == said


@pytest.mark.parametrize(
    ("bytes_", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (999_999, "1.0 MB"),
     (3_900_000_000, "3.9 GB"), (999_999_999_999, "1.0 TB")],
)  # fmt: skip
def test_a_size_never_shows_a_thousand_of_a_unit(bytes_: int, said: str) -> None:
    assert units.size(bytes_) == said


def test_dollars_lose_their_cents_at_a_thousand_as_shown() -> None:
    assert [units.money(Decimal(usd)) for usd in ("999.994", "999.995", "999.999", "1000")] == [
        "$999.99", "$1,000", "$1,000", "$1,000",
    ]  # fmt: skip


@pytest.mark.parametrize("then", [math.inf, -math.inf, math.nan, 1e300, 2.6e10 * 1e9, -1e18])
def test_no_clock_is_so_wrong_that_a_time_cannot_be_shown(then: float) -> None:
    assert units.clock(then) and units.moment(then, 0.0) and units.moment(0.0, then) and units.duration(then)
    assert units.age(then, 0.0) and units.age(0.0, then)


def test_a_table_stays_straight_with_wide_characters_and_marks(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("漢字", "x"), ("abcd", "x"), ("e\u0301tat", "x"), ("ＡＢ", "x")]
    table(("name", "b"), rows, right=frozenset(), plain=True)
    lines = capsys.readouterr().out.splitlines()
    assert {cell_len(line) for line in lines} == {7}
