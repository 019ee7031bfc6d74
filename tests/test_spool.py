"""A log by line number, and search in it, agree with what a simple reading of the whole file gives."""

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner import log_search, spool
from runner.errors import UsageError
from runner.log_search import Scan, hit_spans, next_hit, query
from runner.spool import LogFile

PIECES = st.lists(
    st.one_of(st.binary(max_size=12), st.sampled_from([b"\n", b"\r", b"\r\n", b"loss: nan", b"Error\n", b"a" * 40]))
).map(b"".join)
SMALL = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True, params=[True, False], ids=["small blocks", "real blocks"])
def blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Blocks so small that every edge is met, and the real ones."""
    if not request.param:
        yield
        return
    with (
        mock.patch.multiple(spool, BLOCK=8, READ=16, KEPT_BLOCKS=2),
        mock.patch.multiple(log_search, SLICE=24, DENSE=2),
    ):
        yield


def written(tmp_path: Path, data: bytes) -> LogFile:
    path = tmp_path / "log"
    path.write_bytes(data)
    log = LogFile(path)
    log.refresh()
    return log


def naive(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    return lines[:-1] if not lines[-1] else lines


def shown(line: bytes) -> str:
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")


@SMALL
@given(data=PIECES)
def test_every_line_is_found_by_its_number(tmp_path: Path, data: bytes) -> None:
    log, lines = written(tmp_path, data), naive(data)
    assert len(log) == len(lines) and log.whole == data.count(b"\n")
    assert [log.text(n) for n in range(len(log))] == [shown(line) for line in lines]
    assert [log.text(n) for n in reversed(range(len(log)))] == [shown(line) for line in reversed(lines)]
    assert log.text(len(log)) == "" and log.text(-1) == ""


@SMALL
@given(data=PIECES)
def test_every_byte_is_in_the_line_that_holds_it(tmp_path: Path, data: bytes) -> None:
    log = written(tmp_path, data)
    for offset in range(len(data)):
        number = log.line_at(offset)
        assert number == data.count(b"\n", 0, offset)
        assert log.start(number) <= offset < log.start(number + 1)


@SMALL
@given(parts=st.lists(PIECES, max_size=6))
def test_a_log_that_grows_is_as_one_read_at_once(tmp_path: Path, parts: list[bytes]) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"")
    log = LogFile(path)
    for part in parts:
        with path.open("ab") as file:
            file.write(part)
        log.refresh(limit=5)
        while log.refresh():
            pass
        lines = naive(b"".join(parts[: parts.index(part) + 1]))
        assert len(log) >= len(lines)
    everything = naive(b"".join(parts))
    assert [log.text(n) for n in range(len(log))] == [shown(line) for line in everything]


def test_a_log_that_became_shorter_is_read_anew(tmp_path: Path) -> None:
    log = written(tmp_path, b"one\ntwo\nthree\n" * 9)
    log.path.write_bytes(b"x\n")
    assert log.refresh() and (len(log), log.text(0)) == (1, "x")


@SMALL
@given(data=PIECES)
def test_the_tail_is_there_before_the_index(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(data)
    log = LogFile(path)
    assert log.tail(3) == []
    log.refresh(limit=1)
    with mock.patch.object(spool, "BLOCK", 1 << 16):
        found = log.tail(3)
    assert (
        found == [line.rpartition(b"\r")[2].decode("utf-8", "replace") for line in data.rstrip(b"\n").split(b"\n")][-3:]
    )


QUERIES = [
    "~\\Aa",
    "~(?s)a.e",
    "level:warning",
    "!level:error",
    "a",
    "error",
    "Error",
    "~a+",
    "~^.*nan",
    "!a",
    "!~E",
    "level:error",
    "~\\n",
    "~[^x]+",
    "nan",
]


def lines_with(wanted: log_search.Query, data: bytes) -> list[int]:
    """Line by line, with nothing clever."""
    found = []
    for number, line in enumerate(naive(data)):
        has = bool(wanted.pattern.search(line))
        if has != wanted.invert:
            found.append(number)
    return found


@SMALL
@given(data=PIECES, said=st.sampled_from(QUERIES))
def test_a_search_finds_exactly_the_lines_that_have_it(tmp_path: Path, data: bytes, said: str) -> None:
    log, wanted = written(tmp_path, data), query(said)
    scan = Scan(log, wanted)
    while scan.advance():
        pass
    expected = lines_with(wanted, data)
    assert [*scan.hits, *scan.last()] == expected
    for line in range(-1, len(log) + 1):
        later, earlier = [n for n in expected if n > line], [n for n in expected if n < line]
        assert next_hit(log, wanted, line, forward=True) == (later[0] if later else None)
        assert next_hit(log, wanted, line, forward=False) == (earlier[-1] if earlier else None)


def test_a_search_goes_on_as_the_log_grows(tmp_path: Path) -> None:
    log = written(tmp_path, b"one Error\ntwo\nthr")
    scan = Scan(log, query("err"))
    while scan.advance():
        pass
    with log.path.open("ab") as file:
        file.write(b"ee error\nfour\nERROR five\n")
    log.refresh()
    while scan.advance():
        pass
    assert list(scan.hits) == [0, 2, 4] and scan.done == 1.0


@pytest.mark.parametrize(
    ("pattern", "bad"),
    [
        ("(a+)+", True),
        ("((a+)b?)*", True),
        ("(a*){2,}", True),
        ("(a+)b", False),
        ("[(+]+", False),
        ("\\\\(a+\\\\)+", False),
    ],
)
def test_a_regex_that_may_never_end_is_seen(pattern: str, bad: bool) -> None:
    assert log_search.repeats_in_repeat(pattern.replace("\\\\", "\\")) == bad


@pytest.mark.parametrize("said", ["", "!", "~", "~(", "level:loud", "x" * 201, "~*"])
def test_what_cannot_be_looked_for_says_so(said: str) -> None:
    with pytest.raises(UsageError):
        query(said)


def test_hits_are_marked_where_they_are_also_behind_wide_characters() -> None:
    assert hit_spans(query("err"), "日本 Error, err") == [(3, 6), (10, 13)]
    assert hit_spans(query("!err"), "Error") == []
    assert [m for m in hit_spans(query("~x*"), "abc")] == []


def test_case_matters_only_once_a_capital_is_typed(tmp_path: Path) -> None:
    log = written(tmp_path, "Größe\ngröße\nGRÖSSE\n".encode())
    for said, expected in (("größe", [1]), ("Größe", [0]), ("gr", [0, 1, 2]), ("Gr", [0])):
        scan = Scan(log, query(said))
        scan.advance()
        assert list(scan.hits) == expected, said


def test_a_hit_deep_in_a_line_longer_than_a_slice_is_found(tmp_path: Path) -> None:
    line = b"x" * (3 * log_search.SLICE) + b"needle" + b"y" * log_search.SLICE
    log = written(tmp_path, b"a\n" + line + b"\nb needle\n")
    scan = Scan(log, query("needle"))
    while scan.advance():
        pass
    assert list(scan.hits) == [1, 2]
    assert log.text(1).startswith("xxx") and len(log.text(1)) <= spool.MAX_SHOWN


def test_a_log_that_was_cut_and_written_anew_is_searched_anew(tmp_path: Path) -> None:
    log = written(tmp_path, b"an error\n" * 50)
    scan = Scan(log, query("error"))
    while scan.advance():
        pass
    log.path.write_bytes(b"fine\nerror\n")
    log.refresh()
    while scan.advance():
        pass
    assert list(scan.hits) == [1]
