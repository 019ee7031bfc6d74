"""What takes how much of a volume, what that costs, and what of it could go. Pure."""

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct, structs

from runner.model import identifiers
from runner.model.pricing import STORAGE_FREE_GIB, STORAGE_GIB_USD_PER_MONTH
from runner.model.run import Run
from runner.model.states import State
from runner.nanochat import layout
from runner.volumes.base import Entry


class FolderUsage(Struct):
    """A folder with everything below it; `mtime` is that of the newest file."""

    path: str
    bytes: int = 0
    files: int = 0
    mtime: float = 0.0


class Suggestion(Struct, frozen=True):
    """Something that could be deleted: what, how much, and what is lost with it.

    There are no paths where somebody who sees more has to choose.
    """

    what: str
    why: str
    bytes: int
    paths: tuple[str, ...]


class DiskUsage:
    """Sizes of all folders, added up as a deep listing comes; files are counted, not kept, but for checkpoints."""

    def __init__(self, top: str = "") -> None:
        self.top = top
        self.folders: dict[str, FolderUsage] = {top: FolderUsage(top)}
        self.below: dict[str, list[str]] = {}
        self.parts: list[Entry] = []

    def add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.is_dir:
                self._folder(entry.path)
                continue
            if layout.checkpoint_part(entry.name):
                self.parts.append(entry)
            folder: str | None = entry.path.rpartition("/")[0]
            while folder is not None:
                total = self._folder(folder)
                total.bytes += entry.bytes
                total.files += 1
                total.mtime = max(total.mtime, entry.mtime)
                folder = folder.rpartition("/")[0] if folder != self.top and folder else None

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
    """What could go, the largest first, and what is lost with it. Nothing that a live run reads."""
    known = {r.path: r for r in runs}
    found = []
    if not any(r.live for r in known.values()):
        found += _caches(usage)
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
        if run.state is State.DONE:
            parts = [e for kind in kinds.values() for step in kind.values() for e in step if e.name.startswith("optim")]
            found.append(_advice(f"optimizer states of {run.tag}", "it is done; training on from it needs them", parts))
        old = sum(e.bytes for kind in kinds.values() for step in sorted(kind)[:-1] for e in kind[step])
        # Which of them are best, or whole, their names do not say.
        why = f"K on Checkpoints, or `nanochat-tui checkpoints {run.tag} --prune`, keeps best and last"
        found.append(Suggestion(f"up to all older checkpoints of {run.tag}", why, old, ()))
    return sorted((a for a in found if a.bytes), key=lambda a: -a.bytes)


def _caches(usage: DiskUsage) -> list[Suggestion]:
    reasons = {
        layout.OWN_PACKAGES: ("packages of people's own code", "the next run with such code brings them again"),
        layout.COMPILE_CACHE: ("compile caches", "the next start of each kind compiles anew, for minutes"),
        layout.HF_CACHE: ("attention kernel", "the next launch fetches it again"),
    }
    return [
        Suggestion(what, why, usage.folders[path].bytes, (path,))
        for path, (what, why) in reasons.items()
        if path in usage.folders
    ]


def _advice(what: str, why: str, entries: list[Entry]) -> Suggestion:
    return Suggestion(what, why, sum(e.bytes for e in entries), tuple(e.path for e in entries))
