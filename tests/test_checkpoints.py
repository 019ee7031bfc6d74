"""A checkpoint's files -> its verdict, from names, sizes, the zip directory and the meta JSON alone."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.backends.folder import FolderVolume
from runner.checkpoints import Checkpoint, Verdict, newest_complete, scan, zip_is_whole

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
        ('{"step": 20, "val_bpb": NaN}', Verdict.COMPLETE, None),
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


@given(st.integers(0, 3000))
def test_a_zip_cut_anywhere_is_not_whole(length: int) -> None:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data/0", bytes(1500))
        archive.writestr("archive/version", "3\n")
    data = buffer.getvalue()
    assert zip_is_whole(data, len(data))
    part = data[: min(length, len(data) - 1)]
    assert not zip_is_whole(part[-65557:], len(part))


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    zip_is_whole(data, len(data))
    zip_is_whole(data + b"PK\x05\x06" + data, 2 * len(data) + 4)
