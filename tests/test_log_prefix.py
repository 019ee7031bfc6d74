"""What stands before the lines of a log, from whichever tool, and how the log was packed: the same numbers come out."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.logs.encoding import Text, is_plain
from runner.logs.log_file import LogFile
from runner.logs.prefix import Prefixes
from runner.logs.prefixed import PrefixFinder
from runner.logs.search import Scan, parse_query
from runner.logs.summary import Summary, SummaryReader
from runner.model.status import Problem
from tests.conftest import DATA, Cli

LOGS = [DATA / "releases" / "2026-07-04.log", DATA / "logs" / "h100_oom_d24_64.log", DATA / "logs" / "cpu_resume_b.log"]


def iso(number: int) -> str:
    return f"2026-01-02T03:{number // 60 % 60:02}:{number % 60:02}"


# Each tool's mark for the line of that number.
TOOLS: dict[str, Callable[[int], str]] = {
    "docker logs -t": lambda n: f"{iso(n)}.{n:09}Z ",
    "kubectl logs --timestamps": lambda n: f"{iso(n)}.{str(n + 1).rstrip('0')}+01:00 ",
    "kubectl logs --prefix": lambda n: "[pod/train-x7f9b-q2/main] ",
    "kubectl, both": lambda n: f"[pod/train-0/main] {iso(n)}Z ",
    "compose": lambda n: "train  | ",
    "compose, several": lambda n: f"train-{n % 3}   | ",
    "compose in colours": lambda n: "\x1b[36mtrain-1  | \x1b[0m",
    "srun -l": lambda n: "0: ",
    "srun -l, wide": lambda n: " 3: ",
    "torchrun --tee": lambda n: "[default0]:",
    "rank": lambda n: "[rank0]: ",
    "syslog": lambda n: f"Nov {n % 30 + 1:2} 23:50:{n % 60:02} gpu-box train.sh[1234]: ",
    "journalctl -o short-iso": lambda n: f"{iso(n)}+0000 gpu-box python[99]: ",
    "ts": lambda n: f"Nov {n % 30 + 1:2} 23:50:{n % 60:02} ",
    "ts -s": lambda n: f"00:00:{n % 60:02} ",
    "Ray": lambda n: "(RayTrainWorker pid=123, ip=10.0.0.1) ",
    "SkyPilot": lambda n: "(task, pid=1234) ",
    "mpirun --tag-output": lambda n: f"[1,0]<{'stderr' if n % 5 == 4 else 'stdout'}>:",
    "a CRI file": lambda n: f"{iso(n)}.123456789Z {'stderr' if n % 5 == 4 else 'stdout'} F ",
    "pdsh": lambda n: "node-1: ",
    "honcho": lambda n: f"12:34:{n % 60:02} train.1 | ",
    "cat -n": lambda n: f"{n + 1:6}\t",
    "grep -n": lambda n: f"{n + 1}:",
    "logging": lambda n: f"2026-01-02 03:04:{n % 60:02},123 - train - INFO - ",
    "ts %s": lambda n: f"{1767323045 + n}.25 ",
}


def summary(data: bytes) -> Summary:
    reader = SummaryReader()
    for line in data.removesuffix(b"\n").split(b"\n"):
        reader.add_line(line)
    return reader.found


def marked(data: bytes, mark: Callable[[int], str]) -> bytes:
    lines = data.removesuffix(b"\n").split(b"\n")
    return b"".join(mark(n).encode() + line + b"\n" for n, line in enumerate(lines))


def bare(found: Summary) -> Summary:
    found.problems = [Problem(one.line, "") for one in found.problems]
    return found


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("path", LOGS, ids=lambda p: p.stem)
def test_what_a_tool_puts_before_each_line_changes_nothing_of_what_is_in_a_log(path: Path, tool: str) -> None:
    data = path.read_bytes()
    found, expected = summary(marked(data, TOOLS[tool])), summary(data)
    assert (found.steps, found.not_understood) == (expected.steps, expected.not_understood)
    assert bare(found) == bare(expected)


MARKS = st.sampled_from(list(TOOLS.values()))
WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"], exclude_characters="[]"), max_size=12)


@given(MARKS, MARKS, WORDS, st.sampled_from(["", "] ", " | "]))
@settings(max_examples=60, deadline=None)
def test_any_prefix_at_all_gives_the_same_summary(
    one: Callable[[int], str], other: Callable[[int], str], word: str, end: str
) -> None:
    data = LOGS[0].read_bytes()
    mark = f"{word}{end}" if end else ""
    found = summary(marked(data, lambda n: f"{one(n)}{mark}{other(n)}"))
    assert bare(found) == bare(summary(data))


@given(st.lists(st.one_of(st.text(max_size=30), MARKS.map(lambda mark: mark(1)), st.just("step 00001/00002 "))))
def test_no_line_breaks_what_looks_for_a_prefix_and_nothing_of_it_is_lost(pieces: list[str]) -> None:
    prefixes, line = Prefixes(), "".join(pieces)
    for _ in range(3):
        prefixes.read(line)
    cut = prefixes.split(line)
    assert cut.prefix + cut.text == line
    cut.at(), cut.rank


SLOW = ["a1:", "a1.", "a1-", "1:", " a1", "\x1b[1m", "[a1]", "/a1", "a1..:", "stdout ", "F ", "2026-01-02 03:04:05 "]


@pytest.mark.parametrize("piece", SLOW)
def test_a_prefix_that_was_made_to_be_slow_is_not(piece: str) -> None:
    prefixes, prefix = Prefixes(), piece * (190 // len(piece))
    for _ in range(3):
        prefixes.read(f"{prefix} Vocab size: 32,768")
    for end in ("!", " !", "a", "1"):
        assert prefixes.split(prefix[:-1] * 5 + end).text


def test_ranks_that_a_launcher_names_are_those_of_a_failure() -> None:
    lines = (DATA / "releases" / "2026-07-04.log").read_text().split("\n")[:20]
    said = [f"[default0]:{line}" for line in lines] + [
        "[default1]:Traceback (most recent call last):",
        '[default1]:  File "/opt/nanochat/scripts/base_train.py", line 400, in <module>',
        "[default1]:    x.view(2)",
        "[default1]:RuntimeError: shape '[2]' is invalid for input of size 3",
    ]
    assert "rank 1" in str(summary("\n".join(said).encode()).outcome)


def times_of(path: Path) -> tuple[LogFile, PrefixFinder]:
    log = LogFile(path)
    log.refresh()
    finder = PrefixFinder(log)
    finder.advance()
    return log, finder


def test_lines_are_shown_without_their_prefix_whose_times_are_those_of_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    data = LOGS[0].read_bytes()
    path.write_bytes(marked(data, TOOLS["docker logs -t"]))
    log, finder = times_of(path)
    assert [log.text(n) for n in range(len(log))] == [
        line.rpartition("\r")[2] for line in data.decode().split("\n")[:-1]
    ]
    times = finder.times
    assert times is not None and times.first is not None and times.last is not None
    line = log.line_at(times.offset_since(times.first + 30.0) or 0)
    assert line == 30 and times.at(log.start(line)) == pytest.approx(times.first + 30.0, abs=1e-3)
    assert times.offset_since(times.last + 1.0) is None


def test_a_year_that_a_time_does_not_tell_is_the_last_one_that_fits() -> None:
    prefixes = Prefixes()
    for n in (1, 2):
        prefixes.read(f"{TOOLS['syslog'](n)}Vocab size: 32,768")
    now = time.mktime((2026, 3, 1, 0, 0, 0, 0, 0, -1))
    at = prefixes.split(f"{TOOLS['syslog'](1)}x").at(now)
    assert at == time.mktime((2025, 11, 2, 23, 50, 1, 0, 0, -1))


def test_stages_and_errors_are_found_behind_a_prefix(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    lines = "[ATTEMPT 1] began\n[STAGE] base\nVocab size: 32,768\nTraceback (most recent call last):\n"
    path.write_bytes(marked(lines.encode(), TOOLS["srun -l"]))
    log, finder = times_of(path)
    for level, expected in (("stage", [0, 1]), ("error", [3])):
        scan = Scan(log, parse_query(f"level:{level}", finder.prefixes.sources))
        while scan.advance():
            pass
        assert list(scan.lines()) == expected


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip, two members": lambda data: gzip.compress(data[:500]) + gzip.compress(data[500:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "UTF-16 of a Windows shell": lambda data: data.replace(b"\n", b"\r\n").decode().encode("utf-16"),
    "UTF-16, big end first, no mark": lambda data: data.decode().encode("utf-16-be"),
    "UTF-32": lambda data: data.decode().encode("utf-32"),
    "UTF-8 with a mark": lambda data: b"\xef\xbb\xbf" + data,
    "a file of Docker's": lambda data: b"".join(
        json.dumps({"log": f"{line}\n", "stream": "stdout", "time": "2026-01-02T03:04:05.1Z"}).encode() + b"\n"
        for line in data.decode().removesuffix("\n").split("\n")
    ),
    "gzip of UTF-16": lambda data: gzip.compress(data.decode().encode("utf-16")),
}


@pytest.mark.parametrize("how", PACKED)
def test_a_log_that_is_packed_or_in_another_encoding_is_read(tmp_path: Path, how: str) -> None:
    if how == "zstd" and not shutil.which("zstd"):
        pytest.skip("no zstd to pack with")
    data = LOGS[2].read_bytes()
    path = tmp_path / "x"
    path.write_bytes(PACKED[how](data))
    assert not is_plain(path)
    with path.open("rb") as file:
        text = Text(file, "x", tmp_path)
        found = summary(b"".join(iter(text.read, b"")).replace(b"\r\n", b"\n"))
    assert (bare(found), text.said) == (bare(summary(data)), "")


@given(st.sampled_from([k for k in PACKED if k != "zstd"]), st.integers(1, 3), st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_damaged_gives_what_came_before_or_is_refused_in_one_line(
    how: str, size: int, data: st.DataObject
) -> None:
    packed = bytearray(PACKED[how](LOGS[1].read_bytes()))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at : at + size] = data.draw(st.binary(max_size=size))
    with contextlib.suppress(UsageError):
        text = Text(io.BytesIO(packed), "x", Path("/"))
        while text.read():
            pass


def test_a_packed_log_is_unpacked_so_far_and_no_further(tmp_path: Path) -> None:
    text = Text(io.BytesIO(gzip.compress(b"0" * (9 << 20))), "bomb.gz", tmp_path, most=2 << 20)
    assert 2 << 20 <= len(b"".join(iter(text.read, b""))) < 3 << 20
    assert text.said == "only the first 2 MiB of bomb.gz are read"


def test_a_log_that_came_in_part_says_so(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "x.log.gz"
    path.write_bytes(gzip.compress(LOGS[1].read_bytes())[:-300])
    done = cli("view", str(path), "--summary")
    assert "x.log.gz is damaged after" in done.stderr and "NVIDIA" in done.stdout


def test_an_archive_and_a_zstd_that_nothing_can_read_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(UsageError, match="is a zip archive"):
        is_plain(path)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.import_module", lambda name: exec("raise ImportError"))
    with pytest.raises(UsageError, match="packed with zstd") as refused:
        Text(io.BytesIO(b"\x28\xb5\x2f\xfd" + bytes(10)), "x.zst", tmp_path)
    assert "install" in str(refused.value)
