"""The states of a run and the one table of what may follow what."""

from enum import StrEnum


class State(StrEnum):
    """Where a run is in its life."""

    LAUNCHING = "launching"
    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    PREEMPTED = "preempted"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    OUT_OF_BUDGET = "out of budget"
    INTERRUPTED = "interrupted"
    # Nobody can say whether it still runs, or only a newer release: it may cost money, so it counts as live.
    UNKNOWN = "unknown"
    DELETING = "deleting"


_WORKING = frozenset({State.PREPARING, State.RUNNING, State.PREEMPTED, State.STOPPING})
LIVE = frozenset({State.LAUNCHING, State.QUEUED, State.UNKNOWN}) | _WORKING
# What a look may find: an end, or that nobody knows.
_ENDS = frozenset({State.DONE, State.FAILED, State.CANCELLED, State.OUT_OF_BUDGET, State.INTERRUPTED, State.UNKNOWN})
# Looked at again each time, as the job may be found alive, or its last word be read.
UNSURE = frozenset({State.INTERRUPTED, State.UNKNOWN})
_GONE = frozenset({State.DELETING})

# From each state, the states that may follow. An end is left by a resume, through LAUNCHING, or by a deletion;
# INTERRUPTED and UNKNOWN also yield to what the job itself recorded, or to the job when it is found alive after all; a
# job that stops because its container is taken away goes on in the next one. What another machine did with a run that
# had ended begins as INTERRUPTED, too.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.LAUNCHING: frozenset({State.QUEUED}) | _WORKING | _ENDS,
    State.QUEUED: _WORKING | _ENDS,
    State.PREPARING: frozenset({State.QUEUED, State.RUNNING, State.PREEMPTED, State.STOPPING}) | _ENDS,
    State.RUNNING: frozenset({State.QUEUED, State.PREPARING, State.PREEMPTED, State.STOPPING}) | _ENDS,
    State.PREEMPTED: frozenset({State.QUEUED, State.PREPARING, State.RUNNING, State.STOPPING}) | _ENDS,
    State.STOPPING: frozenset({State.QUEUED, State.PREPARING, State.RUNNING, State.PREEMPTED}) | _ENDS,
    State.DONE: _GONE,
    State.FAILED: frozenset({State.LAUNCHING, State.INTERRUPTED}) | _GONE,
    State.CANCELLED: frozenset({State.LAUNCHING, State.INTERRUPTED}) | _GONE,
    State.OUT_OF_BUDGET: frozenset({State.LAUNCHING, State.INTERRUPTED}) | _GONE,
    State.INTERRUPTED: frozenset({State.LAUNCHING, State.QUEUED}) | _WORKING | _ENDS | _GONE,
    State.UNKNOWN: frozenset({State.QUEUED}) | _WORKING | _ENDS,
    State.DELETING: _ENDS,
}
