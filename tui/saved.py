"""Files that a person saves from the screen: new ones, whole or not there."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

MOST = 10_000


class New(NamedTuple):
    """A file that is being written, and the name that it gets once it is whole."""

    target: Path
    file: BinaryIO


@contextlib.contextmanager
def new_files(named: Callable[[int], Sequence[Path]]) -> Iterator[list[New]]:
    """Files of the first number whose names are free. While they are written `.part` is behind their names."""
    made = next(filter(None, (_made(named(number)) for number in range(1, MOST))), None)
    if made is None:
        raise FileExistsError(None, "all names are taken", str(named(MOST)[0]))
    try:
        yield made
        for new in made:
            new.file.close()
        for new in made:
            _part(new.target).rename(new.target)
    except BaseException:
        _let_go(made)
        raise


def _made(targets: Sequence[Path]) -> list[New] | None:
    """The files for these names; None where one is taken, or will be."""
    made: list[New] = []
    for target in targets:
        try:
            if target.exists():
                raise FileExistsError
            made.append(New(target, _part(target).open("xb")))
        except OSError as error:
            _let_go(made)
            if isinstance(error, FileExistsError):
                return None
            raise
    return made


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _let_go(made: Sequence[New]) -> None:
    for new in made:
        # What could not be written cannot be flushed either.
        with contextlib.suppress(OSError):
            new.file.close()
        _part(new.target).unlink(missing_ok=True)
