"""The stand-in really trains, resumes bit for bit, and fails on command as nanochat would."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import pytest

import runner.rehearsal
from runner.model import events as said
from runner.nanochat import grammar
from runner.preview.tensors import read_tensors
from runner.rehearsal.common import load_checkpoint, save_checkpoint
from runner.rehearsal.model import CharModel
from runner.text.sanitize import strip_ansi

STAND_IN = Path(runner.rehearsal.__file__).parent / "stand_in"
ROOT = Path(runner.rehearsal.__file__).parents[2]


class Engine:
    def __init__(self, base: Path) -> None:
        self.base = base
        base.mkdir(exist_ok=True)

    def __call__(self, module: str, *flags: str, ranks: int = 1, code: int = 0) -> list[str]:
        env = {**os.environ, "NANOCHAT_BASE_DIR": str(self.base), "PYTHONPATH": f"{STAND_IN}{os.pathsep}{ROOT}"}
        env |= {"PYTHONUNBUFFERED": "1", "WORLD_SIZE": str(ranks)}
        done = subprocess.run(
            [sys.executable, "-m", module, *flags], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout[-2000:]
        return [strip_ansi(line) for line in done.stdout.splitlines()]

    def train(self, *flags: str, ranks: int = 1, code: int = 0) -> list[str]:
        quick = ("--depth=12", "--step-ms=0", "--model-tag=d12", "--sample-every=-1", "--core-metric-every=-1")
        return self("scripts.base_train", *quick, *flags, ranks=ranks, code=code)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = Engine(tmp_path / "base")
    made("nanochat.dataset", "-n", "2")
    made("scripts.tok_train")
    return made


def weights(engine: Engine, step: int) -> bytes:
    return (engine.base / "base_checkpoints" / "d12" / f"model_{step:06d}.pt").read_bytes()[60:-200]


E = TypeVar("E", bound=said.Event)


def events(lines: list[str], kind: type[E]) -> list[E]:
    return [e for e in map(grammar.parse, lines) if isinstance(e, kind)]


def test_a_resume_continues_bit_for_bit_on_several_ranks(engine: Engine) -> None:
    straight = engine.train("--num-iterations=16", "--save-every=8", "--eval-every=8", ranks=4)
    expected = weights(engine, 16)
    (engine.base / "base_checkpoints" / "d12" / "model_000016.pt").unlink()
    resumed = engine.train("--num-iterations=16", "--save-every=8", "--eval-every=8", "--resume-from-step=8", ranks=4)
    assert weights(engine, 16) == expected
    assert events(resumed, said.Resumed) == [said.Resumed(step=8)]
    assert events(resumed, said.ValBpb)[-1] == events(straight, said.ValBpb)[-1]


def test_loss_falls_and_the_model_learns_to_answer(engine: Engine) -> None:
    steps = events(engine.train("--num-iterations=120", "--eval-every=-1"), said.Step)
    assert steps[-1].loss < steps[0].loss / 3
    engine("scripts.chat_sft", "--model-tag=d12", "--num-iterations=40", "--step-ms=0", "--eval-every=-1")
    answer = engine("scripts.chat_cli", "-i", "sft", "-g", "d12", "-t", "0", "-p", "What is the capital of Peru?")
    assert answer[-1] == "Assistant: The capital of Peru is Lima."


def test_every_rank_has_its_optimizer_shard_and_another_number_of_ranks_cannot_resume(engine: Engine) -> None:
    engine.train("--num-iterations=4", "--eval-every=-1", ranks=8)
    names = {p.name for p in (engine.base / "base_checkpoints" / "d12").glob("optim_*")}
    assert names == {f"optim_000004_rank{r}.pt" for r in range(8)}
    engine.train("--num-iterations=6", "--resume-from-step=4", ranks=2, code=1)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [("crash@2", "crash"), ("oom@2", "gpu memory")],
)
def test_a_rehearsed_failure_prints_what_the_real_one_prints(engine: Engine, fault: str, cause: str) -> None:
    lines = engine.train("--num-iterations=4", "--eval-every=-1", f"--fault={fault}", code=1)
    assert [one.cause for one in events(lines, said.Failed)] == [cause]


def test_missing_data_and_tokenizer_fail_as_in_nanochat(tmp_path: Path) -> None:
    bare = Engine(tmp_path / "bare")
    assert "tokenizer/tokenizer.pkl" in bare.train("--num-iterations=2", code=1)[-1]
    assert bare("scripts.tok_train", code=1)[-1].endswith("No dataset parquet files found, did you run dataset.py?")


def test_nan_and_truncation_come_at_their_step(engine: Engine) -> None:
    lines = engine.train(
        "--num-iterations=6", "--eval-every=-1", "--save-every=3", "--fault=nan@4", "--fault=truncate@3"
    )
    losses = [e.loss for e in events(lines, said.Step)]
    assert [x != x for x in losses] == [False] * 4 + [True] * 2
    assert len(weights(engine, 3)) < len(weights(engine, 6))


def test_a_checkpoint_lists_its_tensors_as_one_of_torch_does_and_is_read_back(tmp_path: Path) -> None:
    model = CharModel()
    model.weights[7], model.squares[9] = 1.5, 2.5
    save_checkpoint(tmp_path, 10, model, {"step": 10})
    with (tmp_path / "model_000010.pt").open("rb") as file:
        (weights,) = read_tensors(file)
    assert (weights.dtype, weights.shape) == ("float32", (len(model.weights),)) and weights.name
    with (tmp_path / "optim_000010_rank0.pt").open("rb") as file:
        (squares,) = read_tensors(file)
    assert (squares.dtype, squares.shape) == ("float64", (len(model.squares),))
    back, _ = load_checkpoint(tmp_path, 10, optimizer=True)
    assert (back.weights, back.squares) == (model.weights, model.squares)
