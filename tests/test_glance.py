"""What a run says of itself on every screen: progress of the stage it is in, its verdict, times, in little room."""

from typing import Any

import msgspec
import pytest

from runner.job.status_tracker import Tracker
from runner.model import events
from runner.model.run import Run
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import Outcome, OutcomeKind, StageState, StageStatus, Status
from runner.monitoring.progress import TASKS, progress_of
from runner.rehearsal.base_eval import CORE_TASKS
from runner.text import units
from tests.statuses import a_status
from tests.test_run import run
from tui.presentation import run_format, run_summary
from tui.presentation.cells import Cell
from tui.presentation.flow import flow

NOW = 1_795_646_000.0


def status(stage: str, **given: Any) -> Status:
    """Of a speedrun whose base model is trained."""
    stages = [StageStatus(StageName(stage), StageState.RUNNING, NOW - 60)]
    base = {"stages": stages, "stage": stage, "step": 40, "total_steps": 40, "loss": 2.1, "val_bpb": 0.9}
    return a_status(1, State.RUNNING, "c", NOW - 600, NOW - 1, **{**base, **given})


def said(found: Run) -> str:
    return "  ".join(c if isinstance(c, str) else c.text for c in run_summary.number_cells(found, NOW))


def sft_step(step: int, percent: float, loss: float) -> events.Step:
    return events.Step(step, None, percent, loss, 1.0, 500.0, 1000, 40.0)


def test_fine_tuning_shows_its_own_share_step_and_loss_not_those_of_the_base_model() -> None:
    tracker = Tracker(status("sft"))
    tracker.begin_stage(NOW - 60)
    found = run(State.RUNNING, status=tracker.status)
    assert (run_format.steps(found), run_format.loss(found), run_format.progress(found, 4)) == ("–", "–", "····    –")
    assert run_format.state(found).text == "▶ starting sft"
    tracker.take(sft_step(15, 37.5, 0.2961), NOW - 30)
    assert (run_format.steps(found), run_format.loss(found)) == ("sft 38%", "0.296")
    assert run_format.progress(found, 4).endswith(" 38%") and "sft step 15  sft loss 0.2961" in said(found)
    assert run_format.stages(found, NOW, brief=True)[0].text.startswith("sft ▶ 38%")
    assert run_format.state(found).text == "▶ fine-tuning" and "2.1" not in said(found)


def test_an_evaluation_counts_its_tasks_and_is_no_full_bar() -> None:
    tracker = Tracker(status("base_eval"))
    tracker.begin_stage(NOW - 60)
    found = run(State.RUNNING, status=tracker.status)
    assert progress_of(found).share is None
    for task in ("a", "b", "c", "d"):
        tracker.take(events.TaskScore(task, 0.5, 0.1), NOW - 30)
    spec = msgspec.structs.replace(found.spec, engine="nanochat")
    nanochat = run(State.RUNNING, spec=spec, status=tracker.status)
    assert run_format.steps(nanochat) == "CORE 4/22" and run_format.progress(nanochat, 4).endswith(" 18%")
    tracker.status.work.stage = StageName.CHAT_EVAL
    tracker.begin_stage(NOW - 20)
    tracker.take(events.TaskScore("ARC-Easy", 0.5), NOW - 10)
    assert (run_format.steps(nanochat), run_format.loss(nanochat)) == ("ChatCORE 1/5", "–")
    for _ in range(9):
        tracker.take(events.TaskScore("MMLU", 0.5), NOW - 5)
    assert run_format.steps(nanochat) == "ChatCORE 10/10"


def test_the_rehearsal_has_as_many_tasks_of_core_as_its_progress_counts_on() -> None:
    assert TASKS["rehearsal"][StageName.BASE_EVAL] == len(CORE_TASKS)


def test_base_training_and_a_run_that_is_done_show_the_steps_of_the_base_model() -> None:
    training = run(State.RUNNING, status=status("base", step=10))
    assert (run_format.steps(training), run_format.loss(training)) == ("10/40", "2.100")
    assert "step 10/40  loss 2.1000" in said(training)
    done = run(State.DONE, status=status("report"))
    assert (run_format.steps(done), run_format.progress(done, 4)) == ("40/40", "████ 100%")


SCORES = "CORE 0.2231, ChatCORE 0.3100, val bpb 0.7641, SFT val bpb 0.4012, loss 2.412, 10,510 steps"
FAILED = Outcome(
    OutcomeKind.OOM, "out of GPU memory (1.50 GiB more did not fit)", "use --device-batch-size 4; then resume"
)


@pytest.mark.parametrize("width", [78, 100, 200])
@pytest.mark.parametrize(
    ("state", "outcome", "wanted"),
    [
        (State.DONE, Outcome(OutcomeKind.DONE, SCORES), SCORES.split(", ")),
        (State.FAILED, FAILED, [FAILED.message, "kept up to step 7,400", FAILED.advice]),
        (
            State.CANCELLED,
            Outcome(OutcomeKind.CANCELLED, "stopped during base; kept up to step 7,400"),
            ["kept up to step 7,400"],
        ),
    ],
)
def test_scores_the_reason_and_what_is_kept_are_whole_in_three_lines_of_80_columns(
    width: int, state: State, outcome: Outcome, wanted: list[str]
) -> None:
    ended = run(state, status=status("base", saved_step=7400, outcome=outcome))
    sign = [Cell(c) if isinstance(c, str) else c for c in run_summary.health_line(ended, NOW)]
    lines = ["".join(cell.text for cell in line) for line in flow(sign, width, most=3)]
    assert len(lines) <= 3 and all(len(line) <= width for line in lines)
    assert not any(line.endswith("…") for line in lines)
    for words in wanted:
        assert any(words in line for line in lines), lines
    assert sum(line.count("kept up to") for line in lines) == (state is not State.DONE)


def test_a_cell_stays_whole_where_it_can_and_what_is_cut_says_so() -> None:
    cells = [Cell("one two"), Cell("three", "error"), Cell("漢字漢字")]
    assert flow(cells, 14) == [[Cell("one two"), Cell("  thre…", "error")]]
    assert flow(cells, 12, most=3) == [[Cell("one two")], [Cell("three", "error")], [Cell("漢字漢字")]]
    assert flow([Cell("a long one")], 6, most=2) == [[Cell("a"), Cell(" long")], [Cell("one")]]
    assert flow(cells, 0) == [[Cell("…")]]


def test_times_name_their_zone_and_their_day_where_it_is_another() -> None:
    night = 1_795_651_200.0 - 600  # 23:50 UTC
    assert units.moment(night, night - 60) == "23:50 UTC"
    assert units.moment(night + 3600, night) == "Thu 26 Nov 00:50 UTC"
    assert units.moment(night - 400 * 86400, night) == "21 Oct 2025 23:50 UTC"


def test_the_times_of_a_log_name_their_zone_and_their_days() -> None:
    midnight = 1_795_651_200.0
    assert units.days(midnight - 60, midnight - 5, midnight - 1) == "UTC"
    assert units.days(midnight - 60, midnight + 60, midnight + 90) == "25 Nov to 26 Nov, UTC"
    assert units.days(midnight - 60, midnight - 5, midnight + 90) == "25 Nov, UTC"
