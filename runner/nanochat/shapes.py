"""Depth -> parameters, FLOPs, batch, iterations and bytes: the arithmetic of nanochat's own model code.

Mirrors `GPT.num_scaling_params`, `GPT.estimate_flops` and the batch rule of `scripts/base_train.py`.
"""

import math

from msgspec import Struct

REFERENCE_DEPTH = 12
REFERENCE_BATCH = 2**19
BATCH_EXPONENT = 0.383
TOKENS_PER_SHARD = 34_000_000
DEFAULT_RATIO = 12.0
VOCAB = 32768
GIB = 1024**3


class ModelShape(Struct, frozen=True):
    """One model size. Parameters are counts, `batch` and `tokens` are tokens, `flops` the whole pretraining."""

    depth: int
    dim: int
    heads: int
    wte: int
    value_embeds: int
    lm_head: int
    matrices: int
    scalars: int
    flops_per_token: int
    batch: int
    iterations: int

    @property
    def params(self) -> int:
        return self.wte + self.value_embeds + self.lm_head + self.matrices + self.scalars

    @property
    def scaling(self) -> int:
        """The parameters that the data ratio counts."""
        return self.matrices + self.lm_head

    @property
    def tokens(self) -> int:
        return self.batch * self.iterations

    @property
    def flops(self) -> int:
        return self.flops_per_token * self.tokens

    @property
    def shards(self) -> int:
        """Training shards for one epoch of `tokens`."""
        return max(1, math.ceil(self.tokens / TOKENS_PER_SHARD))

    @property
    def model_bytes(self) -> int:
        """Size of `model_*.pt` on a GPU: bf16 embeddings, the rest fp32."""
        return 2 * (self.wte + self.value_embeds) + 4 * (self.lm_head + self.matrices + self.scalars)

    @property
    def optimizer_bytes(self) -> int:
        """Size of all `optim_*_rank*.pt` together."""
        return 4 * (self.wte + self.value_embeds) + 8 * self.lm_head + 4 * self.matrices


def _dims(depth: int, aspect: int, head_dim: int) -> tuple[int, int]:
    dim = -(-depth * aspect // head_dim) * head_dim
    return dim, dim // head_dim


def _matrices(depth: int, dim: int, heads: int) -> int:
    layers_with_value_embeds = (depth + 1) // 2
    return depth * 12 * dim * dim + layers_with_value_embeds * 12 * heads


def _scaling(depth: int, aspect: int, head_dim: int, vocab: int) -> int:
    dim, heads = _dims(depth, aspect, head_dim)
    return _matrices(depth, dim, heads) + vocab * dim


def flops_per_token(weights: int, *, depth: int, dim: int, seq_len: int, window: str) -> int:
    """FLOPs of training on a token: every weight that is multiplied with, and the attention of every layer."""
    short = -(-seq_len // 4 // 128) * 128
    spans = [seq_len if window[i % len(window)] == "L" else short for i in range(depth)]
    spans[-1] = seq_len
    return 6 * (weights + 24) + 12 * dim * sum(spans)


def model_shape(
    depth: int,
    *,
    aspect: int = 64,
    head_dim: int = 128,
    vocab: int = VOCAB,
    seq_len: int = 2048,
    window: str = "SSSL",
    ratio: float = DEFAULT_RATIO,
    batch: int | None = None,
    iterations: int | None = None,
    flops: float | None = None,
) -> ModelShape:
    """Sizes of a model; `batch` and `iterations` replace nanochat's own choice when given, as does a sum of `flops`."""
    dim, heads = _dims(depth, aspect, head_dim)
    padded = -(-vocab // 64) * 64
    matrices = _matrices(depth, dim, heads)
    lm_head = padded * dim
    scaling = matrices + lm_head
    target = int(ratio * scaling)
    if batch is None:
        reference = ratio * _scaling(REFERENCE_DEPTH, aspect, head_dim, padded)
        batch = 2 ** round(math.log2(REFERENCE_BATCH * (target / reference) ** BATCH_EXPONENT))
    per_token = flops_per_token(matrices + lm_head, depth=depth, dim=dim, seq_len=seq_len, window=window)
    steps = round(flops / (per_token * batch)) if flops else target // batch
    return ModelShape(
        depth=depth,
        dim=dim,
        heads=heads,
        wte=padded * dim,
        value_embeds=(depth + 1) // 2 * padded * dim,
        lm_head=lm_head,
        matrices=matrices,
        scalars=2 * depth + 26,
        flops_per_token=per_token,
        batch=batch,
        iterations=iterations if iterations is not None else max(1, steps),
    )


def memory_bytes(size: ModelShape, *, gpus: int, device_batch: int, seq_len: int = 2048) -> int:
    """Peak GPU memory of pretraining, on the safe side: weights, gradients, this rank's optimizer, activations.

    Between the known limits (d26 at 32 sequences does not fit 80 GB, d32 at 8 just did) and what was measured: d12
    took 28.8 GiB at 32 sequences, 53.3 at 64.
    """
    fixed = 2 * size.model_bytes + size.optimizer_bytes // gpus
    per_sequence = seq_len * (10 * size.wte // size.dim + 34 * size.depth * size.dim)
    return fixed + device_batch * per_sequence


def device_batch_size(size: ModelShape, *, gpus: int, gpu_gib: int, seq_len: int = 2048) -> int:
    """The largest power of two that fits the GPU and divides the batch; 0 when not even one sequence fits.

    For 80 GB the documented choices of nanochat's `runs/miniseries.sh` are the upper limit.
    """
    documented = 32 if size.depth <= 18 else 16 if size.depth <= 26 else 8
    candidate = documented if gpu_gib <= 80 else documented * 2
    while candidate >= 1:
        fits = memory_bytes(size, gpus=gpus, device_batch=candidate, seq_len=seq_len) <= gpu_gib * GIB
        if fits and size.batch % (candidate * seq_len * gpus) == 0:
            return candidate
        candidate //= 2
    return 0
