"""What is in a file, from a few of its bytes: true for files of torch, and nothing that they hold is ever run."""

import io
import json
import pickle
import random
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runner.model.run import Run
from runner.preview import tables
from runner.preview.build import build_preview
from runner.preview.kinds import Kind, kind_of
from runner.preview.pickles import Called, NotAPickle, trace_pickle
from runner.preview.range_reader import PIECE, ReadLimitExceeded, open_ranged
from runner.preview.tensors import NoTensors, Tensor, groups, read_tensors
from runner.volumes.base import Entry
from runner.volumes.folder import FolderVolume
from tests.conftest import DATA
from tests.test_run import run

TORCH = DATA / "torch"
# Python takes every multiple of it for the same number, when it looks for a place in a dict.
PRIME = 2**61 - 1


@pytest.fixture
def volume(tmp_path: Path) -> FolderVolume:
    return FolderVolume(str(tmp_path))


def test_tensors_of_a_model_are_told_as_torch_wrote_them() -> None:
    with (TORCH / "model.pt").open("rb") as file:
        found = read_tensors(file)
    assert len(found) == 13
    assert Tensor("transformer.wte.weight", (512, 16), "bfloat16", 16384) in found
    assert Tensor("transformer.h.2.attn.c_q.weight", (16, 16), "float32", 1024) in found
    by_name = {g.name: g for g in groups(found)}
    assert (by_name["transformer.h.*.attn.c_q.weight"].count, by_name["lm_head.weight"].bytes) == (3, 32768)


def test_other_files_of_torch_are_told_too() -> None:
    with (TORCH / "optim.pt").open("rb") as file:
        assert {t.name for t in read_tensors(file)} >= {"adamw.state.0.exp_avg", "muon.state.0.momentum_buffer"}
    with (TORCH / "kinds.pt").open("rb") as file:
        assert {(t.name, t.dtype, t.shape) for t in read_tensors(file)} == {
            ("w", "float32", (2, 3)), ("f8", "float8_e4m3fn", (4,)), ("n", "int64", ()), ("b", "bool", (2,)),
        }  # fmt: skip
    with (TORCH / "token_bytes.pt").open("rb") as file:
        assert read_tensors(file) == [Tensor("tensor", (32,), "int32", 128)]


class Trap:
    """Makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (f"touch {self.path}",)


def trapped(folder: Path) -> tuple[Path, list[Path]]:
    """Files that make another one when their pickle is loaded, in every guise."""
    sprung = folder / "sprung"
    data = pickle.dumps({"w": Trap(sprung)}, protocol=2)
    made = [folder / name for name in ("a.pt", "b.pkl", "c.pt", "model_000010.pt", "token_bytes.pt")]
    for path in made:
        path.write_bytes(data)
    for path in (folder / "c.pt", folder / "model_000010.pt"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", data)
    return sprung, made


def test_a_pickle_that_would_run_something_is_looked_at_and_runs_nothing(tmp_path: Path, volume: FolderVolume) -> None:
    sprung, made = trapped(tmp_path)
    for path in made:
        seen = build_preview(volume, volume.stat(path.name), tmp_path / "scratch")
        assert seen.about and not sprung.exists()
    assert isinstance(trace_pickle(pickle.dumps(Trap(sprung))), Called)
    subprocess.run([sys.executable, "-m", "pickle", str(tmp_path / "a.pt")], check=False, capture_output=True)
    assert sprung.exists(), "the trap does work when it is loaded"


@given(st.binary(max_size=400))
def test_no_bytes_are_more_than_no_pickle(data: bytes) -> None:
    try:
        trace_pickle(data)
    except NotAPickle:
        return


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_a_damaged_file_of_torch_is_said_to_be_one(seed: int, wrong: int) -> None:
    rng = random.Random(seed)
    data = bytearray((TORCH / "optim.pt").read_bytes())
    for _ in range(wrong):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.3:
        del data[rng.randrange(len(data)) :]
    try:
        groups(read_tensors(io.BytesIO(bytes(data))))
    except NoTensors:
        return


def test_an_index_that_folds_into_itself_is_not_followed_for_ever(tmp_path: Path, volume: FolderVolume) -> None:
    nested = b"\x80\x02]q\x00" + b"".join(b"]q" + bytes([n]) + (b"h" + bytes([n - 1]) + b"a") * 9 for n in range(1, 30))
    loop = b"\x80\x02]q\x00h\x00a."
    for data in (nested + b".", loop):
        with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
            archive.writestr("a/data.pkl", data)
        assert build_preview(volume, volume.stat("m.pt"), tmp_path / "s").groups == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8c\x01a" + b"2\x86" * 60 + b"2\x93.",
        b"\x80\x04\x8c\xf0" + b"a" * 240 + b"2\x93" * 50_000 + b".",
        b"\x80\x02}(" + b"".join(b"\x8a\x10" + (n * PRIME).to_bytes(16, "little") + b"N" for n in range(9999)) + b"u.",
        b"\x80\x02}q\x00\x8b\xe8\x03\x00\x00" + b"\x7f" * 1000 + b"Ns.",
    ],
    ids=["names in names", "long names", "numbers that collide", "a number without end"],
)  # fmt: skip
def test_an_index_that_is_made_to_cost_time_or_memory_does_not(
    tmp_path: Path, volume: FolderVolume, data: bytes
) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("a/data.pkl", data)
    tracemalloc.start()
    began = time.process_time()
    build_preview(volume, volume.stat("m.pt"), tmp_path / "s")
    took, (_, most) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 200 << 20 and took < 60, "both would be a hundred times as much"


def test_parquet_that_would_unpack_to_gigabytes_is_not_unpacked(tmp_path: Path, volume: FolderVolume) -> None:
    rows = pyarrow.table({"x": pyarrow.array([1] * 5_000_000)})
    pyarrow.parquet.write_table(rows, tmp_path / "x.parquet", row_group_size=5_000_000)
    seen = build_preview(volume, volume.stat("x.parquet"), tmp_path / "s")
    assert seen.table and seen.table.rows == [] and "its first rows would be too much to unpack" in seen.about


def test_markdown_without_end_is_shown_as_text(tmp_path: Path, volume: FolderVolume) -> None:
    (tmp_path / "x.md").write_text("# x\n\npara\n\n" * 5000)
    assert build_preview(volume, volume.stat("x.md"), tmp_path / "s").log


def test_a_zip_that_unfolds_to_gigabytes_is_not_unfolded(tmp_path: Path, volume: FolderVolume) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(64 << 20))
    assert "too large" in build_preview(volume, volume.stat("m.pt"), tmp_path / "s").warning


def test_no_more_of_a_file_is_read_than_may_be(tmp_path: Path, volume: FolderVolume) -> None:
    (tmp_path / "big").write_bytes(bytes(10 * PIECE))
    file = open_ranged(volume, volume.stat("big"), 3 * PIECE)
    assert len(file.read(2 * PIECE)) == 2 * PIECE
    with pytest.raises(ReadLimitExceeded):
        file.read(4 * PIECE)


def test_the_meta_of_a_checkpoint_says_what_the_checkpoint_is_good_for(tmp_path: Path, volume: FolderVolume) -> None:
    (tmp_path / "model_000010.pt").write_bytes((TORCH / "model.pt").read_bytes())
    (tmp_path / "optim_000010_rank0.pt").write_bytes((TORCH / "optim.pt").read_bytes())
    (tmp_path / "meta_000010.json").write_text(json.dumps({"step": 10, "val_bpb": 0.75}))
    for name in ("meta_000010.json", "model_000010.pt", "optim_000010_rank0.pt"):
        seen = build_preview(volume, volume.stat(name), tmp_path / "s")
        assert "step 10, last bpb 0.7500, complete: resumable on 1 GPU" in seen.about
    (tmp_path / "optim_000010_rank0.pt").unlink()
    seen = build_preview(volume, volume.stat("model_000010.pt"), tmp_path / "s")
    assert any("weights only" in line for line in seen.about) and seen.groups


def test_parquet_shows_its_schema_and_first_rows(tmp_path: Path, volume: FolderVolume) -> None:
    rows = pyarrow.table({"text": [f"line {n}" for n in range(3000)], "n": list(range(3000))})
    pyarrow.parquet.write_table(rows, tmp_path / "shard_00000.parquet", row_group_size=1000)
    seen = build_preview(volume, volume.stat("shard_00000.parquet"), tmp_path / "s")
    assert seen.table and seen.table.columns == ["text", "n"] and seen.table.rows[1] == ["line 1", "1"]
    assert "3,000 rows in 3 row groups, 2 columns" in seen.about and "text: string" in seen.about
    whole = (tmp_path / "shard_00000.parquet").read_bytes()
    for bad in (b"", b"PAR1", whole[:-30], whole[:100] + bytes(len(whole) - 100)):
        (tmp_path / "bad.parquet").write_bytes(bad)
        assert build_preview(volume, volume.stat("bad.parquet"), tmp_path / "s").warning


def test_a_csv_is_a_table_and_one_that_is_cut_loses_only_its_last_line() -> None:
    found = tables.read_csv("a, b\n1,2\n3,4", tabs=False, whole=True)
    assert (found.columns, found.rows) == (["a", "b"], [["1", "2"], ["3", "4"]])
    assert tables.read_csv("a,b\n1,2\n3,", tabs=False, whole=False).rows == [["1", "2"]]
    assert tables.read_csv("x\n" + '"' + "y" * 200_000, tabs=False, whole=True).about[-1].startswith("not read further")


@given(st.text(max_size=300))
def test_no_text_breaks_the_table(text: str) -> None:
    tables.read_csv(text, tabs=False, whole=False)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("report.md", b"# x", "markdown"),
        ("x.json", b'{"a": [1]}', "json"),
        ("x.json", b"{", "log"),
        ("deep.json", b"[" * 100_000, "log"),
        ("log", b"step 1\n", "log"),
        ("x.csv", b"a,b\n1,2\n", "table"),
        ("x.bin", b"abc", ""),
        ("noise", bytes(range(256)) * 20, ""),
        ("empty.md", b"", ""),
        ("meta.json", b'{"v": Infinity}', "json"),
    ],
)
def test_each_kind_is_shown_in_its_form(
    tmp_path: Path, volume: FolderVolume, name: str, data: bytes, kind: str
) -> None:
    (tmp_path / name).write_bytes(data)
    seen = build_preview(volume, volume.stat(name), tmp_path / "s")
    forms = ("markdown", "json", "table", "groups", "log", "picture")
    assert [f for f in forms if getattr(seen, f) not in (None, "")] == ([kind] if kind else [])
    assert kind or seen.warning


def test_a_report_brings_its_picture(tmp_path: Path, volume: FolderVolume) -> None:
    (tmp_path / "runs" / "r").mkdir(parents=True)
    for name in ("report.md", "loss.svg", "events.jsonl"):
        (tmp_path / "runs" / "r" / name).write_text('{"t":1.0,"stage":"base","kind":"step","step":1,"loss":2.5}\n')
    for name in ("report.md", "loss.svg"):
        seen = build_preview(volume, volume.stat(f"runs/r/{name}"), tmp_path / "s")
        assert seen.curves and list(seen.curves.series["loss"].values) == [2.5]


def test_kinds_go_by_the_end_of_a_name_whatever_its_case() -> None:
    assert [kind_of(n) for n in ("A.PT", "b.PKL", "x/y.Parquet", "log", "a.pt.txt")] == [
        Kind.TENSORS, Kind.PICKLE, Kind.PARQUET, Kind.TEXT, Kind.TEXT,
    ]  # fmt: skip


def test_an_image_becomes_half_blocks_of_its_colours(tmp_path: Path, volume: FolderVolume) -> None:
    image = Image.new("RGB", (400, 200), (255, 0, 0))
    image.paste((0, 0, 255), (0, 100, 400, 200))
    image.save(tmp_path / "x.png")
    seen = build_preview(volume, volume.stat("x.png"), tmp_path / "s")
    assert "400 × 200 pixels" in seen.about and seen.picture
    assert len(seen.picture[0]) == 76 and len(seen.picture) == 19
    assert seen.picture[0][0] == ((255, 0, 0), (255, 0, 0)) and seen.picture[-1][-1] == ((0, 0, 255), (0, 0, 255))
    for data in (b"", b"\x89PNG\r\n", (tmp_path / "x.png").read_bytes()[:-40], b"GIF89a" + b"\xff" * 100):
        (tmp_path / "bad.png").write_bytes(data)
        bad = build_preview(volume, volume.stat("bad.png"), tmp_path / "s")
        assert bad.picture is None and "not a whole image" in bad.warning


def test_an_image_of_too_many_pixels_is_not_unfolded(tmp_path: Path, volume: FolderVolume) -> None:
    Image.new("1", (12_000, 12_000)).save(tmp_path / "x.png")
    assert "too many" in build_preview(volume, volume.stat("x.png"), tmp_path / "s").warning


def test_of_a_log_that_grows_far_away_only_the_last_pieces_are_kept_here(
    volume: FolderVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FarAway(FolderVolume):
        def local_path(self, path: str) -> Path | None:
            return None

    monkeypatch.setattr("runner.preview.build.KEPT_BYTES", 50_000)
    far, scratch = FarAway(volume.location), tmp_path / "scratch"
    for number in range(1, 20):
        (tmp_path / "log").write_bytes(b"a line\n" * 1000 * number)
        seen = build_preview(far, far.stat("log"), scratch)
        assert seen.log and seen.log.stat().st_size == 7000 * number, "what is looked at is there"
    assert sum(path.stat().st_size for path in scratch.iterdir()) <= 7000 * 19
    assert len(list(scratch.iterdir())) == 1


def test_a_folder_tells_what_it_is_for_and_holds_and_a_very_full_one_that_there_is_more(
    volume: FolderVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "runs/r/base_checkpoints/d4/model_000020.pt",
        "runs/r/base_checkpoints/d4/meta_000020.json",
        "runs/r/log",
        "runs/r/report.md",
        "eval_bundle/a.yaml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1234")

    def told(path: str, owner: Run | None = None) -> tuple[list[str], list[str]]:
        seen = build_preview(volume, volume.stat(path), tmp_path / "s", owner)
        return seen.about, [row[0] for row in seen.table.rows] if seen.table else []

    assert told("eval_bundle") == (["the tasks that CORE is measured on", "1 file, 4 B"], ["a.yaml"])
    assert told("runs/r", run(tag="blue", id="r", folder="r")) == (
        ["blue: test of d12, running", "1 folder, 2 files, 8 B"],
        ["base_checkpoints/", "log", "report.md"],
    )
    assert told("runs/r/base_checkpoints/d4")[0] == ["1 checkpoint, the newest of step 20", "2 files, 8 B"]
    (tmp_path / "runs/r/base_checkpoints/d4/optim_000040_rank0.pt").write_text("1234")
    assert told("runs/r/base_checkpoints/d4")[0][0] == "1 checkpoint, the newest of step 20", "what is whole counts"
    (tmp_path / "void").mkdir()
    assert told("void") == (["empty"], [])
    monkeypatch.setattr("runner.preview.folders.MOST_LOOKED_AT", 2)
    assert told("runs/r")[0] == ["1 folder, 2 files, 8 B and more"]
    with pytest.raises(FileNotFoundError):
        build_preview(volume, Entry("gone", True, 0, 0.0), tmp_path / "s")
