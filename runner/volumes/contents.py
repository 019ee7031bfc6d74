"""Whether a file is what its name says, by its two ends: nothing is unpacked, and no pickle is loaded. Pure."""

import json
import re
from collections.abc import Callable, Iterable

from runner.volumes import archives

HEAD, TAIL = 64, 4096
_MAGIC = b"PAR1"
_NEWEST_PICKLE = 5


def parquet(head: bytes, tail: bytes, size: int) -> bool:
    """Both ends of a parquet file, and a footer that is no longer than the file."""
    length = int.from_bytes(tail[-8:-4], "little")
    return head[:4] == _MAGIC and tail[-4:] == _MAGIC and 0 < length <= size - 12


def pickled(head: bytes, tail: bytes) -> bool:
    """A pickle that begins with its version and comes to its stop."""
    return head[:1] == b"\x80" and head[1:2] != b"" and 0 < head[1] <= _NEWEST_PICKLE and tail[-1:] == b"."


def torch_archive(read: Callable[[int, int], bytes], size: int) -> bool:
    """What `torch.save` wrote, with the header of each of its parts."""
    try:
        return all(read(at, 4) == archives.HEADER for at in archives.headers(read, size))
    except archives.Damaged:
        return False


def text(head: bytes, tail: bytes) -> bool:
    """Lines of text, the last of them ended."""
    return bool(head) and b"\0" not in head + tail and tail.endswith(b"\n")


def json_lines(tail: bytes, size: int) -> bool:
    """Lines of JSON, by the last one, where the end that was read holds all of it."""
    last = tail.rstrip(b"\n").rpartition(b"\n")[2]
    if len(last) == len(tail.rstrip(b"\n")) and size > len(tail):
        return b"\0" not in last
    try:
        json.loads(last)
    except (ValueError, RecursionError):
        return False
    return True


def names_in(manifest: bytes) -> list[str] | None:
    """The files that a manifest of nanochat's task data names; None for none."""
    try:
        found = json.loads(manifest)
    except (ValueError, RecursionError):
        return None
    plain = isinstance(found, list) and found and all(isinstance(n, str) and re.fullmatch(r"[\w.-]+", n) for n in found)
    return found if plain else None


def tasks_in(core: bytes) -> list[str]:
    """The data files that the evaluation bundle's `core.yaml` names, by their paths in `eval_data`."""
    return re.findall(r"^\s*(?:- )?dataset_uri: *['\"]?([\w./-]{1,200})", core.decode("utf-8", "replace"), re.MULTILINE)


def missing(wanted: Iterable[str], there: Iterable[str]) -> list[str]:
    """What is wanted and not there."""
    known = set(there)
    return [name for name in wanted if name not in known]
