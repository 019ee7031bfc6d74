"""`--since`: what people type for a time of the past."""

import calendar
import contextlib
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.logs.timestamps import parse_time

# A Wednesday, at 14:00.
NOW = calendar.timegm((2026, 11, 25, 14, 0, 0, 0, 0, 0))


def at(*words: int) -> float:
    return calendar.timegm((*words, 0, 0, 0, 0, 0, 0)[:9])


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("90s", NOW - 90),
        ("10m", NOW - 600),
        ("2h", NOW - 7200),
        ("1d12h", NOW - 36 * 3600),
        ("2w", NOW - 14 * 86400),
        ("13:59", NOW - 60),
        ("14:00", NOW),
        ("23:00", at(2026, 11, 24, 23)),
        ("23:00:30", at(2026, 11, 24, 23, 0, 30)),
        ("today", at(2026, 11, 25)),
        ("Yesterday", at(2026, 11, 24)),
        ("yesterday 23:00", at(2026, 11, 24, 23)),
        ("2026-11-25", at(2026, 11, 25)),
        ("2026-11-1T08:30", at(2026, 11, 1, 8, 30)),
        ("2026-10-31 08:30:05", at(2026, 10, 31, 8, 30, 5)),
    ],
)
def test_a_time_that_people_type_is_the_last_one_past(text: str, then: float) -> None:
    assert parse_time(text, NOW) == then


@pytest.mark.parametrize(
    "text", ["", " ", "5", "25:00", "10x", "-5m", "2026-02-30", "2026-13-01", "today14:00", "T", "14:60", "tomorrow"]
)
def test_what_is_no_time_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(UsageError, match="yesterday"):
        parse_time(text, NOW)


@pytest.mark.parametrize("text", ["2026-11-26", "2999-01-01", "today 23:00"])
def test_a_time_that_is_yet_to_come_is_refused_as_such(text: str) -> None:
    with pytest.raises(UsageError, match="yet to come"):
        parse_time(text, NOW)


@given(st.text(max_size=30) | st.from_regex(r"(\d{4}-\d\d-\d\d)?[T ]?(\d\d:\d\d)?", fullmatch=True))
def test_no_text_is_another_error_or_a_time_of_the_future(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_time(text, NOW) <= NOW


@pytest.mark.usefixtures("berlin")
def test_yesterday_begins_at_midnight_also_after_a_day_of_another_length() -> None:
    noon_after = time.mktime((2026, 10, 26, 12, 0, 0, 0, 0, -1))
    assert time.localtime(parse_time("yesterday", noon_after))[:5] == (2026, 10, 25, 0, 0)
    assert time.localtime(parse_time("23:00", noon_after))[:5] == (2026, 10, 25, 23, 0)
