"""Checkpoints reach the volume whole or not at all, and training never waits for it."""

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.job.publish import Publisher
from runner.volumes.checkpoint_verdicts import Checkpoint, Verdict, scan
from runner.volumes.folder import FolderVolume
from tests.conftest import in_own_mounts
from tests.test_checkpoints import cut, save


class Bench:
    """A publisher between two folders, with what it said."""

    def __init__(self, root: Path, copy: Callable[[Path, Path], object] = shutil.copyfile) -> None:
        self.work, self.target = root / "work", root / "volume"
        for folder in (self.work, self.target):
            folder.mkdir(exist_ok=True)
        self.saved: list[Checkpoint] = []
        self.said: list[str] = []
        self.copy = copy
        self.commit: Callable[[], None] = lambda: None
        self.publisher = Publisher(
            self.work, FolderVolume(str(self.target)), "runs/r", "d12", 2,
            on_saved=self.saved.append, say=self.said.append, copy=lambda a, b: self.copy(a, b),
            commit=lambda: self.commit(),
        )  # fmt: skip

    def save(self, step: int) -> Path:
        folder = self.work / "base_checkpoints" / "d12"
        made = save(self.work / "made", step)
        folder.mkdir(parents=True, exist_ok=True)
        for file in made.iterdir():
            file.rename(folder / file.name)
        return folder

    def kept(self) -> list[tuple[int, Verdict]]:
        return [(c.step, c.verdict) for c in scan(FolderVolume(str(self.target)), "r", "runs/r", "d12", 2)]


def test_a_whole_checkpoint_is_kept_once_and_the_work_disk_keeps_only_the_newest(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    folder = bench.save(20)
    bench.publisher.publish_finished(settled=False)
    bench.save(40)
    bench.publisher.publish_finished(settled=False)
    bench.publisher.publish_finished(settled=False)
    assert bench.kept() == [(20, Verdict.COMPLETE), (40, Verdict.COMPLETE)]
    assert [c.step for c in bench.saved] == [20, 40]
    assert {p.name[6:12] for p in folder.glob("model_*")} == {"000040"}


def test_one_that_is_still_being_written_is_waited_for_and_a_cut_one_is_refused_in_the_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    cut(bench.save(20) / "model_000020.pt")
    bench.publisher.publish_finished(settled=False)
    assert bench.said == []
    bench.publisher.flush()
    bench.publisher.flush()
    assert bench.said == ["[PUBLISH] base step 20 is not kept: model_000020.pt is truncated"]
    assert bench.kept() == []


def test_a_full_disk_is_said_once_leaves_nothing_half_and_is_tried_again(tmp_path: Path) -> None:
    room = {"files": 2}

    def copy(origin: Path, target: Path) -> None:
        if not room["files"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        room["files"] -= 1
        shutil.copyfile(origin, target)

    bench = Bench(tmp_path, copy)
    folder = bench.save(20)
    bench.publisher.publish_finished(settled=True)
    bench.publisher.publish_finished(settled=True)
    assert bench.publisher.problem == "no space left on the volume"
    assert len(bench.said) == 1 and "it stays in" in bench.said[0]
    assert bench.kept() == [] and not any(p.is_file() for p in bench.target.rglob("*"))
    assert (folder / "model_000020.pt").exists()
    room["files"] = 100
    bench.publisher.publish_finished(settled=True)
    assert bench.kept() == [(20, Verdict.COMPLETE)] and bench.publisher.problem == ""


def test_a_copy_cut_short_is_not_kept(tmp_path: Path) -> None:
    def copy(origin: Path, target: Path) -> None:
        target.write_bytes(origin.read_bytes()[:-1])

    bench = Bench(tmp_path, copy)
    bench.save(20)
    bench.publisher.flush()
    assert bench.kept() == [] and "cut while copying" in bench.said[0]


def test_restoring_leaves_one_step_only_because_nanochat_takes_the_highest(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.save(20)
    bench.publisher.flush()
    shutil.rmtree(bench.work / "base_checkpoints")
    folder = bench.save(40)
    cut(folder / "model_000040.pt")
    (wanted,) = scan(FolderVolume(str(bench.target)), "r", "runs/r", "d12", 2)
    bench.publisher.restore(wanted)
    assert {p.name[6:12] for p in folder.glob("model_*")} == {"000020"}


FULL_DISK = """
import sys
import threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.test_publish import Bench
root = Path(sys.argv[2])
(root / "volume").mkdir()
import subprocess
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6k", "tmpfs", str(root / "volume")], check=True)
bench = Bench(root)
bench.save(20)
bench.publisher.flush()
print(bench.publisher.problem, bench.kept())
subprocess.run(["mount", "-o", "remount,size=1m", str(root / "volume")], check=True)
bench.publisher.flush()
print(bench.publisher.problem, bench.kept())
"""


def test_a_truly_full_file_system(tmp_path: Path) -> None:
    unshare = in_own_mounts(tmp_path)
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [*unshare, sys.executable, "-c", FULL_DISK, root, str(tmp_path)],
        capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "no space left on the volume []",
        " [(20, <Verdict.COMPLETE: 'complete'>)]",
    ]


def test_a_disk_that_cannot_be_read_for_a_moment_ends_no_publishing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    bench.save(20)

    def broken(*given: object) -> list[Checkpoint]:
        raise error

    for error in (OSError(errno.EIO, "Input/output error"), ValueError("no such thing")):
        with monkeypatch.context() as patch:
            patch.setattr("runner.volumes.checkpoint_verdicts.scan_folder", broken)
            bench.publisher.publish_finished(settled=False)
            bench.publisher.publish_finished(settled=False)
        assert str(error) in bench.publisher.problem
    assert len(bench.said) == 4, "each is said once for each kind"
    bench.publisher.publish_finished(settled=False)
    assert bench.kept() == [(20, Verdict.COMPLETE)] and bench.publisher.problem == ""


def test_what_a_killed_container_left_half_is_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / "volume" / "runs" / "r" / "base_checkpoints" / "d12" / ".publishing-000020"
    left.mkdir(parents=True)
    (left / "model_000020.pt").write_bytes(b"half")
    Bench(tmp_path)
    assert not left.exists()


def test_a_publication_that_takes_too_long_is_not_waited_for(tmp_path: Path) -> None:
    go_on, ticks = threading.Event(), [0]

    def copy(origin: Path, target: Path) -> None:
        go_on.wait(60)
        shutil.copyfile(origin, target)

    bench = Bench(tmp_path, copy)
    bench.save(20)

    def waiting() -> None:
        ticks[0] += 1
        bench.publisher.limit_time(0.0)

    bench.publisher.flush(waiting)
    assert ticks == [1] and bench.kept() == []
    go_on.set()


def test_a_commit_that_fails_is_tried_again_without_copying_all_of_it_again(tmp_path: Path) -> None:
    copied: list[str] = []

    def copy(origin: Path, target: Path) -> None:
        copied.append(target.name)
        shutil.copyfile(origin, target)

    def refused() -> None:
        raise OSError("the volume could not be committed")

    bench = Bench(tmp_path, copy)
    bench.save(20)
    bench.commit = refused
    bench.publisher.publish_finished(settled=False)
    bench.publisher.publish_finished(settled=False)
    assert bench.saved == [] and "could not be committed" in bench.publisher.problem
    bench.commit = lambda: None
    bench.publisher.publish_finished(settled=False)
    assert [c.step for c in bench.saved] == [20] and len(copied) == len(set(copied))
