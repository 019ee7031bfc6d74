"""What a volume is, wherever its files are."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from msgspec import Struct

# Files are brought in pieces of this size, as Modal keeps them.
BLOCK = 8 << 20
# What a process that only looks refuses of a volume.
CHANGE = "change files of a volume"
# The folder at the top of a volume of this machine that keeps what was deleted: no content of it.
TRASH = ".trash"


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


class BlockReader(Protocol):
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

    def local_path(self, path: str) -> Path | None:
        """Where a file is on this very disk, None where it is elsewhere."""
        ...

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file; fewer than `length` at its end. A negative `offset` counts from the end."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Create or replace a file, all or nothing; folders on the way are made."""
        ...

    def open(self, entry: Entry) -> BlockReader:
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
