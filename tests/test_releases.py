"""Logs of nanochat of any date: fields in any order, the words of each release, lines that ran into each other."""

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.logs.summary import Summary, SummaryReader
from runner.model import events as said
from runner.nanochat import grammar
from runner.text.sanitize import strip_ansi
from tests.conftest import DATA

RELEASES = sorted((DATA / "releases").glob("*.log"))
FIELDS = [
    "loss: 3.123456", "lrm: 1.00", "dt: 250.10ms", "tok/sec: 2,096,000", "bf16_mfu: 41.20", "epoch: 1 pq: 3 rg: 7",
    "total time: 1.20m", "eta: 9.1m", "grad norm: 0.4321", "momentum: x",
]  # fmt: skip
LOGGED = (
    "2026-11-22 23:51:00,123 - nanochat.checkpoint_manager - INFO - Saved model parameters to: /d/d4/model_000003.pt"
)
STEP = (
    "step 00003/00100 (3.00%) | loss: 3.100000 | lrm: 1.00 | dt: 9.00ms | tok/sec: 1,000 | bf16_mfu: 40.00 | epoch: 1"
)


def summary(text: str) -> Summary:
    reader = SummaryReader()
    for line in text.encode().removesuffix(b"\n").split(b"\n"):
        reader.add_line(line)
    return reader.found


@pytest.mark.parametrize("path", RELEASES, ids=lambda p: p.stem)
def test_a_log_of_any_release_gives_its_steps_scores_checkpoints_and_stages(path: Path) -> None:
    found, today = summary(path.read_text()), path is RELEASES[-1]
    assert found.not_understood == 0
    assert (found.steps, found.step, found.total, found.loss, found.mfu) == (6, 5, 6, 7.41, 21.4)
    assert found.checkpoints == [6] and found.val_bpb in (2.2101, 2.2107) and found.core in (0.0123, 0.0325)
    assert found.fine_tuning is not None and (found.fine_tuning.loss, found.fine_tuning.val_bpb) == (1.1, 1.1003)
    assert found.fine_tuning.checkpoints == ([5] if today else [4, 4])
    middle = [] if today else ["mid"]
    assert [s for s in found.stages if s != "base_eval"] == ["base", *middle, "sft", "chat_eval"]


@given(st.permutations(FIELDS), st.sets(st.sampled_from(FIELDS[1:])))
def test_the_fields_of_a_step_may_come_in_any_order_and_any_of_them_may_be_missing(
    order: list[str], without: set[str]
) -> None:
    kept = [f for f in order if f not in without]
    step = grammar.parse("step 00007/02520 (0.28%) | " + " | ".join(kept))
    assert isinstance(step, said.Step) and (step.step, step.total, step.percent, step.loss) == (7, 2520, 0.28, 3.123456)
    values = {FIELDS[1]: step.lrm, FIELDS[2]: step.dt_ms, FIELDS[3]: step.tokens_per_s, FIELDS[4]: step.mfu}
    expected = {FIELDS[1]: 1.0, FIELDS[2]: 250.1, FIELDS[3]: 2_096_000, FIELDS[4]: 41.2}
    for field, value in values.items():
        assert value == (pytest.approx(expected[field]) if field in kept else None)
    assert step.epoch == (1 if FIELDS[5] in kept else None)
    assert step.eta_s == (pytest.approx(546.0) if FIELDS[7] in kept else None)


def test_a_line_of_scores_may_say_more_than_its_score() -> None:
    assert grammar.parse("Step 00250 | time: 3.1s | Validation bpb: 0.9123") == said.ValBpb(250, 0.9123)
    assert grammar.parse("Step 00250 | CORE metric: 0.2000 | took: 3s") == said.CoreMetric(250, 0.2)


def test_a_step_that_the_line_of_a_logger_ran_into_costs_neither() -> None:
    for line in (STEP + LOGGED, STEP + "[rank1]: Traceback (most recent call last):", "Vocab size: 4,096" + LOGGED):
        kinds = [type(e).__name__ for _, e in grammar.read(line)]
        assert kinds in (["Step", "Saved"], ["Step", "Noted"], ["Fact", "Saved"]), line
    found = summary(f"{STEP}{LOGGED}\n\n")
    assert (found.steps, found.checkpoints, found.not_understood) == (1, [3], 0)


@given(st.sampled_from([STEP, LOGGED, "Vocab size: 4,096", "[rank1]: ValueError: no"]), st.text(max_size=60))
def test_what_a_line_is_made_of_is_the_whole_line(line: str, more: str) -> None:
    text = strip_ansi(line + more)
    assert "".join(piece for piece, _ in grammar.read(text)) == text


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("line", [STEP.replace("3.100000", "{}"), "Step 00003 | Validation bpb: {}", "val bpb: {}"])
def test_a_loss_or_bpb_that_is_inf_is_as_lost_as_one_that_is_nan(line: str, value: str) -> None:
    found = summary(line.format(value))
    assert found.errors == 1 and [p.line for p in found.problems] == [1]


@given(st.integers(0, 2**32))
def test_numbers_of_a_log_do_not_depend_on_the_order_of_its_fields(seed: int) -> None:
    rng = random.Random(seed)

    def shuffled(line: str) -> str:
        head, bar, rest = line.partition(" | ")
        fields = rest.split(" | ")
        rng.shuffle(fields)
        return head + bar + " | ".join(fields) if line.startswith("step ") else line

    text = RELEASES[-1].read_text()
    one, other = summary(text), summary("\n".join(map(shuffled, text.split("\n"))))
    assert one == other and not math.isnan(one.loss or 0.0)


def trained(first: int, last: int) -> str:
    line = "step {:05d}/00200 (1.00%) | loss: {:.6f} | lrm: 1.00 | dt: 9.00ms | tok/sec: 1,000 | bf16_mfu: 40.00"
    return "".join(line.format(n, 9 - n / 100) + "\n" for n in range(first, last))


def saved(step: int) -> str:
    return LOGGED.replace("000003", f"{step:06d}") + "\n"


BEFORE = (
    trained(0, 40) + "Step 00040 | Validation bpb: 1.100000\n" + trained(40, 50) + saved(50) + trained(50, 80)
    + "Step 00080 | Validation bpb: 0.700000\nStep 00080 | CORE metric: 0.2000\n" + saved(80) + trained(80, 90)
)  # fmt: skip


@pytest.mark.parametrize("told", ["Resuming optimization from step 50\n", ""])
def test_a_summary_tells_nothing_of_steps_that_were_given_up(told: str) -> None:
    found = summary(BEFORE + told + trained(50, 62))
    assert (found.step, found.loss, found.val_bpb) == (61, 8.39, 1.1)
    assert (found.checkpoints, found.core) == ([50], None)
    just_there = summary(BEFORE + "Resuming optimization from step 50\n")
    assert (just_there.step, just_there.loss, just_there.val_bpb) == (49, None, 1.1)
