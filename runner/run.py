"""The record of a run and its states; the only place where a state changes."""

import os
import re
from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec import Struct

from runner import cost, stored
from runner.cost import MoneyRange, Prices, Range
from runner.errors import UsageError
from runner.nanochat import layout
from runner.spec import MAX_USD, RunSpec


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


class StageState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    STOPPED = "stopped"


class StageStatus(Struct):
    """One stage of the plan; times are seconds since the epoch, `note` says why it was skipped or resumed."""

    name: str
    state: StageState = StageState.WAITING
    started_at: float | None = None
    ended_at: float | None = None
    note: str = ""


class OutcomeKind(StrEnum):
    """How an attempt ended, in a word; one that only a newer release knows is UNKNOWN here, its message is kept."""

    DONE = "done"
    CANCELLED = "cancelled"
    BUDGET = "budget"
    TIME_LIMIT = "time limit"
    STALLED = "stalled"
    CRASH = "crash"
    CRASH_LOOP = "crash loop"
    OOM = "oom"
    NAN = "nan"
    NCCL = "nccl"
    KILLED = "killed"
    DATA = "data"
    TOKENIZER = "tokenizer"
    CHECKPOINT = "checkpoint"
    DISK = "disk"
    VOLUME = "volume"
    NETWORK = "network"
    ENVIRONMENT = "environment"
    ATTENTION = "attention"
    LAUNCH = "launch"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> "OutcomeKind":
        return cls.UNKNOWN


class Outcome(Struct, frozen=True):
    """How an attempt ended."""

    kind: OutcomeKind
    message: str
    advice: str = ""
    stage: str = ""
    exit_code: int | None = None
    signal: int | None = None


class Pause(Struct, frozen=True):
    """How often training stood still for something, and for how many seconds in all."""

    count: int = 0
    seconds: float = 0.0


class GpuSample(Struct, frozen=True):
    """The GPUs of a container at one moment: the mean of their load in per cent, the most of the rest.

    Memory in bytes, power in watts over all of them, temperature in degrees Celsius.
    """

    load: float
    memory: int
    memory_total: int
    watts: float
    celsius: float


class Status(Struct):
    """What the job says of itself, rewritten as it goes; only the job writes it.

    Times are seconds since the epoch; `dt_s` seconds per step; `tokens_per_s` over all GPUs; `mfu` per
    cent, `mfu_printed` what nanochat prints where that is wrong.
    `spent_before_s` and `paid_usd` are what earlier containers took; `usd_per_hour` is the price of this one.
    `log_bases` holds where in the log each container's own part begins; `fruitless` counts the containers that
    died since `progress` (stages done, step kept) was last better. `train_s` seconds went into `train_steps` steps
    of the base model, each container's first ones left out. `doing` is the phase, in a word; `quiet_s` the longest
    silence of each so far; `pace_s` the usual seconds of a step now, `best_pace_s` at its best; `pauses` what steps
    waited for (val, core, sample, save); `publish_s` how long the last checkpoint took from written to kept;
    `budget_told` the last warning, in per cent. `stage_step` is the last step of fine-tuning, or how many tasks an
    evaluation has ended. `here_s` is how long this container has run, by a clock that does not
    jump, which also gives the times of stages and of progress; `updated_at` is the time of day. Where a call may
    take no longer than a day, training goes through several: `leg` counts them, `leg_before_s` is how
    long the earlier containers of this one ran.
    """

    attempt: int
    state: State
    call_id: str
    started_at: float
    updated_at: float
    first_started_at: float | None = None
    ended_at: float | None = None
    last_line_at: float | None = None
    stages: list[StageStatus] = []
    stage: str = ""
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    val_bpb: float | None = None
    core: float | None = None
    chatcore: float | None = None
    sft_bpb: float | None = None
    tokens_per_s: int | None = None
    mfu: float | None = None
    mfu_printed: float | None = None
    dt_s: float | None = None
    slowest_dt_s: float | None = None
    stage_percent: float | None = None
    stage_loss: float | None = None
    stage_step: int | None = None
    doing: str = ""
    progress_at: float | None = None
    quiet_s: dict[str, float] = {}
    pace_s: float | None = None
    best_pace_s: float | None = None
    pauses: dict[str, Pause] = {}
    publish_s: float | None = None
    gpu: GpuSample | None = None
    resumed_from: int | None = None
    save_every: int | None = None
    val_every: int = 0
    core_every: int = 0
    saved_step: int | None = None
    train_s: float = 0.0
    train_steps: int = 0
    unknown_lines: int = 0
    lost_log_bytes: int = 0
    spent_before_s: float = 0.0
    paid_usd: Decimal = Decimal(0)
    usd_per_hour: Decimal = Decimal(0)
    calls: list[str] = []
    log_bases: list[int] = []
    progress: tuple[int, int] = (0, 0)
    fruitless: int = 0
    budget_told: int = 0
    here_s: float | None = None
    preemptions: int = 0
    leg: int = 1
    leg_before_s: float = 0.0
    device: str = ""
    warnings: list[str] = []
    outcome: Outcome | None = None

    @property
    def spent_s(self) -> float:
        """Seconds that containers have run for this run, over all its attempts."""
        return self.spent_before_s + self._here_s

    @property
    def spent_usd(self) -> Decimal:
        """Dollars over all containers so far, exact to a hundredth of a cent; 0 for a record that makes no sense."""
        try:
            spent = self.paid_usd + cost.dollars(self._here_s, self.usd_per_hour)
            return spent.quantize(Decimal("0.0001")) if 0 <= spent < MAX_USD else Decimal(0)
        except ArithmeticError:
            return Decimal(0)

    @property
    def _here_s(self) -> float:
        return max(
            0.0, self.here_s if self.here_s is not None else (self.ended_at or self.updated_at) - self.started_at
        )

    def at(self, now: float) -> float:
        """What the job's own clock shows at a moment of ours."""
        told = self.updated_at if self.here_s is None else self.started_at + self.here_s
        return told + max(0.0, now - self.updated_at)


class Estimate(Struct, frozen=True):
    """What a launch was said to take: seconds and dollars, low, likely, high; seconds by stage."""

    seconds: Range
    usd: MoneyRange
    stages: dict[str, Range]


class Call(Struct, frozen=True):
    """One call: the backend's call id, when it was spawned, and for which attempt; 0 in records that do not say."""

    call_id: str
    spawned_at: float
    attempt: int = 0


# Raised when a run is asked for in a way that an older release must not take for another one.
SCHEMA = 1


class Run(Struct):
    """A run as this machine knows it: what was asked, the calls made, and the job's last known status.

    `prices` are those it was launched at, `estimate` what it was then said to take. `back_to` is the step that this
    attempt goes on from, where a person chose it; what was saved later is put aside. `workspace` and `environment` are
    Modal's, and `app` the deployment that it runs in, empty on this machine and in records that do not say; `host` is
    the machine that asked for this attempt. `folder` is the name of its folder on the volume, which it keeps when its
    tag changes; empty in records of earlier releases, whose folder has the id for a name.
    """

    id: str
    tag: str
    spec: RunSpec
    backend: str
    volume: str
    created_at: float
    state: State = State.LAUNCHING
    calls: list[Call] = []
    attempt: int = 1
    status: Status | None = None
    cancel_requested_at: float | None = None
    asked_at: float = 0.0
    ended_at: float | None = None
    prices: Prices = cost.DATED
    estimate: Estimate | None = None
    back_to: int | None = None
    workspace: str = ""
    environment: str = ""
    app: str = ""
    host: str = ""
    folder: str = ""
    schema: int = SCHEMA

    @property
    def newer(self) -> bool:
        """Whether a newer release has recorded it, with what this one does not know."""
        return self.schema > SCHEMA

    @property
    def live(self) -> bool:
        return self.state in LIVE

    @property
    def path(self) -> str:
        """Its folder, relative to the volume."""
        return layout.run_dir(self.folder if layout.is_folder_of(self.folder, self.id) else self.id)

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; of one that is unknown, why. It is called by its tag of now: the record has its id."""
        ended = not self.live or self.state is State.UNKNOWN
        found = self.status.outcome if self.status and ended else None
        if found is None or self.id not in found.advice:
            return found
        called = re.sub(rf"\b{re.escape(self.id)}\b", lambda _: self.tag, found.advice)
        return msgspec.structs.replace(found, advice=called)

    @property
    def last_sign_of_life(self) -> float | None:
        return self.status.updated_at if self.status else None


class Poll(Struct, frozen=True):
    """What a backend says of a run: is its process or call alive, and the job's own status if it can be read.

    `outcome` is how the backend says that the call ended, for a job that could not say so itself.
    """

    alive: bool
    status: Status | None
    outcome: Outcome | None = None


# What stands in a record for values that only a newer release knows and that have no default.
_STAND_INS = {".state": "unknown", ".status.state": "unknown", ".spec.task": "speedrun", ".spec.engine": "nanochat"}


def run_of(data: bytes) -> Run:
    """A stored run, as far as this release understands it. Raises one of `stored.UNREADABLE`."""
    run, odd = stored.decode(data, Run, _STAND_INS)
    return msgspec.structs.replace(run, schema=max(run.schema, SCHEMA + 1)) if odd else run


def job_status_of(data: bytes) -> Status:
    """What a job has said of itself, likewise."""
    return stored.decode(data, Status, _STAND_INS)[0]


class IllegalTransition(Exception):
    """A bug: the code asked for a change of state that the table does not allow."""


START_GRACE_S = 30.0
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_LETTERS = "abcdefghjkmnpqrstuvwxyz"
_COLOURS = "amber aqua azure blue bronze coral cyan fern gold green indigo ivory jade lemon lilac lime mint olive onyx"
_MORE_COLOURS = (
    "opal orange pearl pink plum red rose ruby rust sage sand silver sky slate teal topaz umber violet white"
)


def new_run_id() -> str:
    """Eight characters without look-alikes, the first a letter: easy to type, never an option or a path."""
    first, *rest = os.urandom(8)
    return _LETTERS[first % len(_LETTERS)] + "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in rest)


def new_tag(model: str, taken: set[str]) -> str:
    """A name a person can say, as `d12-amber`, not among those taken."""
    colours = f"{_COLOURS} {_MORE_COLOURS}".split()
    free = [f"{model}-{c}" for c in colours if f"{model}-{c}" not in taken]
    return free[os.urandom(1)[0] % len(free)] if free else f"{model}-{new_run_id()}"


def named(run: Run, tag: str) -> Run:
    """A new run with its tag, and with the folder that is called by it."""
    return msgspec.structs.replace(run, tag=tag, folder=layout.folder_name(tag, run.id))


MAX_TAG = 48


def check_tag(tag: str) -> str:
    """A tag is also a file name: letters, digits, `.`, `_`, `-`, at most 48, beginning with a letter or digit."""
    good = (
        tag.isascii() and 0 < len(tag) <= MAX_TAG and tag[0].isalnum() and all(c.isalnum() or c in "._-" for c in tag)
    )
    if not good or tag == "last":
        raise UsageError(f"tag {tag[:60]!r} cannot be used", "use letters, digits, . _ - (at most 48)", field="tag")
    return tag


def move(run: Run, to: State) -> Run:
    """The run in state `to`. Raises IllegalTransition when the table does not allow it."""
    if to == run.state:
        return run
    if to not in TRANSITIONS[run.state]:
        raise IllegalTransition(f"{run.id}: {run.state} -> {to}")
    return msgspec.structs.replace(run, state=to)


def spawned(run: Run, call_id: str, now: float) -> Run:
    """The run after its backend has accepted a call."""
    moved = move(run, State.QUEUED) if run.state in (State.LAUNCHING, State.INTERRUPTED) else run
    if call_id in {c.call_id for c in run.calls}:
        return moved
    return msgspec.structs.replace(moved, calls=[*run.calls, Call(call_id, now, run.attempt)])


def calls_of_attempt(run: Run) -> list[str]:
    """Every call of the current attempt that is known, oldest first; the last is the one to ask."""
    since = run.asked_at or run.created_at
    mine = (c.call_id for c in run.calls if (c.attempt == run.attempt if c.attempt else c.spawned_at >= since))
    told = run.status.calls if run.status and run.status.attempt == run.attempt else []
    return list(dict.fromkeys([*mine, *told]))


def cancel_requested(run: Run, now: float) -> Run:
    return msgspec.structs.replace(move(run, State.STOPPING), cancel_requested_at=now)


def relaunched(run: Run, now: float, back_to: int | None = None) -> Run:
    """The run at the start of its next attempt."""
    return msgspec.structs.replace(
        move(run, State.LAUNCHING),
        attempt=run.attempt + 1,
        asked_at=now,
        cancel_requested_at=None,
        ended_at=None,
        back_to=back_to,
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
        move(run, State.INTERRUPTED),
        spec=record.spec,
        attempt=record.attempt,
        calls=calls,
        asked_at=record.asked_at,
        back_to=record.back_to,
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
    return msgspec.structs.replace(move(run, State.INTERRUPTED), ended_at=None, cancel_requested_at=None)


def found_on_volume(run: Run, backend: str, volume: str) -> Run:
    """A run as its record on a volume tells it; what became of it, the next look says."""
    tag = run.tag
    try:
        check_tag(tag)
    except UsageError:
        tag = run.id
    return msgspec.structs.replace(run, tag=tag, backend=backend, volume=volume, state=State.INTERRUPTED, status=None)


def needed_steps(run: Run, runs: Iterable[Run]) -> set[int]:
    """Steps of a run that others may yet go on from."""
    users = (r.spec for r in runs if r.spec.source == run.id and r.state is not State.DONE)
    return {s.source_step for s in users if s.source_step is not None}


def observed(run: Run, poll: Poll, now: float) -> Run:
    """The run after a look at its backend; a pure function, so that every front end agrees."""
    status = poll.status if poll.status and poll.status.attempt == run.attempt else None
    target = _target(run, status, poll, now)
    if not run.live and run.state not in UNSURE:
        return run
    if not run.live and target == run.state:
        return run if run.status else msgspec.structs.replace(run, status=_last_words(run, status))
    if status and status != run.status:
        run = msgspec.structs.replace(run, status=status)
    if status:
        run = _with_calls(run, status)
    if target == run.state or target not in TRANSITIONS[run.state]:
        return run
    run = move(run, target)
    if run.live and run.state is not State.UNKNOWN:
        return msgspec.structs.replace(run, ended_at=None)
    if status is None or status.state in LIVE:
        run = msgspec.structs.replace(run, status=_last_words(run, status, poll.outcome))
    ended = run.status.ended_at if run.status else None
    return msgspec.structs.replace(run, ended_at=None if run.live else ended or now)


def _with_calls(run: Run, status: Status) -> Run:
    """The run with the calls that its job has made or runs under."""
    known = {c.call_id for c in run.calls}
    new = [name for name in dict.fromkeys([*status.calls, status.call_id]) if name and name not in known]
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


def _last_words(run: Run, status: Status | None, said: Outcome | None = None) -> Status:
    """The status of a run whose job ended without a word: the numbers it last had, and what to do."""
    if run.cancel_requested_at:
        kept = f"; kept up to step {status.saved_step:,}" if status and status.saved_step else ""
        outcome = Outcome(OutcomeKind.CANCELLED, f"cancelled before it could answer{kept}")
    elif said:
        outcome = said
    elif status is None:
        outcome = Outcome(OutcomeKind.KILLED, "the job ended before it wrote anything", f"nanochat-tui resume {run.id}")
    else:
        outcome = Outcome(
            OutcomeKind.KILLED,
            "the job was killed or its machine went away",
            f"nanochat-tui resume {run.id} continues from the last checkpoint",
            stage=status.stage,
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
    return msgspec.structs.replace(status, attempt=run.attempt, calls=[], call_id="", leg=1)
