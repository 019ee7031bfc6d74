"""Last sign of life and phase -> one word for how a run is."""

from enum import StrEnum

from msgspec import Struct

from runner import units
from runner.run import Run, State

SIGNAL_LOST_S = 30.0
QUIET_S = {"prepare": 300.0, "tokenizer": 300.0, "base": 240.0, "base_eval": 900.0, "sft": 900.0, "chat_eval": 900.0}
TRAINING_FACTOR, TRAINING_FLOOR_S = 6.0, 90.0
PHASES = {
    "prepare": "preparing",
    "tokenizer": "tokenizing",
    "base": "training",
    "base_eval": "evaluating",
    "sft": "fine-tuning",
    "chat_eval": "evaluating chat",
    "report": "finishing",
}


class Word(StrEnum):
    OK = "ok"
    QUIET = "quiet"
    STALLED = "stalled"
    NO_SIGNAL = "no signal"


class Health(Struct, frozen=True):
    """A word, and why in a few more; `silent_s` is the age of the last line printed."""

    word: Word
    why: str
    silent_s: float | None


def phase(run: Run) -> str:
    """What a run is doing, in the words of the field."""
    status = run.status
    if run.state is not State.RUNNING and run.state is not State.PREPARING:
        return run.state.value
    if status is None:
        return run.state.value
    if status.stage == "base" and (status.dt_s is None or status.step is None):
        return "starting"
    return PHASES.get(status.stage, run.state.value)


def health(run: Run, now: float) -> Health:
    """How a live run is. A heartbeat proves that the job lives; only output of the stage counts as progress."""
    status = run.status
    if status is None or run.state is State.LAUNCHING:
        return Health(Word.QUIET, "waiting for the job to start", None)
    if run.state in (State.QUEUED, State.PREEMPTED):
        waited = units.duration(max(0.0, now - status.updated_at))
        why = f"in the queue for {waited}" if run.state is State.QUEUED else f"its machine was taken {waited} ago"
        return Health(Word.QUIET, f"{why}; costs nothing until it starts", None)
    if now - status.updated_at > SIGNAL_LOST_S:
        return Health(Word.NO_SIGNAL, f"last known {now - status.updated_at:.0f}s ago", None)
    stage = next((s for s in status.stages if s.name == status.stage), None)
    began = stage.started_at if stage and stage.started_at else status.started_at
    silent = max(0.0, now - max(status.last_line_at or 0.0, began))
    training = phase(run) == "training" and status.slowest_dt_s is not None
    usual = (status.dt_s or 0.0) * 2 + 5.0 if training else 10.0
    allowed = QUIET_S.get(status.stage, 60.0)
    if training:
        allowed = max(TRAINING_FLOOR_S, TRAINING_FACTOR * (status.slowest_dt_s or 0.0))
    if silent <= usual:
        return Health(Word.OK, f"last line {silent:.0f}s ago", silent)
    if silent <= allowed:
        return Health(Word.QUIET, f"no output for {silent:.0f}s, usual up to {allowed:.0f}s", silent)
    return Health(Word.STALLED, f"no output for {silent:.0f}s, more than {allowed:.0f}s", silent)
