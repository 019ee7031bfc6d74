"""A run that failed is not only told how it could do better: the question before its resume does it by a key."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from runner.diagnosis.advice import CanResume
from runner.fleet.fleet import Fleet
from runner.model.spec import RunSpec
from runner.model.states import State
from runner.model.status import Change, Outcome, OutcomeKind
from tests.answers import answer
from tests.test_app import put, text_of, until, window_text
from tui.app.app import NanochatApp
from tui.screens.launch import LaunchScreen
from tui.widgets.choice import Choice
from tui.widgets.consent import Confirm

OOM = "out of GPU memory (1.50 GiB more did not fit)"
HALF = {"device_batch_size": 4}


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a resume was asked for with."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(Fleet, "resume", lambda self, run, **given: asked.append(given))
    return asked


def failed(home: Path, outcome: Outcome, **spec: Any) -> Fleet:
    fleet = Fleet(home)
    made = RunSpec.create(task="speedrun", model="d12", backend="local", engine="rehearsal", **spec)
    state = State.OUT_OF_BUDGET if outcome.kind is OutcomeKind.BUDGET else State.FAILED
    put(fleet, 1, state, spec=made, status={"outcome": outcome})
    return fleet


async def question(pilot: Pilot[int], app: NanochatApp) -> Callable[[], str]:
    """Ask for the resume; what the question says as one line."""
    await until(pilot, lambda: "tag-1" in text_of(app), "the run")
    await pilot.press("r")
    await until(pilot, lambda: isinstance(app.screen, Confirm) and "attempt 2" in text_of(app), "the question")
    return lambda: window_text(app)


@pytest.mark.parametrize("goes_on", [False, True], ids=["anew", "from a checkpoint"])
@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_the_change_that_was_advised_is_filled_into_the_form_by_a_key(
    tmp_path: Path, resumed: list[dict[str, Any]], goes_on: bool, size: tuple[int, int]
) -> None:
    change = Change(HALF, task="base" if goes_on else "", goes_on=goes_on)
    ended = Outcome(OutcomeKind.OOM, OOM, "launch with --device-batch-size 4", resume=CanResume.CHANGED, change=change)
    with failed(tmp_path, ended, overrides={"iterations": 30}) as fleet:
        app = NanochatApp(fleet)
        async with app.run_test(size=size) as pilot:
            said = await question(pilot, app)
            assert OOM in said() and "advised: launch with --device-batch-size 4" in said()
            assert "likely to end in the same way" in said() and "resume tag-1 --yes" in said()
            assert "from the beginning: no checkpoint was kept" in said()
            await answer(pilot, "ctrl+g")
            task = "--task base --from tag-1" if goes_on else "--task speedrun"
            await until(pilot, lambda: f"nanochat-tui launch {task}" in said(), "its command")
            assert "--device-batch-size 4" in said() and ("--iterations 30" in said()) is not goes_on
            assert "Fill in" in said()
            await answer(pilot, "y")
            await until(pilot, lambda: isinstance(app.screen, LaunchScreen), "the form")
            fields = app.screen.query_one("#overrides", Input)
            await until(pilot, lambda: "device-batch-size=4" in fields.value, "the change")
            assert app.screen.query_one("#task", Choice).value == ("base" if goes_on else "speedrun")
            assert app.screen.query_one("#from", Input).value == ("tag-1" if goes_on else "")
            assert ("iterations=30" in fields.value) is not goes_on
    assert resumed == []


async def test_without_the_tick_the_same_question_resumes_as_it_is(
    tmp_path: Path, resumed: list[dict[str, Any]]
) -> None:
    ended = Outcome(OutcomeKind.OOM, OOM, "launch with less", resume=CanResume.CHANGED, change=Change(HALF))
    with failed(tmp_path, ended) as fleet:
        app = NanochatApp(fleet)
        async with app.run_test(size=(100, 30)) as pilot:
            await question(pilot, app)
            await answer(pilot, "y")
            await until(pilot, lambda: resumed, "the resume")
    assert resumed == [{"step": None}]


async def test_a_run_that_ran_out_of_its_budget_is_resumed_with_more(
    tmp_path: Path, resumed: list[dict[str, Any]]
) -> None:
    ended = Outcome(OutcomeKind.BUDGET, "$5.00 of $5.00 is spent", "nanochat-tui resume RUN --budget USD")
    with failed(tmp_path, ended, budget="5") as fleet:
        app = NanochatApp(fleet)
        async with app.run_test(size=(100, 30)) as pilot:
            said = await question(pilot, app)
            assert "likely to end in the same way" in said()
            await answer(pilot, "ctrl+g")
            await until(pilot, lambda: "resume tag-1 --budget 6 --yes" in said(), "its command")
            await answer(pilot, "y")
            await until(pilot, lambda: resumed, "the resume")
    assert resumed == [{"step": None, "budget": Decimal(6)}]


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (
            Outcome(OutcomeKind.CRASH, "a value does not fit", "launch with others", resume=CanResume.NO),
            "changes nothing",
        ),
        (Outcome(OutcomeKind.DISK, "the disk is full", "make room", resume=CanResume.CHANGED), "Without a change"),
        (Outcome(OutcomeKind.KILLED, "it was preempted", "resume it", resume=CanResume.YES), ""),
        (
            Outcome(OutcomeKind.OOM, OOM, "as it has it", resume=CanResume.CHANGED, change=Change(HALF)),
            "Without a change",
        ),
    ],
)
async def test_a_resume_that_would_end_in_the_same_way_is_said_to_and_nothing_is_offered_that_no_key_can_do(
    tmp_path: Path, outcome: Outcome, says: str
) -> None:
    with failed(tmp_path, outcome, overrides=dict(HALF)) as fleet:
        app = NanochatApp(fleet)
        async with app.run_test(size=(100, 30)) as pilot:
            said = await question(pilot, app)
            assert outcome.message in said() and f"advised: {outcome.advice}" in said()
            assert (says in said()) if says else "in the same way" not in said()
            assert "Ctrl-G" not in said()


def test_a_change_is_kept_in_the_record_of_a_run_and_one_of_an_earlier_release_has_none() -> None:
    kept = Outcome(OutcomeKind.OOM, OOM, change=Change(HALF, task="base", goes_on=True))
    assert msgspec.json.decode(msgspec.json.encode(kept), type=Outcome) == kept
    assert msgspec.json.decode(b'{"kind": "oom", "message": "out"}', type=Outcome).change is None


async def test_the_lower_rate_that_is_advised_after_a_loss_that_is_nan_is_in_the_field_for_flags(
    tmp_path: Path, resumed: list[dict[str, Any]]
) -> None:
    change = Change({}, flags=("base.matrix-lr=0.01",))
    ended = Outcome(OutcomeKind.NAN, "the loss is nan", "launch it anew", resume=CanResume.CHANGED, change=change)
    with failed(tmp_path, ended) as fleet:
        app = NanochatApp(fleet)
        async with app.run_test(size=(120, 36)) as pilot:
            await question(pilot, app)
            assert "launch anew with --set base.matrix-lr=0.01" in window_text(app)
            await answer(pilot, "ctrl+g")
            await until(pilot, lambda: "--set base.matrix-lr=0.01" in window_text(app).partition("$")[2], "its command")
            await answer(pilot, "y")
            await until(pilot, lambda: isinstance(app.screen, LaunchScreen), "the form")
            await until(pilot, lambda: app.screen.query_one("#set", Input).value == "base.matrix-lr=0.01", "the rate")
