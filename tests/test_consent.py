"""Questions of the app are answered by nothing that was sent before they could be read."""

import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual import events
from textual.widgets import Button, Input

from runner.fleet.fleet import Fleet
from runner.model.states import State
from runner.volumes.deletion import Weight
from tests.answers import answer, readable
from tests.conftest import Cli
from tests.terminal import Terminal
from tests.test_app import put, text_of, until
from tests.test_keys import at_once
from tui.app.app import NanochatApp
from tui.widgets.consent import INSTEAD, QUIET_S, AskPath, Confirm, Question, word_for


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


# However busy this machine is, what comes then comes before anybody could read.
NEVER = 1e6


def read_from_now(app: NanochatApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.widgets.consent.QUIET_S", QUIET_S)
    assert isinstance(app.screen, Question)
    app.screen.ask_anew()


@pytest.mark.parametrize("words", ["daily report", "hello world", "copy", "xy", "cy", "ry", "xtag-1\n", "x\ty\n"])
async def test_words_that_come_in_one_burst_delete_stop_and_resume_nothing(fleet: Fleet, words: str) -> None:
    put(fleet, 1, State.CANCELLED)
    app = NanochatApp(fleet)
    done: list[str] = []
    for name in ("delete", "cancel", "resume"):
        setattr(fleet, name, lambda run, name=name, **given: done.append(name))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "tag-1" in text_of(app), "the run")
        at_once(app, *({"\n": "enter", "\t": "tab"}.get(c, c) for c in words))
        await pilot.pause(3 * QUIET_S)
        await pilot.press("escape")
    assert not done


async def test_words_typed_at_a_persons_pace_answer_nothing_as_long_as_they_have_no_pause(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.widgets.consent.QUIET_S", 3.0)
    app = NanochatApp(fleet)
    answers: list[object] = []
    async with app.run_test(size=(100, 30)) as pilot:
        asked = Confirm("Stop it?", [], "command", "Stop", "Keep")
        app.push_screen(asked, answers.append)
        await readable(pilot)
        asked.ask_anew()
        for _ in range(40):
            await pilot.press("y")
            await pilot.pause(0.1)
        assert not answers and "y came before this could be read: once more" in text_of(app)
        await answer(pilot, "y")
        assert answers == [True]


async def test_no_other_key_answers_in_the_place_of_one_that_came_too_early(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    answers: list[object] = []
    async with app.run_test(size=(100, 30)) as pilot:
        for pressed, answered in ((("y",), []), (("ctrl+g", "y"), [True]), (("n",), [False])):
            answers.clear()
            asked = Confirm("Resume it?", [], "command", "Resume", "Keep", instead="with more memory")
            app.push_screen(asked, answers.append)
            await until(pilot, lambda asked=asked: app.screen is asked and asked.is_mounted, "the question")
            asked.ask_anew()
            await pilot.press("ctrl+g")
            assert not asked.instead
            await until(pilot, lambda asked=asked: time.monotonic() > asked._readable_at, "it can be read")
            assert "Ctrl-G came before" in text_of(app)
            for key in pressed:
                await pilot.press(key)
                await until(pilot, lambda asked=asked: answers or time.monotonic() > asked._readable_at, "it")
            assert answers == answered and (answers != [True] or asked.instead)
            if not answers:
                await pilot.press("escape")
                await until(pilot, lambda: answers == [False], "no")


async def test_the_safe_answer_has_the_keys_and_moving_about_is_none(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    answers: list[object] = []
    async with app.run_test(size=(100, 30)) as pilot:
        for instead in ("", "for good"):
            answers.clear()
            asked = Confirm("Stop it?", [], "command", "Stop", "Keep", instead=instead)
            app.push_screen(asked, answers.append)
            await until(pilot, lambda asked=asked: app.screen is asked and asked.is_mounted, "the question")
            asked.ask_anew()
            await pilot.press("down")
            assert asked._dropped is None
            await readable(pilot)
            await pilot.press("enter")
            await until(pilot, lambda: answers == [False], "no")
            assert not asked.instead


async def test_a_click_that_came_too_early_is_followed_by_no_other_answer_but_the_safe_one(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    answers: list[object] = []
    async with app.run_test(size=(100, 30)) as pilot:
        asked = Confirm("Stop it?", [], "command", "Stop", "Keep")
        app.push_screen(asked, answers.append)
        await until(pilot, lambda: app.screen is asked and asked.is_mounted, "the question")
        asked.ask_anew()
        clicked(app, "#yes")
        await until(pilot, lambda: asked._dropped == "" and time.monotonic() > asked._readable_at, "it can be read")
        await pilot.press("y")
        assert not answers
        clicked(app, "#no")
        await until(pilot, lambda: answers == [False], "no")


async def test_what_opens_late_is_not_answered_by_keys_that_were_pressed_meanwhile(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(fleet, 1, State.CANCELLED)
    monkeypatch.setattr("tui.widgets.consent.QUIET_S", NEVER)
    resumed, gate = list[str](), threading.Event()
    monkeypatch.setattr(fleet, "confirmation_reason_for_resume", lambda run, **more: gate.wait(30) * "")
    monkeypatch.setattr(fleet, "resume", lambda run, step=None: resumed.append(run.id))
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "tag-1" in text_of(app), "the run")
        await pilot.press("r", "y", "y")
        gate.set()
        await until(pilot, lambda: "free" in text_of(app), "what it costs")
        await pilot.press("y")
        assert isinstance(app.screen, Confirm) and not resumed
        read_from_now(app, monkeypatch)
        await answer(pilot, "y")
        await until(pilot, lambda: resumed == ["run0001"], "the resume")


def clicked(app: NanochatApp, button: str) -> None:
    """A click as a terminal reports it."""
    x, y, _, _ = app.screen.query_one(button).region
    for event in (events.MouseDown, events.MouseUp):
        app.post_message(event(None, x + 1, y + 1, 0, 0, 1, False, False, False, x + 1, y + 1))


async def test_clicks_pastes_and_enter_answer_no_more_than_letters_do(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.widgets.consent.QUIET_S", NEVER)
    app = NanochatApp(fleet)
    answers: list[object] = []
    async with app.run_test(size=(100, 30)) as pilot:
        app.push_screen(Confirm("Delete it?", [], "command", "Delete", "Keep", word="it"), answers.append)
        await pilot.pause()
        clicked(app, "#yes")
        clicked(app, "#no")
        await pilot.press("enter", "escape")
        assert not answers
        read_from_now(app, monkeypatch)
        await readable(pilot)
        app.post_message(events.Paste("it"))
        await pilot.press("enter")
        assert not answers and app.screen.query_one(Input).value == ""
        await answer(pilot, *"it")
        clicked(app, "#yes")
        await until(pilot, lambda: answers, "the answer")
        assert answers == [True]


async def test_a_question_that_another_covered_is_read_again_before_it_is_answered(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    answers: list[object] = []
    async with app.run_test(size=(100, 30)) as pilot:
        app.push_screen(Confirm("Below?", [], "command", "Yes", "No"), lambda yes: answers.append(("below", yes)))
        await readable(pilot)
        app.push_screen(Confirm("Above?", [], "command", "Yes", "No"), lambda yes: answers.append(("above", yes)))
        await pilot.pause()
        await answer(pilot, "y", "y", "y")
        await pilot.pause()
        assert answers == [("above", True)]
        await answer(pilot, "y")
        await pilot.pause()
        assert answers == [("above", True), ("below", True)]


async def test_enter_typed_ahead_takes_no_default_of_a_prompt_but_text_typed_ahead_is_kept(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.widgets.consent.QUIET_S", NEVER)
    app = NanochatApp(fleet)
    answers: list[object] = []
    async with app.run_test(size=(100, 30)) as pilot:
        app.push_screen(AskPath("Where to?", "/home/", "command"), answers.append)
        await pilot.pause()
        await pilot.press(*"me", "enter", "enter")
        assert not answers
        read_from_now(app, monkeypatch)
        await answer(pilot, "enter")
        assert answers == [str(Path.cwd() / "me")]


async def test_a_run_is_deleted_only_with_its_tag_however_little_it_holds(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(fleet, 1)
    monkeypatch.setattr("tui.app.run_questions.weigh", lambda *_: Weight(1, 10, 0))
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "tag-1" in text_of(app), "the run")
        await pilot.press("x")
        await until(pilot, lambda: "gone for good" in text_of(app), "what goes")
        await answer(pilot, *"y", "enter")
        app.screen.query_one("#yes", Button).press()
        await pilot.pause()
        assert isinstance(app.screen, Confirm) and fleet.registry.all()
        await answer(pilot, "backspace", *"tag-1", "enter")
        await until(pilot, lambda: not fleet.registry.all(), "the deletion")


async def test_gpus_that_are_paid_for_are_asked_for_with_dollars_however_little_they_cost(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.put_setting("local_usd_per_hour", "40")
    launched: list[Any] = []
    monkeypatch.setattr(fleet, "launch", lambda *words, **given: launched.append(words))
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("n", "right")
        await until(pilot, lambda: "--task speedrun" in text_of(app) and "likely" in text_of(app), "the plan")
        await pilot.press("f5", "y")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        assert "$" in text_of(app) and not launched
        await answer(pilot, "n")


async def test_a_resume_that_is_paid_for_says_its_dollars_and_one_of_several_runs_says_each(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[str] = []
    monkeypatch.setattr(fleet, "resume", lambda run, step=None: resumed.append(run.tag))
    for number in (1, 2, 3):
        put(fleet, number, State.DONE if number == 3 else State.CANCELLED)
    paid = fleet.registry.get("run0001")
    prices = msgspec.structs.replace(paid.prices, local=Decimal(4))
    fleet.registry.update("run0001", lambda r: msgspec.structs.replace(r, prices=prices))
    monkeypatch.setattr(fleet, "remaining_usd", lambda run: Decimal("7.25"))
    app = NanochatApp(fleet)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "tag-3" in text_of(app), "the runs")
        await pilot.press("r")
        assert any("tag-3 is done" in told.text for told in app.toasts.all)
        await pilot.press("space", "space", "space", "r")
        await until(pilot, lambda: "tag-1" in text_of(app) and "$7.25" in text_of(app), "what it costs")
        assert "Resume 2 runs?" in text_of(app) and "tag-2: attempt 2" in text_of(app) and "free" in text_of(app)
        await answer(pilot, "y")
        await until(pilot, lambda: sorted(resumed) == ["tag-1", "tag-2"], "both")


@pytest.mark.parametrize("name", ["", " a", "ä", "x" * 41, "a\tb", "漢字.pt"])
def test_a_name_that_not_everybody_can_type_is_not_asked_for(name: str) -> None:
    assert word_for(name) == INSTEAD
    assert word_for("model_000010.pt") == "model_000010.pt"


@pytest.mark.parametrize("size", [(20, 5), (40, 8), (80, 24), (300, 100)])
async def test_a_question_can_be_read_and_answered_at_any_size(fleet: Fleet, size: tuple[int, int]) -> None:
    app = NanochatApp(fleet)
    answers: list[object] = []
    async with app.run_test(size=size) as pilot:
        app.push_screen(Confirm("Delete it?", ["long"] * 200, "c " * 300, "Delete", "Keep", word="it"), answers.append)
        await readable(pilot)
        await until(pilot, lambda: "Type it" in text_of(app) and "Keep (Esc)" in text_of(app), "both ways out")
        await pilot.press(*"it", "enter")
        await pilot.pause()
        assert answers == [True]


def test_what_was_typed_ahead_of_a_question_on_the_command_line_does_not_answer_it(cli: Cli) -> None:
    cli("launch", "--tag", "kept", "--step-ms", "0", "--watch")
    terminal = Terminal([*_python("time.sleep(2)"), "rm", "kept"], cli.env)
    try:
        terminal.wait_for("ready")
        terminal.write("y\n")
        terminal.wait_for("[y/N]")
        terminal.settle()
        assert terminal.alive and cli.json("ls")
        terminal.write("y\n")
        assert terminal.wait_exit() == 0 and cli.json("ls") == []
    finally:
        terminal.kill()


def _python(before: str) -> list[str]:
    """The command line in a Python that does something first."""
    run = f"import time, sys; print('ready', flush=True); {before}; from tui.cli.main import main; sys.exit(main())"
    return [sys.executable, "-c", run]
