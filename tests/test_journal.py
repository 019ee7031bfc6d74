"""What a job writes down: everything its child said, heartbeats in silence, a status that follows."""

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from runner.job import journal as journals
from runner.job.journal import Journal
from runner.logs.timestamps import LogTimes, TimestampWriter, truncate
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import Status
from runner.volumes.folder import FolderVolume
from tests.statuses import a_status

STEP = "step {:05d}/00020 ({:.2f}%) | loss: {:.6f} | lrm: 0.05 | dt: {:.2f}ms | tok/sec: 5,000 | bf16_mfu: 45.86"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> Iterator[Journal]:
    status = a_status(1, State.RUNNING, "c", 1000.0, 1000.0, stage="base")
    made = Journal(FolderVolume(str(tmp_path)), "runs/r", status, clock, clock)
    made.begin_stage()
    yield made
    made.close()


def log(tmp_path: Path) -> str:
    return (tmp_path / "runs" / "r" / "log").read_bytes().decode()


def test_a_heartbeat_comes_after_each_minute_of_silence_and_never_before(
    journal: Journal, clock: Clock, tmp_path: Path
) -> None:
    journal.output(b"begin\n")
    for _ in range(1250):
        clock.now += 0.1
        journal.tick(60.0)
    assert (
        log(tmp_path)
        == "begin\n[HEARTBEAT] silent 60s / total 60s · base\n[HEARTBEAT] silent 120s / total 120s · base\n"
    )
    journal.output((STEP.format(4, 20, 2.5, 100) + "\n").encode())
    clock.now += 60
    journal.tick(60.0)
    assert log(tmp_path).splitlines()[-1] == "[HEARTBEAT] silent 60s / total 185s · base · step 5 of 20"


def test_a_heartbeat_does_not_break_into_an_unfinished_line(journal: Journal, clock: Clock, tmp_path: Path) -> None:
    journal.output(b"Evaluating: x... ")
    clock.now += 61
    journal.tick(60.0)
    assert "Evaluating: x... \n[HEARTBEAT]" in log(tmp_path)


def test_the_log_keeps_every_byte_as_it_came(journal: Journal, tmp_path: Path) -> None:
    data = b"\r\x1b[K50%\r\x1b[K100%\n\xff\x00\x1b]0;title\x07\n"
    journal.output(data)
    assert (tmp_path / "runs" / "r" / "log").read_bytes() == data


def test_the_status_follows_the_steps_and_forgets_the_compile_when_it_judges_slowness(journal: Journal) -> None:
    for step, ms in ((0, 63709.0), (1, 1000.0), (2, 1200.0), (3, 1100.0)):
        journal.output((STEP.format(step, 5 * step, 3.0 - step, ms) + "\n").encode())
    s = journal.status
    assert (
        s.training.step,
        s.training.total_steps,
        s.training.loss,
        s.training.tokens_per_s,
        s.pace.dt_s,
        s.pace.slowest_dt_s,
    ) == (4, 20, 0.0, 5000, 1.1, 1.2)


def test_a_loss_that_is_nan_is_a_warning_and_valid_json(journal: Journal, tmp_path: Path) -> None:
    journal.output(STEP.format(3, 15, float("nan"), 9).encode() + b"\n")
    journal.write_status()
    written = json.loads((tmp_path / "runs" / "r" / "status.json").read_text())
    assert written["training"]["loss"] is None
    assert written["work"]["warnings"] == ["loss is nan at step 3"]
    for line in (tmp_path / "runs" / "r" / "events.jsonl").read_text().splitlines():
        json.loads(line)


def test_fine_tuning_does_not_overwrite_the_numbers_of_the_base_model(journal: Journal) -> None:
    journal.output((STEP.format(19, 95, 2.0, 9) + "\nStep 00020 | Validation bpb: 0.700000\n").encode())
    journal.status.work.stage = StageName.SFT
    journal.output(
        b"step 00002 (102.50%) | loss: 0.100000 | lrm: -0.05 | dt: 9.00ms | tok/sec: 10 | mfu: 0.00 | epoch: 1\n"
    )
    journal.output(b"Step 00002 | Validation bpb: 0.1000\n")
    s = journal.status
    assert (s.training.step, s.training.loss, s.training.val_bpb, s.work.stage_percent, s.work.stage_loss) == (
        20,
        2.0,
        0.7,
        100.0,
        0.1,
    )


def test_what_a_full_disk_refuses_is_written_when_there_is_room(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, full = journal._log._file, True

    class Disk:
        def write(self, data: bytes) -> int:
            if full:
                raise OSError(errno.ENOSPC, "full")
            assert real
            return real.write(data[:7]) or 0

    monkeypatch.setattr(journal._log, "_file", Disk())
    journal.output(b"first line\n")
    full = False
    journal.output(b"second line\n")
    assert log(tmp_path) == "first line\nsecond line\n"
    full = True
    journal.output(b"x" * (journals.MAX_UNWRITTEN + 10))
    assert journal._log.lost == 10


def test_a_volume_that_goes_away_does_not_stop_the_job(journal: Journal, tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(tmp_path)
    journal.output(b"still here\n")
    journal.tick(60.0)
    journal.write_status()
    assert "is gone" in journal.status_problem and not tmp_path.exists()
    tmp_path.mkdir()


HEADER = b"GPU: NVIDIA H100 80GB HBM3 | Peak FLOPS (BF16): 9.89e+14\n"
FALLBACK = b"WARNING: Flash Attention 3 not available, using PyTorch SDPA fallback\n"
WINDOWS = b"WARNING: SDPA has no support for sliding window attention (window_pattern='SSSL'). Terrible.\n"


def test_a_missing_attention_kernel_is_a_loud_warning_on_a_gpu_and_none_on_a_cpu(journal: Journal) -> None:
    journal.output(FALLBACK + WINDOWS)
    assert journal.status.work.warnings == []
    journal.output(HEADER + FALLBACK + WINDOWS)
    slow, costly = journal.status.work.warnings
    assert slow.startswith("Flash Attention 3 did not load") and "a quarter of the speed" in costly
    assert journal.status.containers.device == "NVIDIA H100 80GB HBM3"


def test_data_that_is_seen_a_second_time_is_warned_of_once(journal: Journal) -> None:
    for step in range(3):
        journal.output(f"{STEP.format(step, 5, 2.5, 100)} | epoch: {1 + step // 2} pq: 0 rg: 1\n".encode())
    journal.output(f"{STEP.format(4, 5, 2.5, 100)} | epoch: 2 pq: 0 rg: 1\n".encode())
    assert journal.status.work.warnings == ["the data is used up: epoch 2 begins to repeat it; fetch more --shards"]


def test_lines_that_are_not_understood_are_counted_and_blank_ones_are_not(journal: Journal) -> None:
    journal.output(b"quite another line\n\n   \n" + HEADER)
    assert journal.status.work.unknown_lines == 1


def test_the_pace_leaves_out_the_steps_that_compile(journal: Journal) -> None:
    for step in range(20):
        journal.output((STEP.format(step, step * 5, 2.5, 60_000 if step == 0 else 100) + "\n").encode())
    assert (journal.status.pace.train_steps, round(journal.status.pace.train_s, 3)) == (10, 1.0)


def test_remarks_are_not_written_to_the_events(journal: Journal, tmp_path: Path) -> None:
    journal.output(HEADER + b"Model config:\n{\n}\n" + b"=" * 80 + b"\n")
    journal.flush()
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "runs" / "r" / "events.jsonl").read_text().splitlines()]
    assert kinds == ["fact"]


def test_when_lines_came_is_noted_about_once_a_second(journal: Journal, clock: Clock, tmp_path: Path) -> None:
    for second in range(5):
        for part in range(4):
            journal.output(f"line {second}.{part}\n".encode())
            clock.now += 0.25
    journal.flush()
    times = LogTimes(tmp_path / "runs" / "r" / "log.times")
    times.refresh()
    lines = log(tmp_path).splitlines(keepends=True)
    found = [times.at(sum(map(len, lines[:n]))) for n in range(len(lines))]
    assert found == [1000.0 + n // 4 for n in range(20)]
    assert times.offset_since(1003.0) == sum(map(len, lines[:12])) and times.offset_since(2000.0) is None
    assert LogTimes(tmp_path / "none").at(5) is None


def test_times_beyond_a_cut_log_are_forgotten(tmp_path: Path) -> None:
    stamper, path = TimestampWriter(0), tmp_path / "log.times"
    path.write_bytes(b"".join(stamper.stamp(100, float(n * 2)) for n in range(5)) + b"torn")
    truncate(path, 250)
    times = LogTimes(path)
    times.refresh()
    assert [times.at(n) for n in (0, 150, 250)] == [0.0, 2.0, 4.0] and path.stat().st_size == 48


def test_a_disk_that_takes_no_new_file_ends_no_job_and_nothing_said_is_lost(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "runs").write_text("no folder can be made here")
    status = a_status(1, State.RUNNING, "c", 1000.0, 1000.0, stage="base")
    made = Journal(FolderVolume(str(tmp_path)), "runs/r", status, clock, clock)
    made.say("[ATTEMPT 1]")
    made.write_status()
    assert made.status_problem
    (tmp_path / "runs").unlink()
    (tmp_path / "runs" / "r").mkdir(parents=True)
    clock.now += 2
    made.tick(60.0)
    assert log(tmp_path) == "[ATTEMPT 1]\n" and made.status_problem == ""
    made.close()


def test_a_change_of_phase_is_told_at_once_and_numbers_once_a_second(
    journal: Journal, clock: Clock, tmp_path: Path
) -> None:
    saved = tmp_path / "runs" / "r" / "status.json"

    def known() -> Status:
        return msgspec.json.decode(saved.read_bytes(), type=Status)

    journal.tick(60.0)
    assert known().work.phase == "starting"
    clock.now += 0.3
    for step in range(3):
        journal.output((STEP.format(step, 20, 2.5, 100) + "\n").encode())
    journal.tick(60.0)
    assert (known().work.phase, known().training.step) == ("training", 3)
    clock.now += 0.3
    journal.output((STEP.format(3, 20, 2.5, 100) + "\n").encode())
    journal.tick(60.0)
    assert known().training.step == 3
    clock.now += 0.8
    journal.tick(60.0)
    assert known().training.step == 4


def test_what_a_killed_job_left_half_written_is_ended_before_more_is_written(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "runs" / "abc"
    folder.mkdir(parents=True)
    (folder / "log").write_bytes(b"step 00040/00200 (20.00%) | loss")
    (folder / "events.jsonl").write_bytes(b'{"kind":"step"}\n{"kind":"st')
    (folder / "log.times").write_bytes(b"0" * 21)
    made = Journal(FolderVolume(str(tmp_path)), "runs/abc", a_status(2, State.PREPARING, "", 0.0, 0.0), clock, clock)
    made.say("[ATTEMPT 2]")
    made.event({"kind": "container"})
    made.close()
    assert (folder / "log").read_bytes().split(b"\n")[1] == b"[ATTEMPT 2]"
    assert len((folder / "log.times").read_bytes()) % 16 == 0
    assert [line[:4] for line in (folder / "events.jsonl").read_bytes().splitlines()] == [b'{"ki', b'{"ki', b'{"t"']
