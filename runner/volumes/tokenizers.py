"""The tokenizer of a run, in the run's own folder: what it is by its digests, and where it comes from."""

import hashlib
import zipfile
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from runner.nanochat import layout
from runner.volumes.base import Volume
from runner.volumes.folder import FolderVolume

_RECORD_BYTES = 64 << 10


class TokenizerRecord(Struct, frozen=True):
    """What a folder with a tokenizer holds: sha256 by file, tokens (0 for not known), and the flags asked for."""

    files: dict[str, str]
    vocabulary: int = 0
    asked: tuple[str, ...] = ()


def read_record(volume: Volume, folder: str) -> TokenizerRecord | None:
    """What is put down of the tokenizer in a folder; None for nothing, or nothing that can be read."""
    try:
        data = volume.read(f"{folder}/{layout.TOKENIZER_RECORD}", 0, _RECORD_BYTES)
        found = msgspec.json.decode(data, type=TokenizerRecord)
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError):
        return None
    return found if set(found.files) == set(layout.TOKENIZER_FILES) else None


def folder_for(volume: Volume, runs: Iterable[str]) -> tuple[str, TokenizerRecord | None]:
    """The folder of the tokenizer that a run uses, and its record: that of the first of these runs that has one, by
    their folders, else the one that all share."""
    for path in runs:
        if record := read_record(volume, layout.tokenizer_of(path)):
            return layout.tokenizer_of(path), record
    return layout.TOKENIZER, read_record(volume, layout.TOKENIZER)


def unlike(volume: Volume, folder: str, record: TokenizerRecord) -> str:
    """The first file of a tokenizer that is gone or is not what its record says, by its path; empty for none."""
    for name in layout.TOKENIZER_FILES:
        try:
            same = hashlib.sha256(volume.read(f"{folder}/{name}")).hexdigest() == record.files[name]
        except OSError:
            same = False
        if not same:
            return f"{folder}/{name}"
    return ""


def vocabulary(volume: FolderVolume, folder: str, engine: str) -> int:
    """How many tokens a tokenizer has, by its table; 0 where that does not tell."""
    try:
        with zipfile.ZipFile(volume.path(f"{folder}/{layout.TOKENIZER_FILES[1]}")) as archive:
            size = next((i.file_size for i in archive.infolist() if i.filename.endswith("/data/0")), 0)
    except (OSError, zipfile.BadZipFile):
        return 0
    return size // 4 if engine == "nanochat" else size


def put_down(volume: FolderVolume, folder: str, engine: str, asked: tuple[str, ...]) -> TokenizerRecord:
    """Write the record of the tokenizer that is in a folder. Raises OSError where a file of it is missing."""
    files = {n: hashlib.sha256(volume.read(f"{folder}/{n}")).hexdigest() for n in layout.TOKENIZER_FILES}
    record = TokenizerRecord(files, vocabulary(volume, folder, engine), asked)
    volume.write(f"{folder}/{layout.TOKENIZER_RECORD}", msgspec.json.encode(record))
    return record


def copy(volume: FolderVolume, origin: str, folder: str, engine: str, asked: tuple[str, ...]) -> TokenizerRecord:
    """Copy a tokenizer, its record last: without it a copy counts for nothing. Raises OSError."""
    for name in layout.TOKENIZER_FILES:
        volume.write(f"{folder}/{name}", volume.read(f"{origin}/{name}"))
    return put_down(volume, folder, engine, asked)
