"""Which files of a folder are its code: what git knows and does not ignore, or all that is no by-product."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from runner.errors import UsageError
from runner.source.git import GitState, NoGit, ask, state_of
from runner.source.limits import MOST_MEMBERS, MOST_NAME, MOST_PATH
from runner.source.links import leading_out
from runner.text.filenames import path_for_terminal

__all__ = ["CodeFile", "GitState", "Listing", "files_of", "state_of"]

FIELD = "code"
MADE = {".git", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", "node_modules", ".DS_Store"}
# What a folder named wandb has in it when it is not a module of that name.
_RUNS = ("run-", "offline-run-", "latest-run")
# Submodules within submodules.
_DEEPEST = 8


class CodeFile(Struct, frozen=True, array_like=True):
    """One file by its path in the folder, with what tells whether it has changed; a link has a target."""

    name: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    mode: int
    target: str = ""


class Listing(Struct, frozen=True):
    """The files of a folder, sorted by the bytes of their names; `note` is for people."""

    folder: Path
    files: tuple[CodeFile, ...]
    note: str = ""


def files_of(folder: Path) -> Listing:
    """The files that are the code of a folder. Raises UsageError."""
    if not folder.is_dir():
        why = "is no folder" if os.path.lexists(folder) else "is not there"
        raise UsageError(f"{_said(str(folder))} {why}", "name the folder of a nanochat checkout", field=FIELD)
    found = _Finder(folder.resolve())
    names = set(found.names("", 0))
    files = sorted(found.entries(names), key=lambda entry: os.fsencode(entry.name))
    if not files:
        raise UsageError(
            f"there is no file in {_said(str(folder))}", "name the folder of a nanochat checkout", field=FIELD
        )
    _check(found.root, files)
    return Listing(found.root, tuple(files), "; ".join(dict.fromkeys(found.notes)))


def entry_of(name: str, found: os.stat_result, target: str = "") -> CodeFile:
    """A file as the disk describes it."""
    return CodeFile(name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_mode, target)


class _Finder:
    """Looks for the files of one folder, and asks the disk for each name once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: list[str] = []
        self._seen: dict[str, os.stat_result | None] = {}

    def names(self, inner: str, depth: int) -> Iterator[str]:
        """Names of what is in a repository and in the ones inside of it."""
        try:
            said = ask(self.root / inner, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split(b"\0")
            if not any(said):
                raise NoGit("git knows no file in it, or ignores it")
        except NoGit as no:
            where = f"{_said(inner)}: " if inner else ""
            self.notes.append(f"{where}{no}, so all of it is taken but for environments and caches")
            yield from _walk(self.root, inner)
            return
        above = f"{inner}/" if inner else ""
        for raw in filter(None, said):
            name = above + os.fsdecode(raw.rstrip(b"/"))
            # A folder stands for a repository inside of this one.
            if not self._is_folder(name):
                yield name
            elif not any((self.root / name).iterdir()):
                self.notes.append(f"the submodule {_said(name)} is empty")
            elif depth < _DEEPEST and (self.root / name / ".git").exists():
                yield from self.names(name, depth + 1)
            else:
                yield from _walk(self.root, name)

    def entries(self, names: set[str]) -> Iterator[CodeFile]:
        """What is there of these names: files and links, in folders that are no links."""
        real = {"": True}

        def is_real(folder: str) -> bool:
            if folder not in real:
                real[folder] = is_real(folder.rpartition("/")[0]) and self._is_folder(folder)
            return real[folder]

        for name in names:
            # Git knows files that were deleted.
            if not (found := self._look(name)) or not is_real(name.rpartition("/")[0]):
                continue
            if stat.S_ISREG(found.st_mode):
                yield entry_of(name, found)
            elif stat.S_ISLNK(found.st_mode):
                yield entry_of(name, found, os.readlink(self.root / name))  # noqa: PTH115 - as it stands
            elif not stat.S_ISDIR(found.st_mode):
                self.notes.append(f"{_said(name)} is left out: it is no file")

    def _look(self, name: str) -> os.stat_result | None:
        """What the disk says of a name; None where there is nothing."""
        if name not in self._seen:
            try:
                self._seen[name] = os.lstat(f"{self.root}/{name}")
            except (FileNotFoundError, NotADirectoryError):
                self._seen[name] = None
            except OSError as error:
                raise UsageError(
                    f"{_said(name)} cannot be looked at ({error.strerror})", "see to its permissions", field=FIELD
                ) from error
        return self._seen[name]

    def _is_folder(self, name: str) -> bool:
        found = self._look(name)
        return found is not None and stat.S_ISDIR(found.st_mode)


def _walk(root: Path, inner: str) -> Iterator[str]:
    """Names of all that is in a folder, but for what is made by tools."""
    count, ahead = 0, [inner]
    while ahead:
        here = ahead.pop()
        try:
            with os.scandir(root / here) as found:
                entries = list(found)
        except OSError as error:
            said = _said(here or str(root))
            raise UsageError(
                f"the folder {said} cannot be read ({error.strerror})", "see to its permissions", field=FIELD
            ) from error
        if here and _is_made(here, {entry.name for entry in entries}):
            continue
        for entry in entries:
            if entry.name in MADE or entry.name.endswith(".pyc"):
                continue
            name = f"{here}/{entry.name}" if here else entry.name
            if entry.is_dir(follow_symlinks=False):
                ahead.append(name)
                continue
            yield name
            if (count := count + 1) > MOST_MEMBERS:
                raise _too_many()


def _is_made(folder: str, names: set[str]) -> bool:
    """Whether a folder is a virtual environment, or holds the runs of Weights & Biases."""
    is_wandb = folder.rpartition("/")[2] == "wandb"
    return "pyvenv.cfg" in names or (is_wandb and any(name.startswith(_RUNS) for name in names))


def _check(root: Path, files: list[CodeFile]) -> None:
    """Raise UsageError for what no archive takes."""
    folders = {name for entry in files for name in _above(entry.name)}
    if len(files) + len(folders) > MOST_MEMBERS:
        raise _too_many()
    links = {entry.name: entry.target for entry in files if entry.target}
    out = next((name for name in links if not Path(os.path.realpath(root / name)).is_relative_to(root)), "")
    if out := out or leading_out(links):
        raise UsageError(f"{_said(out)} is a link that leads out of the folder", "replace it by a copy", field=FIELD)
    for entry in files:
        raw = os.fsencode(entry.name)
        longest = max(map(len, raw.split(b"/")))
        if longest > MOST_NAME or len(raw) > MOST_PATH or len(os.fsencode(entry.target)) > MOST_PATH:
            said = _said(entry.name)
            raise UsageError(f"{said[:40]}…{said[-30:]} is too long a path", "give it a shorter name", field=FIELD)


def _above(name: str) -> Iterator[str]:
    while name := name.rpartition("/")[0]:
        yield name


def _too_many() -> UsageError:
    return UsageError(f"there are more than {MOST_MEMBERS:,} files", "put into .gitignore what is no code", field=FIELD)


def _said(name: str) -> str:
    return path_for_terminal(name)
