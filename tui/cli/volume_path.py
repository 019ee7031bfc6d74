"""A place on a volume, as a person names it: PATH, or RUN:PATH in the folder of a run."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import NoSuchRun
from runner.model.run import Run
from runner.planning.usual import usual_backend, usual_engine
from runner.text import filenames
from runner.volumes.base import Entry, Volume
from tui.presentation import console

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet


class VolumePath(NamedTuple):
    """A place on a volume, as a person named it."""

    backend: str
    location: str
    volume: Volume
    path: str


def volume_path(fleet: "Fleet", args: argparse.Namespace, text: str, *, whole: bool = False) -> VolumePath:
    """`PATH` on the volume that was named or that a launch would use, or `RUN:PATH` in the folder of a run.

    What changes a volume takes the `whole` name of a run.
    """
    name, colon, inside = text.partition(":")
    if colon and "/" not in name:
        try:
            found = fleet.registry.find(name, whole=whole)
        except NoSuchRun:
            pass
        else:
            path = _plain(f"{found.path}/{inside}")
            return VolumePath(found.backend, found.volume, fleet.volume_of(found), path)
    backend = args.backend or usual_backend(fleet.settings)
    location = fleet.volume_location(backend, usual_engine(args.engine or fleet.settings.engine, backend, {}))
    return VolumePath(backend, location, fleet.backend(backend).volume(location), _plain(text))


def _plain(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def runs_on(fleet: "Fleet", place: VolumePath) -> list[Run]:
    """The runs of the volume that a path is on, as they are now."""
    return fleet.runs_on_volume(place.backend, place.location)


def is_folder(place: VolumePath) -> bool:
    """Whether there is a folder at a path."""
    try:
        return place.volume.stat(place.path).is_dir
    except FileNotFoundError:
        return False


def walk(place: VolumePath, left_out: list[str] | None = None) -> Iterator[list[Entry]]:
    """A deep listing, with its progress on a terminal."""
    count = 0
    line = console.StatusLine()
    try:
        for batch in place.volume.scan(place.path, deep=True, left_out=left_out):
            count += len(batch)
            line.put(f"{count:,} entries")
            yield batch
    finally:
        line.clear()


def say_left_out(folders: list[str]) -> None:
    """Say which folders could not be listed."""
    for path in folders:
        console.message(f"nanochat-tui: {filenames.path_for_terminal(path)} may not be read, and is left out")
