"""The first rows of a CSV or parquet file."""

import csv
import io
from typing import IO, Any

from msgspec import Struct

from runner.errors import UsageError

ROWS, COLUMNS, CELL = 100, 30, 200
# What a row group may hold for its first rows to be unpacked.
MOST_VALUES, MOST_UNPACKED = 2_000_000, 64 << 20


class Table(Struct, frozen=True):
    """Names of columns, first rows, and what is known of all of it, in lines. Everything is foreign text."""

    columns: list[str]
    rows: list[list[str]]
    about: list[str]


def read_csv(text: str, *, tabs: bool, whole: bool) -> Table:
    """A table from the beginning of its text; a last line that may be cut is left out."""
    if not whole:
        text = text.rpartition("\n")[0]
    rows: list[list[str]] = []
    problem = ""
    reader = csv.reader(io.StringIO(text.replace("\0", "")), delimiter="\t" if tabs else ",", skipinitialspace=True)
    try:
        for row in reader:
            rows.append([cell[:CELL] for cell in row[:COLUMNS]])
            if len(rows) > ROWS:
                break
    except csv.Error as error:
        problem = f"not read further: {error}"
    head, *rest = rows or [[]]
    about = [f"{len(rest):,} rows, {len(head)} columns" + ("" if whole and len(rest) < ROWS else " shown, of more")]
    return Table(head, rest[:ROWS], about + ([problem] if problem else []))


def read_parquet(file: IO[bytes]) -> Table:
    """Schema, row groups and first rows. Raises UsageError where pyarrow is missing or the file is none, OSError."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UsageError("a parquet file is read with pyarrow", "pip install pyarrow") from error
    try:
        found = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 16)
        meta = found.metadata
        about = [f"{meta.num_rows:,} rows in {meta.num_row_groups:,} row groups, {meta.num_columns:,} columns"]
        if meta.num_row_groups:
            first = meta.row_group(0)
            about.append(f"row group 0: {first.num_rows:,} rows, {first.total_byte_size:,} bytes unpacked")
        about += [f"{f.name}: {f.type}" for f in list(found.schema_arrow)[:COLUMNS]]
        names = [str(n) for n in found.schema_arrow.names[:COLUMNS]]
        rows: list[list[str]] = []
        small = meta.num_row_groups and _is_small(meta.row_group(0))
        about += [] if small else ["its first rows would be too much to unpack"]
        for batch in found.iter_batches(batch_size=20, row_groups=[0], columns=names) if small else ():
            rows = [[str(v)[:CELL] for v in record.values()] for record in batch.to_pylist()]
            break
    except (arrow.ArrowException, ValueError, KeyError, IndexError) as error:
        raise UsageError("it is not a whole parquet file", "see volume get") from error
    return Table(names, rows, about)


def _is_small(group: Any) -> bool:
    """Whether a row group can be unpacked in a moment, by what it says of itself."""
    columns = [group.column(n) for n in range(group.num_columns)]
    unpacked = sum(c.total_uncompressed_size for c in columns)
    values = max((c.num_values for c in columns), default=0)
    # A few bytes may stand for very many values.
    return unpacked <= MOST_UNPACKED and values <= MOST_VALUES and values <= 100 * (group.total_byte_size + 1000)
