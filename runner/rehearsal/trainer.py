"""What pretraining and fine-tuning share: the pace of steps, rehearsed faults, the facts printed at the start."""

import argparse
import math
import os
import signal
import time
from pathlib import Path

from runner.rehearsal.model import ROWS, V

TOKENS_PER_STEP = 256
GATE = "NANOCHAT_REHEARSAL_GATE"


class _OutOfMemoryError(RuntimeError):
    """Prints its traceback under torch's own name."""


_OutOfMemoryError.__module__ = "torch"
_OutOfMemoryError.__qualname__ = "OutOfMemoryError"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--step-ms", type=float, default=40.0, help="shortest time of a step")
    parser.add_argument(
        "--fault", action="append", default=[], help="crash|hang|oom|nan|truncate|ignore-sigterm @ step"
    )


class Faults:
    """Rehearsed faults by step."""

    def __init__(self, given: list[str]) -> None:
        self._at = {name: int(step) for name, _, step in (one.partition("@") for one in given)}
        self._gate = os.environ.get(GATE)

    def before(self, step: int) -> None:
        """Strike those that end or hang the process at this step."""
        if self._at.get("ignore-sigterm") == step:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self._at.get("crash") == step:
            raise RuntimeError(f"rehearsed crash at step {step}")
        if self._at.get("oom") == step:
            raise _OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 79.18 GiB of which "
                "1.29 GiB is free. Including non-PyTorch memory, this process has 77.88 GiB memory in use."
            )
        while self._at.get("hang") == step:
            time.sleep(3600)
        if self._gate:
            _wait_at(Path(self._gate), step)

    def loss(self, step: int, loss: float) -> float:
        return math.nan if step >= self._at.get("nan", step + 1) else loss

    def cuts(self, step: int) -> bool:
        return self._at.get("truncate") == step


def _wait_at(gate: Path, step: int) -> None:
    """Wait while the folder holds `hold-STEP`, and say so by `at-STEP`: tests strike where training is, not when."""
    while (gate / f"hold-{step}").exists():
        (gate / f"at-{step}").touch()
        time.sleep(0.02)


class Pace:
    """Fills each step up to the wanted length and measures it."""

    def __init__(self, step_ms: float) -> None:
        self._wanted = step_ms / 1000
        self._began = time.perf_counter()

    def begin(self) -> None:
        self._began = time.perf_counter()

    def end(self) -> float:
        """Seconds of this step."""
        left = self._wanted - (time.perf_counter() - self._began)
        if left > 0:
            time.sleep(left)
        return max(1e-9, time.perf_counter() - self._began)


def multiplier(step: int, total: int, *, warmup: int = 10, warmdown: float = 0.65, final: float = 0.05) -> float:
    """Learning-rate multiplier: linear warm-up, constant, linear warm-down, as nanochat's."""
    down = max(1, round(warmdown * total))
    if step < warmup:
        return (step + 1) / warmup
    if step <= total - down:
        return 1.0
    progress = (total - step) / down
    return progress + (1 - progress) * final


def print_model(vocab: int) -> None:
    parameters = ROWS * V
    print("COMPUTE_DTYPE: float32 (pure Python)")
    print(f"Vocab size: {vocab:,}")
    print("Parameter counts:")
    for name, count in (("wte", 0), ("value_embeds", 0), ("lm_head", 0), ("transformer_matrices", parameters)):
        print(f"{name:24s}: {count:,}")
    print(f"{'scalars':24s}: {0:,}\n{'total':24s}: {parameters:,}")
    print(f"Estimated FLOPs per token: {6 * parameters / 1024:e}")
