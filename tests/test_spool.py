"""A log by line number, and search in it, agree with what a simple reading of the whole file gives."""

import contextlib
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.errors import FileChanged, UsageError
from runner.logs import log_file, search
from runner.logs.log_file import LogFile
from runner.logs.scans import LogScans
from runner.logs.search import Scan, hit_spans, next_hit, parse_query
from runner.logs.summary import SummaryReader, summarise
from runner.logs.timestamps import RECORD, LogTimes

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
        mock.patch.multiple(log_file, BLOCK=8, READ=16, KEPT_BLOCKS=2),
        mock.patch.multiple(search, SLICE=24, DENSE=2),
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
    with mock.patch.object(log_file, "BLOCK", 1 << 16):
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


def lines_with(wanted: search.Query, data: bytes) -> list[int]:
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
    log, wanted = written(tmp_path, data), parse_query(said)
    scan = Scan(log, wanted)
    while scan.advance():
        pass
    scan.look_at_unfinished()
    expected = lines_with(wanted, data)
    assert list(scan.lines()) == expected
    for line in range(-1, len(log) + 1):
        later, earlier = [n for n in expected if n > line], [n for n in expected if n < line]
        assert next_hit(log, wanted, line, forward=True) == (later[0] if later else None)
        assert next_hit(log, wanted, line, forward=False) == (earlier[-1] if earlier else None)


def test_a_search_goes_on_as_the_log_grows(tmp_path: Path) -> None:
    log = written(tmp_path, b"one Error\ntwo\nthr")
    scan = Scan(log, parse_query("err"))
    while scan.advance():
        pass
    with log.path.open("ab") as file:
        file.write(b"ee error\nfour\nERROR five\n")
    log.refresh()
    while scan.advance():
        pass
    assert list(scan.lines()) == [0, 2, 4] and scan.fraction_scanned == 1.0


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", r"(\w\w?)+:", r"(\S\S?)+ done", "a*a*a*a*a*b"])
def test_no_regex_takes_longer_than_its_line_is_long(tmp_path: Path, pattern: str) -> None:
    log = written(tmp_path, (b"a" * 20_000 + b"!\n") * 5)
    scan = Scan(log, parse_query(f"~{pattern}"))
    began = time.process_time()
    while scan.advance():
        pass
    assert time.process_time() - began < 5 and list(scan.lines()) == []


def test_a_regex_is_of_one_line(tmp_path: Path) -> None:
    log = written(tmp_path, b"one\ntwo\n\nthree\n")
    for said, expected in (
        ("~^t", [1, 3]), ("~e$", [0, 3]), ("~one\\s*two", []), ("~\\Atwo", [1]), ("~one\\z", [0]), ("~^$", [2]),
        ("~(?s)o.*t", []), ("!~[^x]", [2]), ("~(?-m:^two$)", [1]), ("~TWO", []), ("~(?i)TWO", [1]), ("~t|n", [0, 1, 3]),
    ):  # fmt: skip
        scan = Scan(log, parse_query(said))
        while scan.advance():
            pass
        assert list(scan.lines()) == expected, said


@pytest.mark.parametrize("said", ["", "!", "~", "~(", "level:loud", "x" * 201, "~*"])
def test_what_cannot_be_looked_for_says_so(said: str) -> None:
    with pytest.raises(UsageError):
        parse_query(said)


def test_hits_are_marked_where_they_are_also_behind_wide_characters() -> None:
    assert hit_spans(parse_query("err"), "日本 Error, err") == [(3, 6), (10, 13)]
    assert hit_spans(parse_query("!err"), "Error") == []
    assert [m for m in hit_spans(parse_query("~x*"), "abc")] == []


def test_case_matters_only_once_a_capital_is_typed(tmp_path: Path) -> None:
    log = written(tmp_path, "Größe\ngröße\nGRÖSSE\n".encode())
    for said, expected in (("größe", [1]), ("Größe", [0]), ("gr", [0, 1, 2]), ("Gr", [0])):
        scan = Scan(log, parse_query(said))
        scan.advance()
        assert list(scan.lines()) == expected, said


def test_a_hit_deep_in_a_line_longer_than_a_slice_is_found(tmp_path: Path) -> None:
    line = b"x" * (3 * search.SLICE) + b"needle" + b"y" * search.SLICE
    log = written(tmp_path, b"a\n" + line + b"\nb needle\n")
    scan = Scan(log, parse_query("needle"))
    while scan.advance():
        pass
    assert list(scan.lines()) == [1, 2]
    assert log.text(1).startswith("xxx") and len(log.text(1)) <= log_file.MAX_SHOWN


def test_a_log_that_was_cut_and_written_anew_is_searched_anew(tmp_path: Path) -> None:
    log = written(tmp_path, b"an error\n" * 50)
    scan = Scan(log, parse_query("error"))
    while scan.advance():
        pass
    log.path.write_bytes(b"fine\nerror\n")
    log.refresh()
    while scan.advance():
        pass
    assert list(scan.lines()) == [1]


@SMALL
@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "cut", "write", "replace", "delete", "refresh"]), PIECES),
        max_size=12,
    )
)
def test_a_log_that_is_cut_written_anew_or_replaced_breaks_nobody_who_reads_it(
    tmp_path: Path, made: list[tuple[str, bytes]]
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first Error\nand more\n" * 9)
    log = LogFile(path)
    log.refresh()
    scans = LogScans(log)
    scans.set_filter(parse_query("error"))
    for what, data in made:
        if what == "append":
            with path.open("ab") as file:
                file.write(data)
        elif what == "cut" and path.exists():
            os.truncate(path, path.stat().st_size // 3)
        elif what == "write":
            path.write_bytes(data)
        elif what == "replace":
            (tmp_path / "other").write_bytes(data)
            (tmp_path / "other").replace(path)
        elif what == "delete":
            path.unlink(missing_ok=True)
        else:
            log.refresh(limit=5)
        for number in (0, 3, len(log) - 1, len(log), len(log) + 9):
            log.text(number)
            assert 0 <= log.line_at(log.start(number)) <= len(log) and 0 <= log.start(number) <= log.size
            (
                next_hit(log, parse_query("and"), number, forward=False),
                next_hit(log, parse_query("and"), number, forward=True),
            )
            scans.line_of(scans.row_of(number))
        scans.advance(0.01)
        with contextlib.suppress(FileChanged):
            scans.visible_lines().write_to(len)
    if path.exists():
        while log.refresh():
            pass
        lines = naive(path.read_bytes())
        assert [log.text(n) for n in range(len(log))] == [shown(line) for line in lines]
        while scans.advance(1.0):
            pass
        assert [scans.line_of(row) for row in range(scans.rows)] == [
            n for n, line in enumerate(lines) if b"error" in line.lower()
        ]


def test_a_log_that_became_another_of_the_same_or_greater_length_is_read_anew(tmp_path: Path) -> None:
    log = written(tmp_path, b"one\ntwo\n" * 9)
    for number, data in enumerate((b"abc\ndef\n" * 9, b"x\n" * 99), 1):
        log.path.write_bytes(data)
        os.utime(log.path, ns=(number, number))
        assert log.refresh() and log.anew == number
        assert [log.text(n) for n in range(len(log))] == data.decode().splitlines()
    with log.path.open("ab") as file:
        file.write(b"more\n")
    assert log.refresh() and log.anew == 2 and log.text(99) == "more"


def test_a_log_in_whose_place_is_something_else_or_nothing_stays_as_it_was(tmp_path: Path) -> None:
    log = written(tmp_path, b"one\n")
    log.path.unlink()
    for make in (lambda: None, log.path.mkdir, lambda: (log.path.rmdir(), os.mkfifo(log.path))):
        make()
        assert not log.refresh() and log.text(0) == "one"
    log.path.unlink()
    log.path.write_bytes(b"another\n")
    assert log.refresh() and log.text(0) == "another" and log.anew == 1


def test_the_rows_at_the_end_that_grows_are_found_without_reading_it_for_each(tmp_path: Path) -> None:
    log = written(tmp_path, b"\n" * (log_file.BLOCK * 5 // 2))
    with mock.patch.object(os, "pread", side_effect=os.pread) as reads:
        for number in range(len(log) - 50, len(log)):
            log.start(number)
        assert reads.call_count <= 3 + 50 // log_file.BLOCK
    with log.path.open("ab") as file:
        file.write(b"a\n")
    assert log.refresh() and log.text(len(log) - 1) == "a"


@pytest.mark.parametrize("before", [b"", b"a needle\n" * 9])
def test_of_a_line_without_measure_the_beginning_is_looked_at_and_the_next_lines_as_ever(
    tmp_path: Path, before: bytes
) -> None:
    with mock.patch.multiple(search, SLICE=24, LONGEST_LINE=64):
        log = written(tmp_path, before + b"x" * 9 + b"needle" + b"y" * 999 + b"needle\nno\na needle\n" + b"z" * 99)
        scan, first = Scan(log, parse_query("needle")), before.count(b"\n")
        while scan.advance():
            pass
        assert list(scan.lines()) == [*range(first), first, first + 2]
        assert next_hit(log, parse_query("needle"), first + 2, forward=False) == first
        assert next_hit(log, parse_query("a needle"), len(log) - 1, forward=False) == first + 2
        reader = SummaryReader()
        assert max(summarise(log, reader)) == log.size - 99 and reader.found.lines == first + 3


def test_of_too_many_hits_the_first_are_kept(tmp_path: Path) -> None:
    with mock.patch.object(search, "MOST_HITS", 5):
        log = written(tmp_path, b"a\n" * 99)
        scan = Scan(log, parse_query("a"))
        while scan.advance():
            pass
        assert list(scan.lines()) == [0, 1, 2, 3, 4] and scan.is_full and scan.fraction_scanned == 1.0


def test_times_that_make_no_sense_are_none(tmp_path: Path) -> None:
    path = tmp_path / "log.times"
    path.write_bytes(b"".join(RECORD.pack(n, at) for n, at in enumerate((5.0, 1e300, -1.0, math.inf, math.nan))))
    times = LogTimes(path)
    times.refresh()
    assert [times.at(n) for n in range(5)] == [5.0, None, None, None, None] and times.last == times.first == 5.0
    path.write_bytes(RECORD.pack(7, 9.0))
    times.refresh()
    assert (times.at(5), times.at(7)) == (None, 9.0)
