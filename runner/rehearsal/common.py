"""What all stand-in scripts share: base folder, ranks, banner, logger lines, and checkpoint files."""

import datetime
import json
import os
import struct
import sys
from array import array
from pathlib import Path
from typing import Any

from runner.rehearsal.model import CharModel

BANNER = """
                     rehearsal
   nanochat's stages, flags, files and log lines
   around a tiny character model in pure Python
"""
# What torch calls a storage of such numbers.
KINDS = {"f": "FloatStorage", "d": "DoubleStorage"}
_COLOUR_INFO = "\x1b[32m\x1b[1mINFO\x1b[0m"


def base_dir() -> Path:
    """`$NANOCHAT_BASE_DIR`, as nanochat itself reads it."""
    return Path(os.environ.get("NANOCHAT_BASE_DIR") or Path.home() / ".cache" / "nanochat")


def world_size() -> int:
    """Pretended ranks: one process plays them all."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def info(logger: str, message: str) -> None:
    """A line as Python's logging prints it in nanochat, on stderr."""
    stamp = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
    sys.stdout.flush()
    print(f"{stamp} - nanochat.{logger} - {_COLOUR_INFO} - {message}", file=sys.stderr, flush=True)


def begin() -> None:
    print(BANNER)
    print("Autodetected device type: cpu")
    info("common", f"Distributed world size: {world_size()}")


def load_shards(split: str) -> list[str]:
    """Documents of a split; the last shard by name is the validation shard."""
    paths = sorted((base_dir() / "base_data_climbmix").glob("shard_*.parquet"))
    assert len(paths) != 0, "No dataset parquet files found, did you run dataset.py?"
    chosen = paths[-1:] if split == "val" else paths[:-1]
    return [line for path in chosen for line in path.read_text().splitlines() if line]


def check_tokenizer() -> int:
    """Size of the vocabulary; raises FileNotFoundError as nanochat does when there is no tokenizer."""
    with (base_dir() / "tokenizer" / "tokenizer.pkl").open() as file:
        return len(json.load(file)["alphabet"])


def _zip(path: Path, name: str, values: "array[float]") -> None:
    """One tensor as `torch.save` lays it out: an index that names it, its numbers, the version."""
    # Imported where it is used: a tenth of the start of scripts that read and write no checkpoint.
    import zipfile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        # By a fixed time: the same numbers make the same bytes.
        for part, data in (
            ("data.pkl", _index(name, KINDS[values.typecode], len(values))),
            ("data/0", values.tobytes()),
            ("version", b"3\n"),
        ):
            archive.writestr(zipfile.ZipInfo(f"archive/{part}"), data)


def _index(name: str, storage: str, count: int) -> bytes:
    """The pickle of `{name: tensor}` by its operations: there is no torch here whose objects could be pickled."""

    def text(word: str) -> bytes:
        return b"X" + struct.pack("<I", len(word.encode())) + word.encode()

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    held = b"(" + text("storage") + b"ctorch\n" + storage.encode() + b"\n" + text("0") + text("cpu") + number(count)
    tensor = b"(" + held + b"tQ" + number(0) + number(count) + b"\x85" + number(1) + b"\x85" + b"\x89"
    hooks = b"ccollections\nOrderedDict\n)R"
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n" + tensor + hooks + b"tR"
    return b"\x80\x02}" + text(name) + rebuilt + b"s."


def _unzip(path: Path) -> bytes:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read("archive/data/0")
    except zipfile.BadZipFile:
        # As torch says it, which knows no exception of Python's.
        message = "PytorchStreamReader failed reading zip archive: failed finding central directory"
        raise RuntimeError(message) from None


def save_checkpoint(folder: Path, step: int, model: CharModel, meta: dict[str, Any], *, cut: bool = False) -> None:
    """Write model, meta and one optimizer shard per rank straight to their names, in nanochat's order."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"model_{step:06d}.pt"
    _zip(path, "transformer.matrix", model.weights)
    if cut:
        os.truncate(path, path.stat().st_size * 6 // 10)
    info("checkpoint_manager", f"Saved model parameters to: {path}")
    path = folder / f"meta_{step:06d}.json"
    path.write_text(json.dumps(meta, indent=2))
    info("checkpoint_manager", f"Saved metadata to: {path}")
    ranks = world_size()
    share = -(-len(model.squares) // ranks)
    for rank in range(ranks):
        path = folder / f"optim_{step:06d}_rank{rank}.pt"
        _zip(path, "state.squares", model.squares[rank * share : (rank + 1) * share])
        info("checkpoint_manager", f"Saved optimizer state to: {path}")


def load_checkpoint(folder: Path, step: int, *, optimizer: bool) -> tuple[CharModel, dict[str, Any]]:
    """The model of a step; with `optimizer`, of the same number of ranks that saved it."""
    model = CharModel()
    model.weights = array("f", _unzip(folder / f"model_{step:06d}.pt"))
    meta: dict[str, Any] = json.loads((folder / f"meta_{step:06d}.json").read_text())
    if optimizer:
        shards = [_unzip(folder / f"optim_{step:06d}_rank{rank}.pt") for rank in range(world_size())]
        model.squares = array("d", b"".join(shards))
        assert len(model.squares) * 8 == len(CharModel().squares) * 8, "optimizer state is of another number of ranks"
    return model, meta


def load_model(source: str, tag: str | None, step: int | None) -> tuple[CharModel, dict[str, Any], int]:
    """The newest step of a tag, by file name, as nanochat's load_model."""
    kinds = {"base": "base_checkpoints", "sft": "chatsft_checkpoints"}
    root = base_dir() / kinds[source]
    folder = root / (tag or max(p.name for p in root.iterdir()))
    if step is None:
        step = max(int(p.stem.removeprefix("model_")) for p in folder.glob("model_*.pt"))
    info("checkpoint_manager", f"Loading model from {folder} with step {step}")
    model, meta = load_checkpoint(folder, step, optimizer=False)
    return model, meta, step
