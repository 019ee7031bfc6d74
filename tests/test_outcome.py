"""The end of a stage is told by its cause, with what to do next."""

import re
from pathlib import Path

import msgspec
import pytest

from runner.job.outcome import (
    FailureTracker,
    diagnose_stage,
    outcome_of_fault,
    unwanted_reason,
    with_disk_space,
    with_resume_advice,
)
from runner.job.supervise import ProcessExit
from runner.model.overrides import Overrides
from runner.model.spec import RunSpec
from runner.model.stage_flags import StageFlag
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import Change, Outcome, OutcomeKind
from runner.nanochat import grammar
from runner.text.sanitize import strip_ansi
from tests.conftest import DATA
from tests.statuses import a_status

DIED = ProcessExit(1, None, stopped=False)
STEP = "step {:05d}/00100 (1.00%) | loss: {} | lrm: 1.00 | dt: 9.00ms | tok/sec: 1,000 | bf16_mfu: 40.00"


def trail_of(lines: list[str]) -> FailureTracker:
    trail = FailureTracker()
    for number, line in enumerate(lines, 1):
        trail.add_line(strip_ansi(line), grammar.parse(strip_ansi(line)), number)
    return trail


def log(name: str) -> list[str]:
    return re.split(r"[\n\r]", (DATA / "logs" / f"{name}.log").read_bytes().decode("utf-8", "replace"))


def told(
    lines: list[str], ended: ProcessExit = DIED, *, stage: StageName = StageName.BASE, saved: int | None = None
) -> Outcome:
    outcome = diagnose_stage(stage, ended, trail_of(lines))
    assert outcome
    return with_resume_advice(outcome, a_status(1, State.RUNNING, "", 0.0, 0.0, stage=stage, saved_step=saved), 32)


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("h100_oom_d24_64", "oom", "out of GPU memory"),
        ("h200x2_x2_sigterm", "killed", "torchrun was stopped by signal 15"),
        ("h200x2_x1_resume_on2", "checkpoint", "rank 1: its part of the optimizer is missing"),
        ("cpu_err_no_data", "data", "the dataset is not on the volume"),
        ("cpu_err_no_tokenizer", "tokenizer", "the tokenizer is not on the volume"),
        ("cpu_err_truncated", "checkpoint", "a checkpoint cannot be read"),
        ("cpu_err_batch", "crash", "must be a multiple of"),
        ("cpu_dataset_offline", "data", "0 of 2 dataset shards arrived"),
        ("cpu_base_eval_core_offline", "network", "a download failed"),
    ],
)
def test_a_real_log_is_told_by_its_cause(name: str, kind: str, says: str) -> None:
    outcome = told(log(name))
    assert outcome.kind == kind and says in outcome.message and outcome.advice


def test_downloads_that_failed_are_a_failure_although_the_exit_code_is_zero() -> None:
    assert told(log("cpu_dataset_offline"), ProcessExit(0, None, stopped=False)).kind == "data"


@pytest.mark.parametrize(
    ("stage", "saved", "advice"),
    [
        (StageName.BASE, None, "launch a new run with --device-batch-size 16 (it had 32)"),
        (StageName.BASE, 500, "launch --task base --from RUN --device-batch-size 16 goes on from step 500 (it had 32)"),
        (StageName.SFT, 500, "launch --task sft --from RUN --device-batch-size 16 (it had 32)"),
    ],
)
def test_out_of_memory_names_the_next_batch_size_to_try(stage: StageName, saved: int | None, advice: str) -> None:
    outcome = told(log("h100_oom_d24_64"), stage=stage, saved=saved)
    assert advice in outcome.advice
    task = str(stage) if "--task" in advice else ""
    assert outcome.change == Change({"device_batch_size": 16}, task=task, goes_on=bool(task)), "as the advice says"


@pytest.mark.parametrize(("saved", "says"), [(None, ", or anew where none was kept"), (20, "")])
def test_no_checkpoint_is_promised_to_the_resume_of_a_run_that_kept_none(saved: int | None, says: str) -> None:
    outcome = told([], ProcessExit(None, 9, stopped=False), saved=saved)
    assert outcome.advice.endswith(f"resume continues from the last checkpoint{says}")


def test_the_rank_that_died_is_the_cause_not_those_that_lost_it() -> None:
    echo = "[rank0]: torch.distributed.DistBackendError: NCCL error in: NCCLUtils.cpp:94, remote process exited"
    cause = "[rank3]: ValueError: a bad row"
    for lines in ([echo, cause], [cause, echo]):
        assert "rank 3: ValueError: a bad row" in told(lines).message
    assert "rank 0" in told([echo]).message


def test_a_rank_that_was_killed_without_a_word_is_named_with_its_signal() -> None:
    said = (
        "E1122 23:56:01.100000 4242 torch/distributed/elastic/multiprocessing/api.py:984] "
        "failed (exitcode: -9) local_rank: 5 (pid: 4250) of binary: /usr/bin/python"
    )
    child = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:"
    outcome = told(["[rank0]: torch.distributed.DistBackendError: Connection closed by peer", said, child])
    assert (outcome.kind, outcome.message) == ("killed", "rank 5 was killed by signal 9")
    assert "memory" in outcome.advice


def test_a_collective_that_timed_out_says_who_waited_how_long() -> None:
    line = (
        "[rank2]:[E1122 x] Watchdog caught collective operation timeout: WorkNCCL(OpType=ALLREDUCE, Timeout(ms)=600000)"
    )
    outcome = told([line])
    assert (outcome.kind, outcome.message) == (
        "nccl",
        "rank 2 waited for 600 s in ALLREDUCE for GPUs that did not answer",
    )


def test_an_error_that_training_survived_is_not_the_cause() -> None:
    outcome = told(["ValueError: retried", STEP.format(3, "2.5"), "KeyError: 'real'"])
    assert "KeyError" in outcome.message
    quiet = told(["ValueError: retried", STEP.format(3, "2.5")], ProcessExit(None, 9, stopped=False))
    assert quiet.message == "killed by signal 9"


def test_a_full_disk_is_told_with_what_is_free_and_what_a_checkpoint_needs(tmp_path: Path) -> None:
    line = "OSError: [Errno 28] No space left on device: '/vol/base_checkpoints/d12/model_000060.pt'"
    outcome = with_disk_space(told(["Traceback (most recent call last):", line]), tmp_path, 2_000_000_000)
    assert outcome.kind == "disk" and "model_000060.pt" in outcome.message and len(outcome.message) <= 300
    assert re.search(rf"free at {tmp_path}, a checkpoint takes 2.0 GB$", outcome.message)


def test_being_told_to_stop_is_no_crash() -> None:
    assert told(log("h200x2_x2_sigterm"), ProcessExit(1, None, stopped=True)).kind == "cancelled"


def test_the_first_step_whose_loss_is_nan_is_remembered() -> None:
    trail = trail_of([STEP.format(n, "2.5" if n < 7 else "nan") for n in range(10)])
    why = unwanted_reason(StageName.BASE, trail, Overrides(stop_on_nan=True))
    found = diagnose_stage(StageName.BASE, ProcessExit(None, 15, stopped=True), trail, stopped_for=why)
    assert found
    outcome = with_resume_advice(found, a_status(1, State.RUNNING, "", 0.0, 0.0, stage="base", saved_step=5), 32)
    assert (outcome.kind, outcome.message) == ("nan", "the loss is nan since step 7; step 5 was kept before")


def lower(rate: str) -> Change:
    return Change({}, flags=(f"base.matrix-lr={rate}",))


@pytest.mark.parametrize(
    ("asked", "saved", "advice", "change"),
    [
        ("--fp8", 5, "launch --task base --from RUN --no-fp8 goes on from step 5", Change({"fp8": False})),
        ("--fp8", None, "launch it anew with --no-fp8", Change({"fp8": False})),
        ("", 5, "launch --task base --from RUN --set base.matrix-lr=0.01 goes on from step 5", lower("0.01")),
        ("", None, "launch it anew with --set base.matrix-lr=0.01", lower("0.01")),
        ("0.08", None, "launch it anew with --set base.matrix-lr=0.04", lower("0.04")),
        ("nan", None, "launch it anew with --set base.matrix-lr=0.01", lower("0.01")),
    ],
)
def test_after_a_loss_that_is_nan_only_that_is_advised_which_changes_something(
    asked: str, saved: int | None, advice: str, change: Change
) -> None:
    ended = Outcome(OutcomeKind.NAN, "the loss is nan", stage=StageName.BASE)
    status = a_status(1, State.RUNNING, "", 0.0, 0.0, stage="base", saved_step=saved)
    spec = RunSpec.create(task="base", model="d12", backend="modal", engine="nanochat")
    if asked == "--fp8":
        spec = msgspec.structs.replace(spec, overrides=Overrides(fp8=True))
    elif asked:
        spec = msgspec.structs.replace(spec, flags=(StageFlag("base", "matrix-lr", asked),))
    found = with_resume_advice(ended, status, 32, spec)
    assert found.advice.startswith(f"{advice}: ") and "resume" not in found.advice
    assert found.change == msgspec.structs.replace(change, task="base" if saved else "", goes_on=bool(saved))


def test_a_kernel_that_did_not_load_stops_only_the_run_that_asked_for_that() -> None:
    trail = trail_of(["WARNING: Flash Attention 3 not available, using PyTorch SDPA fallback"])
    assert unwanted_reason(StageName.BASE, trail, Overrides()) is None
    found = unwanted_reason(StageName.BASE, trail, Overrides(require_fa3=True))
    assert found is not None and found.kind == "attention" and "--require-fa3" in found.advice
    assert diagnose_stage(StageName.BASE, ProcessExit(None, 15, stopped=True), trail, stopped_for=found) == found
    loaded = trail_of(["✓ Using Flash Attention 3: efficient, new and awesome."])
    assert unwanted_reason(StageName.BASE, loaded, Overrides(require_fa3=True)) is None


def test_a_job_that_fails_itself_is_told_by_the_class_of_its_error() -> None:
    told_ = {
        error: outcome_of_fault(error, StageName.BASE)
        for error in (MemoryError("no room"), PermissionError(13, "Permission denied", "/v"), ValueError("odd"))
    }
    assert [one.kind for one in told_.values()] == ["oom", "environment", "crash"]
    assert all(one.message.startswith("the job itself failed: ") and one.advice for one in told_.values())
