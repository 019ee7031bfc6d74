"""What was asked for is compared with what was got: only what differs fires, and only where GPUs are paid for."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job import expectations
from runner.job.expectations import ExpectationCheck, Expected, Mismatch, expected, gpu_kind_of, gpu_mismatch
from runner.model import events
from runner.model.events import Event, Fact
from runner.model.pricing import GPUS
from runner.model.spec import RunSpec
from runner.model.stages import PARTS, Part, StageName
from runner.nanochat import grammar
from runner.text.sanitize import strip_ansi
from tests.conftest import DATA

LOGS = DATA / "logs"
FULL = {"window_pattern": "L"}


def spec(**values: Any) -> RunSpec:
    given: dict[str, Any] = {
        "task": "base",
        "model": "d12",
        "backend": "modal",
        "engine": "nanochat",
        "gpus": 8,
        **values,
    }
    return RunSpec.create(**given)


def wanted(**values: object) -> Expected:
    found = expected(spec(**values), "modal")
    assert found
    return found


def said(name: str) -> list[Event]:
    lines = re.split(r"[\n\r]", (LOGS / f"{name}.log").read_bytes().decode("utf-8", "replace"))
    return [event for event in map(grammar.parse, map(strip_ansi, lines)) if event]


def differences(wanted: Expected, found: list[Event], stage: StageName = StageName.BASE) -> list[Mismatch]:
    watch = ExpectationCheck(wanted, stage)
    return list(dict.fromkeys(one for event in found if (one := watch.mismatch(event))))


def first(wanted: Expected, found: list[Event]) -> Mismatch:
    return next(one for one in differences(wanted, found) if one.fatal)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("h100_d12_smoke_cold", {"gpus": 1, "overrides": {"window_pattern": "L", "iterations": 20}}),
        ("h100_d12_smoke_warm", {"gpus": 1, "overrides": {**FULL, "iterations": 10, "total_batch_size": 65_536}}),
        ("h100_d26_fp8", {"model": "d26", "gpus": 1, "overrides": {"window_pattern": "L", "iterations": 5}}),
    ],
)
def test_a_run_that_got_what_it_asked_for_is_let_alone(name: str, values: dict[str, object]) -> None:
    assert differences(wanted(**values), said(name)) == []


def test_nothing_is_expected_where_no_gpu_is_paid_for() -> None:
    assert expected(spec(engine="rehearsal"), "modal") is None
    assert expected(spec(engine="rehearsal", backend="local"), "local") is None
    assert expected(spec(backend="local", gpus=1, model="d4"), "local") is None


def test_gpus_that_are_paid_for_while_the_processor_trains_end_the_run() -> None:
    found = first(wanted(), said("cpu_base_train_d4"))
    assert found.message == "8 × H100 are paid for, nanochat runs on the CPU: CUDA does not come up"
    assert "resume RUN" in found.advice


@pytest.mark.parametrize("stage", sorted(PARTS[Part.TRAIN]))
def test_the_processor_is_no_place_for_any_stage_that_pays_for_gpus(stage: StageName) -> None:
    assert [d.fatal for d in differences(wanted(), [Fact("device_type", "cpu")], stage)] == [True]


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (Fact("world_size", "1"), "8 × H100 were asked for, nanochat runs on 1"),
        (Fact("gpu", "NVIDIA A100-SXM4-80GB | Peak FLOPS (BF16): 3.12e+14"), "312 TFLOP/s of 989"),
        (Fact("vocab_size", "65,536"), "a vocabulary of 32,768 was asked for, the tokenizer on the volume has 65,536"),
        (Fact("parameters", "1,681,786,938"), "286,261,730 parameters was asked for, 1,681,786,938 are trained"),
        (Fact("flops_per_token", "1.866000e+09"), "was planned with 7.60e+08 FLOPs, the model takes 1.87e+09"),
        (Fact("iterations", "15,120"), "2,520 steps were asked for, 15,120 are trained"),
        (Fact("total_batch", "2,097,152 => gradient accumulation steps: 4"), "524,288 tokens a step were asked for"),
        (events.Warned("DATASET UPGRADE REQUIRED"), "the text of an older nanochat"),
        (events.Resumed(500), "it was to go on from step 0, and trains from 500"),
    ],
)
def test_what_differs_is_told_with_both_numbers_and_ends_the_run(event: Event, says: str) -> None:
    (found,) = differences(wanted(), [event])
    assert found.fatal and says in found.message and found.advice


@pytest.mark.parametrize(
    "event",
    [
        Fact("iterations", "2,000"),
        Fact("total_batch", "262,144 => gradient accumulation steps: 1"),
        Fact("micro_batch", "16 x 2048 = 32,768"),
        Fact("dtype", "torch.float32 (set by NANOCHAT_DTYPE)"),
        Fact("gpu", "NVIDIA X9000"),
    ],
)
def test_what_costs_no_more_than_was_agreed_to_is_a_warning(event: Event) -> None:
    assert [d.fatal for d in differences(wanted(), [event])] == [False]


def test_a_resume_that_begins_elsewhere_ends_the_run() -> None:
    step = next(e for e in said("h100_d12_smoke_cold") if isinstance(e, events.Step))
    at_500 = msgspec.structs.replace(wanted(overrides={"iterations": 20}), resume=500)
    assert first(at_500, [step]).message == "it was to go on from step 500, and trains from 0"
    assert differences(at_500, [events.Resumed(500)]) == []


def test_fine_tuning_is_not_held_against_the_length_of_pretraining() -> None:
    assert (
        differences(wanted(), [e for e in said("cpu_chat_sft_d4") if isinstance(e, events.Step)], StageName.SFT) == []
    )


@pytest.mark.parametrize(
    ("asked_for", "got", "fine"),
    [
        ("H100", "NVIDIA H100 80GB HBM3", True),
        ("H100", "NVIDIA H200", True),
        ("H200", "NVIDIA H100 80GB HBM3", False),
        ("A100-40GB", "NVIDIA A100-SXM4-80GB", True),
        ("A100-80GB", "NVIDIA A100-SXM4-40GB", False),
        ("A100-80GB", "NVIDIA A100 80GB PCIe", True),
        ("B200", "NVIDIA B300", True),
        ("A10", "NVIDIA A10G", True),
        ("L40S", "NVIDIA L4", False),
        ("T4", "Tesla T4", True),
        ("RTX-PRO-6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", True),
    ],
)
def test_a_better_kind_is_taken_a_worse_one_ends_the_run(asked_for: str, got: str, fine: bool) -> None:
    gpus = msgspec.structs.replace(wanted(), gpu=asked_for)
    assert gpu_kind_of(got) in GPUS
    assert (gpu_mismatch(gpus, f"8 × {got}") is None) == fine


def test_fewer_gpus_in_the_container_end_the_run_and_more_do_not() -> None:
    found = gpu_mismatch(wanted(), "4 × NVIDIA H100 80GB HBM3")
    assert found and found.fatal and "8 × H100 were asked for, the container has 4 × NVIDIA H100" in found.message
    assert gpu_mismatch(wanted(gpus=4), "8 × NVIDIA H100 80GB HBM3") is None
    assert gpu_mismatch(wanted(), "") is None


_FACTS = st.sampled_from([*grammar._FACTS.values(), "world_size", "parameters", "n_layer", "lm_head", "n_embd"])


@given(st.lists(st.tuples(_FACTS, st.text(max_size=30) | st.from_regex(r"\A[\d,.e+-]{1,30}\Z")), max_size=20))
def test_no_fact_whatever_it_says_breaks_the_comparison(facts: list[tuple[str, str]]) -> None:
    watch = ExpectationCheck(wanted(), StageName.BASE)
    for name, value in facts:
        watch.mismatch(Fact(name, value))
        assert gpu_mismatch(wanted(), value) is None or expectations.gpu_kind_of(value) or value
