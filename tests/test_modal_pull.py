"""The log of a Modal run on this disk: not taken for whole before what its container printed last was asked for."""

import time
from collections.abc import Callable
from pathlib import Path

import modal
import pytest

from runner.backends.modal import pull
from runner.backends.modal.pull import LogPuller
from runner.logs.frames import Frame
from runner.model.run import Call, Run
from runner.model.states import State
from tests.statuses import a_status
from tests.test_run import run

FILES = {"log": b"one\n", "events.jsonl": b'{"a":1}\n'}
PRINTED = [Frame(0, 0, b"one\n"), Frame(0, 4, b"out of memory\n")]


def read(name: str, offset: int, length: int) -> bytes:
    return FILES[name][offset : offset + length]


def ended(ago: float = 10.0, call_id: str = "fc-1", attempt: int = 1) -> Run:
    now = time.time()
    told = a_status(attempt, State.INTERRUPTED, call_id, now - ago - 60, now - ago, log_offsets=[0])
    return run(State.INTERRUPTED, status=told, attempt=attempt, calls=[Call(call_id, now - ago - 60, attempt)])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What Modal answers when it is asked for what a call has printed, one after the other; those asked for."""
    answers: list[object] = []

    def fetched(call_id: str, since: float) -> list[Frame]:
        answer = answers.pop(0) if answers else PRINTED
        if isinstance(answer, Exception):
            raise answer
        return PRINTED

    monkeypatch.setattr(pull, "fetch_tail", fetched)
    return answers


def log(folder: Path) -> bytes:
    return (folder / "log").read_bytes()


def test_the_last_lines_of_a_killed_container_are_asked_for_until_modal_answers(
    tmp_path: Path, asked: list[object]
) -> None:
    asked += [modal.exception.ConnectionError("cut"), OSError("no network"), modal.exception.ServiceError("busy")]
    pulls, gone = LogPuller(), ended()
    for _ in range(3):
        pulls.pull(gone, tmp_path, "app", read)
        assert log(tmp_path) == b"one\n"
    pulls.pull(gone, tmp_path, "app", read)
    assert log(tmp_path) == b"one\nout of memory\n" and not asked
    asked += [OSError("no network")]
    pulls.pull(gone, tmp_path, "app", read)
    assert asked, "all of it is here: nobody is asked any more"
    pulls.close()


@pytest.mark.parametrize(
    ("ago", "answer"),
    [(10.0, lambda: modal.exception.NotFoundError("no such call")), (90_000.0, lambda: OSError("no network"))],
    ids=["forgotten", "long ago"],
)
def test_what_modal_no_longer_has_is_not_waited_for(
    tmp_path: Path, asked: list[object], ago: float, answer: Callable[[], Exception]
) -> None:
    asked += [answer(), answer()]
    pulls, gone = LogPuller(), ended(ago)
    pulls.pull(gone, tmp_path, "app", read)
    pulls.pull(gone, tmp_path, "app", read)
    assert log(tmp_path) == b"one\n" and len(asked) == 1
    pulls.close()


def test_of_each_attempt_what_was_printed_last_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(pull, "fetch_tail", lambda call_id, since: calls.append(call_id) or [])
    pulls = LogPuller()
    for one in (ended(), ended(), ended(5.0, "fc-2", 2)):
        pulls.pull(one, tmp_path, "app", read)
    assert calls == ["fc-1", "fc-2"]
    pulls.close()
