"""What the app deletes: asks first, keeps what can be kept in the trash, brings it back."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from textual.notifications import SeverityLevel

from runner.model.backend_name import BackendName
from runner.model.run import Run, needed_steps
from runner.nanochat import layout
from runner.text import filenames, units
from runner.text.sanitize import sanitize_line
from runner.volumes import deletion, trash
from runner.volumes.base import TRASH, Volume
from runner.volumes.best import prunable
from runner.volumes.checkpoint_verdicts import Checkpoint
from runner.volumes.deletion import Removal
from runner.volumes.trash import Trashed
from tui.background import start
from tui.context import VolumeRef
from tui.presentation.phrases import command_line
from tui.screens import downloads
from tui.widgets.consent import INSTEAD, Confirm, word_for

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from tui.context import AppContext

# So many paths are named one by one.
LISTED = 6
# So many are named in the command line.
NAMED_IN_COMMAND = 3
# So many deletions can be taken back by the key, the last one first.
MOST_KEPT = 50


class _Wanted(NamedTuple):
    """What one question is about: paths of a volume, and runs of which the best and the last checkpoints stay alone."""

    place: VolumeRef
    paths: tuple[str, ...]
    pruned: tuple[Run, ...]
    named: str


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

    def deleted(
        self, named: str, kept: Iterable[Trashed | None], again: Callable[[], None] = lambda: None, *, size: str = ""
    ) -> None:
        """Tell what was deleted, how much that was, and how it comes back; from whatever thread."""
        # What was added up is no longer so.
        self._app.usages.clear()
        entries, what = [entry for entry in kept if entry], f"{named}, {size}" if size else named
        if not entries:
            self._say(f"deleted {what}")
            return
        self._kept = [*self._kept, _Deletion(named, entries, again, time.monotonic())][-MOST_KEPT:]
        days = units.pluralize(self._app.fleet.kept_days(BackendName.LOCAL), "day")
        self._say(f"deleted {what} · U brings it back for {days}")

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
            self._say(f"brought back: {one.named}")
        self._app.call_from_thread(one.again)

    def _in_trash(self, location: str) -> list[Trashed]:
        return trash.entries(self.volume(VolumeRef(BackendName.LOCAL, location)))

    def ask_remove(
        self, place: VolumeRef, paths: Iterable[str], done: Callable[[], None], *, pruned: Iterable[Run] = ()
    ) -> None:
        """Ask at once, find out meanwhile what goes and what depends on it, delete.

        Of runs that are `pruned` all checkpoints but the best and the last go.
        """
        gone, runs = deletion.outermost(paths), tuple(pruned)
        if not (gone or runs):
            return
        if gone == (TRASH,) and not runs:
            self._ask_empty(place, done)
            return
        if TRASH in gone:
            self._say("the trash is emptied by itself: nothing was deleted", "warning")
            return
        tags = {r.path: r.tag for r in self.runs_on(place)}
        wanted = _Wanted(place, gone, runs, _named(gone, runs, tags))
        known: list[Removal] = []

        def answered(yes: bool | None) -> None:
            if yes:
                self._in_thread("deleting files", self._remove, wanted, known[0], asked.instead, done)

        asked = Confirm(
            f"Delete {wanted.named}?",
            ["adding up what goes …"],
            _removing(wanted),
            "Delete",
            "Keep",
            word=_word(gone, runs, tags),
            waits=True,
            instead=self.instead(place.backend),
            other_command=_removing(wanted, now=True),
        )
        self._node.app.push_screen(asked, answered)
        weigh = functools.partial(self._weigh, wanted, asked, known)
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

    def _weigh(self, wanted: _Wanted, asked: Confirm, known: list[Removal]) -> None:
        volume, runs = self.volume(wanted.place), self._as_they_are(wanted.place)
        paths, stay = list(wanted.paths), list[str]()
        for run in wanted.pruned:
            old, stays = self._judged(run, runs)
            paths += [path for one in old for path in one.paths]
            kept = ", ".join(f"{one.kind} {one.step:,}" for one in stays)
            stay.append(f"{units.pluralize(len(old), 'checkpoint')} of {run.tag}; best and last stay: {kept or 'none'}")
        removal = deletion.plan_deletion(paths, deletion.contents_of(volume, paths), runs)
        if not removal.paths:
            self._app.call_from_thread(asked.fail, "only best and last are there: nothing can go")
            return
        known.append(removal)
        what = f"{units.pluralize(removal.files, 'file')}, {units.size(removal.bytes)}"
        lines = [f"! {reason}" for reason in removal.blockers]
        for told in (stay, removal.notes):
            lines += [*told[:LISTED], *([f"and {len(told) - LISTED} more runs"] if len(told) > LISTED else [])]
        # Those of checkpoints are told by their steps.
        named = wanted.paths
        if downloads.by_steps(saved := [p for p in named if layout.checkpoint_part(p.rpartition("/")[2])]):
            named = tuple(path for path in named if path not in set(saved))
        if len(named) > 1:
            lines += [filenames.path_for_terminal(p) for p in named[:LISTED]]
            lines += [f"and {len(named) - LISTED} more"] if len(named) > LISTED else []
        kept_lines, gone = (
            [f"{what}: {self.fate(wanted.place.backend, for_good=now)}", *lines] for now in (False, True)
        )
        command, other = (_removing(wanted, force=bool(removal.blockers), now=now) for now in (False, True))
        put = functools.partial(asked.put, kept_lines, command, otherwise=gone, other_command=other)
        self._app.call_from_thread(put)

    def _judged(self, run: Run, runs: Sequence[Run]) -> tuple[list[Checkpoint], list[Checkpoint]]:
        """Checkpoints of a run that can go, and those that stay: best, last, and what another of `runs` needs."""
        found = self._app.fleet.checkpoints(run)
        old = prunable(found, needed_steps(run, runs))
        return old, [one for one in found if one not in old]

    def _remove(self, wanted: _Wanted, removal: Removal, for_good: bool, done: Callable[[], None]) -> None:
        runs = self._as_they_are(wanted.place)
        planned = set(removal.paths) - set(wanted.paths)
        spare = {path for run in wanted.pruned for one in self._judged(run, runs)[0] for path in one.paths}
        if not planned <= spare:
            self._say("other checkpoints are there since you were asked: nothing was deleted", "error")
            return
        now = deletion.plan_deletion(removal.paths, [], runs).blockers
        if since := [reason for reason in now if reason not in removal.blockers]:
            self._say(f"{since[0]} since you were asked: nothing was deleted", "error")
            return
        ended = {r.path: r for r in runs if r.path in removal.paths and not r.live}
        fleet, rest = self._app.fleet, [p for p in removal.paths if p not in ended]
        kept = [fleet.delete(run, now=for_good) for run in ended.values()]
        kept.append(fleet.remove_files(*wanted.place, rest, now=for_good) if rest else None)
        # How many files went nobody counted: some may have come or gone since they were added up.
        self.deleted(wanted.named, kept, done, size=f"about {units.size(removal.bytes)}")
        self._app.call_from_thread(done)


def _named(paths: Sequence[str], pruned: Sequence[Run], tags: Mapping[str, str]) -> str:
    """What goes, in a few words."""
    older = pruned[0].tag if len(pruned) == 1 else f"{len(pruned)} runs"
    named = [downloads.described(paths, tags)] if paths else []
    return " and ".join([*named, *([f"older checkpoints of {older}"] if pruned else [])])


def _word(paths: Sequence[str], pruned: Sequence[Run], tags: Mapping[str, str]) -> str:
    """What is typed first: the name of the one thing that goes, the tag of the run that it all is of, or `delete`."""
    if len(paths) == 1 and not pruned:
        return word_for(tags.get(paths[0]) or filenames.path_for_terminal(paths[0].rpartition("/")[2]))
    of = {downloads.run_of(path, tags) for path in paths} | {run.path for run in pruned}
    run = of.pop()
    return INSTEAD if of else word_for(tags.get(run, ""))


def _removing(wanted: _Wanted, *, force: bool = False, now: bool = False) -> str:
    """The command lines that do the same."""
    more = ["--now"] if now else []
    lines = [command_line("checkpoints", run.tag, "--prune", *more) for run in wanted.pruned]
    if wanted.paths:
        options = ["-r", *(["--force"] if force else []), *more]
        named = wanted.paths[:NAMED_IN_COMMAND]
        lines.insert(0, command_line("volume", "rm", *options, *named) + and_more(wanted.paths[len(named) - 1 :]))
    return " && ".join(lines[:NAMED_IN_COMMAND]) + and_more(lines[NAMED_IN_COMMAND - 1 :])


def and_more(left_out: Sequence[str]) -> str:
    """What a command line leaves out: all but the first of these."""
    return f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
