"""What the app deletes: asks first, keeps what can be kept in the trash, brings it back."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from textual.notifications import SeverityLevel

from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.text import filenames, units
from runner.text.sanitize import sanitize_line
from runner.volumes import deletion, trash
from runner.volumes.base import TRASH, Entries, Volume
from runner.volumes.deletion import Removal
from runner.volumes.trash import Trashed
from tui.background import start
from tui.context import VolumeRef
from tui.presentation.phrases import command_line
from tui.widgets.consent import Confirm, word_for

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from tui.context import AppContext

# So many paths are named one by one.
LISTED = 6
# So many deletions can be taken back by the key, the last one first.
MOST_KEPT = 50


class _Deletion(NamedTuple):
    """What went at once, by its name, and how a screen looks at it again."""

    named: str
    entries: list[Trashed]
    again: Callable[[], None]
    at: float


class Deletions:
    """Deletes files, and takes deletions back. Its methods are called on the UI thread; work is done in threads."""

    def __init__(self, app: AppContext, node: DOMNode) -> None:
        self._app, self._node = app, node
        self._kept: list[_Deletion] = []

    def volume(self, place: VolumeRef) -> Volume:
        return self._app.fleet.backend(place.backend).volume(place.location)

    def runs_on(self, place: VolumeRef) -> list[Run]:
        """Those that the screen shows, which may be a look behind: what is decided asks the fleet."""
        return [r for r in self._app.runs if (r.backend, r.volume) == place]

    def _as_they_are(self, place: VolumeRef) -> list[Run]:
        return self._app.fleet.runs_on_volume(place.backend, place.location)

    def fate(self, backend: str, *, for_good: bool = False) -> str:
        """What becomes of what is deleted there, into the trash where there is one."""
        days = 0 if for_good else self._app.fleet.kept_days(backend)
        if not days:
            return "gone for good, which cannot be undone."
        return f"kept {units.pluralize(days, 'day')} in the trash, where it takes its room, then gone for good."

    def instead(self, backend: str) -> str:
        """What a question offers beside the trash; nothing where there is none."""
        return "for good, which frees its bytes now" if self._app.fleet.kept_days(backend) else ""

    def deleted(self, named: str, kept: Iterable[Trashed | None], again: Callable[[], None] = lambda: None) -> None:
        """Tell what was deleted, and how it comes back; from whatever thread."""
        # What was added up is no longer so.
        self._app.usages.clear()
        entries = [entry for entry in kept if entry]
        if not entries:
            self._say(f"deleted {named}")
            return
        self._kept = [*self._kept, _Deletion(named, entries, again, time.monotonic())][-MOST_KEPT:]
        days = units.pluralize(self._app.fleet.kept_days(BackendName.LOCAL), "day")
        self._say(f"deleted {named} · U brings it back for {days}")

    @property
    def last_at(self) -> float:
        """When something was last deleted that can come back, by the clock of the process."""
        return self._kept[-1].at if self._kept else 0.0

    def undo(self) -> None:
        """Bring back what was deleted last in this app."""
        if not self._kept:
            self._say("nothing was deleted here that can come back; nanochat-tui restore lists the trash", "warning")
            return
        last = self._kept.pop()
        back = [functools.partial(self._app.fleet.restore, entry) for entry in reversed(last.entries)]
        done = functools.partial(self._is_back, last)
        start(self._node, *back, done, group="files", doing=f"bringing {last.named} back", finish=True)

    def _is_back(self, one: _Deletion) -> None:
        self._app.usages.clear()
        there = {entry.id for place in {e.location for e in one.entries} for entry in self._in_trash(place)}
        if not any(entry.id in there for entry in one.entries):
            self._say(f"{one.named} is back")
        self._app.call_from_thread(one.again)

    def _in_trash(self, location: str) -> list[Trashed]:
        return trash.entries(self.volume(VolumeRef(BackendName.LOCAL, location)))

    def ask_remove(self, place: VolumeRef, paths: Iterable[str], done: Callable[[], None]) -> None:
        """Ask at once, find out meanwhile what goes and what depends on it, delete."""
        gone = deletion.outermost(paths)
        if not gone:
            return
        if gone == (TRASH,):
            self._ask_empty(place, done)
            return
        if TRASH in gone:
            self._say("the trash is emptied by itself: nothing was deleted", "warning")
            return
        tags = {r.path: r.tag for r in self.runs_on(place)}
        named = tags.get(gone[0]) or filenames.path_for_terminal(gone[0].rpartition("/")[2])
        title = named if len(gone) == 1 else f"{len(gone)} items"
        known: list[Removal] = []

        def answered(yes: bool | None) -> None:
            if yes:
                self._in_thread("deleting files", self._remove, place, known[0], asked.instead, done)

        adding = ["adding up what goes …"]
        word = word_for(title)
        asked = Confirm(
            f"Delete {title}?",
            adding,
            _removing(gone),
            "Delete",
            "Keep",
            word=word,
            waits=True,
            instead=self.instead(place.backend),
        )
        self._node.app.push_screen(asked, answered)
        weigh = functools.partial(self._weigh, place, gone, asked, known)
        start(
            self._node,
            weigh,
            group="files",
            doing="looking at what goes",
            failed=lambda error: asked.fail(str(error)),
        )

    def _ask_empty(self, place: VolumeRef, done: Callable[[], None]) -> None:
        """Ask, then delete what the trash of a volume keeps."""
        lines = ["What was deleted from this volume is gone for good then: U and restore bring none of it back."]
        command = command_line("restore", "--empty")

        def answered(yes: bool | None) -> None:
            if yes:
                self._in_thread("emptying the trash", self._empty, place, done)

        asked = Confirm("Empty the trash?", lines, command, "Empty", "Keep", word=word_for("trash"))
        self._node.app.push_screen(asked, answered)

    def _empty(self, place: VolumeRef, done: Callable[[], None]) -> None:
        freed = trash.empty(self.volume(place))
        self._say(f"{units.size(freed.bytes)} freed")
        self._app.call_from_thread(done)

    def _in_thread(self, doing: str, act: Callable[..., None], *args: object) -> None:
        start(self._node, functools.partial(act, *args), group="files", doing=doing, finish=True)

    def _say(self, text: str, severity: SeverityLevel = "information", kind: str = "") -> None:
        self._app.notify(sanitize_line(text), severity=severity, markup=False, timeout=10, kind=kind)

    def _weigh(self, place: VolumeRef, paths: Sequence[str], asked: Confirm, known: list[Removal]) -> None:
        volume = self.volume(place)
        contents: Entries = []
        for path in paths:
            try:
                contents += [e for batch in volume.scan(path, deep=True) for e in batch]
            except NotADirectoryError:
                contents.append(volume.stat(path))
        wanted = deletion.plan_deletion(paths, contents, self._as_they_are(place))
        known.append(wanted)
        what = f"{units.pluralize(wanted.files, 'file')}, {units.size(wanted.bytes)}"
        lines = list(wanted.notes)
        lines += [f"! {reason}" for reason in wanted.blockers]
        lines += [filenames.path_for_terminal(p) for p in paths[:LISTED]] if len(paths) > 1 else []
        lines += [f"and {len(paths) - LISTED} more"] if len(paths) > LISTED else []
        kept, gone = ([f"{what}: {self.fate(place.backend, for_good=now)}", *lines] for now in (False, True))
        put = functools.partial(asked.put, kept, _removing(paths, force=bool(wanted.blockers)), otherwise=gone)
        self._app.call_from_thread(put)

    def _remove(self, place: VolumeRef, wanted: Removal, for_good: bool, done: Callable[[], None]) -> None:
        runs = self._as_they_are(place)
        now = deletion.plan_deletion(wanted.paths, [], runs).blockers
        if since := [reason for reason in now if reason not in wanted.blockers]:
            self._say(f"{since[0]} since you were asked: nothing was deleted", "error")
            return
        ended = {r.path: r for r in runs if r.path in wanted.paths and not r.live}
        fleet, rest = self._app.fleet, [p for p in wanted.paths if p not in ended]
        kept = [fleet.delete(run, now=for_good) for run in ended.values()]
        kept.append(fleet.remove_files(*place, rest, now=for_good) if rest else None)
        # How many files went nobody counted: some may have come or gone since they were added up.
        gone = filenames.path_for_terminal(wanted.paths[0]) if len(wanted.paths) == 1 else f"{len(wanted.paths)} items"
        self.deleted(gone, kept, done)
        self._app.call_from_thread(done)


def _removing(paths: Sequence[str], *, force: bool = False) -> str:
    return command_line("volume", "rm", "-r", *(["--force"] if force else []), *paths[:3]) + and_more(paths[2:])


def and_more(paths: Sequence[str]) -> str:
    """What a command line leaves out that names only the first of `paths`."""
    return f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
