"""How a run has ended, in the words that every screen has for it."""

from pathlib import Path

import msgspec

from runner.fleet.fleet import Fleet
from runner.model.states import State
from runner.model.status import Outcome, OutcomeKind
from tests.statuses import a_status
from tests.test_run import run
from tui.cli import json_records
from tui.presentation import run_summary


def test_what_to_do_comes_before_warnings_and_the_one_of_the_end_itself_is_not_told_twice() -> None:
    status = a_status(1, State.FAILED, "local-1-x", 0.0, 1.0)
    status.work.warnings = ["Flash Attention 3 did not load", "loss is nan at step 1,190"]
    status.outcome = Outcome(OutcomeKind.NAN, "the loss is nan since step 1,190", "launch it anew")
    ended = msgspec.structs.replace(run(State.FAILED), status=status)
    said = [cell if isinstance(cell, str) else cell.text for cell in run_summary.verdict(ended)]
    assert said == ["the loss is nan since step 1,190", "→ launch it anew", "! Flash Attention 3 did not load"]


def test_a_run_whose_clock_is_another_than_ours_is_no_alert_for_that() -> None:
    status = a_status(1, State.RUNNING, "local-1-x", 0.0, 100.0, progress_at=100.0, phase="training")
    live = msgspec.structs.replace(run(State.RUNNING), status=status)
    for now, alerts in ((101.0, 0), (5000.0, 1)):
        assert run_summary.standing([live], [], 5000.0, None, "", lambda run, now=now: now).alerts == alerts


def test_the_head_counts_as_trouble_what_is_told_of_a_run_that_is_watched(tmp_path: Path) -> None:
    """An evaluation that says nothing for 350 s is usual, but not of a run whose like was silent for 40 s at most."""
    status = a_status(1, State.RUNNING, "local-1-x", 0.0, 450.0, progress_at=100.0, phase="evaluating")
    live = msgspec.structs.replace(run(State.RUNNING), status=status)
    before = a_status(1, State.DONE, "local-1-x", 0.0, 1.0)
    before.pace.max_silence_s = {"evaluating": 40.0}
    like = msgspec.structs.replace(run(State.DONE), id="like", tag="like", status=before)
    for runs, alerts in (([live], 0), ([live, like], 1)):
        assert run_summary.standing(runs, [], 450.0, None, "", lambda run: 450.0).alerts == alerts
    fleet = Fleet(tmp_path, clock=lambda: 450.0)
    for known, word in ((live, "quiet"), (like, "stalled")):
        fleet.registry.add(known)
        assert json_records.record(fleet, live)["health"] == word, "and programs read the same"


def test_a_question_before_a_stop_says_how_many_steps_would_be_lost() -> None:
    for step, saved, says in (
        (113, 50, "kept up to step 50, 63 steps since then would be lost"),
        (50, 50, "kept up to step 50"),
        (7, None, "nothing kept yet"),
    ):
        status = a_status(1, State.RUNNING, "local-1-x", 0.0, 1.0, step=step, saved_step=saved)
        assert run_summary.kept(msgspec.structs.replace(run(State.RUNNING), status=status)) == says
    assert run_summary.kept(msgspec.structs.replace(run(State.QUEUED), status=None)) == "nothing kept yet"
