"""What a backend is: where the jobs of runs happen."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field

from runner.model.backend_name import BackendName
from runner.model.code import Code
from runner.model.pricing import Prices
from runner.model.run import Poll, Run
from runner.model.spec import RunSpec
from runner.model.status import Status
from runner.volumes.base import Volume


class Check(Struct, frozen=True):
    """One line of `doctor`: is it fine, and what to do if not; `optional` is what a launch elsewhere can do without."""

    name: str
    ok: bool
    detail: str
    hint: str = field(default="", name="do")
    optional: bool = False


class Workspace(Struct, frozen=True):
    """What a run belongs to: Modal's workspace and environment; empty on this machine."""

    name: str = ""
    environment: str = ""


class Backend(Protocol):
    """Where a run's job happens. Every method may block on I/O and may raise Unreachable or CredentialsError."""

    name: BackendName

    def volume(self, location: str) -> Volume:
        """The volume at a location, as recorded in a run."""
        ...

    def default_volume(self, engine: str) -> str:
        """Location used when none is asked for; rehearsals never share a volume with the real thing."""
        ...

    def make_volume(self, location: str) -> bool:
        """Make the volume if it is not there; whether it was made, as far as that is known."""
        ...

    def current_workspace(self) -> Workspace:
        """What a run that is launched now will belong to."""
        ...

    def check_workspace(self, run: Run) -> None:
        """Raises Unreachable when a run belongs to another workspace or environment than this."""
        ...

    def ensure_deployed(self, engine: str, *, live: Sequence[Run], code: Code | None = None) -> str:
        """See that a run of this engine and code can be spawned, deploying if need be; in which app, if any.

        `live` are the runs that may be in one. Raises what stands against it.
        """
        ...

    def check_keys(self, spec: RunSpec) -> None:
        """Raises UsageError for a key by name that a run asks for and that is not there."""
        ...

    def launch(self, run: Run) -> str:
        """Spawn the run's current attempt, detached, and return its call id. The run's record is on the volume."""
        ...

    def poll(self, run: Run) -> Poll: ...

    def last_heartbeat(self, run: Run) -> Status | None:
        """What the run's job told last, of whatever attempt; None where nothing is remembered."""
        ...

    def may_be_running(self, run: Run) -> bool:
        """Whether a process or call of the run may still work, asked without its volume."""
        ...

    def cancel(self, run: Run, *, force: bool = False) -> None:
        """Ask the job to stop and keep what is saved; `force` kills it. What can be ended is, before anything else.

        Raises Unreachable when something may still run.
        """
        ...

    def pull_log(self, run: Run, folder: Path) -> None:
        """Bring what is new of the run's log and events to a folder of this disk, while somebody looks."""
        ...

    def prices(self) -> Prices: ...

    def billed(self, run: Run) -> dict[str, Decimal] | None:
        """Dollars billed by hour (UTC) for the app that the run belongs to; None where nothing bills or tells."""
        ...

    def forget(self, run: Run) -> None:
        """Remove what the backend keeps on this disk for a run that is deleted."""
        ...

    def check(self) -> list[Check]:
        """The lines of `doctor`."""
        ...

    def close(self) -> None:
        """Let go of connections; runs are not touched."""
        ...
