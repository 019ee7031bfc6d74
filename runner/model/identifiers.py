"""Ids, tags and folders of runs: how they are made, and told apart."""

import os
import re

from runner.errors import UsageError

# The folder of a volume that has those of all runs.
RUNS = "runs"
# A tag as `check_tag` allows it, and an id.
_RUN_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}-([a-z0-9]+)")
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_LETTERS = "abcdefghjkmnpqrstuvwxyz"
_COLOURS = "amber aqua azure blue bronze coral cyan fern gold green indigo ivory jade lemon lilac lime mint olive onyx"
_MORE_COLOURS = (
    "opal orange pearl pink plum red rose ruby rust sage sand silver sky slate teal topaz umber violet white"
)


def new_run_id() -> str:
    """Eight characters without look-alikes, the first a letter: easy to type, never an option or a path."""
    first, *rest = os.urandom(8)
    return _LETTERS[first % len(_LETTERS)] + "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in rest)


def new_tag(model: str, taken: set[str]) -> str:
    """A name a person can say, as `d12-amber`, not among those taken."""
    colours = f"{_COLOURS} {_MORE_COLOURS}".split()
    free = [f"{model}-{c}" for c in colours if f"{model}-{c}" not in taken]
    return free[os.urandom(1)[0] % len(free)] if free else f"{model}-{new_run_id()}"


MAX_TAG = 48


def check_tag(tag: str) -> str:
    """A tag is also a file name: letters, digits, `.`, `_`, `-`, at most 48, beginning with a letter or digit."""
    good = (
        tag.isascii() and 0 < len(tag) <= MAX_TAG and tag[0].isalnum() and all(c.isalnum() or c in "._-" for c in tag)
    )
    if not good or tag == "last":
        raise UsageError(f"tag {tag[:60]!r} cannot be used", "use letters, digits, . _ - (at most 48)", field="tag")
    return tag


def folder_name(tag: str, run_id: str) -> str:
    """What a run's folder is called: by the name that people know, and by the one that no other run has."""
    return f"{tag}-{run_id}"


def is_folder_of(name: str, run_id: str) -> bool:
    """Whether a name may be that of a run's folder: its id, after a tag or (runs of old) alone."""
    return run_id in (name, id_of(name))


def id_of(name: str) -> str:
    """The id of the run whose folder has that name."""
    match = _RUN_FOLDER.fullmatch(name)
    return match[1] if match else name


def run_dir(name: str) -> str:
    """The folder of that name among those of runs, relative to the volume."""
    return f"{RUNS}/{name}"
