"""What the shared folders of a volume hold for any run, judged by content where that is near."""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from runner.nanochat import layout
from runner.nanochat.code_facts import IDENTITY
from runner.nanochat.command_lines import TASKS
from runner.nanochat.layout import Inventory
from runner.system.side_by_side import side_by_side
from runner.volumes import contents, tokenizers
from runner.volumes.base import Entry, Volume

_SMALL = 1 << 20
Ends = Callable[[bytes, bytes, int], bool]


def inventory(volume: Volume, engine: str, *, judged: bool = True, runs: Sequence[str] = ()) -> Inventory:
    """What the shared folders hold; a folder that is not there holds nothing, a file that is damaged does not count.

    The tokenizer is that of the first of `runs` that has one of its own, by their folders.

    Without `judged`, and on a volume that is far away, names and sizes are believed: the job looks again.
    """
    hub = f"{layout.HF_CACHE}/hub"
    kernels = {}
    for name in (e.name for e in _list(volume, hub) if e.is_dir):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            # Noted when a kernel is whole.
            kernels[name] = volume.read(f"{hub}/{name}/refs/main", 0, 64).decode("ascii", "replace")
    near = judged and volume.local_path("") is not None
    there = [e for e in _list(volume, layout.DATA) if not e.is_dir]
    own_text = any(e.name == layout.OWN_TEXT for e in there)
    data = [e for e in there if e.name.endswith(".parquet")]
    folder, record = tokenizers.folder_for(volume, runs)
    of_run = folder != layout.TOKENIZER
    tokenizer = {e.name: e for e in _list(volume, folder) if not e.is_dir and e.bytes}
    bad_data = _bad(volume, data, contents.parquet if engine == "nanochat" else _lines) if near else []
    bad_tokenizer = _bad_tokenizer(volume, tokenizer, engine) if near else []
    if near and record and (unlike := tokenizers.unlike(volume, folder, record)):
        # Of the shared one only the record is of no use any more.
        bad_tokenizer, record = bad_tokenizer or ([unlike] if of_run else []), record if of_run else None
    bundle = any(e.name == "core.yaml" and e.bytes for e in _list(volume, layout.EVAL_BUNDLE))
    bad_bundle = [layout.EVAL_BUNDLE] if near and bundle and not _bundle_is_whole(volume) else []
    tasks = _task_folders(volume)
    bad_tasks = [folder for folder in tasks if not _task_is_whole(volume, folder)] if near else []
    lacking = near and len(tasks) < sum(len(splits) for *_, splits in TASKS)
    identity = list[Entry]()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        identity.append(volume.stat(IDENTITY))
    bad_identity = _bad(volume, identity, lambda _, tail, size: contents.json_lines(tail, size)) if near else []
    whole = {e.name for e in data if e.bytes} - {path.rpartition("/")[2] for path in bad_data}
    shards = {i for i in map(layout.shard_index, whole) if i is not None}
    known = {path.split("/")[1] for path in tasks if path not in bad_tasks}
    # Of a person's own text the last shard is for validation, as nanochat has it, whatever its number.
    last = max(shards, default=layout.VALIDATION_SHARD) if own_text else layout.VALIDATION_SHARD
    return Inventory(
        train_shards=len(shards - {last}),
        validation_shard=last in shards,
        own_text=own_text,
        tokenizer=set(layout.TOKENIZER_FILES) <= set(tokenizer) and not bad_tokenizer,
        token_bytes=tokenizer[layout.TOKENIZER_FILES[1]].bytes if layout.TOKENIZER_FILES[1] in tokenizer else 0,
        tokenizer_of_run=of_run,
        tokenizer_asked=record.asked if record else None,
        eval_bundle=bundle and not bad_bundle,
        task_data=not (bad_tasks or lacking) and {name.replace("/", "--") for name, *_ in TASKS} <= known,
        identity=any(e.bytes for e in identity) and not bad_identity,
        kernels=kernels,
        damaged=tuple([*bad_data, *bad_tokenizer, *bad_bundle, *bad_tasks, *bad_identity]),
    )


def _list(volume: Volume, path: str) -> list[Entry]:
    try:
        return volume.list(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _lines(head: bytes, tail: bytes, size: int) -> bool:
    """What a rehearsal takes for a shard."""
    return contents.text(head, tail)


def _ends(here: Path, size: int) -> tuple[bytes, bytes]:
    """The two ends of a file on this machine."""
    with here.open("rb") as file:
        head = file.read(contents.HEAD)
        return head, os.pread(file.fileno(), contents.TAIL, max(0, size - contents.TAIL))


def _is(volume: Volume, path: str, size: int, what: Ends) -> bool:
    """Whether a file can be read and is something, by its ends."""
    try:
        here = volume.local_path(path)
        return here is not None and size > 0 and what(*_ends(here, size), size)
    except OSError:
        return False


def _bad(volume: Volume, entries: list[Entry], what: Ends) -> list[str]:
    """Those of these files that are not what they should be. An empty one counts as not there."""
    found = [e for e in entries if e.bytes]
    good = side_by_side(lambda e: _is(volume, e.path, e.bytes, what), found)
    return [e.path for e, fine in zip(found, good, strict=True) if not fine]


def _bad_tokenizer(volume: Volume, there: dict[str, Entry], engine: str) -> list[str]:
    found = []
    for name, entry in there.items():
        if name == layout.TOKENIZER_FILES[0]:
            fine = _is(volume, entry.path, entry.bytes, _pickle if engine == "nanochat" else _json)
        elif name == layout.TOKENIZER_FILES[1]:
            fine = _archive(volume, entry)
        else:
            continue
        found += [] if fine else [entry.path]
    return found


def _pickle(head: bytes, tail: bytes, size: int) -> bool:
    """What nanochat takes for a tokenizer."""
    return contents.pickled(head, tail)


def _json(head: bytes, tail: bytes, size: int) -> bool:
    """What a rehearsal takes for a tokenizer."""
    return head[:1] == b"{" and tail.rstrip()[-1:] == b"}"


def _archive(volume: Volume, entry: Entry) -> bool:
    try:
        here = volume.local_path(entry.path)
        if here is None:
            return False
        with here.open("rb") as file:
            return contents.torch_archive(lambda at, length: os.pread(file.fileno(), length, at), entry.bytes)
    except OSError:
        return False


def _bundle_is_whole(volume: Volume) -> bool:
    """Whether every data file that the evaluation bundle names is there, and ends as it should."""
    base = layout.EVAL_BUNDLE
    try:
        core = volume.read(f"{base}/core.yaml", 0, _SMALL)
        volume.stat(f"{base}/eval_meta_data.csv")
        wanted = [volume.stat(f"{base}/eval_data/{name}") for name in contents.tasks_in(core)]
    except OSError:
        return False
    whole = side_by_side(
        lambda e: _is(volume, e.path, e.bytes, lambda _, tail, size: contents.json_lines(tail, size)), wanted
    )
    return bool(wanted) and all(whole)


def _task_folders(volume: Volume) -> list[str]:
    """The folders of task data that nanochat will look into, as far as they are there: one a split."""
    found = []
    for name, subset, splits in TASKS:
        folder = f"{layout.TASK_DATA}/{name.replace('/', '--')}/{subset}"
        there = {e.name for e in _list(volume, folder) if e.is_dir}
        found += [f"{folder}/{split}" for split in splits if split in there]
    return found


def _task_is_whole(volume: Volume, folder: str) -> bool:
    """Whether a split's manifest names files that are all there and whole."""
    try:
        names = contents.names_in(volume.read(f"{folder}/manifest.json", 0, _SMALL))
    except OSError:
        return False
    there = {e.name: e for e in _list(volume, folder)}
    if not names or contents.missing(names, there):
        return False
    return all(_is(volume, there[n].path, there[n].bytes, contents.parquet) for n in names)
