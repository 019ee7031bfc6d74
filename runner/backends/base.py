"""The two Protocols at the rim: a Backend runs jobs, a Volume keeps files."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from runner.cost import Prices
from runner.run import Poll, Run
from runner.status import Status

# Files are brought in pieces of this size, as Modal keeps them.
BLOCK = 8 << 20


class Entry(Struct, frozen=True):
    """A file or folder of a volume: `path` relative to the volume, `bytes` 0 for a folder, `mtime` epoch seconds."""

    path: str
    is_dir: bool
    bytes: int
    mtime: float

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


Entries = list[Entry]
Paths = list[str]


class Source(Protocol):
    """A file of a volume, open to be read by several threads, a block at a time: block n begins at n times BLOCK.

    `verified` once everything that came was compared with a digest of its origin, or never left this machine.
    """

    @property
    def verified(self) -> bool: ...

    def block(self, number: int) -> bytes | memoryview:
        """A whole block, the last one maybe shorter, for this thread to use before it asks for another.

        Raises FileChanged when it is not the file that was opened.
        """
        ...

    def unchanged(self) -> bool:
        """Whether the volume still has this very file under this path."""
        ...

    def close(self) -> None: ...


class Volume(Protocol):
    """Files by relative path. A missing path raises FileNotFoundError, an unreachable volume Unreachable."""

    location: str

    def list(self, path: str) -> Entries:
        """Entries of a folder, folders first, by name."""
        ...

    def scan(self, path: str, *, deep: bool = False, left_out: Paths | None = None) -> Iterator[Entries]:
        """What is in a folder, or with `deep` in all folders below it: each entry once, in batches as they come.

        Folders below that may not be read are an error, or are put into `left_out` where that is given.
        """
        ...

    def stat(self, path: str) -> Entry: ...

    def here(self, path: str) -> Path | None:
        """Where a file is on this very disk, None where it is elsewhere."""
        ...

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file; fewer than `length` at its end. A negative `offset` counts from the end."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Create or replace a file, all or nothing; folders on the way are made."""
        ...

    def open(self, entry: Entry) -> Source:
        """A file to be read in blocks. Raises FileChanged when it is not as that entry says any more."""
        ...

    def put(self, origin: Path, path: str, told: Callable[[int], None], *, over: bool) -> None:
        """Bring a file of this disk to the volume, all or nothing; `told` is called with bytes as they arrive.

        Raises FileExistsError where there is one of that name, unless it goes `over` that.
        """
        ...

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it; never the volume itself."""
        ...

    def rename(self, path: str, to: str) -> None:
        """Give a file or folder another path; folders on the way are made."""
        ...


class Check(Struct, frozen=True):
    """One line of `doctor`: is it fine, and what to do if not; `optional` is what a launch elsewhere can do without."""

    name: str
    ok: bool
    detail: str
    do: str = ""
    optional: bool = False


class Where(Struct, frozen=True):
    """What a run belongs to: Modal's workspace and environment; empty on this machine."""

    workspace: str = ""
    environment: str = ""


class Backend(Protocol):
    """Where a run's job happens. Every method may block on I/O and may raise Unreachable or CredentialsError."""

    name: str

    def volume(self, location: str) -> Volume:
        """The volume at a location, as recorded in a run."""
        ...

    def default_volume(self, engine: str) -> str:
        """Location used when none is asked for; rehearsals never share a volume with the real thing."""
        ...

    def make_volume(self, location: str) -> bool:
        """Make the volume if it is not there; whether it was made, as far as that is known."""
        ...

    def where(self) -> Where:
        """What a run that is launched now will belong to."""
        ...

    def check_place(self, run: Run) -> None:
        """Raises Unreachable when a run belongs to another workspace or environment than this."""
        ...

    def ready(self, engine: str, *, live: Sequence[Run]) -> str:
        """See that a run of this engine can be spawned, deploying if need be; in which app, where there are any.

        `live` are the runs that may be in one. Raises what stands against it.
        """
        ...

    def launch(self, run: Run) -> str:
        """Spawn the run's current attempt, detached, and return its call id. The run's record is on the volume."""
        ...

    def poll(self, run: Run) -> Poll: ...

    def heartbeat(self, run: Run) -> Status | None:
        """What the run's job told last, of whatever attempt; None where nothing is remembered."""
        ...

    def breathes(self, run: Run) -> bool:
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
