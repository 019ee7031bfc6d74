"""What takes how much of a volume, what that costs, and what of it could go. Pure."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec import Struct, structs

from runner.model import identifiers
from runner.model.pricing import STORAGE_FREE_GIB, STORAGE_GIB_USD_PER_MONTH
from runner.model.run import Run
from runner.model.states import State
from runner.nanochat import layout
from runner.text import filenames, units
from runner.volumes import deletion
from runner.volumes.base import Entry


class FolderUsage(Struct):
    """A folder with everything below it; `mtime` is that of the newest file."""

    path: str
    bytes: int = 0
    files: int = 0
    mtime: float = 0.0


class Suggestion(Struct, frozen=True):
    """Something that could be deleted: what, how much, and what is lost with it.

    `again` says whether it comes back by itself when it is needed. There are no paths where what a run has saved has to
    be looked at first: `run` is its folder then.
    """

    what: str
    why: str
    bytes: int
    paths: tuple[str, ...]
    again: bool = False
    run: str = ""


class DiskUsage:
    """Sizes of all folders, added up as a deep listing comes; files are counted, not kept, but for checkpoints."""

    def __init__(self, top: str = "") -> None:
        self.top = top
        self.folders: dict[str, FolderUsage] = {top: FolderUsage(top)}
        self.below: dict[str, list[str]] = {}
        self.parts: list[Entry] = []
        # Folders that hold shards of text, with how many; those whose text is a person's own; archives of code.
        self.shards: dict[str, int] = {}
        self.own_text: set[str] = set()
        self.code: list[Entry] = []

    def add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.is_dir:
                self._folder(entry.path)
                continue
            if layout.checkpoint_part(entry.name):
                self.parts.append(entry)
            self._note(entry)
            folder: str | None = entry.path.rpartition("/")[0]
            while folder is not None:
                total = self._folder(folder)
                total.bytes += entry.bytes
                total.files += 1
                total.mtime = max(total.mtime, entry.mtime)
                folder = folder.rpartition("/")[0] if folder != self.top and folder else None

    def _note(self, entry: Entry) -> None:
        """What tells of a folder what it is for."""
        above, _, name = entry.path.rpartition("/")
        if layout.shard_index(name) is not None:
            self.shards[above] = self.shards.get(above, 0) + 1
        elif name == layout.OWN_TEXT:
            self.own_text.add(above)
        elif above == layout.CODE:
            self.code.append(entry)

    def copy(self) -> "DiskUsage":
        """The folders as they are now, for another thread: it does not see what is added later."""
        other = DiskUsage(self.top)
        other.folders = {path: structs.replace(total) for path, total in self.folders.items()}
        other.below = {path: list(folders) for path, folders in self.below.items()}
        return other

    def at(self, path: str) -> FolderUsage:
        """A folder, of which nothing may be known so far."""
        return self.folders.get(path) or FolderUsage(path)

    def _folder(self, path: str) -> FolderUsage:
        found = self.folders.get(path)
        if found is None:
            found = self.folders[path] = FolderUsage(path)
            above = path.rpartition("/")[0]
            self.below.setdefault(above, []).append(path)
            self._folder(above)
        return found

    def children(self, path: str) -> list[FolderUsage]:
        """The folders in a folder, the largest first."""
        return sorted((self.folders[p] for p in self.below.get(path, [])), key=lambda t: (-t.bytes, t.path))

    def own(self, path: str) -> FolderUsage:
        """The files right in a folder."""
        whole, parts = self.at(path), self.children(path)
        return FolderUsage(path, whole.bytes - sum(p.bytes for p in parts), whole.files - sum(p.files for p in parts))


def per_month(bytes_: int) -> Decimal:
    """Dollars a month for so much on Modal, before the free tier that a whole workspace shares."""
    return Decimal(bytes_) / 2**30 * STORAGE_GIB_USD_PER_MONTH


def free_tier() -> int:
    """Bytes of a workspace that cost nothing."""
    return STORAGE_FREE_GIB * 2**30


def suggestions(usage: DiskUsage, runs: Iterable[Run]) -> list[Suggestion]:
    """What could go and what is lost with it, in turn. Nothing that a live run reads."""
    known = {r.path: r for r in runs}
    found = []
    if not any(r.live for r in known.values()):
        found += _caches(usage)
        found += _downloaded(usage, known.values())
        found += _unused(usage, known)
    steps: dict[str, dict[str, dict[int, list[Entry]]]] = {}
    for entry in usage.parts:
        part = layout.checkpoint_part(entry.name)
        names = entry.path.split("/")
        if part and len(names) == 5 and names[0] == identifiers.RUNS:
            steps.setdefault("/".join(names[:2]), {}).setdefault(names[2], {}).setdefault(part[1], []).append(entry)
    for path, kinds in steps.items():
        run = known.get(path)
        if run is None or run.live:
            continue
        if aside := usage.folders.get(f"{path}/{layout.ASIDE}"):
            why = "it went back behind them; nothing goes on from them"
            found.append(Suggestion(f"steps that {run.tag} has put aside", why, aside.bytes, (aside.path,)))
        if run.state is State.DONE:
            saved = [entry for kind in kinds.values() for step in kind.values() for entry in step]
            parts = [entry for entry in saved if layout.is_optimizer(entry.name)]
            found.append(_advice(f"optimizer states of {run.tag}", "it is done; training on from it needs them", parts))
        old = sum(e.bytes for kind in kinds.values() for step in sorted(kind)[:-1] for e in kind[step])
        # Which of them are best, or whole, their names do not say.
        why = "at most this much: best and last stay"
        found.append(Suggestion(f"older checkpoints of {run.tag}", why, old, (), run=path))
    return in_turn(found)


def in_turn(found: Iterable[Suggestion]) -> list[Suggestion]:
    """What comes back by itself first, then the largest."""
    return sorted((one for one in found if one.bytes), key=lambda one: (not one.again, -one.bytes))


def _caches(usage: DiskUsage) -> list[Suggestion]:
    reasons = {
        layout.OWN_PACKAGES: ("packages of people's own code", "the next run with such code brings them again"),
        layout.COMPILE_CACHE: ("compile caches", "the next start of each kind compiles anew, for minutes"),
        layout.HF_CACHE: ("attention kernel", "the next launch fetches it again"),
    }
    return [
        Suggestion(what, why, usage.folders[path].bytes, (path,), again=True)
        for path, (what, why) in reasons.items()
        if path in usage.folders
    ]


def _downloaded(usage: DiskUsage, runs: Iterable[Run]) -> list[Suggestion]:
    """What every launch brings again that needs it, and who would."""
    waiting = [r.tag for r in runs if r.resumable]
    who = f"; to be resumed, {_listed(waiting)} needs it" if waiting else ""
    words = {layout.DATA: "dataset", layout.EVAL_BUNDLE: "evaluation bundle", layout.TASK_DATA: "fine-tuning data"}
    return [
        Suggestion(what, f"{deletion.SHARED[path]}{who}", usage.folders[path].bytes, (path,), again=True)
        for path, what in words.items()
        if path in usage.folders and path not in usage.own_text
    ]


def _unused(usage: DiskUsage, runs: Mapping[str, Run]) -> list[Suggestion]:
    """Text of another layout, code of no run, and what was found damaged: nothing that the pinned nanochat reads."""
    found = []
    own = [r.tag for r in runs.values() if r.spec.code]
    for path, shards in usage.shards.items():
        elsewhere = path.split("/")[0] not in (layout.DATA, identifiers.RUNS, layout.DAMAGED, layout.TASK_DATA)
        if path and elsewhere and path not in usage.own_text:
            why = "no run of the pinned nanochat reads it" + (f"; code of your own may ({_listed(own)})" if own else "")
            old = path == layout.OLD_DATA
            why += "; a nanochat that does downloads it again" if old else "; nothing brings it back if it is your own"
            whose = "dataset of an older nanochat" if old else f"text in {filenames.path_for_terminal(path)}"
            what = f"{whose}, {units.pluralize(shards, 'shard')}"
            found.append(Suggestion(what, why, usage.folders[path].bytes, (path,), again=old))
    # Of a run that is not known here nobody can say which code it needs.
    if not usage.top and all(folder.path in runs for folder in usage.children(identifiers.RUNS)):
        needed = {layout.code_archive(r.spec.code.sha) for r in runs.values() if r.spec.code}
        spare = [entry for entry in usage.code if entry.path not in needed]
        found.append(_advice("code of your own that no run has", "a launch with that code sends it again", spare))
    if damaged := usage.folders.get(layout.DAMAGED):
        why = "kept in case somebody wants it; nothing reads it"
        found.append(Suggestion("what was found damaged", why, damaged.bytes, (damaged.path,)))
    return found


def _listed(tags: list[str]) -> str:
    return tags[0] if len(tags) == 1 else f"{tags[0]} and {len(tags) - 1} more"


def _advice(what: str, why: str, entries: list[Entry]) -> Suggestion:
    return Suggestion(what, why, sum(e.bytes for e in entries), tuple(e.path for e in entries))
