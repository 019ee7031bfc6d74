"""Sizes agree with nanochat's real model code."""

import json

import pytest

from runner.model import pricing
from runner.nanochat import shapes
from tests.conftest import DATA

ROWS = json.loads((DATA / "planner.json").read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"d{r['depth']}-r{r['ratio']:.0f}")
def test_sizes_are_those_of_the_real_model_code(row: dict[str, float]) -> None:
    s = shapes.model_shape(int(row["depth"]), ratio=row["ratio"])
    assert (s.dim, s.heads, s.params, s.wte, s.value_embeds, s.lm_head, s.matrices, s.scaling) == tuple(
        row[k] for k in ("dim", "heads", "total", "wte", "ve", "lm_head", "matrices", "scaling")
    )
    assert (s.flops_per_token, s.batch, s.iterations, s.tokens, s.flops) == tuple(
        row[k] for k in ("flops_tok", "batch", "iters", "tokens", "flops")
    )


def test_checkpoint_bytes_are_those_of_a_real_d12() -> None:
    s = shapes.model_shape(12)
    assert s.model_bytes == pytest.approx(792_761_399, rel=1e-3)
    assert s.optimizer_bytes == pytest.approx(1_246_165_237, rel=1e-3)


@pytest.mark.parametrize(("depth", "batch"), [(12, 32), (18, 32), (20, 16), (26, 16), (28, 8), (32, 8)])
def test_device_batch_is_the_documented_one_on_eight_h100(depth: int, batch: int) -> None:
    assert shapes.device_batch_size(shapes.model_shape(depth), gpus=8, gpu_gib=80) == batch


@pytest.mark.parametrize(("batch", "gib"), [(32, 28.8), (64, 53.3)])
def test_memory_is_estimated_above_what_was_measured_and_not_wildly(batch: int, gib: float) -> None:
    estimated = shapes.memory_bytes(shapes.model_shape(12), gpus=1, device_batch=batch) / shapes.GIB
    assert gib < estimated < 1.6 * gib


def test_small_models_get_a_batch_that_divides_on_eight_gpus() -> None:
    s = shapes.model_shape(4)
    batch = shapes.device_batch_size(s, gpus=8, gpu_gib=80)
    assert s.batch % (batch * 2048 * 8) == 0


def test_a_model_too_large_for_the_gpu_has_no_batch() -> None:
    assert shapes.device_batch_size(shapes.model_shape(34), gpus=1, gpu_gib=pricing.GPUS["L4"].memory_gib) == 0
