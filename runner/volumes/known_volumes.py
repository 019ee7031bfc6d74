"""Folders that have served as volumes of the local backend: without them a registry could not be filled anew."""

import contextlib
from pathlib import Path

import msgspec

from runner.model import stored
from runner.system import atomic

FILE = "volumes.json"
# Where earlier releases kept them, a line each.
OLD_FILE = "volumes.txt"


def known(home: Path) -> list[str]:
    """All that were put down and can still be read."""
    found: dict[str, None] = {}
    with contextlib.suppress(OSError):
        found |= dict.fromkeys((home / OLD_FILE).read_text("utf-8", "replace").split("\n"))
    # A list that is damaged or not there is begun anew at the next launch.
    with contextlib.suppress(OSError, *stored.UNREADABLE):
        found |= dict.fromkeys(msgspec.json.decode((home / FILE).read_bytes(), type=list[str]))
    return [path for path in found if path.startswith("/") and "\0" not in path]


def remember(home: Path, location: str) -> None:
    """Note a folder as a volume of this machine, so that its runs are found again."""
    if location not in (folders := known(home)):
        atomic.write(home / FILE, msgspec.json.encode([*folders, location]), atomic.PRIVATE)
