"""Names that fit a few letters or words: runs, settings, commands; checkpoints and files of a listing. No I/O."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from runner.finding.hits import Batch, Hit, Kind
from runner.model import identifiers
from runner.model.run import Run
from runner.nanochat import layout
from runner.volumes.base import Entry
from runner.volumes.directory_cache import IN_PATH, closeness

# What only the words of its meaning tell is worth less than any name.
BY_MEANING = 5000.0
_KINDS = {folder: kind for kind, folder in layout.CHECKPOINT_DIRS.items()}


class Named(Struct, frozen=True):
    """A command or a setting: its key, its name, what it is for."""

    key: str
    name: str
    about: str


def fits(path: str, name: str, text: str) -> float | None:
    """How well letters fit a name, or the path that ends with it: each word by itself, in whatever order.

    None where one of them is strewn over it.
    """
    lowered, whole = path.lower(), 0.0
    for word in text.lower().split():
        found = closeness(lowered, name, word)
        if found is None or found % IN_PATH > 2 * len(word) + 2:
            return None
        whole += found
    return whole


def runs(known: Iterable[Run], text: str) -> Batch:
    """Runs by tag, id, and the words that tell of them; of those that fit alike the newest."""
    words = text.lower().split()
    hits = []
    for run in known:
        fit = fits(run.tag, run.tag, text)
        if fit is None:
            fit = fits(run.id, run.id, text)
        if fit is None:
            told = run.words
            fit = BY_MEANING if all(word in told for word in words) else None
        if fit is not None:
            about = f"{run.spec.task} {run.spec.model}, {run.state}"
            rank = (fit, -run.created_at)
            hits.append(Hit(Kind.RUN, run.id, run.tag, about, rank, run.id, run.tag, at=run.created_at))
    return Batch(Kind.RUN, hits, len(hits))


def named(kind: Kind, known: Iterable[Named], text: str) -> Batch:
    """Settings or commands by their names, else by the words of what they are for."""
    words = text.lower().split()
    hits = []
    for number, one in enumerate(known):
        fit = fits(one.name, one.name, text)
        meant = f" {one.name} {one.about}".lower().replace("(", " ")
        if fit is None and all(f" {word}" in meant for word in words):
            fit = BY_MEANING
        if fit is not None:
            hits.append(Hit(kind, one.key, one.name, one.about, (fit, number)))
    return Batch(kind, hits, len(hits))


def files(entries: Iterable[Entry], text: str, backend: str, location: str) -> Batch:
    """Files and folders by their paths, what is tight in the name first."""
    hits = []
    for entry in entries:
        fit = fits(entry.path, entry.name, text)
        if fit is not None:
            hits.append(
                Hit(
                    Kind.FILE,
                    f"{backend}:{location}/{entry.path}",
                    entry.path,
                    rank=(fit, len(entry.path)),
                    backend=backend,
                    location=location,
                    path=entry.path,
                    bytes=None if entry.is_dir else entry.bytes,
                    at=entry.mtime or None,
                )
            )
    return Batch(Kind.FILE, hits, len(hits))


def checkpoints(entries: Iterable[Entry], text: str, known: Mapping[str, Run]) -> Batch:
    """Saved steps of runs, told by the names of their model files; `known` are the runs of the volume by folder."""
    hits = []
    for entry in entries:
        part = layout.checkpoint_part(entry.name) if entry.name.startswith("model_") else None
        names = entry.path.split("/")
        if part is None or len(names) != 5 or names[0] != identifiers.RUNS or names[2] not in _KINDS:
            continue
        run = known.get("/".join(names[:2]))
        kind = _KINDS[names[2]]
        if run is None:
            continue
        called = f"{run.tag} {kind} step {part[1]}"
        fit = fits(called, called, text)
        if fit is not None:
            folder = entry.path.rpartition("/")[0]
            about = f"{kind} step {part[1]:,}"
            rank = (fit, -run.created_at, -part[1])
            key = f"{folder}/{part[1]}"
            hits.append(
                Hit(
                    Kind.CHECKPOINT,
                    key,
                    called,
                    about,
                    rank,
                    run.id,
                    run.tag,
                    run.backend,
                    run.volume,
                    entry.path,
                    step=part[1],
                    at=entry.mtime or None,
                )
            )
    return Batch(Kind.CHECKPOINT, hits, len(hits))
