"""FLOPs of a token and MFU where nanochat's own are too low: with `--fp8` it counts no layer that was converted.

`GPT.num_matmul_params` looks for nanochat's own `Linear`, of which the conversion leaves only the smallest. By how much
its numbers fall short the log itself tells: the sizes of the model are all there.
"""

from collections.abc import Mapping

from msgspec import Struct

from runner.nanochat import shapes
from runner.nanochat.shapes import ModelShape

WHY = "it leaves out the layers in FP8"
# Closer than this they agree: a few gates may be counted or not.
AGREE = 0.02
_DEEPEST = 1000
_USED = frozenset("fp8 flops_per_token lm_head transformer_matrices n_layer n_embd sequence_len window_pattern".split())


class FlopsCorrection(Struct):
    """What a log has said of its model so far, by the names of its facts."""

    facts: dict[str, str] = {}
    factor: float = 1.0

    def take(self, name: str, value: str) -> None:
        """A fact of the log; with its configuration another model begins."""
        if name == "sequence_len":
            self.facts = {}
        if name in _USED:
            self.facts[name] = value
            self.factor = shortfall(self.facts)

    def corrected(self, mfu: float | None) -> tuple[float | None, float | None]:
        """The MFU of a step of pretraining, if it has one, and what nanochat prints where that is another."""
        return (mfu, None) if mfu is None or self.factor == 1.0 else (mfu * self.factor, mfu)


def shortfall(facts: Mapping[str, str]) -> float:
    """By what the printed FLOPs and MFU are to be multiplied; 1 where they are right, or too little is known."""
    printed = _number(facts, "flops_per_token")
    depth, dim, seq_len = (int(_number(facts, name)) for name in ("n_layer", "n_embd", "sequence_len"))
    weights = int(_number(facts, "lm_head") + _number(facts, "transformer_matrices"))
    window = facts.get("window_pattern") or "L"
    known = printed and weights and dim and seq_len and 0 < depth <= _DEEPEST and set(window) <= {"S", "L"}
    if "fp8" not in facts or not known:
        return 1.0
    whole = shapes.flops_per_token(weights, depth=depth, dim=dim, seq_len=seq_len, window=window)
    return whole / printed if whole > printed * (1 + AGREE) else 1.0


def left_out(size: ModelShape) -> float:
    """How many times too low the FLOPs are that nanochat will print of a model in FP8: attention is all it counts."""
    return size.flops_per_token / (size.flops_per_token - 6 * (size.matrices + size.lm_head))


def said(mfu: float, printed: float | None) -> str:
    """An MFU for people, with what nanochat prints where that is another."""
    return f"{mfu:.1f} %" + (f" (nanochat prints {printed:.1f} %: {WHY})" if printed is not None else "")


def total(facts: Mapping[str, str]) -> str:
    """The FLOPs of a whole training as nanochat prints them, made whole; empty where it printed none."""
    printed, factor = _number(facts, "flops"), shortfall(facts)
    if factor == 1.0 or not printed:
        return facts.get("flops", "")
    return f"{printed * factor:.6e} (nanochat prints {facts['flops']}: {WHY})"


def _number(facts: Mapping[str, str], name: str) -> float:
    """A number as nanochat prints it; 0 for none."""
    try:
        found = float(facts.get(name, "").replace(",", ""))
    except ValueError:
        return 0.0
    return found if 0 < found < 1e30 else 0.0
