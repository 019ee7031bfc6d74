"""Stand-in for `nanochat.dataset`: writes made-up shards where nanochat downloads real ones."""

import argparse
import random
from pathlib import Path

from runner.rehearsal.common import base_dir
from runner.rehearsal.text import document

MAX_SHARD = 6542
DOCUMENTS = 300


def _write(folder: Path, index: int) -> bool:
    name = f"shard_{index:05d}.parquet"
    path = folder / name
    if path.exists():
        print(f"Skipping {path} (already exists)")
        return True
    print(f"Downloading {name}...")
    rng = random.Random(index)
    partial = path.with_suffix(".parquet.tmp")
    partial.write_text("\n".join(document(rng) for _ in range(DOCUMENTS)) + "\n")
    partial.replace(path)
    print(f"Successfully downloaded {name}")
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description="Download pretraining dataset shards")
    parser.add_argument("-n", "--num-files", type=int, default=-1)
    parser.add_argument("-w", "--num-workers", type=int, default=4)
    args = parser.parse_args()
    folder = base_dir() / "base_data_climbmix"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [*range(MAX_SHARD if args.num_files == -1 else min(args.num_files, MAX_SHARD)), MAX_SHARD]
    print(f"Downloading {len(wanted)} shards using {args.num_workers} workers...")
    print(f"Target directory: {folder}\n")
    ok = sum(_write(folder, index) for index in wanted)
    print(f"Done! Downloaded: {ok}/{len(wanted)} shards to {folder}")
