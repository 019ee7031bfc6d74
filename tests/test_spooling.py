"""A log that travels as frames and is put together again: nothing lost, nothing double, in whatever order it comes."""

import fcntl
import random
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.backends.modal.logs import FrameAssembler
from runner.errors import Unreachable
from runner.logs import cache, frames, mirror
from runner.logs.frames import Frame, Framer
from runner.logs.mirror import LogMirror
from runner.logs.timestamps import RECORD
from tests.disk import full_at

NASTY = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\n", b"\r", b"\r\n", b"step 1 | loss: 2\n", b"\0", b"\xff\xfe", b"\x1b[31mred\x1b[0m", b"1.2|x\n"]
        ),
        st.binary(max_size=40),
        st.text(max_size=20).map(lambda t: t.encode("utf-8", "surrogatepass")),
    ),
    max_size=30,
)


@given(NASTY, st.integers(0, 3))
def test_frames_give_back_every_byte_in_its_place(chunks: list[bytes], flush_every: int) -> None:
    framer, lines = Framer(7), []
    for number, chunk in enumerate(chunks):
        lines += framer.feed(chunk)
        if flush_every and number % flush_every == 0:
            lines += framer.flush()
    lines += framer.flush()
    assert all("\n" not in line and "\0" not in line for line in lines)
    joined = b""
    for line in lines:
        frame = frames.parse(line + "\n")
        assert frame is not None and (frame.part, frame.offset) == (7, len(joined))
        joined += frame.data
    assert joined == b"".join(chunks)


@pytest.mark.parametrize(
    "line", ["", "hello", "1.2", "1|x", "x.1|y", "1.1~!!!", "-1.2|x", "1.2.3|x", "9" * 30 + ".1|x"]
)
def test_a_line_of_something_else_is_no_frame(line: str) -> None:
    assert frames.parse(line) is None


@given(st.lists(st.integers(1, 12), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_entries_cut_anywhere_are_put_together_for_each_container(cuts: list[int], rng: random.Random) -> None:
    texts = {c: "".join(f"{n}.0|line {n} of {c}\n" for n in range(8)) for c in ("ta-1", "ta-2")}
    assembler, found = FrameAssembler(), {c: b"" for c in texts}
    left = dict(texts)
    while any(left.values()):
        container = rng.choice([c for c, text in left.items() if text])
        size = rng.choice(cuts)
        message, left[container] = left[container][:size], left[container][size:]
        for frame in assembler.feed("fc-1", container, message):
            found[container] += frame.data
    assert found == {c: "".join(f"line {n} of {c}\n" for n in range(8)).encode() for c in texts}


def cut_into_frames(part: int, data: bytes) -> list[Frame]:
    framer = Framer(part)
    lines = framer.feed(data) + framer.flush()
    return [f for line in lines if (f := frames.parse(line))]


class FakeVolume:
    """The log as committed so far."""

    def __init__(self) -> None:
        self.files = {"log": b"", "events.jsonl": b""}

    def __call__(self, name: str, offset: int, length: int) -> bytes:
        return self.files[name][offset : offset + length]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_the_stream_brings_the_spool_ends_as_the_log_that_was_written(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = data.draw(st.randoms(use_true_random=False))
    parts = [
        b"".join(b"%d line %d\n" % (p, n) for n in range(rng.randrange(1, 12))) for p in range(rng.randrange(1, 4))
    ]
    bases = [sum(map(len, parts[:n])) for n in range(len(parts))]
    whole, volume = b"".join(parts), FakeVolume()
    folder = tmp_path_factory.mktemp("spool")
    spool = LogMirror(folder)
    stream = [f for n, part in enumerate(parts) for f in cut_into_frames(n, part)]
    committed = 0
    for _ in range(rng.randrange(1, 25)):
        match rng.randrange(5):
            case 0:
                spool.add_frames(rng.sample(stream, rng.randrange(len(stream) + 1)))
            case 1:
                at = rng.randrange(len(stream))
                spool.add_frames(stream[at : at + rng.randrange(6)])
            case 2:
                committed = rng.randrange(committed, len(whole) + 1)
                volume.files["log"] = whole[:committed]
            case 3:
                # Where parts begin is told apart from what is committed: it may lag behind.
                known = ([b for b in bases if b <= committed] or [0])[: rng.randrange(1, len(bases) + 1)]
                spool.catch_up(volume, known)
            case 4:
                # Another process takes over, as after a kill: what was not noted comes again.
                spool.close()
                if rng.random() < 0.5:
                    with (folder / "log").open("ab") as file:
                        file.write(b"appended, but not noted")
                spool = LogMirror(folder)
        assert whole.startswith((folder / "log").read_bytes().replace(b"appended, but not noted", b""))
    volume.files["log"] = whole
    spool.catch_up(volume, bases, ended=1.0)
    assert (folder / "log").read_bytes() == whole and spool.is_whole(1.0)
    spool.close()


def test_what_a_killed_container_printed_but_never_committed_is_kept(tmp_path: Path) -> None:
    spool, volume = LogMirror(tmp_path), FakeVolume()
    spool.add_frames(cut_into_frames(0, b"one\ntwo\nthree\nhalf a li"))
    volume.files["log"] = b"one\n"
    spool.catch_up(volume, [0])
    volume.files["log"] = b"one\nagain\n"
    spool.add_frames(cut_into_frames(1, b"again\n"))
    spool.catch_up(volume, [0, 4], ended=1.0)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\nthree\nhalf a li\nagain\n"


def test_processes_that_fill_one_spool_take_turns(tmp_path: Path) -> None:
    first, second = LogMirror(tmp_path), LogMirror(tmp_path)
    lines = cut_into_frames(0, b"one\ntwo\nthree\nfour\n")
    first.add_frames(lines[:1])
    second.add_frames(lines[:3])
    first.add_frames(lines[2:])
    first.catch_up(FakeVolume(), [0])
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\nthree\nfour\n"


def test_a_spool_that_another_process_holds_is_not_written(tmp_path: Path) -> None:
    spool = LogMirror(tmp_path)
    with (tmp_path / "turn").open("a") as other, mock.patch.object(mirror, "PATIENCE_S", 0.0):
        fcntl.flock(other, fcntl.LOCK_EX)
        spool.add_frames(cut_into_frames(0, b"one\n"))
        assert (tmp_path / "log").read_bytes() == b"" and not spool.is_whole(1.0)


def test_a_log_that_is_read_is_not_trimmed(tmp_path: Path) -> None:
    spools = [LogMirror(tmp_path / "r1"), LogMirror(tmp_path / "r1")]
    spools[0].add_frames(cut_into_frames(0, b"one\n"))
    for spool in spools:
        assert cache.trim(tmp_path, 0, set()) == 0
        spool.close()
    assert cache.trim(tmp_path, 0, set()) > 0


EVENT = b'{"t":1764000000.123,"attempt":1,"stage":"base","kind":"step","step":%05d,"loss":2.7182818}\n'


def events(first: int, last: int) -> bytes:
    return b"".join(EVENT % n for n in range(first, last))


@pytest.mark.parametrize("ended", [None, 1.0])
def test_events_are_brought_whole_however_many(tmp_path: Path, ended: float | None) -> None:
    spool, volume = LogMirror(tmp_path), FakeVolume()
    volume.files["events.jsonl"] = events(0, 1000)
    with mock.patch.object(mirror, "READ_BYTES", 10_000):
        spool.catch_up(volume, [0], ended=ended)
    assert spool.events.read_bytes() == volume.files["events.jsonl"]


def test_a_run_is_not_taken_for_whole_before_its_events_are_here(tmp_path: Path) -> None:
    spool, volume = LogMirror(tmp_path), FakeVolume()
    volume.files = {"log": b"one\n", "events.jsonl": events(0, 1000)}

    def breaks(name: str, offset: int, length: int) -> bytes:
        if name == "events.jsonl" and offset > 20_000:
            raise Unreachable("Modal cannot be reached", "")
        return volume(name, offset, length)

    with mock.patch.object(mirror, "READ_BYTES", 10_000):
        with pytest.raises(Unreachable):
            spool.catch_up(breaks, [0], ended=1.0)
        assert not spool.is_whole(1.0)
        spool.catch_up(volume, [0], ended=1.0)
    assert spool.is_whole(1.0) and spool.events.read_bytes() == volume.files["events.jsonl"]


def test_what_a_run_wrote_when_it_was_resumed_elsewhere_and_ended_again_is_brought(tmp_path: Path) -> None:
    spool, volume = LogMirror(tmp_path), FakeVolume()
    volume.files = {"log": b"[ATTEMPT 1]\n", "events.jsonl": events(0, 5)}
    spool.catch_up(volume, [0], ended=1.0)
    volume.files = {"log": b"[ATTEMPT 1]\n[ATTEMPT 2]\n", "events.jsonl": events(0, 9)}
    assert not spool.is_whole(2.0)
    spool.catch_up(volume, [0, 12], ended=2.0)
    assert {n: (tmp_path / n).read_bytes() for n in volume.files} == volume.files and spool.is_whole(2.0)


def test_a_spool_of_before_that_says_it_is_whole_is_looked_at_once_more(tmp_path: Path) -> None:
    (tmp_path / "place.json").write_text('{"part":0,"have":4,"size":4,"whole":true,"seen":4}')
    (tmp_path / "log").write_bytes(b"one\n")
    (tmp_path / "events.jsonl").write_bytes(events(0, 5))
    spool, volume = LogMirror(tmp_path), FakeVolume()
    volume.files = {"log": b"one\n", "events.jsonl": events(0, 9)}
    assert not spool.is_whole(1.0)
    spool.catch_up(volume, [0], ended=1.0)
    assert (tmp_path / "log").read_bytes() == b"one\n" and (tmp_path / "events.jsonl").read_bytes() == events(0, 9)


def test_events_that_are_gone_from_the_volume_stay_here(tmp_path: Path) -> None:
    spool, volume = LogMirror(tmp_path), FakeVolume()
    volume.files["events.jsonl"] = events(0, 5)
    spool.catch_up(volume, [0])
    volume.files["events.jsonl"] = b""
    spool.catch_up(volume, [0], ended=1.0)
    assert spool.events.read_bytes() == events(0, 5)


def test_a_disk_that_is_full_for_a_while_leaves_nothing_half_written(tmp_path: Path) -> None:
    one, two = b"A" * 150 + b"\n", b"B" * 150 + b"\n"
    spool, volume = LogMirror(tmp_path), FakeVolume()
    spool.add_frames([Frame(0, 0, one)])
    volume.files = {"log": one + two, "events.jsonl": events(0, 9)}
    with full_at(200):
        with pytest.raises(OSError):
            spool.add_frames([Frame(0, len(one), two)])
        with pytest.raises(OSError):
            spool.catch_up(volume, [0], ended=1.0)
        assert spool.log.read_bytes() == one
    spool.catch_up(volume, [0], ended=1.0)
    assert spool.log.read_bytes() == one + two and spool.events.read_bytes() == events(0, 9)
    assert spool.times.stat().st_size % RECORD.size == 0 and spool.is_whole(1.0)


def test_a_volume_that_shows_too_little_at_first_loses_nothing_of_a_part(tmp_path: Path) -> None:
    whole, spool = b"[ATTEMPT 1]\n[PREEMPTED] x\n[ATTEMPT 1] again\n", LogMirror(tmp_path)

    def part(there: int, name: str, at: int, length: int) -> bytes:
        return whole[:there][at : at + length]

    for there in (12, len(whole)):
        spool.catch_up(partial(part, there), [0, 26])
    assert spool.log.read_bytes() == whole


def test_the_beginning_of_a_part_that_nobody_knew_of_yet_is_not_doubled(tmp_path: Path) -> None:
    parts = (b"[ATTEMPT 1]\nstep 1\n[PREEMPTED]\n", b"[ATTEMPT 1] container 2\nstep 2\n")
    volume = {"log": parts[0] + parts[1][:24]}

    def read(name: str, start: int, length: int) -> bytes:
        return volume.get(name, b"")[start : start + length]

    spool = LogMirror(tmp_path)
    spool.catch_up(read, [0])
    spool.add_frames([Frame(1, 0, parts[1][:24]), Frame(1, 24, b"step 2\n")])
    spool.close()
    spool = LogMirror(tmp_path)
    volume["log"] = b"".join(parts)
    spool.catch_up(read, [0, len(parts[0])])
    spool.add_frames([Frame(1, 0, parts[1][:24]), Frame(1, 24, b"step 2\n")])
    spool.catch_up(read, [0, len(parts[0])], ended=1.0)
    assert (tmp_path / "log").read_bytes() == b"".join(parts)
