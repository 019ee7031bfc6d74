"""The record of a run: what was asked for, its calls, its names."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct, field

from runner.model import identifiers, pricing, stored
from runner.model.backend_name import BackendName
from runner.model.code import EarlierCode
from runner.model.pricing import MoneyRange, Prices, TimeRange
from runner.model.spec import RunSpec
from runner.model.states import LIVE, TRANSITIONS, State
from runner.model.status import Outcome, Status, in_parts


class Estimate(Struct, frozen=True):
    """What a launch was said to take: seconds and dollars, low, likely, high; seconds by stage."""

    seconds: TimeRange
    usd: MoneyRange
    stages: dict[str, TimeRange]


class Call(Struct, frozen=True):
    """One call: the backend's call id, when it was spawned, and for which attempt; 0 in records that do not say."""

    call_id: str
    spawned_at: float
    attempt: int = 0


# Raised when a run is asked for in a way that an older release must not take for another one: 2 trains a person's own
# code, or with flags and keys of theirs.
SCHEMA = 2


class Run(Struct, frozen=True):
    """A run as this machine knows it: what was asked, the calls made, and the job's last known status.

    `prices` are those it was launched at, `estimate` what it was then said to take. `resume_step` is the step that this
    attempt goes on from, where a person chose it; what was saved later is put aside. `workspace` and `environment` are
    Modal's, and `app` the deployment that it runs in, empty on this machine and in records that do not say; `host` is
    the machine that asked for this attempt. `folder` is the name of its folder on the volume, which it keeps when its
    tag changes; empty in records of earlier releases, whose folder has the id for a name. `earlier_code` is what
    earlier attempts trained, where a resume has brought other code.
    """

    id: str
    tag: str
    spec: RunSpec
    backend: BackendName
    volume: str
    created_at: float
    state: State = State.LAUNCHING
    calls: list[Call] = []
    attempt: int = 1
    status: Status | None = None
    cancel_requested_at: float | None = None
    asked_at: float = 0.0
    ended_at: float | None = None
    prices: Prices = pricing.DATED
    estimate: Estimate | None = None
    resume_step: int | None = field(default=None, name="back_to")
    workspace: str = ""
    environment: str = ""
    app: str = ""
    host: str = ""
    folder: str = ""
    earlier_code: tuple[EarlierCode, ...] = ()
    schema: int = 1

    @property
    def newer(self) -> bool:
        """Whether a newer release has recorded it, with what this one does not know."""
        return self.schema > SCHEMA

    @property
    def live(self) -> bool:
        return self.state in LIVE

    @property
    def resumable(self) -> bool:
        """Whether it has ended in a state that a resume may leave."""
        return State.LAUNCHING in TRANSITIONS[self.state]

    @property
    def path(self) -> str:
        """Its folder, relative to the volume."""
        return identifiers.run_dir(self.folder if identifiers.is_folder_of(self.folder, self.id) else self.id)

    @property
    def words(self) -> str:
        """What tells of it, to be searched: how it is called, what it is, how it ended."""
        ended = f"{end.kind} {end.message}" if (end := self.outcome) else ""
        return f"{self.tag} {self.id} {self.spec.task} {self.spec.model} {self.spec.gpu} {self.state} {ended}".lower()

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
    def last_heartbeat(self) -> float | None:
        return self.status.updated_at if self.status else None


class Poll(Struct, frozen=True):
    """What a backend says of a run: is its process or call alive, and the job's own status if it can be read.

    `outcome` is how the backend says that the call ended, for a job that could not say so itself.
    """

    alive: bool
    status: Status | None
    outcome: Outcome | None = None


# What stands in a record for values that only a newer release knows and that have no default.
_STAND_INS = {
    ".state": "unknown", ".status.state": "unknown", ".backend": "unknown",
    ".spec.task": "speedrun", ".spec.engine": "nanochat",
}  # fmt: skip


def renewed(raw: Any) -> Any:
    """A raw run, of an earlier release too, with its status in today's parts."""
    return raw | {"status": in_parts(raw["status"])} if isinstance(raw, dict) and "status" in raw else raw


def decode_run(data: bytes) -> Run:
    """A stored run, as far as this release understands it. Raises one of `stored.UNREADABLE`."""
    run, odd = stored.decode(data, Run, _STAND_INS, renewed)
    return msgspec.structs.replace(run, schema=max(run.schema, SCHEMA + 1)) if odd else run


def of_schema(run: Run) -> Run:
    """The run with the oldest schema that tells all that it asks for."""
    return msgspec.structs.replace(run, schema=max(run.schema, SCHEMA if run.spec.own else 1))


def named(run: Run, tag: str) -> Run:
    """A new run with its tag, and with the folder that is called by it."""
    return msgspec.structs.replace(run, tag=tag, folder=identifiers.folder_name(tag, run.id))


def calls_of_attempt(run: Run) -> list[str]:
    """Every call of the current attempt that is known, oldest first; the last is the one to ask."""
    since = run.asked_at or run.created_at
    mine = (c.call_id for c in run.calls if (c.attempt == run.attempt if c.attempt else c.spawned_at >= since))
    told = run.status.containers.calls if run.status and run.status.attempt == run.attempt else []
    return list(dict.fromkeys([*mine, *told]))


def needed_steps(run: Run, runs: Iterable[Run]) -> set[int]:
    """Steps of a run that others may yet go on from."""
    users = (r.spec for r in runs if r.spec.source == run.id and r.state is not State.DONE)
    return {s.source_step for s in users if s.source_step is not None}
