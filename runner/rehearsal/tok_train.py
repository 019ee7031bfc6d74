"""Stand-in for `scripts.tok_train`: the alphabet is the vocabulary."""

import argparse
import json
import time
import zipfile

from runner.rehearsal.common import base_dir, info, load_shards
from runner.rehearsal.model import ALPHABET


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a BPE tokenizer")
    parser.add_argument("--max-chars", type=int, default=2_000_000_000)
    parser.add_argument("--doc-cap", type=int, default=10_000)
    parser.add_argument("--vocab-size", type=int, default=32768)
    args = parser.parse_args()
    print(f"max_chars: {args.max_chars:,}\ndoc_cap: {args.doc_cap:,}\nvocab_size: {args.vocab_size:,}")
    began = time.time()
    seen = len(set("".join(load_shards("train"))))
    info("rehearsal", f"Processed {seen} unique characters")
    print(f"Training time: {time.time() - began:.2f}s")
    folder = base_dir() / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.pkl").write_text(json.dumps({"alphabet": ALPHABET}))
    print(f"Saved tokenizer encoding to {folder / 'tokenizer.pkl'}")
    with zipfile.ZipFile(folder / "token_bytes.pt", "w") as archive:
        archive.writestr("archive/data/0", bytes([1]) * len(ALPHABET))
    print(f"Saved token_bytes to {folder / 'token_bytes.pt'}")
