"""What is in a folder of a volume, and what it is for, as far as its place tells."""

from collections.abc import Iterable

from runner.model import identifiers
from runner.model.run import Run
from runner.nanochat import layout
from runner.preview.tables import Table
from runner.text import filenames, units
from runner.volumes.base import TRASH, Entry, Volume

# So many entries are looked at, and so many of them named.
MOST_LOOKED_AT, MOST_NAMED = 2000, 100
MEANINGS = {
    layout.DATA: "text to train on, in shards; all runs share it",
    layout.OLD_DATA: "text to train on, of an older nanochat",
    layout.TOKENIZER: "the tokenizer of all runs that have none of their own",
    layout.EVAL_BUNDLE: "the tasks that CORE is measured on",
    layout.TASK_DATA: "tasks to fine-tune and to evaluate on",
    layout.CACHE: "compiled kernels, packages and the attention kernel; all of it comes back",
    layout.CODE: "code of your own that runs have, packed",
    layout.SPENT: "what runs have cost that are deleted",
    layout.DAMAGED: "what was found damaged, put aside; nothing reads it",
    identifiers.RUNS: "a folder for each run: log, events, checkpoints, report",
    TRASH: "what was deleted, to be brought back until its days are over",
}


def about(volume: Volume, entry: Entry, run: Run | None) -> tuple[list[str], Table | None]:
    """Lines about a folder, and its first entries, folders before files; `run` is the one whose folder it is.

    Raises OSError and NanochatError when it cannot be read.
    """
    found: list[Entry] = []
    more = ""
    for batch in volume.scan(entry.path):
        found += batch
        if len(found) >= MOST_LOOKED_AT:
            more = " and more"
            break
    folders = [one for one in found if one.is_dir]
    files = sorted((one for one in found if not one.is_dir), key=lambda one: one.name)
    held = [units.pluralize(len(folders), "folder")] if folders else []
    if files:
        held.append(f"{units.pluralize(len(files), 'file')}, {units.size(sum(one.bytes for one in files))}")
    lines = [", ".join(held) + more] if held else ["empty"]
    if meaning := MEANINGS.get(entry.path):
        lines.insert(0, meaning)
    elif run is not None and run.path == entry.path:
        lines.insert(0, f"{run.tag}: {run.spec.task} of {run.spec.model}, {run.state}")
    elif (whole := _whole(files)) and not more:
        lines.insert(0, f"{units.pluralize(len(whole), 'checkpoint')}, the newest of step {max(whole):,}")
    shown = [*sorted(folders, key=lambda one: one.name), *files][:MOST_NAMED]
    rows = [
        [filenames.path_for_terminal(one.name) + "/" * one.is_dir, "" if one.is_dir else units.size(one.bytes)]
        for one in shown
    ]
    return lines, Table(["name", "size"], rows, []) if rows else None


def _whole(files: Iterable[Entry]) -> set[int]:
    """Steps of which a folder has weights and what belongs to them."""
    parts = [part for file in files if (part := layout.checkpoint_part(file.name))]
    return {step for kind, step, *_ in parts if kind == "model"} & {step for kind, step, *_ in parts if kind == "meta"}
