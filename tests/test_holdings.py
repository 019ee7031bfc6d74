"""What the shared folders hold counts when it is what its name says; what is damaged is fetched anew."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.damaged import quarantine_damaged
from runner.job.publish import copy_results, link_shared
from runner.job.tokenizers import without_tokenizer
from runner.nanochat.command_lines import TASKS
from runner.nanochat.layout import Inventory
from runner.volumes import contents
from runner.volumes.folder import FolderVolume
from runner.volumes.holdings import inventory
from tests.conftest import Cli
from tests.test_expectations import spec

PARQUET = b"PAR1" + bytes(200) + b"footer" + (6).to_bytes(4, "little") + b"PAR1"
PICKLE = pickle.dumps({b"a": 1}, protocol=4)


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("archive/data/0", bytes(131_072))
    return buffer.getvalue()


@pytest.fixture
def full(tmp_path: Path) -> FolderVolume:
    """A volume with everything a run needs, whole."""
    volume = FolderVolume(str(tmp_path))
    for index in (0, 1, 6542):
        volume.write(f"base_data_climbmix/shard_{index:05d}.parquet", PARQUET)
    volume.write("tokenizer/tokenizer.pkl", PICKLE)
    volume.write("tokenizer/token_bytes.pt", archive())
    core = "icl_tasks:\n-\n  label: a\n  dataset_uri: world/a.jsonl\n- label: b\n  dataset_uri: b.jsonl\n"
    volume.write("eval_bundle/core.yaml", core.encode())
    volume.write("eval_bundle/eval_meta_data.csv", b"Eval Task,Random baseline\n")
    for name in ("world/a", "b"):
        volume.write(f"eval_bundle/eval_data/{name}.jsonl", b'{"query": 1}\n{"query": 2}\n')
    for name, subset, splits in TASKS:
        for split in splits:
            folder = f"task_data/{name.replace('/', '--')}/{subset}/{split}"
            volume.write(f"{folder}/00000.parquet", PARQUET)
            volume.write(f"{folder}/manifest.json", b'["00000.parquet"]')
    return volume


def look(volume: FolderVolume) -> Inventory:
    return inventory(volume, "nanochat")


def test_what_is_whole_counts(full: FolderVolume) -> None:
    found = look(full)
    assert (found.train_shards, found.validation_shard, found.tokenizer) == (2, True, True)
    assert (found.eval_bundle, found.task_data, found.damaged) == (True, True, ())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d[:-1],
        lambda d: bytes(len(d)),
        lambda d: bytes(100) + d[100:],
        lambda d: d[:-8] + b"\xff\xff\xff\x7fPAR1",
        lambda d: b"<html>503 Service Unavailable</html>",
        lambda d: b"PAR1",
    ],
)
@pytest.mark.parametrize("name", ["shard_00001.parquet", "shard_06542.parquet"])
def test_a_shard_that_is_no_parquet_file_does_not_count(
    full: FolderVolume, name: str, spoil: Callable[[bytes], bytes]
) -> None:
    full.write(f"base_data_climbmix/{name}", spoil(PARQUET))
    found = look(full)
    assert found.damaged == (f"base_data_climbmix/{name}",)
    assert (found.train_shards, found.validation_shard) == ((1, True) if "00001" in name else (2, False))


@pytest.mark.parametrize("data", [b"x", PICKLE[:-1], bytes(len(PICKLE)), b"\x80\x63" + PICKLE[2:], b"{}"])
def test_a_tokenizer_that_is_no_pickle_is_trained_anew(full: FolderVolume, data: bytes) -> None:
    full.write("tokenizer/tokenizer.pkl", data)
    assert not look(full).tokenizer and look(full).damaged == ("tokenizer/tokenizer.pkl",)
    told = without_tokenizer(full, spec(task="eval", source=spec(), source_id="r"))
    assert told and told.message == "tokenizer/tokenizer.pkl is damaged" and "put back" in told.advice


def test_a_table_of_tokens_whose_beginning_is_zeros_is_made_anew(full: FolderVolume) -> None:
    full.write("tokenizer/token_bytes.pt", bytes(100) + archive()[100:])
    assert not look(full).tokenizer


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("eval_bundle/core.yaml", b"x"),
        ("eval_bundle/eval_data/b.jsonl", b'{"query": 1}\n{"que'),
        ("eval_bundle/eval_data/world/a.jsonl", bytes(30)),
        ("eval_bundle/eval_meta_data.csv", None),
        ("eval_bundle/eval_data/b.jsonl", None),
    ],
)
def test_an_evaluation_bundle_that_is_not_whole_is_fetched_anew(
    full: FolderVolume, path: str, data: bytes | None
) -> None:
    full.remove(path) if data is None else full.write(path, data)
    found = look(full)
    assert not found.eval_bundle and found.damaged == ("eval_bundle",)


@pytest.mark.parametrize(
    ("name", "data"),
    [("manifest.json", b"[]"), ("manifest.json", b'["../x"]'), ("00000.parquet", b"PAR1"), ("00000.parquet", None)],
)
def test_task_data_is_judged_by_its_manifest_and_its_files(full: FolderVolume, name: str, data: bytes | None) -> None:
    folder = "task_data/openai--gsm8k/main/test"
    full.remove(f"{folder}/{name}") if data is None else full.write(f"{folder}/{name}", data)
    assert not look(full).task_data and look(full).damaged == (folder,)


def test_conversations_that_one_run_fetched_are_there_for_the_next_and_put_aside_when_they_are_cut(
    full: FolderVolume, tmp_path: Path
) -> None:
    name, data = "identity_conversations.jsonl", b'[{"role": "user"}]\n[{"role": "user"}]\n'
    first, second = tmp_path / "first", tmp_path / "second"
    link_shared(first, full)
    assert not (first / name).exists() and not look(full).identity
    (first / name).write_bytes(data)
    copy_results(first, full, "runs/a")
    link_shared(second, full)
    assert (second / name).read_bytes() == data and look(full).identity
    full.write(name, data[:-9])
    assert not look(full).identity and look(full).damaged == (name,)
    assert quarantine_damaged(full, second, "nanochat") == [
        f"[DAMAGED] {name} is put aside in damaged/, and fetched again"
    ]
    assert not (second / name).is_symlink(), "the next one is fetched there"


def test_a_split_that_was_never_there_is_missing_and_not_damaged(full: FolderVolume) -> None:
    full.remove("task_data/openai--gsm8k/main/test")
    assert not look(full).task_data and look(full).damaged == ()


def test_what_is_damaged_is_put_aside_so_that_nanochat_fetches_it(full: FolderVolume, tmp_path: Path) -> None:
    base = tmp_path / "work"
    link_shared(base, full)
    for path in ("base_data_climbmix/shard_00000.parquet", "eval_bundle/core.yaml", "tokenizer/tokenizer.pkl"):
        full.write(path, b"x")
    said = quarantine_damaged(full, base, "nanochat")
    assert [line.partition(" is ")[0] for line in said] == [
        "[DAMAGED] base_data_climbmix/shard_00000.parquet",
        "[DAMAGED] eval_bundle",
    ]
    assert not (base / "eval_bundle").is_symlink(), "nanochat unpacks the next one there"
    assert full.read("damaged/base_data_climbmix/shard_00000.parquet") == b"x"
    assert full.read("tokenizer/tokenizer.pkl") == b"x" and look(full).train_shards == 1
    full.write("base_data_climbmix/shard_00000.parquet", b"y")
    quarantine_damaged(full, base, "nanochat")
    assert full.read("damaged/base_data_climbmix/shard_00000.parquet") == b"y"


def test_a_volume_that_is_far_is_believed_until_the_job_looks(full: FolderVolume) -> None:
    class Far(FolderVolume):
        def local_path(self, path: str) -> None:
            return None

    full.write("base_data_climbmix/shard_00000.parquet", b"x")
    assert inventory(Far(full.location), "nanochat").train_shards == 2
    assert inventory(full, "nanochat", judged=False).train_shards == 2


def test_a_rehearsal_makes_anew_what_is_damaged_and_says_so(cli: Cli) -> None:
    short = ("--task", "base", "--iterations", "4", "--step-ms", "0", "--watch")
    cli("launch", *short, "--tag", "a")
    volume = cli.run_dir("a").parents[1]
    shard, tokenizer = volume / "base_data_climbmix" / "shard_00000.parquet", volume / "tokenizer" / "tokenizer.pkl"
    before = shard.read_bytes()
    shard.write_bytes(bytes(1000))
    tokenizer.write_bytes(bytes(1000))
    planned = {s["name"]: s["note"] for s in cli.json("plan", "--task", "base")["plan"]["stages"]}
    assert "1 damaged shard again" in planned["prepare"] and planned["tokenizer"] == "the one there is damaged"
    said = cli("launch", *short, "--tag", "b").stdout
    assert "[DAMAGED] base_data_climbmix/shard_00000.parquet is put aside" in said
    assert shard.read_bytes() == before and json.loads(tokenizer.read_text())


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_have_an_answer(head: bytes, tail: bytes, size: int) -> None:
    contents.parquet(head, tail, size)
    contents.pickled(head, tail)
    contents.text(head, tail)
    contents.json_lines(tail, size)
    contents.names_in(tail)
    contents.tasks_in(tail)
    contents.torch_archive(lambda at, length: tail[at : at + length], len(tail))
