"""A person's own text on its way to the data folder of a volume: whether nanochat would train on it as it is."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from runner.errors import UsageError
from runner.nanochat import layout
from runner.text import units
from runner.text.filenames import path_for_terminal
from runner.transfer.upload import UploadItem
from runner.volumes import contents
from runner.volumes.base import Volume

ANYWAY = "put that right, or send it all the same with --anyway"
# So many files that are wrong are named.
MOST_NAMED = 3


class Corpus(Struct, frozen=True):
    """What a folder of shards is: what is wrong with it, and what was not looked at, in lines."""

    problems: tuple[str, ...]
    unchecked: tuple[str, ...] = ()


def target_of(origin: Path, target: str) -> str:
    """Where a folder or file goes: shards lie in the data folder itself, and not in a folder inside it."""
    return layout.DATA if origin.is_dir() and target in (layout.DATA, f"{layout.DATA}/{origin.name}") else target


def is_corpus(target: str) -> bool:
    """Whether what goes there is text to train on."""
    return target == layout.DATA or target.startswith(f"{layout.DATA}/")


def look(sendings: Sequence[UploadItem], there: Iterable[str], engine: str, *, whole: bool) -> Corpus:
    """What is wrong with shards before they are sent; `there` are names in the data folder of the volume, `whole`
    whether these are to be all of the text.
    """
    problems, unchecked = [], []
    names = {s.path.removeprefix(f"{layout.DATA}/"): s for s in sendings}
    strange = sorted(name for name in names if layout.shard_index(name) is None and name != layout.OWN_TEXT)
    shards = sorted(name for name in names if layout.shard_index(name) is not None)
    if strange:
        problems.append(f"{_named(strange)}: nanochat reads shard_00000.parquet, shard_00001.parquet and so on alone")
    if whole and len(shards) < 2:
        problems.append(
            f"{units.pluralize(len(shards), 'shard')}: the last is for validation, and one before it to train on"
        )
    damaged = [name for name in shards if not _is_shard(names[name], engine)]
    if damaged:
        what = "no whole parquet file" if engine != "rehearsal" else "no lines of text"
        problems.append(f"{_named(damaged)}: {what}")
    if engine != "rehearsal":
        textless, reason = _without_text([names[name] for name in shards if name not in damaged])
        if textless:
            problems.append(f"{_named(textless)}: no column text of strings")
        if reason:
            unchecked.append(reason)
    others = sorted(name for name in there if layout.shard_index(name) is not None and name not in names)
    if whole and others:
        told = f"{_named(others)} on the volume"
        problems.append(f"{told}: training would mix them in; nanochat-tui volume rm -r {layout.DATA} deletes them")
    return Corpus(tuple(problems), tuple(unchecked))


def check(
    volume: Volume, sendings: Sequence[UploadItem], engine: str, *, whole: bool, anyway: bool = False
) -> tuple[str, ...]:
    """What is to be known of shards that are sent. Raises UsageError for what is wrong with them, unless `anyway`."""
    found = look(sendings, names_on(volume), engine, whole=whole)
    if found.problems and not anyway:
        raise UsageError("; ".join(found.problems), ANYWAY)
    return (*found.problems, *found.unchecked)


def names_on(volume: Volume) -> list[str]:
    """Names of what is in the data folder of a volume."""
    try:
        return [e.name for e in volume.list(layout.DATA) if not e.is_dir]
    except (FileNotFoundError, NotADirectoryError):
        return []


def mark(volume: Volume, shards: int) -> None:
    """Say on the volume that its text is a person's own: a launch then takes it as it is and downloads none."""
    volume.write(f"{layout.DATA}/{layout.OWN_TEXT}", msgspec.json.encode({"shards": shards}))


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(map(path_for_terminal, names[:MOST_NAMED])) + more


def _is_shard(sending: UploadItem, engine: str) -> bool:
    """Whether a file is a shard by its two ends."""
    if not sending.bytes:
        return False
    with sending.origin.open("rb") as file:
        head = file.read(contents.HEAD)
        file.seek(max(0, sending.bytes - contents.TAIL))
        tail = file.read(contents.TAIL)
    return contents.text(head, tail) if engine == "rehearsal" else contents.parquet(head, tail, sending.bytes)


def _without_text(sendings: Sequence[UploadItem]) -> tuple[list[str], str]:
    """Shards without a column `text` of strings, by their footers; and why that could not be looked at."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        return [], "without pyarrow it was not seen whether each shard has a column text: pip install pyarrow"
    found = []
    for one in sendings:
        try:
            schema = parquet.read_schema(one.origin)
            kind = schema.field("text").type if "text" in schema.names else None
        except (arrow.ArrowException, OSError, ValueError, KeyError):
            kind = None
        if kind is None or not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind)):
            found.append(one.path.rpartition("/")[2])
    return found, ""
