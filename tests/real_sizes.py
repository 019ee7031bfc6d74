"""Sizes as nanochat's own model code has them, on the meta device: python real_sizes.py, with nanochat on PYTHONPATH.

Prints a JSON list, one shape a line of `SHAPES`.
"""

import json
from dataclasses import asdict

import torch
from nanochat.gpt import GPT, GPTConfig

SHAPES = [
    *[(depth, 64, 128, 32_768, 2048, "SSSL") for depth in range(4, 35, 2)],
    (12, 48, 64, 32_768, 2048, "L"),
    (6, 64, 128, 50_257, 1024, "SL"),
    (8, 96, 128, 65_536, 4096, "SSSL"),
    (2, 64, 32, 4_096, 128, "L"),
]


def sizes(depth: int, aspect: int, head_dim: int, vocab: int, seq_len: int, window: str) -> dict[str, object]:
    dim = (depth * aspect + head_dim - 1) // head_dim * head_dim
    heads = dim // head_dim
    config = GPTConfig(
        sequence_len=seq_len,
        vocab_size=vocab,
        n_layer=depth,
        n_head=heads,
        n_kv_head=heads,
        n_embd=dim,
        window_pattern=window,
    )
    with torch.device("meta"):
        model = GPT(config)
    counts = {k: int(v) for k, v in model.num_scaling_params().items()}
    return {"config": asdict(config), "counts": counts, "flops_per_token": int(model.estimate_flops())}


print(json.dumps([{"shape": shape, **sizes(*shape)} for shape in SHAPES]))
