"""What becomes of a run: each change that a person, a job or a look at a backend makes of it.

The only place where a state changes. Pure.
"""

import msgspec

from runner.errors import UsageError
from runner.model.backend_name import BackendName
from runner.model.identifiers import check_tag
from runner.model.run import Call, Poll, Run
from runner.model.states import LIVE, TRANSITIONS, UNSURE, State
from runner.model.status import Outcome, OutcomeKind, Status, resume_begins

START_GRACE_S = 30.0


class IllegalTransition(Exception):
    """A bug: the code asked for a change of state that the table does not allow."""


def transition(run: Run, to: State) -> Run:
    """The run in state `to`. Raises IllegalTransition when the table does not allow it."""
    if to == run.state:
        return run
    if to not in TRANSITIONS[run.state]:
        raise IllegalTransition(f"{run.id}: {run.state} -> {to}")
    return msgspec.structs.replace(run, state=to)


def restored(run: Run) -> Run:
    """The run as it comes back out of the trash, where nothing goes on living: as its job's last word has it."""
    if run.state is not State.DELETING and run.state not in LIVE:
        return run
    last = run.status.state if run.status else State.INTERRUPTED
    return msgspec.structs.replace(run, state=State.INTERRUPTED if last in LIVE or last is State.DELETING else last)


def with_call(run: Run, call_id: str, now: float) -> Run:
    """The run after its backend has accepted a call."""
    moved = transition(run, State.QUEUED) if run.state in (State.LAUNCHING, State.INTERRUPTED) else run
    if call_id in {c.call_id for c in run.calls}:
        return moved
    return msgspec.structs.replace(moved, calls=[*run.calls, Call(call_id, now, run.attempt)])


def cancel_requested(run: Run, now: float) -> Run:
    """The run once a person has asked to cancel it."""
    return msgspec.structs.replace(transition(run, State.STOPPING), cancel_requested_at=now)


def next_attempt(run: Run, now: float, back_to: int | None = None) -> Run:
    """The run at the start of its next attempt."""
    return msgspec.structs.replace(
        transition(run, State.LAUNCHING),
        attempt=run.attempt + 1,
        asked_at=now,
        cancel_requested_at=None,
        ended_at=None,
        resume_step=back_to,
    )


def adopted(run: Run, record: Run) -> Run:
    """The run as its record on the volume has it, which another machine wrote; what became of it, the next look says.

    Of the same attempt only calls are new. A record that is behind changes nothing.
    """
    calls = list({c.call_id: c for c in [*run.calls, *record.calls]}.values())
    if record.attempt < run.attempt or run.state in (State.DONE, State.DELETING):
        return run
    if record.attempt == run.attempt:
        return run if len(calls) == len(run.calls) else msgspec.structs.replace(run, calls=calls)
    return msgspec.structs.replace(
        transition(run, State.INTERRUPTED),
        spec=record.spec,
        attempt=record.attempt,
        calls=calls,
        asked_at=record.asked_at,
        resume_step=record.resume_step,
        prices=record.prices,
        host=record.host,
        app=record.app,
        cancel_requested_at=None,
        ended_at=None,
    )


def found_alive(run: Run, before: Status | None, now: Status | None) -> Run:
    """The run that was taken for ended, though its job beat between two looks; the next look says the rest."""
    if run.live or State.INTERRUPTED not in TRANSITIONS[run.state] or not before or not now:
        return run
    if now.attempt != run.attempt or now.state not in LIVE or now.updated_at == before.updated_at:
        return run
    return msgspec.structs.replace(transition(run, State.INTERRUPTED), ended_at=None, cancel_requested_at=None)


def import_run(run: Run, backend: BackendName, volume: str) -> Run:
    """A run as its record on a volume tells it; what became of it, the next look says."""
    tag = run.tag
    try:
        check_tag(tag)
    except UsageError:
        tag = run.id
    return msgspec.structs.replace(run, tag=tag, backend=backend, volume=volume, state=State.INTERRUPTED, status=None)


def apply_poll(run: Run, poll: Poll, now: float) -> Run:
    """The run after a look at its backend; a pure function, so that every front end agrees."""
    status = poll.status if poll.status and poll.status.attempt == run.attempt else None
    target = _target(run, status, poll, now)
    if not run.live and run.state not in UNSURE:
        return run
    if not run.live and target == run.state:
        return run if run.status else msgspec.structs.replace(run, status=_final_status(run, status))
    if status and status != run.status:
        run = msgspec.structs.replace(run, status=status)
    if status:
        run = _with_calls(run, status)
    if target == run.state or target not in TRANSITIONS[run.state]:
        return run
    run = transition(run, target)
    if run.live and run.state is not State.UNKNOWN:
        return msgspec.structs.replace(run, ended_at=None)
    if status is None or status.state in LIVE:
        run = msgspec.structs.replace(run, status=_final_status(run, status, poll.outcome))
    ended = run.status.ended_at if run.status else None
    return msgspec.structs.replace(run, ended_at=None if run.live else ended or now)


def _with_calls(run: Run, status: Status) -> Run:
    """The run with the calls that its job has made or runs under."""
    known = {c.call_id for c in run.calls}
    new = [name for name in dict.fromkeys([*status.containers.calls, status.call_id]) if name and name not in known]
    if not new:
        return run
    found = (Call(name, status.started_at, status.attempt) for name in new)
    return msgspec.structs.replace(run, calls=[*run.calls, *found])


_CALL_ENDS = {
    OutcomeKind.CANCELLED: State.CANCELLED,
    OutcomeKind.KILLED: State.INTERRUPTED,
    OutcomeKind.UNKNOWN: State.UNKNOWN,
}


def _target(run: Run, status: Status | None, poll: Poll, now: float) -> State:
    alive = poll.alive
    if status and status.state not in LIVE:
        return status.state
    if poll.outcome and not alive:
        wanted = _CALL_ENDS.get(poll.outcome.kind, State.FAILED)
        return State.CANCELLED if run.cancel_requested_at else wanted
    if alive and run.cancel_requested_at and run.state is State.STOPPING:
        return run.state
    if alive and not (status is None and run.state in UNSURE):
        return status.state if status else State.QUEUED
    if run.state is State.LAUNCHING and 0 <= now - max(run.created_at, run.asked_at) < START_GRACE_S:
        return run.state
    return State.CANCELLED if run.cancel_requested_at else State.INTERRUPTED


def _final_status(run: Run, status: Status | None, said: Outcome | None = None) -> Status:
    """The status of a run whose job ended without a word: the numbers it last had, and what to do."""
    if run.cancel_requested_at:
        kept = f"; kept up to step {status.training.saved_step:,}" if status and status.training.saved_step else ""
        outcome = Outcome(OutcomeKind.CANCELLED, f"cancelled before it could answer{kept}")
    elif said:
        outcome = said
    elif status is None:
        outcome = Outcome(OutcomeKind.KILLED, "the job ended before it wrote anything", f"nanochat-tui resume {run.id}")
    else:
        outcome = Outcome(
            OutcomeKind.KILLED,
            "the job was killed or its machine went away",
            f"nanochat-tui {resume_begins(status, run.id)}",
            stage=status.work.stage,
        )
    last = status or run.status
    if last is None:
        began = run.asked_at or run.created_at
        last = Status(attempt=run.attempt, state=run.state, call_id="", started_at=began, updated_at=began)
    ended = max(last.updated_at, last.started_at)
    return msgspec.structs.replace(in_attempt(last, run), state=run.state, outcome=outcome, ended_at=ended)


def in_attempt(status: Status, run: Run) -> Status:
    """What is known of a run, as the beginning of its current attempt; the calls of an earlier one are left out."""
    if status.attempt == run.attempt:
        return status
    containers = msgspec.structs.replace(status.containers, calls=[], leg=1)
    return msgspec.structs.replace(status, attempt=run.attempt, call_id="", containers=containers)
