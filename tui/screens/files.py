"""What the screens over a volume's files share: the line of transfers, and the keys that act on what is marked."""

from typing import ClassVar

from textual.binding import BindingType

from runner.model.run import Run
from runner.nanochat.layout import CheckpointKind
from tui.context import FileActions, VolumeRef
from tui.presentation.bindings import bindings
from tui.screens.base import NanochatScreen
from tui.widgets.line import Line

TRANSFERS_EVERY_S = 0.25


class FilesScreen(NanochatScreen):
    """Knows its `place`; a screen says what is `picked`, and how it is looked at again."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("files")
    place = VolumeRef("", "")

    @property
    def files(self) -> FileActions:
        return self.nanochat.files

    def on_mount(self) -> None:
        self.every(TRANSFERS_EVERY_S, self._show_transfers)

    def _show_transfers(self) -> None:
        line = self.query_one("#transfers", Line)
        cells = self.files.line()
        line.display = bool(cells)
        line.put(cells)

    def which_volume(self) -> str:
        """Which of the known volumes it is, with the key to the next, which is muted where there is no other."""
        to_next = f"{self.SECTIONS[0]}.next_volume"
        where = self.files.where_among(self.place, self.nanochat.key(to_next))
        self._keys.mute(frozenset() if where else frozenset({to_next}))
        return where

    def picked(self) -> dict[VolumeRef, list[str]]:
        """Paths that are marked, or under the cursor, by volume."""
        raise NotImplementedError

    def action_reload(self) -> None:
        raise NotImplementedError

    def action_up(self) -> None:
        """The folder above, where there are folders."""

    def action_get(self) -> None:
        for place, paths in self.picked().items():
            self.files.ask_get(place, paths)

    def action_remove(self) -> None:
        for place, paths in self.picked().items():
            self.files.ask_remove(place, paths, self.action_reload)

    def action_pause(self) -> None:
        self.files.pause()

    def action_stop(self) -> None:
        self.files.ask_stop()

    def resume_from(self, run: Run, kind: CheckpointKind, step: int) -> None:
        """Go on from a checkpoint: the run itself where it can, else a new run."""
        self.nanochat.resume_from(run, kind, step)
