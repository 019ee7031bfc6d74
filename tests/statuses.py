"""Statuses for tests: every value by its name alone, put into the part that it belongs to."""

from typing import Any

from runner.model.stages import Phase, StageName
from runner.model.states import State
from runner.model.status import STATUS_PARTS, Status


def a_status(
    attempt: int, state: State, call_id: str, started_at: float, updated_at: float, /, **values: Any
) -> Status:
    """A status with these values, wherever they belong."""
    status = Status(attempt, state, call_id, started_at, updated_at)
    for name, value in values.items():
        part = next((part for part, kind in STATUS_PARTS.items() if name in kind.__struct_fields__), None)
        value = {"stage": StageName, "phase": Phase}.get(name, lambda given: given)(value)
        setattr(getattr(status, part) if part else status, name, value)
    return status
