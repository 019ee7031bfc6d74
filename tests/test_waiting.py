"""Who waits for the network longer than a moment is told, once."""

import threading

import pytest

from runner.backends.modal.errors import translating_errors
from runner.system import waiting


def test_a_wait_for_the_network_that_is_no_moment_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SOON_S", 0.0)
    monkeypatch.setattr(waiting, "LOOK_S", 0.01)
    said: list[str] = []
    told = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        told.set()

    with waiting.reporting(say), translating_errors():
        assert told.wait(30)
    assert said == ["waiting for Modal to answer"] and waiting.longest_s() == 0.0


def test_a_question_that_fails_is_not_under_way_any_more() -> None:
    with pytest.raises(ZeroDivisionError), waiting.waiting_for():
        raise ZeroDivisionError
    assert waiting.longest_s() == 0.0
