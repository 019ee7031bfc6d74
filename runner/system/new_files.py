"""Files that a person saves from the screen: new ones, whole or not there."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from runner.errors import UsageError, naming_path
from runner.system import read_only
from runner.system.given_path import given_path
from runner.system.placing import move_into
from runner.text.filenames import path_for_terminal

MOST = 10_000
SAVE = "save files on this machine"


class NewFile(NamedTuple):
    """A file that is being written, and the name that it gets once it is whole."""

    target: Path
    file: BinaryIO


def new_file(text: str) -> Path:
    """A path that a person gave for a file that is to be made. Raises UsageError where it cannot be."""
    read_only.refuse(SAVE)
    path = given_path(text)
    if os.path.lexists(path):
        raise UsageError(f"{path_for_terminal(text)} is there already", "name a new file")
    if not path.parent.is_dir():
        raise UsageError(f"{path_for_terminal(str(path.parent))} is no folder", "name a file in one that is there")
    return path


@contextlib.contextmanager
def whole_files(targets: Sequence[Path], mode: int = 0o666) -> Iterator[list[NewFile]]:
    """Files of these names, which must be free; while they are written `.part` is behind their names.

    Raises FileExistsError, also where a name was taken meanwhile.
    """
    read_only.refuse(SAVE)
    made = _made(targets, mode)
    if made is None:
        raise FileExistsError(errno.EEXIST, "is there already, or is being written", str(targets[0]))
    try:
        yield made
        for new in made:
            new.file.close()
        for new in made:
            with naming_path(new.target, instead_of=_part(new.target)):
                move_into(_part(new.target), new.target, over=False)
    except BaseException:
        _let_go(made)
        raise


@contextlib.contextmanager
def new_files(named: Callable[[int], Sequence[Path]]) -> Iterator[list[NewFile]]:
    """Files of the first number whose names are free."""
    number = next((n for n in range(1, MOST) if not any(map(_is_taken, named(n)))), MOST)
    with whole_files(named(number)) as made:
        yield made


def _made(targets: Sequence[Path], mode: int) -> list[NewFile] | None:
    """The files for these names; None where one is taken, or will be."""
    made: list[NewFile] = []
    for target in targets:
        try:
            if os.path.lexists(target):
                raise FileExistsError
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with naming_path(target, instead_of=_part(target)):
                made.append(NewFile(target, os.fdopen(os.open(_part(target), flags, mode), "wb")))
        except OSError as error:
            _let_go(made)
            if isinstance(error, FileExistsError):
                return None
            raise
    return made


def _is_taken(target: Path) -> bool:
    return os.path.lexists(target) or os.path.lexists(_part(target))


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _let_go(made: Sequence[NewFile]) -> None:
    for new in made:
        # What could not be written cannot be flushed either.
        with contextlib.suppress(OSError):
            new.file.close()
        _part(new.target).unlink(missing_ok=True)
