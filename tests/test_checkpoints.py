"""A checkpoint's files -> its verdict, from names, sizes, the zip directory and the meta JSON alone."""

import contextlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.volumes import archives, unreadable
from runner.volumes.checkpoint_verdicts import FAR_HEADERS, Checkpoint, Verdict, newest_complete, scan
from runner.volumes.folder import FolderVolume

FOLDER = "runs/r/base_checkpoints/d12"


def save(root: Path, step: int = 20, ranks: int = 2) -> Path:
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in [f"model_{step:06d}.pt", *(f"optim_{step:06d}_rank{r}.pt" for r in range(ranks))]:
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("archive/data/0", bytes(2000))
    (folder / f"meta_{step:06d}.json").write_text(json.dumps({"step": step, "val_bpb": 0.75, "x": [1]}))
    return folder


def look(root: Path, gpus: int = 2) -> list[Checkpoint]:
    return scan(FolderVolume(str(root)), "r", "runs/r", "d12", gpus)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("break_it", "verdict", "reason"),
    [
        (lambda f: None, Verdict.COMPLETE, "resumable on 2 GPUs"),
        (lambda f: cut(f / "model_000020.pt"), Verdict.TRUNCATED, "model_000020.pt is truncated"),
        (lambda f: cut(f / "optim_000020_rank1.pt"), Verdict.TRUNCATED, "optim_000020_rank1.pt is truncated"),
        (lambda f: (f / "optim_000020_rank0.pt").unlink(), Verdict.INCOMPLETE, "rank 0 of 2"),
        (lambda f: (f / "model_000020.pt").unlink(), Verdict.INCOMPLETE, "no model"),
        (lambda f: (f / "meta_000020.json").unlink(), Verdict.INCOMPLETE, "no meta"),
        (lambda f: cut(f / "meta_000020.json"), Verdict.TRUNCATED, "meta_000020.json is not whole"),
        (lambda f: (f / "model_000020.pt").write_bytes(b""), Verdict.TRUNCATED, "model_000020.pt is truncated"),
        (lambda f: [p.unlink() for p in f.glob("optim*")], Verdict.WEIGHTS_ONLY, "no optimizer"),
    ],
)
def test_the_verdict_names_what_is_wrong(
    tmp_path: Path, break_it: Callable[[Path], object], verdict: Verdict, reason: str
) -> None:
    folder = save(tmp_path)
    if reason.startswith("meta_"):
        (folder / "meta_000020.json").write_text('{"step": 20, "val')
    else:
        break_it(folder)
    (found,) = look(tmp_path)
    assert found.verdict == verdict and reason in found.reason


def test_a_file_that_cannot_be_read_is_not_called_truncated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path)

    def broken(*args: object) -> bytes:
        raise OSError(5, "input/output error")

    monkeypatch.setattr(FolderVolume, "read", broken)
    (found,) = look(tmp_path)
    assert found.verdict is Verdict.INCOMPLETE and "cannot be read" in found.reason


def test_a_complete_one_says_its_numbers(tmp_path: Path) -> None:
    folder = save(tmp_path)
    (found,) = look(tmp_path)
    assert (found.step, found.ranks, found.val_bpb, found.kind) == (20, 2, 0.75, "base")
    assert found.bytes == sum(p.stat().st_size for p in folder.iterdir())


def test_the_newest_complete_one_is_resumed_not_the_newest(tmp_path: Path) -> None:
    save(tmp_path, 20)
    cut(save(tmp_path, 40) / "model_000040.pt")
    newest = newest_complete(look(tmp_path))
    assert newest and newest.step == 20


def test_another_number_of_gpus_is_not_complete(tmp_path: Path) -> None:
    save(tmp_path, ranks=2)
    assert [c.verdict for c in look(tmp_path, gpus=1)] == [Verdict.INCOMPLETE]
    assert [c.verdict for c in look(tmp_path, gpus=8)] == [Verdict.INCOMPLETE]


@pytest.mark.parametrize(
    ("meta", "verdict", "bpb"),
    [
        ('{"step": 20, "val_bpb": null, "loop_state": {"min_val_bpb": Infinity}}', Verdict.COMPLETE, None),
        ('{"step": 20, "val_bpb": NaN}', Verdict.NOT_FINITE, None),
        ('{"step": 20, "val_bpb": 0.5, "loop_state": {"smooth_train_loss": Infinity}}', Verdict.NOT_FINITE, 0.5),
        ('{"step": 20, "val_bpb": 0.5, "loop_state": [1e999]}', Verdict.COMPLETE, 0.5),
        ('{"step": 20, "val_bpb": "0.5"}', Verdict.COMPLETE, None),
        ("[1]", Verdict.TRUNCATED, None),
        ("[" * 100_000, Verdict.TRUNCATED, None),
        ("\xff", Verdict.TRUNCATED, None),
    ],
)
def test_meta_files_as_nanochat_writes_them_and_as_nobody_should(
    tmp_path: Path, meta: str, verdict: Verdict, bpb: float | None
) -> None:
    (save(tmp_path) / "meta_000020.json").write_text(meta)
    (found,) = look(tmp_path)
    assert (found.verdict, found.val_bpb) == (verdict, bpb)


def test_foreign_names_are_left_alone(tmp_path: Path) -> None:
    folder = save(tmp_path)
    for name in ("model_20.pt", "model_000020.pt.tmp", "optim_000020.pt", "meta_000020.pt", "x\n_000020.json"):
        (folder / name).write_bytes(b"x")
    (found,) = look(tmp_path)
    assert found.verdict is Verdict.COMPLETE


def test_one_that_was_saved_after_a_loss_that_is_nan_is_not_chosen(tmp_path: Path) -> None:
    save(tmp_path, 20)
    meta = save(tmp_path, 40) / "meta_000040.json"
    meta.write_text('{"step": 40, "val_bpb": 0.7, "loop_state": {"smooth_train_loss": NaN}}')
    newest = newest_complete(look(tmp_path))
    assert newest and newest.step == 20
    assert [c.reason for c in look(tmp_path)][1] == "its loss is nan: nothing goes on from it by itself"


@pytest.mark.parametrize("name", ["model_000020.pt", "optim_000020_rank1.pt"])
@pytest.mark.parametrize("part", [0, 7, 15])
def test_one_of_which_a_part_is_zeros_is_not_complete(tmp_path: Path, name: str, part: int) -> None:
    path = save(tmp_path) / name
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(16):
            archive.writestr(f"archive/data/{number}", bytes([number + 1]) * 200)
        place = archive.infolist()[part].header_offset
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes(100))
    (found,) = look(tmp_path)
    assert (found.verdict, found.reason) == (Verdict.DAMAGED, f"{name} is damaged at byte {place:,}")


class Far(FolderVolume):
    """A volume on which each read is a question to a network."""

    asked = 0

    def local_path(self, path: str) -> None:
        return None

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        self.asked += 1
        return super().read(path, offset, length)


def test_a_volume_far_away_is_asked_a_few_questions_a_file(tmp_path: Path) -> None:
    path = save(tmp_path) / "model_000020.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(500):
            archive.writestr(f"archive/data/{number}", b"x")
    far = Far(str(tmp_path))
    assert [c.verdict for c in scan(far, "r", "runs/r", "d12", 2)] == [Verdict.COMPLETE]
    assert far.asked <= 1 + 3 * (1 + FAR_HEADERS)
    with path.open("r+b") as file:
        file.write(bytes(4096))
    assert [c.verdict for c in scan(far, "r", "runs/r", "d12", 2)] == [Verdict.DAMAGED]


def test_one_that_did_not_load_is_not_chosen_until_its_files_are_others(tmp_path: Path) -> None:
    save(tmp_path, 20)
    folder, volume = save(tmp_path, 40), FolderVolume(str(tmp_path))
    unreadable.mark(volume, FOLDER, 40, "PytorchStreamReader failed\x1b[2J")
    newest = newest_complete(look(tmp_path))
    assert newest and newest.step == 20
    marked = look(tmp_path)[1]
    assert (marked.verdict, marked.reason) == (Verdict.DAMAGED, "it did not load: PytorchStreamReader failed")
    assert "unreadable_000040.json" in marked.files, "what removes it removes the mark"
    os.utime(folder / "model_000040.pt", (1, 1))
    assert look(tmp_path)[1].verdict is Verdict.COMPLETE


@given(st.binary(max_size=300))
def test_a_mark_of_any_bytes_has_an_answer(data: bytes) -> None:
    assert unreadable.why_not(data, []) == "" or data


def zipped(parts: int = 2) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(parts):
            archive.writestr(f"archive/data/{number}", bytes(1500))
    return buffer.getvalue()


def headers(data: bytes) -> list[int]:
    return archives.headers(lambda at, length: data[at : at + length], len(data))


@given(st.integers(0, 3500))
def test_a_zip_cut_anywhere_is_not_whole(length: int) -> None:
    data = zipped()
    assert [data[at : at + 4] for at in headers(data)] == [archives.HEADER] * 2
    with pytest.raises(archives.Damaged):
        headers(data[: min(length, len(data) - 1)])


def test_a_directory_that_is_larger_than_the_end_that_is_read_first_is_read_whole() -> None:
    data = zipped(1500)
    assert len(headers(data)) == 1500


@given(st.binary(max_size=200), st.integers(0, 120), st.binary(min_size=1, max_size=30))
def test_any_bytes_have_an_answer(data: bytes, at: int, odd: bytes) -> None:
    whole = zipped()
    for hostile in (data, data + whole[-22:], whole[: -at - 1] + odd + whole[len(whole) - at :]):
        with contextlib.suppress(archives.Damaged):
            assert all(0 <= place < len(hostile) for place in headers(hostile))
