"""A checkpoint that did not load is marked beside its files; the mark counts while these are as they were then."""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from runner.nanochat import layout
from runner.text.sanitize import strip_ansi
from runner.volumes.base import Entry, Volume

MOST = 200
# Two ways to the same volume may tell a time in whole seconds, or in parts of one.
SAME_S = 2.0


class UnreadableMark(Struct, frozen=True):
    """Why it did not load, and its files then: bytes and time of each."""

    why: str
    files: dict[str, tuple[int, float]]


def _files(entries: Iterable[Entry]) -> dict[str, tuple[int, float]]:
    return {e.name: (e.bytes, e.mtime) for e in entries if not e.name.startswith(layout.UNREADABLE)}


def mark(volume: Volume, folder: str, step: int, why: str) -> None:
    """Put down that the checkpoint of a step did not load."""
    parts = [e for e in volume.list(folder) if (p := layout.checkpoint_part(e.name)) and p[1] == step]
    found = UnreadableMark(strip_ansi(why)[:MOST], _files(parts))
    volume.write(f"{folder}/{layout.UNREADABLE}_{step:06d}.json", msgspec.json.encode(found))


def why_not(data: bytes, entries: Iterable[Entry]) -> str:
    """Why these files are not to be loaded again; empty where the mark is of others, or is none."""
    try:
        found = msgspec.json.decode(data, type=UnreadableMark)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return ""
    now = _files(entries)
    same = found.files.keys() == now.keys() and all(
        size == now[name][0] and abs(at - now[name][1]) <= SAME_S for name, (size, at) in found.files.items()
    )
    return f"it did not load: {strip_ansi(found.why)[:MOST]}" if same else ""
