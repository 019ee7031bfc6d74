"""A look into one file or folder of a volume: what it is, what is in it, in a form that a screen can show."""

import contextlib
import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import Struct

from runner.errors import UsageError
from runner.metrics.series import Curves, CurvesReader
from runner.model.run import Run
from runner.nanochat import layout
from runner.preview import folders, pictures, tables, tensors
from runner.preview.kinds import Kind, is_text, kind_of
from runner.preview.range_reader import ReadLimitExceeded, open_ranged
from runner.system import atomic
from runner.text import units
from runner.volumes import checkpoint_verdicts
from runner.volumes.base import Entry, Volume

# The most that is read of a text, of a table or JSON, of an index of tensors, and of parquet.
TEXT_BYTES, WHOLE_BYTES, INDEX_BYTES, PARQUET_BYTES = 4 << 20, 1 << 20, 6 << 20, 32 << 20
# A page of Markdown is a widget for each of its blocks.
MARKDOWN_LINES = 1500
IMAGE_BYTES, EVENTS_BYTES = 16 << 20, 64 << 20
# So much of what was brought to this disk for looking at it stays there.
KEPT_BYTES = 64 << 20


class PreviewContent(Struct):
    """What a preview shows: lines about the file, and one of the rest. Everything is foreign text."""

    about: list[str]
    warning: str = ""
    markdown: str = ""
    json: Any = None
    table: tables.Table | None = None
    groups: list[tensors.Group] | None = None
    log: Path | None = None
    curves: Curves | None = None
    picture: pictures.Cells | None = None


def build_preview(volume: Volume, entry: Entry, scratch: Path, run: Run | None = None) -> PreviewContent:
    """What is in a file or folder of `run`. `scratch` is a folder for what a widget reads itself.

    Raises OSError and NanochatError when it cannot be read.
    """
    if entry.is_dir:
        told, table = folders.about(volume, entry, run)
        return PreviewContent(told, table=table)
    gpus = run.spec.gpus if run else None
    kind = kind_of(entry.path)
    about = [f"{units.size(entry.bytes)} ({entry.bytes:,} bytes)", f"changed {units.clock(entry.mtime)}"]
    match kind:
        case Kind.PICKLE:
            return PreviewContent(about, "a pickle: it could run anything when loaded, and is never opened here")
        case Kind.TENSORS:
            return _tensors(volume, entry, gpus, about)
        case Kind.PARQUET:
            return _parquet(volume, entry, about)
        case Kind.IMAGE:
            return _image(volume, entry, about, scratch)
        case Kind.CURVE:
            return PreviewContent([*about, "drawn from the run's events"], curves=_curves(volume, entry.path, scratch))
        case Kind.BINARY:
            return PreviewContent(about, "not text")
    if not entry.bytes:
        return PreviewContent(about, "empty")
    if kind in (Kind.MARKDOWN, Kind.JSON, Kind.TABLE) and entry.bytes <= WHOLE_BYTES:
        data = volume.read(entry.path, 0, WHOLE_BYTES)
        if is_text(data) and not (kind is Kind.MARKDOWN and data.count(b"\n") > MARKDOWN_LINES):
            return _parsed(volume, entry, kind, data, gpus, about, scratch)
    return _text(volume, entry, about, scratch)


def _parsed(
    volume: Volume, entry: Entry, kind: Kind, data: bytes, gpus: int | None, about: list[str], scratch: Path
) -> PreviewContent:
    text = data.decode("utf-8", "replace")
    if kind is Kind.TABLE:
        return PreviewContent(about, table=tables.read_csv(text, tabs=entry.name.lower().endswith(".tsv"), whole=True))
    if kind is Kind.MARKDOWN:
        seen = PreviewContent(about, markdown=text)
        if entry.name == layout.REPORT_FILE:
            seen.curves = _curves(volume, entry.path, scratch)
        return seen
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        shown_ = _text(volume, entry, about, scratch)
        shown_.warning = f"not valid JSON: {str(error)[:80]}"
        return shown_
    return PreviewContent(
        [*about, *_verdict(volume, entry, gpus)], json={"": value} if not isinstance(value, dict) else value
    )


def _verdict(volume: Volume, entry: Entry, gpus: int | None) -> list[str]:
    """What the checkpoint that a file is a part of is good for."""
    one = checkpoint_verdicts.of_file(volume, entry.path, gpus)
    if one is None:
        return []
    bpb = f", last bpb {one.val_bpb:.4f}" if one.val_bpb is not None else ""
    size = f"{units.size(one.bytes)} in {units.pluralize(len(one.files), 'file')}"
    return [f"step {one.step:,}{bpb}, {one.verdict}: {one.reason}", size]


def _tensors(volume: Volume, entry: Entry, gpus: int | None, about: list[str]) -> PreviewContent:
    about = [*about, *_verdict(volume, entry, gpus)]
    try:
        with open_ranged(volume, entry, INDEX_BYTES) as file:
            found = tensors.read_tensors(file)
    except tensors.NoTensors as error:
        return PreviewContent(about, f"no tensors to list: {error}")
    except ReadLimitExceeded as error:
        return PreviewContent(about, f"no tensors to list: {error}")
    count, size = sum(_count(t.shape) for t in found), sum(t.bytes for t in found)
    about.append(f"{units.pluralize(len(found), 'tensor')}, {units.count(count)} numbers, {units.size(size)}")
    return PreviewContent(about, groups=tensors.groups(found))


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


def _parquet(volume: Volume, entry: Entry, about: list[str]) -> PreviewContent:
    try:
        with open_ranged(volume, entry, PARQUET_BYTES) as file:
            table = tables.read_parquet(file)
    except UsageError as error:
        return PreviewContent(about, str(error))
    except ReadLimitExceeded as error:
        return PreviewContent(about, f"its first rows are not shown: {error}")
    return PreviewContent([*about, *table.about], table=table)


def _image(volume: Volume, entry: Entry, about: list[str], scratch: Path) -> PreviewContent:
    if entry.bytes > IMAGE_BYTES:
        return PreviewContent(about, "too large to be shown")
    try:
        path = volume.local_path(entry.path) or _brought(volume, entry, 0, entry.bytes, scratch)
        cells, (width, height) = pictures.half_blocks(path)
    except UsageError as error:
        return PreviewContent(about, str(error))
    return PreviewContent([*about, f"{width:,} × {height:,} pixels"], picture=cells)


def _curves(volume: Volume, beside: str, scratch: Path) -> Curves | None:
    """The curves of the run that a file is in the folder of."""
    path = f"{beside.rpartition('/')[0]}/{layout.EVENTS_FILE}"
    try:
        entry = volume.stat(path)
        found = CurvesReader(volume.local_path(path) or _brought(volume, entry, 0, EVENTS_BYTES, scratch))
    except FileNotFoundError:
        return None
    while found.read():
        continue
    return found.curves()


def _text(volume: Volume, entry: Entry, about: list[str], scratch: Path) -> PreviewContent:
    if not is_text(volume.read(entry.path, 0, 4096)):
        return PreviewContent(about, "not text")
    here = volume.local_path(entry.path)
    if here is not None:
        return PreviewContent(about, log=here)
    start = max(0, entry.bytes - TEXT_BYTES)
    if start:
        about = [*about, f"the last {units.size(TEXT_BYTES)} of it"]
    return PreviewContent(about, log=_brought(volume, entry, start, TEXT_BYTES, scratch))


def _brought(volume: Volume, entry: Entry, start: int, most: int, scratch: Path) -> Path:
    """A piece of a file on this disk, for a widget that reads files. Its name is ours, its ending too."""
    scratch.mkdir(parents=True, exist_ok=True)
    name = sha256(f"{volume.location}/{entry.path}/{entry.mtime}/{entry.bytes}".encode("utf-8", "replace")).hexdigest()
    path = scratch / name[:24]
    if path.exists():
        path.touch()
    else:
        atomic.write(path, volume.read(entry.path, start, most), atomic.PRIVATE)
        _trim(scratch)
    return path


def _trim(scratch: Path) -> None:
    """Keep the pieces that were looked at last: a log that grows is another piece at every look."""
    kept = 0
    for size, path in [(s.st_size, p) for s, p in sorted(_stats(scratch), key=lambda one: -one[0].st_mtime_ns)]:
        kept += size
        if kept > KEPT_BYTES and kept > size:
            path.unlink(missing_ok=True)


def _stats(scratch: Path) -> Iterator[tuple[os.stat_result, Path]]:
    for path in scratch.iterdir():
        # Another app may trim at the same time.
        with contextlib.suppress(FileNotFoundError):
            yield path.stat(), path
