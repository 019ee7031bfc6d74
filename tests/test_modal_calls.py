"""Everything that a call id can answer, and what is made of it: the whole table, against the server."""

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

import modal
import pytest

from runner.backends.modal import calls
from runner.backends.modal.calls import CallEnd, CallResult
from runner.backends.modal.errors import error_text, translating_errors
from runner.errors import CredentialsError, NanochatError, Unreachable
from tests.conftest import Cli, wait_until
from tests.modal_cloud import Cloud


@pytest.fixture
def spawn(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Calls a function that behaves as told, and returns the call id."""
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    name = f"behaves-{os.urandom(3).hex()}"
    app = modal.App(name)

    def behave(how: str) -> object:
        import os

        if how == "value-error":
            raise ValueError("loss is nan")
        if how == "timeout-error":
            raise TimeoutError("the hub did not answer")
        if how == "socket-timeout":
            raise TimeoutError("the hub did not answer")
        if how == "dies":
            os._exit(137)
        if how.startswith("sleeps"):
            if begun := how.partition(" ")[2]:
                os.close(os.open(begun, os.O_CREAT))
            time.sleep(60)
        if how.startswith("runs "):
            return type("Evil", (), {"__reduce__": lambda self: (os.system, (how[5:],))})()
        return {"done": {"state": "done"}, "nonsense": ["what"]}[how]

    app.function(image=modal.Image.debian_slim(), serialized=True, name="behave")(behave)
    app.deploy()
    function = modal.Function.from_name(name, "behave")

    def call(how: str, timeout: int = 60) -> str:
        return function.with_options(timeout=timeout).spawn(how).object_id

    return call


def end_of(call_id: str) -> CallResult:
    found = wait_until(lambda: calls.call_result(call_id, look_closer=True), what="an end")
    assert isinstance(found, CallResult)
    return found


def test_a_body_that_returns_tells_its_state(spawn: Callable[..., str]) -> None:
    assert end_of(spawn("done")) == CallResult(CallEnd.RETURNED, "", "done")
    assert end_of(spawn("nonsense")) == CallResult(CallEnd.RETURNED, "an unexpected result: ['what']")


def test_what_a_body_raised_is_a_crash_with_its_words(spawn: Callable[..., str]) -> None:
    assert end_of(spawn("value-error")) == CallResult(CallEnd.CRASHED, "ValueError('loss is nan')")


@pytest.mark.parametrize("how", ["timeout-error", "socket-timeout"])
def test_a_timeout_error_out_of_a_body_is_not_taken_for_a_call_that_still_runs(
    spawn: Callable[..., str], how: str
) -> None:
    assert end_of(spawn(how)) == CallResult(CallEnd.CRASHED, "TimeoutError('the hub did not answer')")


def test_a_container_that_dies_is_a_crash(spawn: Callable[..., str]) -> None:
    ended = end_of(spawn("dies"))
    assert ended.kind is CallEnd.CRASHED and "137" in ended.text


def test_the_time_limit_of_a_call_is_told_from_a_crash(spawn: Callable[..., str]) -> None:
    assert end_of(spawn("sleeps", timeout=1)).kind is CallEnd.TIMEOUT


def test_a_cancelled_call_is_told_from_a_crash(spawn: Callable[..., str], tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    call_id = spawn(f"sleeps {begun}")
    wait_until(begun.exists, what="its body")
    assert calls.call_result(call_id, look_closer=True) is None
    calls.terminate(call_id)
    assert end_of(call_id) == CallResult(CallEnd.TERMINATED)
    calls.terminate(call_id)


def test_a_call_in_the_queue_has_not_ended_and_can_be_cancelled(spawn: Callable[..., str], cloud: Cloud) -> None:
    cloud.knobs(hold=True)
    call_id = spawn("done")
    assert calls.call_result(call_id, look_closer=True) is None
    calls.terminate(call_id)
    assert end_of(call_id) == CallResult(CallEnd.TERMINATED)


def test_a_preempted_call_has_not_ended(spawn: Callable[..., str], cloud: Cloud, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    call_id = spawn(f"sleeps {begun}")
    wait_until(begun.exists, what="its body")
    (container,) = cloud.containers([call_id], "behave")
    cloud.knobs(hold=True)
    cloud.preempt(container, grace=1)
    wait_until(lambda: not cloud.containers([call_id], "behave"), what="no container")
    assert calls.call_result(call_id, look_closer=True) is None
    calls.terminate(call_id)


def test_a_call_that_modal_has_forgotten_says_so(spawn: Callable[..., str], cloud: Cloud) -> None:
    call_id = spawn("done")
    end_of(call_id)
    cloud.post(f"/expire/{call_id}")
    assert end_of(call_id).kind is CallEnd.EXPIRED
    assert end_of("fc-nobodyknowsthisone").kind is CallEnd.UNKNOWN
    calls.terminate("fc-nobodyknowsthisone")


TROUBLE = "ABORTED DATA_LOSS OUT_OF_RANGE FAILED_PRECONDITION UNIMPLEMENTED INVALID_ARGUMENT UNKNOWN RESET".split()


def test_trouble_with_the_question_is_never_taken_for_the_end_of_a_call(
    spawn: Callable[..., str], cloud: Cloud
) -> None:
    cloud.knobs(hold=True)
    call_id = spawn("done")
    for rpc, status in itertools.product(("FunctionGetOutputs", "FunctionGetCallGraph"), TROUBLE):
        cloud.fault(rpc, status)
        with pytest.raises(NanochatError), translating_errors():
            calls.call_result(call_id, look_closer=True)
        cloud.knobs(faults=[])
    assert calls.call_result(call_id, look_closer=True) is None
    calls.terminate(call_id)


def test_a_cancel_that_modal_could_not_do_just_now_is_not_taken_for_one_of_a_call_that_has_ended(
    spawn: Callable[..., str], cloud: Cloud
) -> None:
    call_id = spawn("sleeps")
    cloud.fault("FunctionCallCancel", "ABORTED", n=1)
    with pytest.raises(Unreachable, match="try again"), translating_errors():
        calls.terminate(call_id)
    calls.terminate(call_id)
    assert end_of(call_id) == CallResult(CallEnd.TERMINATED)
    cloud.fault("FunctionCallCancel", "FAILED_PRECONDITION", n=1)
    calls.terminate(call_id)


def test_a_result_is_read_and_never_run(spawn: Callable[..., str], tmp_path: Path) -> None:
    ended = end_of(spawn(f"runs touch {tmp_path / 'run'}"))
    assert ended.kind is CallEnd.RETURNED and "unexpected" in ended.text and not (tmp_path / "run").exists()


def test_an_outage_is_no_end(spawn: Callable[..., str], cloud: Cloud) -> None:
    call_id = spawn("sleeps")
    cloud.outage(20)
    with pytest.raises(Unreachable, match="cannot be reached"), translating_errors():
        calls.call_result(call_id, look_closer=True)
    cloud.outage(0)
    calls.terminate(call_id)


def test_an_environment_that_does_not_exist_is_named_with_the_command_that_lists_them(
    modal_cli: Cli, cloud: Cloud
) -> None:
    modal_cli.env["MODAL_ENVIRONMENT"] = "nope"
    failed = modal_cli.modal("--tag", "x", code=4)
    assert "'nope'" in failed.stderr and "modal environment list" in failed.stderr and failed.stderr.count("\n") == 1
    assert "modal environment list" in modal_cli("doctor", code=1).stdout


def test_a_token_is_never_part_of_what_a_person_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-verysecret")
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-known")
    said = error_text(RuntimeError("bad token ak-known / as-verysecret\x1b[31m\nin line two"))
    assert said == "bad token … / … in line two"
    with pytest.raises(CredentialsError, match="does not accept"), translating_errors():
        raise modal.exception.AuthError("Token missing ak-known")
