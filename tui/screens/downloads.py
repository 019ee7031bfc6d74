"""What a person brings home at once: how it is called, where it goes, and what is told of it at its end."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from runner.nanochat import layout
from runner.system.given_path import begin_in
from runner.text import filenames, units
from runner.transfer import download
from runner.transfer.download import TransferProgress
from runner.transfer.partial_file import DownloadItem
from tui.presentation.phrases import command_line

# So many steps are named.
MOST_STEPS = 4
MOST_COMMANDS = 3


def described(paths: Sequence[str], tags: Mapping[str, str]) -> str:
    """What is brought or goes: `checkpoint of step 2,520 of d12-green`, the tag of a run, a name; `tags` by path of the
    run.
    """
    saved = [path for path in paths if layout.checkpoint_part(path.rpartition("/")[2])]
    others = [path for path in paths if path not in set(saved)]
    named = [_listed(others, tags)] if others else []
    return " and ".join([*named, *([_of_checkpoints(saved, tags)] if saved else [])])


def _listed(paths: Sequence[str], tags: Mapping[str, str]) -> str:
    first = filenames.path_for_terminal(tags.get(paths[0]) or paths[0].rpartition("/")[2])
    return f"{first} and {len(paths) - 1} more" if len(paths) > 1 else first


def _kinds(paths: Sequence[str]) -> dict[tuple[str, int], set[str]]:
    """What there is of each checkpoint among its files: `model`, `meta`, `optim`, by folder and step."""
    found: dict[tuple[str, int], set[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        if part := layout.checkpoint_part(name):
            found.setdefault((folder, part[1]), set()).add(part[0])
    return found


def by_steps(paths: Sequence[str]) -> bool:
    """Whether files of checkpoints are told by their steps: they are whole ones, or all of them optimizer states."""
    kinds = _kinds(paths).values()
    return all({"model", "meta"} <= of for of in kinds) or (len(paths) > 1 and all(of == {"optim"} for of in kinds))


def _of_checkpoints(paths: Sequence[str], tags: Mapping[str, str]) -> str:
    """The same of files of checkpoints: whole ones by their steps, what only training on needs, or names."""
    kinds = _kinds(paths)
    steps = sorted(kinds)
    if not by_steps(paths):
        return _listed(paths, tags) + (f" of step {steps[0][1]:,}" if len(paths) == 1 else "")
    run, of = {run_of(path, tags) for path in paths}, ""
    if len(run) == 1 and (tag := tags.get(run.pop())):
        of = f" of {filenames.path_for_terminal(tag)}"
    if {"optim"} in kinds.values():
        return f"optimizer states of {units.pluralize(len(steps), 'checkpoint')}{of}"
    if len({folder for folder, _ in steps}) > 1:
        return units.pluralize(len(steps), "checkpoint") + of
    listed = ", ".join(f"{step:,}" for _, step in steps[:MOST_STEPS])
    listed += f" and {len(steps) - MOST_STEPS} more" if len(steps) > MOST_STEPS else ""
    return (f"checkpoint of step {listed}" if len(steps) == 1 else f"checkpoints of steps {listed}") + of


def commands(paths: Sequence[str], tags: Mapping[str, str], into: str) -> str:
    """The command lines that bring the same, the first few of them."""
    kinds = _kinds(paths)

    def line(path: str) -> str:
        folder, _, name = path.rpartition("/")
        part, run = layout.checkpoint_part(name), run_of(path, tags)
        if not run:
            return command_line("volume", "get", path, into)
        home, inner = download.home_name(folder, tags), path.removeprefix(run).lstrip("/")
        if not (part and home):
            return command_line("volume", "get", f"{tags[run]}:{inner}", into)
        if {"model", "meta", "optim"} <= kinds[folder, part[1]]:
            saved = f"{tags[run]}:{inner.rpartition('/')[0]}"
            return command_line("volume", "get", saved, into, "--step", str(part[1]))
        # Without what is large of it: a file by itself is brought to where it is told.
        return command_line("volume", "get", f"{tags[run]}:{inner}", f"{into}/{home}")

    lines = list(dict.fromkeys(map(line, paths)))
    more = f" (and {len(lines) - MOST_COMMANDS} more)" if len(lines) > MOST_COMMANDS else ""
    return " && ".join(lines[:MOST_COMMANDS]) + more


def run_of(path: str, tags: Mapping[str, str]) -> str:
    """The folder of the run that a path is, or is in; empty for none that is known."""
    folder = "/".join(path.split("/")[:2])
    return folder if folder in tags else ""


def proposed(here: Path, paths: Sequence[str], tags: Mapping[str, str]) -> tuple[Path, str]:
    """The folder that is offered, and the place below it where everything goes, as far as that is one.

    What a run has saved goes into a folder of the run by itself; its other files are offered one.
    """
    homes = [download.home_name(path, tags) for path in paths]
    if all(homes):
        files = all(layout.checkpoint_part(home.rpartition("/")[2]) for home in homes)
        below = {home.rpartition("/")[0] if files else home for home in homes}
        return here, below.pop() if len(below) == 1 else ""
    runs = {run_of(path, tags) for path in paths}
    run = runs.pop() if len(runs) == 1 else ""
    return (here / filenames.safe_filename(tags[run]) if run and not any(homes) else here), ""


def weight(items: Iterable[DownloadItem], *, files: int = 0, size: int = 0) -> str:
    """How much that is: `1.2 GB, 4 files`. What comes with several of them counts once; `files` and `size` besides."""
    sizes = {item.target: item.entry.bytes for item in items}
    return f"{units.size(sum(sizes.values()) + size)}, {units.pluralize(len(sizes) + files, 'file')}"


def near(folder: str) -> str:
    """A folder as seen from where a download is offered to, which fits into a line more often than its whole path."""
    path, here = Path(folder), begin_in()
    below = f"./{'/'.join(path.relative_to(here).parts)}" if path.is_relative_to(here) else folder
    return filenames.path_for_terminal(below)


class Batch:
    """What was asked for at once: it is told of when all of it has come to its end."""

    def __init__(self, what: str, folder: str) -> None:
        self.what, self.folder = what, folder
        self.asked = self.whole = 0
        self.stopped = False
        self._items: list[DownloadItem] = []
        # How many files, and bytes, there are more than was planned: less, where some were removed meanwhile.
        self._files = self._bytes = 0

    def add(self, items: Sequence[DownloadItem], came: TransferProgress) -> None:
        """One of them is whole."""
        self.whole += 1
        self._items += items
        self._files += came.files - len(items)
        self._bytes += came.bytes - sum(item.entry.bytes for item in items)

    def told(self) -> str:
        """What has come, in a line; empty where nothing has."""
        if not self.whole:
            return ""
        part = f"{self.whole} of {self.asked} of " if self.whole < self.asked else ""
        return (
            f"{part}{self.what} is in {near(self.folder)}: {weight(self._items, files=self._files, size=self._bytes)}"
        )
