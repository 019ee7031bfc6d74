"""What screens and widgets need from the app that they are in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from rich.style import Style
from textual.notifications import SeverityLevel

from runner.fleet.fleet import Fleet
from runner.model.run import Run
from runner.nanochat.layout import CheckpointKind
from runner.volumes.base import Volume
from runner.volumes.disk_usage import DiskUsage
from tui.presentation.cells import Cell
from tui.presentation.tabs import Standing


class VolumeRef(NamedTuple):
    """A volume of the app: whose, and which."""

    backend: str
    location: str


class TerminalContext(Protocol):
    """What the app and the view of a log give to all that is shown in them."""

    # Set once the app is left; then what threads still do for the person, and what became of it.
    left: threading.Event
    unfinished: dict[int, str]
    told_late: list[str]

    def call_from_thread(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call something on the UI thread and wait for it. Raises Left when the app is left."""
        ...

    def notify(
        self,
        message: str,
        *,
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
        kind: str = "",
    ) -> None:
        """Tell something in the one line that there is for it; several of one `kind` are told in sum."""
        ...

    def key(self, id: str, *, last: bool = False) -> str:
        """The key of an action, by its id in the key table, as it is mapped; of several the first, or the `last`."""
        ...

    def tone(self, name: str) -> Style:
        """A tone of `Cell` as a style of the theme."""
        ...

    def copy(self, text: str, what: str = "") -> None:
        """Copy text to the clipboard; `what` names it for the person."""
        ...

    def when_drawn(self, then: Callable[[], None]) -> None:
        """Call something once all that was drawn is on the terminal."""
        ...


class FileActions(Protocol):
    """What can be done with the files of volumes. To be called on the UI thread."""

    @property
    def busy(self) -> bool: ...

    def volume(self, place: VolumeRef) -> Volume: ...

    def runs_on(self, place: VolumeRef) -> list[Run]: ...

    def places(self) -> list[VolumeRef]: ...

    def after(self, place: VolumeRef) -> VolumeRef: ...

    def where_among(self, place: VolumeRef, key: str) -> str: ...

    def named(self, place: VolumeRef) -> str: ...

    def line(self) -> list[Cell | str]: ...

    def pause(self) -> None: ...

    def ask_stop(self) -> None: ...

    def ask_get(self, place: VolumeRef, paths: list[str]) -> None: ...

    def ask_put(self, place: VolumeRef, folder: str, done: Callable[[], None]) -> None: ...

    def ask_remove(
        self, place: VolumeRef, paths: Iterable[str], done: Callable[[], None], *, pruned: Iterable[Run] = ()
    ) -> None: ...


class AppContext(TerminalContext, Protocol):
    """What the screens of the app need from it, to be read and called on the UI thread."""

    fleet: Fleet
    # The newest look at all runs, and why others could not be looked at, by backend.
    runs: list[Run]
    unreachable: dict[str, str]
    # Ids of the runs that Watch and Compare show.
    watched: str
    compared: list[str]
    usages: dict[VolumeRef, DiskUsage]
    default_volume: str

    @property
    def files(self) -> FileActions: ...

    def standing(self) -> tuple[Standing, list[Cell]]:
        """What is true of all runs as of the newest look, and what keeps more from being known."""
        ...

    def watch_run(self, run: Run) -> None: ...

    def compare(self, runs: list[Run]) -> None: ...

    def browse(self, place: VolumeRef, path: str, name: str = "") -> None: ...

    def show_checkpoints(self, run: Run) -> None: ...

    def show_sizes(self, place: VolumeRef, path: str) -> None: ...

    def new_run(self) -> None: ...

    def resume_from(self, run: Run, kind: CheckpointKind, step: int) -> None: ...

    def ask_cancel(self, runs: list[Run]) -> None: ...

    def ask_resume(self, runs: list[Run], step: int | None = None) -> None: ...

    def ask_delete(self, runs: list[Run]) -> None: ...

    def go_back(self) -> None: ...
