"""A file that is replaced as a whole: a reader sees the old one or the new one, and no link is followed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

from runner.errors import naming_path
from runner.system.placing import move_into

# What is for one person's eyes: settings with their webhook, the registry, logs.
PRIVATE = 0o600
PRIVATE_FOLDER = 0o700


@contextlib.contextmanager
def replacing(target: Path, mode: int = 0o666, *, over: bool = True) -> Iterator[BinaryIO]:
    """A new file, which takes the place of `target` at the end, unless an error came. Its folder is made if missing.

    Raises FileExistsError where there is a target, unless it goes `over` that.
    """
    # Short, as the target's name may be as long as a name can be; and nobody can have put a link there.
    temporary = target.with_name(f".{os.urandom(8).hex()}.tmp")
    with naming_path(target, instead_of=temporary):
        target.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
        with naming_path(target, instead_of=temporary):
            move_into(temporary, target, over=over)
    except BaseException:
        # Where this cannot be done, what went wrong before says more.
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write(target: Path, data: bytes, mode: int = 0o666) -> None:
    """Replace a file as a whole: readers see the old content or the new."""
    with replacing(target, mode) as file:
        file.write(data)


def ends_a_line(file: IO[bytes]) -> bool:
    """Whether a file is empty or ends with a whole line: whoever wrote to it may have died in the middle of one."""
    size = os.fstat(file.fileno()).st_size
    return size == 0 or os.pread(file.fileno(), 1, size - 1) == b"\n"


def make_private(path: Path) -> None:
    """See that a file is there, empty if it is new, and that nobody else can read it; a link is left as it is."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE))
    tighten(path)


def tighten(path: Path) -> None:
    """Take what others may do with a file of ours; what is no file, or somebody else's, is left as it is."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    with contextlib.closing(os.fdopen(fd, "rb", buffering=0)) as file, contextlib.suppress(PermissionError):
        if os.fstat(file.fileno()).st_mode & 0o077:
            os.fchmod(file.fileno(), PRIVATE)
