"""The life of a run: one table of transitions, and what a look at the backend makes of it."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.model.backend_name import BackendName
from runner.model.identifiers import check_tag, new_run_id, new_tag
from runner.model.run import Call, Poll, Run, calls_of_attempt
from runner.model.spec import RunSpec
from runner.model.states import LIVE, TRANSITIONS, State
from runner.model.status import Outcome, OutcomeKind, Status
from runner.model.transitions import (
    IllegalTransition,
    adopted,
    apply_poll,
    cancel_requested,
    found_alive,
    next_attempt,
    transition,
    with_call,
)
from tests.statuses import a_status

SPEC = RunSpec.create(task="test", model="d12", backend="local")
NOW = 1000.0
ENDS_THAT_RESUME = set(State) - LIVE - {State.DONE, State.DELETING, State.UNKNOWN}


def run(state: State = State.RUNNING, **given: Any) -> Run:
    base = {"id": "abc", "tag": "t", "spec": SPEC, "volume": "/v", "created_at": NOW - 60}
    backend = BackendName(given.pop("backend", "local"))
    return Run(**{**base, "backend": backend, "state": state, "calls": [Call("local-1-x", NOW - 59)], **given})


def status(state: State, attempt: int = 1, **given: Any) -> Status:
    return a_status(attempt, state, "local-1-x", NOW - 50, NOW - 1, **given)


def test_every_state_has_its_row_and_every_end_but_done_can_be_resumed() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(State.LAUNCHING in TRANSITIONS[s] for s in ENDS_THAT_RESUME)
    assert TRANSITIONS[State.DONE] == {State.DELETING}
    assert State.LAUNCHING not in TRANSITIONS[State.UNKNOWN], "what may still train must not meet another attempt"


@given(st.sampled_from(State), st.sampled_from(State))
def test_a_change_is_made_or_refused_as_the_table_says(a: State, b: State) -> None:
    if a == b or b in TRANSITIONS[a]:
        assert transition(run(a), b).state == b
    else:
        with pytest.raises(IllegalTransition):
            transition(run(a), b)


CALL_ENDS = [
    None,
    *(
        Outcome(OutcomeKind(kind), "said by the backend")
        for kind in ("cancelled", "killed", "timeout", "crash", "launch", "unknown")
    ),
]


@given(
    st.sampled_from(State),
    st.booleans(),
    st.sampled_from([None, *State]),
    st.integers(1, 2),
    st.booleans(),
    st.sampled_from(CALL_ENDS),
)
def test_no_look_raises_or_leaves_the_table(
    a: State, alive: bool, b: State | None, attempt: int, asked: bool, said: Outcome | None
) -> None:
    before = run(a, cancel_requested_at=NOW - 5 if asked else None)
    after = apply_poll(before, Poll(alive, status(b, attempt) if b else None, said), NOW)
    assert after.state == a or after.state in TRANSITIONS[a]
    assert after.live or after.ended_at is not None or not before.live


def test_a_preempted_run_is_live_goes_on_and_can_still_be_cancelled() -> None:
    waits = apply_poll(run(), Poll(True, status(State.PREEMPTED, step=40, preemptions=1)), NOW)
    assert (waits.state, waits.live) == (State.PREEMPTED, True)
    assert apply_poll(waits, Poll(True, status(State.RUNNING)), NOW).state is State.RUNNING
    told = apply_poll(run(), Poll(True, status(State.STOPPING)), NOW)
    assert told.state is State.STOPPING
    assert apply_poll(told, Poll(True, status(State.RUNNING)), NOW).state is State.RUNNING
    asked = cancel_requested(run(), NOW)
    assert apply_poll(asked, Poll(True, status(State.RUNNING)), NOW).state is State.STOPPING
    gone = apply_poll(
        waits, Poll(False, status(State.PREEMPTED, step=40), Outcome(OutcomeKind.CANCELLED, "by another")), NOW
    )
    assert gone.state is State.CANCELLED and gone.status and gone.status.training.step == 40
    assert gone.outcome and gone.outcome.message == "by another"


@pytest.mark.parametrize(
    ("kind", "becomes"),
    [
        (OutcomeKind.TIMEOUT, State.FAILED),
        (OutcomeKind.CRASH, State.FAILED),
        (OutcomeKind.KILLED, State.INTERRUPTED),
        (OutcomeKind.CANCELLED, State.CANCELLED),
    ],
)
def test_how_the_backend_says_a_call_ended_is_how_the_run_ended(kind: OutcomeKind, becomes: State) -> None:
    ended = apply_poll(run(), Poll(False, status(State.RUNNING, step=7), Outcome(kind, "why", "what to do")), NOW)
    assert (ended.state, ended.outcome) == (becomes, Outcome(kind, "why", "what to do"))


@pytest.mark.parametrize(
    ("paid", "rate"), [("NaN", "1"), ("0", "sNaN"), ("Infinity", "1"), ("0", "9E+999999"), ("-5", "0")]
)
def test_a_record_with_senseless_money_costs_nothing_and_breaks_nothing(paid: str, rate: str) -> None:
    record = a_status(1, State.RUNNING, "c", 0.0, 3600.0, earlier_cost_usd=Decimal(paid), usd_per_hour=Decimal(rate))
    assert record.spent_usd == 0


def test_the_calls_that_a_job_made_are_part_of_the_run() -> None:
    told = status(State.RUNNING, calls=["fc-1", "local-1-x"])
    assert [c.call_id for c in apply_poll(run(), Poll(True, told), NOW).calls] == ["local-1-x", "fc-1"]


def test_dollars_add_up_over_containers_of_different_price() -> None:
    first = a_status(1, State.RUNNING, "c", 0.0, 3600.0, usd_per_hour=Decimal("31.60"))
    assert first.spent_usd == Decimal("31.6000")
    second = a_status(
        1,
        State.RUNNING,
        "d",
        7200.0,
        9000.0,
        earlier_cost_usd=first.spent_usd,
        spent_before_s=3600,
        usd_per_hour=Decimal("2"),
    )
    assert (second.spent_usd, second.spent_s) == (Decimal("32.6000"), 5400.0)


def test_a_process_gone_without_a_word_is_interrupted_and_says_what_to_do() -> None:
    after = apply_poll(run(), Poll(False, status(State.RUNNING, stage="base")), NOW)
    assert after.state is State.INTERRUPTED
    assert after.outcome and "resume t " in after.outcome.advice


@pytest.mark.parametrize(("saved", "says"), [(None, ", or anew where none was kept"), (20, "")])
def test_the_resume_of_a_killed_run_that_kept_no_checkpoint_is_promised_none(saved: int | None, says: str) -> None:
    after = apply_poll(run(), Poll(False, status(State.RUNNING, stage="base", saved_step=saved)), NOW)
    assert after.outcome
    assert after.outcome.advice == f"nanochat-tui resume t continues from the last checkpoint{says}"


def test_a_run_taken_for_dead_yields_to_its_job_when_that_is_found_alive_or_done() -> None:
    late = apply_poll(run(State.LAUNCHING, calls=[]), Poll(False, None), NOW)
    assert late.state is State.INTERRUPTED
    assert with_call(late, "local-2-y", NOW).state is State.QUEUED
    assert apply_poll(late, Poll(True, status(State.RUNNING)), NOW).state is State.RUNNING
    ended = status(State.DONE, outcome=Outcome(OutcomeKind.DONE, "ok"), ended_at=NOW)
    assert apply_poll(late, Poll(False, ended), NOW).state is State.DONE
    assert apply_poll(late, Poll(False, status(State.RUNNING)), NOW) == late


def test_an_attempt_that_never_spoke_keeps_the_numbers_of_the_one_before() -> None:
    before = run(State.FAILED, status=status(State.FAILED, step=40, spent_before_s=7.0))
    after = apply_poll(with_call(next_attempt(before, NOW), "local-2-y", NOW), Poll(False, None), NOW + 60)
    assert after.status and (after.state, after.status.training.step, after.status.money.spent_before_s) == (
        State.INTERRUPTED,
        40,
        7.0,
    )


def test_the_same_after_a_cancel_is_cancelled() -> None:
    asked = cancel_requested(run(), NOW)
    assert apply_poll(asked, Poll(False, status(State.RUNNING)), NOW).state is State.CANCELLED


def test_the_last_word_of_the_job_wins_over_a_cancel_that_came_too_late() -> None:
    asked = cancel_requested(run(), NOW)
    said = status(State.DONE, outcome=Outcome(OutcomeKind.DONE, "ok"), ended_at=NOW)
    assert apply_poll(asked, Poll(False, said), NOW).state is State.DONE


def test_the_status_of_an_earlier_attempt_says_nothing_of_this_one() -> None:
    again = with_call(next_attempt(run(State.FAILED), NOW), "local-2-y", NOW)
    after = apply_poll(again, Poll(True, status(State.FAILED, attempt=1)), NOW)
    assert (after.state, after.attempt) == (State.QUEUED, 2)


def test_a_resume_that_is_being_spawned_is_not_taken_for_dead() -> None:
    again = next_attempt(run(State.FAILED), NOW)
    assert apply_poll(again, Poll(False, None), NOW + 5).state is State.LAUNCHING
    assert apply_poll(again, Poll(False, None), NOW + 60).state is State.INTERRUPTED


def test_a_call_id_that_the_job_reported_first_is_kept_once() -> None:
    launched = run(State.LAUNCHING, calls=[])
    seen = apply_poll(launched, Poll(True, status(State.PREPARING)), NOW)
    assert [c.call_id for c in with_call(seen, "local-1-x", NOW).calls] == ["local-1-x"]


def test_a_run_survives_json() -> None:
    full = run(status=status(State.RUNNING, loss=1.5, stages=[]))
    assert msgspec.json.decode(msgspec.json.encode(full), type=Run) == full


@pytest.mark.parametrize("tag", ["", "../x", "a/b", "-rf", "a b", "last", "é", "x" * 49, "a\n", "[red]"])
def test_a_tag_that_is_no_safe_file_name_is_refused(tag: str) -> None:
    with pytest.raises(UsageError):
        check_tag(tag)


def test_ids_and_tags_are_made_without_collisions() -> None:
    assert len({new_run_id() for _ in range(2000)}) == 2000
    taken: set[str] = set()
    for _ in range(80):
        taken.add(new_tag("d12", taken))
    assert len(taken) == 80


def test_the_calls_of_an_attempt_are_known_by_the_attempt_not_by_a_clock() -> None:
    calls = [Call("old", NOW - 0.1, 1), Call("new", NOW - 5, 2)]
    assert calls_of_attempt(run(calls=calls, attempt=2, asked_at=NOW)) == ["new"]
    assert calls_of_attempt(run(calls=calls[:1], attempt=2, asked_at=NOW - 30)) == []
    told = a_status(2, State.RUNNING, "train", NOW, NOW, calls=["new", "train"])
    assert calls_of_attempt(run(calls=calls, attempt=2, status=told)) == ["new", "train"]


def test_calls_of_records_that_do_not_say_their_attempt_are_judged_by_time_without_a_margin() -> None:
    old = [Call("old", NOW - 30), Call("new", NOW + 1)]
    assert calls_of_attempt(run(calls=old, attempt=2, asked_at=NOW)) == ["new"]


def test_what_another_machine_did_is_adopted_and_a_record_that_is_behind_is_not() -> None:
    here = run(State.CANCELLED, attempt=1, ended_at=NOW)
    there = run(State.LAUNCHING, attempt=2, asked_at=NOW + 5, host="laptop-b", calls=[Call("b", NOW + 6, 2)])
    got = adopted(here, there)
    assert (got.state, got.attempt, got.host, got.ended_at) == (State.INTERRUPTED, 2, "laptop-b", None)
    assert {c.call_id for c in got.calls} == {"local-1-x", "b"} and calls_of_attempt(got) == ["b"]
    assert adopted(got, here) == got
    assert adopted(run(State.DONE), there).state is State.DONE


def test_a_run_that_was_taken_for_ended_is_looked_at_again_only_when_its_job_beats() -> None:
    ended = run(State.CANCELLED, ended_at=NOW)
    first, second = status(State.RUNNING), status(State.RUNNING)
    second.updated_at += 2
    assert found_alive(ended, first, second).state is State.INTERRUPTED
    assert found_alive(ended, first, first) == ended
    second.attempt = 2
    assert found_alive(ended, first, second) == ended
    assert found_alive(run(State.DONE), first, second).state is State.DONE


def test_a_call_that_is_not_found_has_not_ended() -> None:
    poll = Poll(False, None, Outcome(OutcomeKind.UNKNOWN, "Modal does not know its calls"))
    got = apply_poll(run(State.RUNNING, status=status(State.RUNNING)), poll, NOW)
    assert got.state is State.UNKNOWN
    found = apply_poll(got, Poll(True, status(State.RUNNING)), NOW + 1)
    assert found.state is State.RUNNING and found.ended_at is None


def test_advice_calls_a_run_by_its_tag_of_now_and_says_the_rest_as_it_stands() -> None:
    advice = "see the log: nanochat-tui logs abcd2345; then resume"
    ended = status(State.FAILED, outcome=Outcome(OutcomeKind.CRASH, "it broke", advice))
    first = run(State.FAILED, id="abcd2345", tag="d12", status=ended)
    assert first.outcome and first.outcome.advice == "see the log: nanochat-tui logs d12; then resume"
    renamed = msgspec.structs.replace(first, tag="d12.1")
    assert renamed.outcome and renamed.outcome.advice.startswith("see the log: nanochat-tui logs d12.1;")
    other = run(State.FAILED, id="r", tag="x", status=ended)
    assert other.outcome and other.outcome.advice == advice


def test_an_end_that_only_a_newer_release_knows_keeps_its_message() -> None:
    said = msgspec.json.decode(b'{"kind":"eaten by a bear","message":"in the woods"}', type=Outcome)
    assert said == Outcome(OutcomeKind.UNKNOWN, "in the woods")
    assert msgspec.json.encode(Outcome(OutcomeKind.TIME_LIMIT, "x")).startswith(b'{"kind":"time limit"')
