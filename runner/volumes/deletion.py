"""What depends on files of a volume that are to be deleted; and deleting them in an order that misleads nobody."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from msgspec import Struct

from runner.model.run import Run
from runner.nanochat import layout
from runner.nanochat.code_facts import IDENTITY
from runner.volumes.base import Entry, Volume

T = TypeVar("T")


class Removal(Struct, frozen=True):
    """What would go. `notes` say what is lost with it, `blockers` why it should not be (it needs to be forced)."""

    paths: tuple[str, ...]
    files: int
    bytes: int
    notes: tuple[str, ...]
    blockers: tuple[str, ...]


class Weight(Struct, frozen=True):
    """How much a folder holds: files, bytes, saved steps."""

    files: int
    bytes: int
    checkpoints: int


def weigh(volume: Volume, folder: str) -> Weight:
    """What goes with a folder; nothing where there is none."""
    files = size = 0
    steps: set[tuple[str, int]] = set()
    try:
        for batch in volume.scan(folder, deep=True):
            for entry in batch:
                files, size = files + (not entry.is_dir), size + entry.bytes * (not entry.is_dir)
                if part := layout.checkpoint_part(entry.name):
                    steps.add((entry.path.rpartition("/")[0], part[1]))
    except FileNotFoundError:
        pass
    return Weight(files, size, len(steps))


def outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """Paths without those that are within another of them."""
    wanted = set(paths)

    def is_within(path: str) -> bool:
        while "/" in path:
            path = path.rpartition("/")[0]
            if path in wanted:
                return True
        return False

    return tuple(sorted(path for path in wanted if not is_within(path)))


def contents_of(volume: Volume, paths: Iterable[str]) -> list[Entry]:
    """All files in these paths, and those that they are. Of many in one folder that folder is listed once."""
    beside: dict[str, list[str]] = {}
    for path in paths:
        beside.setdefault(path.rpartition("/")[0], []).append(path)
    found: list[Entry] = []
    for folder, wanted in beside.items():
        if len(wanted) == 1:
            here = [volume.stat(wanted[0])]
        else:
            names = set(wanted)
            here = [entry for batch in volume.scan(folder) for entry in batch if entry.path in names]
        found += [entry for entry in here if not entry.is_dir]
        for above in (entry.path for entry in here if entry.is_dir):
            found += [entry for batch in volume.scan(above, deep=True) for entry in batch if not entry.is_dir]
    return found


def plan_deletion(paths: Iterable[str], contents: Iterable[Entry], runs: Iterable[Run]) -> Removal:
    """What goes with these paths. `contents` are all files in them, `runs` all runs of this volume."""
    gone = outermost(paths)
    files = [e for e in contents if not e.is_dir]
    notes: list[str] = []
    blockers: list[str] = []
    known = list(runs)
    live = [r for r in known if r.live]
    # Most paths concern one run: those are looked at for that one alone.
    paths_in, files_in = _by_place(gone, lambda path: path), _by_place(files, lambda file: file.path)
    for run in known:
        code = layout.code_archive(run.spec.code.sha) if run.spec.code else ""
        near = [*paths_in.get("", []), *paths_in.get(run.path, []), *paths_in.get(code or "/", [])]
        note, problem = _of_run(run, near, files_in.get(run.path, []), known) if near else ("", "")
        notes += [note] if note else []
        blockers += [problem] if problem else []
    for folder, lost in SHARED.items():
        if not any(_touches(path, folder) for path in gone):
            continue
        own = folder == layout.DATA and any(e.path == f"{folder}/{layout.OWN_TEXT}" for e in files)
        notes.append(OWN_TEXT if own else lost)
        blockers += [f"{run.tag} is {run.state} and uses {folder}" for run in live]
    return Removal(gone, len(files), sum(e.bytes for e in files), tuple(notes), tuple(blockers))


def _by_place(things: Iterable[T], path_of: Callable[[T], str]) -> dict[str, list[T]]:
    """Things by the first two folders of their paths; those of shorter paths by "", as they concern what is in them."""
    found: dict[str, list[T]] = {}
    for one in things:
        first = path_of(one).split("/", 2)[:2]
        found.setdefault("/".join(first) if len(first) == 2 else "", []).append(one)
    return found


# What is lost with what all runs share.
SHARED = {
    layout.DATA: "the next launch downloads the dataset again (CPU only)",
    layout.TOKENIZER: "runs without a copy of this tokenizer in their folder lose it: a new one does not fit them",
    layout.EVAL_BUNDLE: "the next launch downloads the evaluation bundle again",
    layout.TASK_DATA: "the next launch downloads the fine-tuning data again",
    IDENTITY: "the next launch of code that fine-tunes on it downloads it again",
    layout.CACHE: "the next start compiles anew, for minutes",
    "volume.json": "nothing then says whether this volume is for rehearsals or for real runs",
}


OWN_TEXT = "it is your own text, which nothing brings back"


def _touches(path: str, folder: str) -> bool:
    """Whether a path is a folder, in it, or holds it."""
    return path == folder or path.startswith(f"{folder}/") or folder.startswith(f"{path}/")


def _of_run(run: Run, gone: Sequence[str], files: Sequence[Entry], runs: Sequence[Run]) -> tuple[str, str]:
    """What a run loses, and what stands against that."""
    folder = run.path
    if run.spec.code and any(_touches(path, layout.code_archive(run.spec.code.sha)) for path in gone):
        goes_on = run.live or run.resumable
        lost = f"{run.tag} could no longer be resumed: its code goes" if goes_on else f"the code of {run.tag} goes"
        return lost, f"{run.tag} is {run.state}" if run.live else ""
    touched = [path for path in gone if _touches(path, folder)]
    if not touched:
        return "", ""
    problem = f"{run.tag} is {run.state}" if run.live else ""
    users = [r.tag for r in runs if r.live and run.id in (r.spec.source, r.spec.tokenizer_from)]
    if users and not problem:
        problem = f"{users[0]} goes on from {run.tag} right now"
    if any(path == folder or folder.startswith(f"{path}/") for path in touched):
        return f"{run.tag} loses its log, its report and every checkpoint", problem
    saved = run.status.training.saved_step if run.status else None
    steps = {part[1] for e in files if e.path.startswith(f"{folder}/") and (part := layout.checkpoint_part(e.name))}
    whole = [f"{folder}/{name}" for name in layout.CHECKPOINT_DIRS.values()]
    if any(_touches(path, base) and not path.startswith(f"{base}/") for path in touched for base in whole[:1]):
        again = run.resumable
        return (
            f"{run.tag} could no longer be resumed" if again else f"nothing could go on from {run.tag} any more",
            problem,
        )
    if steps and saved in steps and run.resumable:
        return f"{run.tag} would no longer resume from step {saved:,}, its newest", problem
    if steps:
        return " and ".join(_lost(run, files)), problem
    if any(_touches(path, layout.tokenizer_of(folder)) for path in touched):
        return f"{run.tag} loses its tokenizer: without it its models are mute", problem
    if any(path == f"{folder}/{layout.RUN_FILE}" for path in touched):
        return f"{run.tag} could not be found by another machine, nor resumed", problem
    return f"{run.tag} loses files of its folder", problem


def _lost(run: Run, files: Sequence[Entry]) -> list[str]:
    """What goes of what a run has saved: weights, or only what training on from them needs."""
    gone, weak = set[tuple[str, int]](), set[tuple[str, int]]()
    for file in files:
        if part := layout.checkpoint_part(file.name):
            (weak if layout.is_optimizer(file.name) else gone).add((file.path.rpartition("/")[0], part[1]))
    weak -= gone
    lost, unfit = _listed({step for _, step in gone}), _listed({step for _, step in weak})
    if not gone:
        return [f"{run.tag} keeps its weights, but nothing can train on from {unfit}"]
    said = [f"{run.tag} loses what it saved at {lost}"]
    return [*said, f"nothing can train on from {unfit}"] if weak else said


def _listed(steps: set[int]) -> str:
    """`step 20, 40 and 6 more`."""
    first = ", ".join(f"{s:,}" for s in sorted(steps)[:6])
    return f"step {first}" + (f" and {len(steps) - 6} more" if len(steps) > 6 else "")


def in_order(paths: Iterable[str]) -> list[str]:
    """A checkpoint's meta file first: half deleted it is incomplete, never wrong."""
    return sorted(paths, key=lambda p: (p.rpartition("/")[0], not layout.is_meta(p.rpartition("/")[2]), p))


def remove(volume: Volume, paths: Iterable[str]) -> None:
    """Delete for good, in their order. Gone already is fine."""
    for path in in_order(paths):
        try:
            volume.remove(path)
        except FileNotFoundError:
            continue
