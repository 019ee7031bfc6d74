"""What the app does with files of volumes: brings them home, sends them; each screen asks here."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from runner.errors import NanochatError, UsageError
from runner.fleet.registry import DownloadRequest
from runner.model.backend_name import BackendName
from runner.system.given_path import begin_in
from runner.text import filenames, units
from runner.transfer import corpus, download, upload
from runner.volumes import deletion, run_records
from tui.background import start
from tui.context import VolumeRef
from tui.presentation.cells import Cell
from tui.presentation.phrases import command_line, transfer_text
from tui.screens import downloads
from tui.screens.deletions import Deletions
from tui.screens.transfers import Transfer, Transfers, name_of
from tui.widgets.consent import AskPath, Confirm
from tui.widgets.toasts import DOWNLOADED

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from tui.context import AppContext


# So many transfers have room in their line.
SHOWN = 3
# So many files that did not come are named.
MOST_TOLD = 3


class VolumeFiles(Deletions):
    """Transfers, beside deletions. Its methods are called on the UI thread; work is done in threads of their own."""

    def __init__(self, app: AppContext, node: DOMNode) -> None:
        super().__init__(app, node)
        self._going = Transfers()

    def places(self) -> list[VolumeRef]:
        """Every known volume, that of the watched run first."""
        runs = sorted(self._app.runs, key=lambda r: r.id != self._app.watched)
        known = [VolumeRef(r.backend, r.volume) for r in runs]
        return list(dict.fromkeys([*known, VolumeRef(BackendName.LOCAL, self._app.default_volume)]))

    def after(self, place: VolumeRef) -> VolumeRef:
        """The volume that comes next, after the last one the first."""
        places = self.places()
        return places[(places.index(place) + 1) % len(places)] if place in places else places[0]

    def where_among(self, place: VolumeRef, key: str) -> str:
        """Which of the known volumes it is, with the key to the next; empty where there is no other."""
        places = self.places()
        number = places.index(place) + 1 if place in places else 1
        return f"{number} of {len(places)}, {key}" if len(places) > 1 else ""

    def named(self, place: VolumeRef) -> str:
        """A volume by its name, and where it is, unless on this machine."""
        where = "" if place.backend == BackendName.LOCAL else f" on {place.backend}"
        return filenames.path_for_terminal(place.location).rpartition("/")[2] + where

    @property
    def busy(self) -> bool:
        return any(not one.cut for one in self._going)

    def look_for_cut_ones(self) -> None:
        """Offer downloads that were begun and not ended, by an app or a command that is gone."""
        self._in_thread("looking for downloads that were cut", self._look_for_cut_ones)

    def _look_for_cut_ones(self) -> None:
        found = self._app.fleet.registry.interrupted_downloads()
        self._going.add_interrupted(found)
        if found:
            named = ", ".join(filenames.path_for_terminal(name_of(w)) for w in found[:3])
            shows, goes_on, forgets = map(self._app.key, ("app.volume", "files.pause", "files.stop"))
            self._say(
                f"not all of {named} has come: {shows}, then {goes_on} goes on with it, {forgets} forgets it", "warning"
            )

    def line(self) -> list[Cell | str]:
        """What is on its way, for the line of a screen; empty when nothing is."""
        cells: list[Cell | str] = []
        going = list(self._going)
        for one in going[:SHOWN]:
            arrow = "↓" if one.wanted else "↑"
            cells += [
                Cell(f"{arrow} {filenames.path_for_terminal(one.name)}", "accent"),
                "cut" if one.cut else transfer_text(one.progress),
            ]
        if len(going) > SHOWN:
            cells.append(f"and {len(going) - SHOWN} more")
        moves = any(not (one.cut or one.progress.paused) for one in going)
        pause, stop = self._app.key("files.pause"), self._app.key("files.stop")
        keys = f"{pause} pauses, {stop} stops" if moves else f"{pause} goes on, {stop} forgets"
        return [*cells, Cell(keys, "dim")] if cells else []

    def pause(self) -> None:
        """Pause what is brought home; where nothing moves, go on with it."""
        downloads = [one.download for one in self._going if one.download]
        if any(not one.progress.paused for one in downloads):
            for one in downloads:
                one.pause()
            return
        for one in downloads:
            one.unpause()
        cut = [one.wanted for one in self._going if one.cut and one.wanted]
        for folder in dict.fromkeys(wanted.folder for wanted in cut):
            same = [wanted for wanted in cut if wanted.folder == folder]
            first, more = filenames.path_for_terminal(name_of(same[0])), len(same) - 1
            self._get_all(same, f"{first} and {more} more" if more else first)

    def ask_stop(self) -> None:
        """Ask, then stop everything that is on its way, and think no more of it."""
        named = [
            f"{filenames.path_for_terminal(one.name)}: {'cut' if one.cut else transfer_text(one.progress)}"
            for one in self._going
        ]
        if not named:
            return
        lines = [*named[:SHOWN], *([f"and {len(named) - SHOWN} more"] if len(named) > SHOWN else [])]
        lines.append("What has come is kept; only when it is asked for again it goes on from there.")
        asked = Confirm("Stop what is on its way, and forget it?", lines, "nanochat-tui volume get …", "Stop", "Go on")
        self._node.app.push_screen(asked, lambda yes: self._stop() if yes else None)

    def _stop(self) -> None:
        ends = [
            functools.partial(self._app.fleet.registry.end_download, one.wanted) for one in self._going if one.wanted
        ]
        for one in self._going:
            if one.cut:
                self._going.end(one)
            one.stop()
        start(self._node, *ends, group="files", doing="stopping downloads", finish=True)

    def leave(self) -> None:
        """Stop everything, to be offered again at the next start."""
        for one in self._going:
            one.stop()

    def ask_get(self, place: VolumeRef, paths: list[str]) -> None:
        """Ask where to, then bring files, folders or whole runs home."""
        if not paths:
            return
        tags = {r.path: r.tag for r in self.runs_on(place)}
        what, here = downloads.described(paths, tags), begin_in()
        folder, below = downloads.proposed(here, paths, tags)

        def command(typed: str) -> str:
            into = str(PurePath(typed).relative_to(here)) if PurePath(typed).is_relative_to(here) else typed
            return downloads.commands(paths, tags, into or ".")

        def answered(folder: str | None) -> None:
            if folder:
                wanted = [DownloadRequest(*place, p, folder, download.home_name(p, tags)) for p in paths]
                self._get_all(wanted, what, below.partition("/")[0])

        asked = AskPath(
            f"Download {what} into which folder?", str(folder), command, lines=["adding up what comes …"], below=below
        )
        self._node.app.push_screen(asked, answered)
        start(
            self._node,
            functools.partial(self._weigh_download, place, paths, tags, asked),
            group="files",
            doing="looking at what comes",
            failed=lambda error: asked.put([str(error)]),
        )

    def _weigh_download(self, place: VolumeRef, paths: list[str], tags: dict[str, str], asked: AskPath) -> None:
        volume = self.volume(place)
        items = [item for path in paths for item in download.list_files(volume, path, download.home_name(path, tags))]
        self._app.call_from_thread(asked.put, [downloads.weight(items)])

    def ask_put(self, place: VolumeRef, folder: str, done: Callable[[], None]) -> None:
        """Ask what to send, then bring it into a folder of the volume."""
        command = command_line("volume", "put", "FILE", f"{folder}/")

        def answered(origin: str | None) -> None:
            if origin:
                self._in_thread("sending files", self._put, place, Path(origin), folder, done)

        self._node.app.push_screen(
            AskPath("Which file or folder of this machine?", f"{begin_in()}/", command), answered
        )

    def _get_all(self, requests: list[DownloadRequest], what: str, below: str = "") -> None:
        """Bring them home one after the other: each takes the whole line anyhow. All of them are told of as one, and
        that they are in their folder, or in the one `below` it.
        """
        if not requests:
            return
        ones, batch = [], downloads.Batch(what, str(Path(requests[0].folder, below)))
        for wanted in requests:
            one = Transfer(name_of(wanted), wanted)
            try:
                self._going.begin(one)
            except NanochatError as error:
                self._say(str(error), "error")
            else:
                ones.append((wanted, one))
        begun = [functools.partial(self._app.fleet.registry.begin_download, wanted) for wanted, _ in ones]
        batch.asked = len(ones)
        gets = [functools.partial(self._get, wanted, one, batch) for wanted, one in ones]
        told = functools.partial(self._told_of, batch)
        start(self._node, *begun, *gets, told, group="files", doing=f"downloading {what}", finish=True)

    def _told_of(self, batch: downloads.Batch) -> None:
        if said := batch.told():
            self._say(said, kind=DOWNLOADED)
        if batch.stopped:
            folder = filenames.path_for_terminal(batch.folder)
            self._say(f"{batch.what} was stopped; downloaded to {folder} again it goes on from there", "warning")

    def _get(self, wanted: DownloadRequest, one: Transfer, batch: downloads.Batch) -> None:
        registry, folder = self._app.fleet.registry, wanted.folder
        if one.stopped.is_set():
            batch.stopped = True
            self._going.end(one)
            return
        try:
            with self._until_its_end(one):
                volume = self.volume(VolumeRef(wanted.backend, wanted.location))
                items = download.list_files(volume, wanted.path, wanted.local_name)
                one.download = download.Download(volume, items, Path(folder), told=one.told, overwrite=wanted.overwrite)
                if one.stopped.is_set():
                    one.download.stop()
                whole = one.download.run() is download.End.WHOLE
        except (FileNotFoundError, UsageError):
            registry.end_download(wanted)
            raise
        except (NanochatError, OSError):
            # What the line or the volume did may pass.
            if not one.stopped.is_set():
                self._going.add_interrupted([wanted])
            raise
        for warning in one.download.warnings[:MOST_TOLD]:
            self._say(warning, "warning")
        if (more := len(one.download.warnings) - MOST_TOLD) > 0:
            self._say(
                f"and {units.pluralize(more, 'more file')} of {filenames.path_for_terminal(one.name)} did not come",
                "warning",
            )
        if whole:
            registry.end_download(wanted)
            batch.add(items, one.download.progress)
        else:
            batch.stopped = True

    def _put(self, place: VolumeRef, origin: Path, folder: str, done: Callable[[], None]) -> None:
        volume = self.volume(place)
        target = corpus.target_of(origin, f"{folder}/{origin.name}".lstrip("/"))
        sendings, left_out = upload.plan_upload(origin, target)
        own_text = corpus.is_corpus(target)
        if own_text:
            engine = run_records.engine_of(volume) or "nanochat"
            for said in corpus.check(volume, sendings, engine, whole=origin.is_dir()):
                self._say(said, "warning")
        one = Transfer(origin.name)
        self._going.begin(one)
        with self._until_its_end(one):
            left, there = upload.unsent(volume, sendings, stopped=one.stopped.is_set)
            if there:
                raise NanochatError(
                    f"{filenames.path_for_terminal(there[0])} is there already", "delete it first, or send another name"
                )
            blockers = deletion.plan_deletion([s.path for s in left], [], self._as_they_are(place)).blockers
            if blockers:
                raise NanochatError(blockers[0], "volume put --force sends it all the same")
            upload.upload(volume, left, told=one.told, stopped=one.stopped.is_set)
            if own_text and origin.is_dir():
                corpus.mark(volume, len(sendings))
        more = f"; {len(left_out)} links and devices were left out" if left_out else ""
        self._say(f"{filenames.path_for_terminal(origin.name)} is on the volume{more}")
        self._app.call_from_thread(done)

    @contextlib.contextmanager
    def _until_its_end(self, one: Transfer) -> Iterator[None]:
        try:
            yield
        finally:
            self._going.end(one)
