"""The report tells what came out, what it took and what was lost, whatever the model has printed."""

import json
import math
import xml.etree.ElementTree as ET
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from runner.job.history import history
from runner.job.report import report
from runner.metrics.svg import LARGEST, loss_svg
from runner.model.backend_name import BackendName
from runner.model.pricing import MoneyRange, TimeRange
from runner.model.run import Estimate, Run
from runner.model.spec import RunSpec
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import StageState, StageStatus, Status
from runner.nanochat.layout import Inventory
from runner.planning.plan import make_plan
from tests.statuses import a_status


def line(t: float, kind: str, stage: str = "base", attempt: int = 1, **more: Any) -> str:
    return json.dumps({"t": t, "attempt": attempt, "stage": stage, "kind": kind, **more})


def steps(t: float, first: int, last: int, attempt: int = 1) -> list[str]:
    return [line(t + n - first, "step", attempt=attempt, step=n, loss=9.0 - n / 100) for n in range(first, last + 1)]


# Killed without a word after step 76, resumed from 60; then evaluated.
KILLED = [
    line(1000, "container", "", device="8 × H100"),
    line(1000, "stage", state="running"),
    *steps(1100, 0, 76),
    line(5000, "container", "", attempt=2, device="8 × H100"),
    line(5000, "stage", attempt=2, state="running"),
    *steps(5100, 60, 99, attempt=2),
    line(5150, "val_bpb", attempt=2, step=100, bpb=0.75),
    line(5200, "stage", attempt=2, state="done"),
    line(5200, "stage", "base_eval", 2, state="running"),
    line(5210, "task", "base_eval", 2, task="arc_easy", accuracy=0.5, centered=0.3333),
    line(5220, "sample", "base_eval", 2, text="The capital | of `France`"),
    line(5300, "stage", "base_eval", 2, state="done"),
]


def made(**status_values: Any) -> tuple[Run, Status]:
    spec = RunSpec.create(task="speedrun", model="d12", backend="modal", engine="nanochat", gpus=8)
    run = Run("abcdefgh", "blue", spec, BackendName.MODAL, "v", 0.0)
    money = MoneyRange(Decimal(1), Decimal(2), Decimal(3))
    said = TimeRange(100.0, 300.0, 400.0)
    run = msgspec.structs.replace(run, estimate=Estimate(said, money, {"base": said, "base_eval": said}))
    status = a_status(2, State.RUNNING, "c", 5000.0, 5300.0, val_bpb=0.75, loss=8.0, **status_values)
    status.work.stages = [
        StageStatus(StageName.BASE, StageState.DONE),
        StageStatus(StageName.BASE_EVAL, StageState.DONE),
    ]
    status.money.spent_before_s, status.money.usd_per_hour, status.containers.preemptions = 176.0, Decimal(36), 1
    return run, status


def text_of(lines: list[str], **status_values: Any) -> str:
    run, status = made(**status_values)
    past = history(lines)
    return report(run, status, make_plan(run.spec, Inventory(), backend="modal"), past, curve=True)


def test_a_stage_is_summed_over_containers_and_one_that_was_killed_counts_up_to_its_last_word() -> None:
    past = history(KILLED)
    assert past.stage_s == {"base": (1176 - 1000) + (5200 - 5000), "base_eval": 100}
    assert [(c.first_step, c.last_step, c.ended) for c in past.containers] == [(0, 76, ""), (60, 99, "")]
    assert past.repeated_steps == 17


def test_estimate_and_truth_stand_side_by_side() -> None:
    text = text_of(KILLED)
    assert "| base | done | 6m16 | $3.67 | 5m00 (1m40–6m40): within |" in text
    assert "| base_eval | done | 1m40 | $0.98 | 5m00 (1m40–6m40): within |" in text
    assert "| **all** |  | 7m56 | $3.00 | 5m00 (1m40–6m40): slower |" in text


def test_attempts_and_what_was_lost_are_told() -> None:
    text = text_of(KILLED)
    assert "| 1 | 8 × H100 | 1970-01-01 00:16 UTC | 2m56 | 0 to 76 | killed |" in text
    assert "Preempted 1 time; 17 steps were trained twice." in text


def test_scores_and_the_curve_are_there() -> None:
    text = text_of(KILLED, core=0.26, chatcore=0.31, sft_bpb=0.4)
    for wanted in ("| val bpb | 0.7500 |", "| CORE | 0.2600 |", "| ChatCORE | 0.3100 |", "| SFT val bpb | 0.4000 |"):
        assert wanted in text
    assert "| arc_easy | 50.00% | 0.3333 |" in text and "](loss.svg)" in text


def test_what_the_model_wrote_stays_code_and_never_becomes_markup() -> None:
    evil = "</pre><script>alert(1)</script>\n# heading\x1b]52;c;aGk=\x07 ![x](http://evil)"
    text = text_of([*KILLED[:-1], line(5221, "sample", "base_eval", 2, text=evil)], warnings=["![x](http://evil) | a"])
    sample = next(x for x in text.splitlines() if "script" in x)
    assert sample.startswith("    ") and "\x1b" not in text and "# heading" in sample
    assert "- !\\[x](http://evil) \\| a" in text


@given(st.lists(st.one_of(st.text(max_size=80), st.sampled_from(KILLED)), max_size=30))
def test_no_damaged_event_breaks_the_report(lines: list[str]) -> None:
    text_of(lines)


def test_a_number_too_large_for_a_computer_is_no_reason_to_fail_a_run() -> None:
    huge = "9" * 400
    for kind in ("step", "val_bpb", "task"):
        text_of([*KILLED, f'{{"t": 1, "kind": "{kind}", "stage": "base", "step": 3, "loss": {huge}, "bpb": -{huge}}}'])


@given(
    st.dictionaries(st.integers(0, 10**6), st.floats(), max_size=50),
    st.dictionaries(st.integers(0, 10**6), st.floats(-1e6, 1e6), max_size=9),
)
def test_the_curve_is_well_formed_whatever_the_numbers(loss: dict[int, float], val: dict[int, float]) -> None:
    found = loss_svg(loss, val)
    assert bool(found) == any(math.isfinite(v) and abs(v) <= LARGEST for v in loss.values())
    if found:
        ET.fromstring(found)
        assert "nan" not in found


def test_a_long_run_gives_a_small_curve() -> None:
    assert len(loss_svg({n: 1.0 / (n + 1) for n in range(100_000)}, {})) < 40_000


def test_a_report_tells_nothing_of_steps_that_were_given_up() -> None:
    before = [*KILLED, line(5250, "checkpoint", "base_eval", 2, of="base", step=100)]
    past = history([*before, line(6000, "container", "", 3), line(6001, "goes_on", "", 3, step=80)])
    assert max(past.loss) == 79 and not past.val and not past.core_tasks and not past.samples and not past.saves
    assert past.stage_s["base"] > 0 and len(past.containers) == 3


def test_a_fine_tuning_that_was_begun_anew_is_told_alone() -> None:
    tuned = [line(5310, "step", "sft", 2, step=n, loss=1.0) for n in range(9)]
    again = [line(5400, "stage", "sft", 2, state="running"), line(5410, "step", "sft", 2, step=0, loss=2.0)]
    past = history([*KILLED, *tuned, *again])
    assert past.sft_loss == {0: 2.0} and len(past.loss) == 100
