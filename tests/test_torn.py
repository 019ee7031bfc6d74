"""Nothing torn: whoever reads a file as it grows ends with what is in it, and a torn record costs itself only."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job import journal as journals
from runner.job.journal import _Appender
from runner.logs import log_file
from runner.logs.log_file import LogFile
from runner.logs.timestamps import RECORD, LogTimes
from runner.metrics.series import CurvesReader
from runner.system import client_log
from runner.system.same_file import TOLD_BY, FileIdentity
from tui.cli.logs import Printer, _events

Step = tuple[str, bytes, bool]
STEPS = ("append", "rewrite", "replace", "cut", "copytruncate", "rotate", "recreate", "same size", "touch")


def steps(piece: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[Step]]:
    """What is done one after the other, and whether the reader looks after each."""
    return st.lists(st.tuples(st.sampled_from(STEPS), piece, st.booleans()), max_size=12)


def do(path: Path, step: str, data: bytes) -> None:
    """What people, rotation and copying do to a file."""
    there = path.read_bytes()
    match step:
        case "append":
            with path.open("ab") as file:
                file.write(data)
        case "rewrite":
            path.write_bytes(data + data)
        case "same size":
            path.write_bytes((data * (len(there) + 1))[: len(there)])
        case "replace":
            (path.parent / "new").write_bytes(there[: len(there) // 2] + data)
            (path.parent / "new").replace(path)
        case "cut":
            os.truncate(path, len(there) // 3)
        case "copytruncate":
            shutil.copyfile(path, path.parent / "copy")
            os.truncate(path, 0)
            path.write_bytes(data)
        case "rotate":
            path.rename(path.parent / "old")
            path.write_bytes(data)
        case "recreate":
            path.unlink()
            path.write_bytes(data)
        case "touch":
            os.utime(path, (1e9, 1e9))


def trying(do_all: list[Step], look: Callable[[Path], Callable[[], Any]], fresh: Callable[[Path], Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(b"")
        looked = look(path)
        for step, data, looks in do_all:
            do(path, step, data)
            if looks:
                looked()
        assert looked() == fresh(path)


def lines_of(path: Path) -> Callable[[], tuple[list[str], int, int]]:
    log = LogFile(path)

    def look() -> tuple[list[str], int, int]:
        while log.refresh(64):
            pass
        return [log.text(n) for n in range(len(log))], log.whole, log.size

    return look


@given(steps(st.text("ab\n", max_size=40).map(str.encode)))
def test_a_log_whatever_is_done_to_it_is_read_as_it_is(do_all: list[Step]) -> None:
    trying(do_all, lines_of, lambda path: lines_of(path)())


def event(step: int, loss: float) -> bytes:
    said = {"t": 1e9 + step, "attempt": 1, "stage": "base", "kind": "step", "step": step, "loss": loss}
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


EVENTS = st.lists(st.builds(event, st.integers(0, 30), st.floats(0, 9)), max_size=4).map(b"".join)


def curves_of(path: Path) -> Callable[[], list[Any]]:
    reader = CurvesReader(path)

    def look() -> list[Any]:
        while reader.read():
            pass
        loss = reader.curves().series["loss"]
        return [list(loss.steps), list(loss.values), list(reader.marks)]

    return look


@given(steps(EVENTS | st.binary(max_size=20)))
def test_curves_whatever_is_done_to_their_events_are_those_of_the_file(do_all: list[Step]) -> None:
    trying(do_all, curves_of, lambda path: curves_of(path)())


TIMES = st.lists(st.builds(RECORD.pack, st.integers(0, 99), st.floats(0, 1e10)), max_size=4).map(b"".join)


def times_of(path: Path) -> Callable[[], list[float | None]]:
    times = LogTimes(path)

    def look() -> list[float | None]:
        times.refresh()
        return [*(times.at(n) for n in range(100)), times.first, times.last]

    return look


@given(steps(TIMES | st.binary(max_size=20)))
def test_times_whatever_is_done_to_their_file_are_those_of_the_file(do_all: list[Step]) -> None:
    trying(do_all, times_of, lambda path: times_of(path)())


def test_times_of_a_log_that_was_cut_and_went_on_are_those_of_what_is_there_now(tmp_path: Path) -> None:
    path = tmp_path / "log.times"
    path.write_bytes(b"".join(RECORD.pack(*r) for r in ((0, 1.0), (50, 2.0), (90, 3.0), (40, 8.0), (60, 9.0))))
    times = LogTimes(path)
    times.refresh()
    assert [times.at(n) for n in (0, 45, 55, 95)] == [1.0, 8.0, 8.0, 9.0] and times.offset_since(2.5) == 40


def test_a_large_log_that_is_written_over_in_place_is_noticed_by_its_first_block_and_its_last(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = [b"line %06d of one run\n" % n for n in range(20_000)]
    for at in (1, 19_990):
        path.write_bytes(b"".join(lines))
        look = lines_of(path)
        looked, changed = look(), [*lines]
        changed[at] = b"a\nb" + lines[at][3:]
        with path.open("r+b") as file:
            file.write(b"".join([*changed, b"and more\n"]))
        assert look() == lines_of(path)() != looked


def test_what_is_known_of_a_file_is_its_beginning_and_its_end_however_it_came() -> None:
    data = os.urandom(3 * TOLD_BY)
    known, at = FileIdentity(), 0
    for size in (10, 1000, TOLD_BY, TOLD_BY + 5, len(data) - 2 * TOLD_BY - 1015):
        back = min(at, 7)
        known.took(at - back, data[at - back : at + size])
        at += size

    def reading(of: bytes) -> Callable[[int, int], bytes]:
        return lambda offset, length: of[offset : offset + length]

    assert known.size == len(data) and known.is_still(reading(data + b"more"))
    for wrong in (0, TOLD_BY - 1, len(data) - 1, len(data) - TOLD_BY):
        other = bytearray(data)
        other[wrong] ^= 1
        assert not known.is_still(reading(bytes(other)))
    assert not known.is_still(reading(data[:-1]))


def test_what_is_followed_is_printed_from_its_beginning_once_it_was_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nthree\n")
    printer, events = Printer(LogFile(path), 0, []), _events(path, None)
    printer(False)
    events(False)
    (tmp_path / "new").write_bytes(b"four\n")
    (tmp_path / "new").replace(path)
    capsys.readouterr()
    printer(False)
    events(False)
    assert capsys.readouterr().out == "four\nfour\n"


class Full:
    """A file that takes so many bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self.room = file, room

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "no room")
        took = self._file.write(bytes(data[: self.room]))
        self.room -= took
        return int(took)


@pytest.mark.parametrize("hold", [True, False])
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), min_size=1, max_size=30))
def test_a_full_disk_costs_whole_events_and_each_that_is_kept_stands_on_its_own_line(
    hold: bool, given_: list[tuple[int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(journals, "MAX_UNWRITTEN", 64)
        path = Path(folder) / "events.jsonl"
        path.write_bytes(b'{"n": 1, "torn')
        appender = _Appender(path, hold=hold, record=None)
        said = []
        opened = Path.open

        def limited(self: Path, *args: Any, **more: Any) -> Any:
            file = opened(self, *args, **more)
            write = file.write
            file_write = Full(file, room)
            file_write._file = type("F", (), {"write": staticmethod(write)})
            return Wrapped(file, file_write)

        room = 0
        for number, (room, size) in enumerate(given_):  # noqa: B007 - `limited` reads it
            said.append(b'{"n":%d,"x":"%s"}\n' % (number, b"x" * size))
            appender._release()
            patched.setattr(Path, "open", limited)
            appender.write(said[-1])
            appender.flush()
            patched.setattr(Path, "open", opened)
        room = 1 << 20
        appender._release()
        appender.close()
        kept = path.read_bytes().splitlines(keepends=True)
        assert kept[0] == b'{"n": 1, "torn\n'
        whole = [line for line in kept[1:] if line in said]
        torn = [line for line in kept[1:] if line not in said]
        assert whole == [line for line in said if line in whole], "in their order"
        assert all(any(one.startswith(line.rstrip(b"\n")) for one in said) for line in torn), torn
        assert appender.lost or not torn
        assert whole[-1:] == said[-1:]


class Wrapped:
    """A file whose writes go through another object."""

    def __init__(self, file: Any, writer: Full) -> None:
        self._file, self._writer = file, writer

    def write(self, data: bytes) -> int:
        return self._writer.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Any:
        return self._file.__enter__()

    def __exit__(self, *what: Any) -> Any:
        return self._file.__exit__(*what)


def test_what_is_lost_of_times_are_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "MAX_UNWRITTEN", 100)
    appender = _Appender(tmp_path / "log.times", hold=False, record=RECORD.size)
    for number in range(20):
        appender.write(RECORD.pack(number, 1.0 + number))
    appender.close()
    found = list(RECORD.iter_unpack((tmp_path / "log.times").read_bytes()))
    assert found == [(n, 1.0 + n) for n in range(20 - len(found), 20)] and 0 < len(found) < 20


def test_a_line_of_the_client_log_that_was_torn_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / client_log.FILE
    path.write_bytes(b"2026 torn in the mid")
    client_log.begin(tmp_path)
    client_log.LOG.info("the next")
    first, second = path.read_text().splitlines()
    assert first == "2026 torn in the mid" and second.endswith("the next")
    for handler in client_log.LOG.handlers[:]:
        client_log.LOG.removeHandler(handler)
        handler.close()


def test_blocks_of_a_log_have_the_size_that_its_readers_believe() -> None:
    assert log_file.READ % log_file.BLOCK == 0 and TOLD_BY >= log_file.BLOCK
