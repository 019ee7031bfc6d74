"""Checkpoints from the work disk to the volume: only whole ones, all or nothing, never holding up training."""

import errno
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

from runner.errors import NanochatError
from runner.nanochat import layout
from runner.nanochat.code_facts import IDENTITY
from runner.nanochat.layout import CheckpointKind
from runner.volumes import checkpoint_verdicts
from runner.volumes.checkpoint_verdicts import KEPT, Checkpoint, Verdict
from runner.volumes.folder import FolderVolume

LOOK_EVERY_S = 0.5
RETRY_S = 5.0
WAIT_S = 0.2
CHUNK = 8 << 20
# A checkpoint on its way to the volume; what a killed container left there is nobody's.
PARTIAL = ".publishing-"
# Beside a checkpoint on the work disk that came from a volume: its step.
BROUGHT = ".brought-"


class CheckpointFolder(Struct, frozen=True):
    """One folder of checkpoints on the work disk and its place on the volume."""

    kind: CheckpointKind
    work: str
    target: str


class Publisher:
    """A thread that looks for finished checkpoints and copies them; `flush` waits for the last of them."""

    def __init__(
        self,
        work: Path,
        volume: FolderVolume,
        folder: str,
        model: str,
        gpus: int,
        *,
        on_saved: Callable[[Checkpoint], None],
        say: Callable[[str], None],
        copy: Callable[[Path, Path], object] | None = None,
        commit: Callable[[], None] = lambda: None,
    ) -> None:
        self._work = FolderVolume(str(work))
        self._volume = volume
        self._gpus = gpus
        self._on_saved, self._say, self._copy = on_saved, say, copy or self._copy_and_sync
        self._deadline = math.inf
        self._commit = commit
        self._sources = [
            CheckpointFolder(kind, f"{name}/{model}", f"{folder}/{name}/{model}")
            for kind, name in layout.CHECKPOINT_DIRS.items()
        ]
        self._known: set[tuple[str, int]] = set()
        self._refused: set[tuple[str, int]] = set()
        # On the volume, though not yet seen by others: only the commit is tried again.
        self._moved: set[tuple[str, int]] = set()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="publish", daemon=True)
        self.problem = ""
        self.waiting = 0
        for source in self._sources:
            for left in volume.path(source.target).glob(f"{PARTIAL}*"):
                shutil.rmtree(left, ignore_errors=True)
            for found in checkpoint_verdicts.scan_folder(volume, "", source.kind, source.target, gpus):
                marked = any(name.startswith(layout.UNREADABLE) for name in found.files)
                if found.verdict in KEPT or marked:
                    self._known.add((source.kind, found.step))
            # Brought here by an earlier attempt, maybe from another run: it is not this one's to keep.
            for note in self._work.path(source.work).glob(f"{BROUGHT}*"):
                self._known.add((source.kind, int(note.name.removeprefix(BROUGHT))))

    def start(self) -> None:
        self._thread.start()

    def _loop(self) -> None:
        while not self._stop.wait(RETRY_S if self.problem else LOOK_EVERY_S):
            self.publish_finished(settled=False)

    def flush(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Publish everything that is whole, until the deadline; what is not whole now never will be.

        `waiting` is called meanwhile, a few times a second.
        """
        last = threading.Thread(
            target=self.publish_finished, kwargs={"settled": True}, name="publish-last", daemon=True
        )
        last.start()
        while last.is_alive() and time.monotonic() < self._deadline:
            last.join(WAIT_S)
            waiting()

    def limit_time(self, seconds: float) -> None:
        """Whatever is not kept within so long is given up."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)

    def close(self) -> None:
        self._stop.set()
        while self._thread.is_alive() and time.monotonic() < self._deadline:
            self._thread.join(WAIT_S)

    def publish_finished(self, *, settled: bool) -> None:
        """One look at the work disk. `settled`: nothing is being written any more. What goes wrong is in `problem`.

        `waiting` is the number of whole checkpoints that it keeps from the volume.
        """
        with self._lock:
            problems = [problem for source in self._sources for problem in self._look(source, settled=settled)]
            self.problem, self.waiting = next(iter(problems), ""), len(problems)

    def _look(self, source: CheckpointFolder, *, settled: bool) -> list[str]:
        """Keep what is whole of one kind; what went wrong with each, in a few words."""
        try:
            found = checkpoint_verdicts.scan_folder(self._work, "", source.kind, source.work, self._gpus)
            problems = [self._consider(source, one, settled=settled or one is not found[-1]) for one in found]
        except Exception as error:  # noqa: BLE001 - whatever it is: a thread that ended here would keep no checkpoint
            return [self._trouble(f"{source.kind} checkpoints", error)]
        return [problem for problem in problems if problem]

    def _trouble(self, what: str, error: Exception, more: str = "") -> str:
        """Say once what is in the way, and go on trying."""
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        ours = isinstance(error, OSError | NanochatError)
        problem = "no space left on the volume" if full else str(error) if ours else f"{type(error).__name__}: {error}"
        if problem != self.problem:
            self._say(f"[PUBLISH] {what} could not be kept yet: {problem}{more}")
        return problem

    def _consider(self, source: CheckpointFolder, one: Checkpoint, *, settled: bool) -> str:
        key = (source.kind, one.step)
        if key in self._known:
            return ""
        if one.verdict not in KEPT:
            if settled and key not in self._refused:
                self._refused.add(key)
                self._say(f"[PUBLISH] {source.kind} step {one.step} is not kept: {one.reason}")
            return ""
        try:
            self._publish(source, one)
        except (OSError, NanochatError) as error:
            return self._trouble(f"{source.kind} step {one.step}", error, f"; it stays in {one.path}")
        self._known.add(key)
        self._say(f"[PUBLISH] {source.kind} step {one.step} kept: {one.bytes / 1e6:,.1f} MB, {one.reason}")
        self._on_saved(one)
        self._drop(source, lambda step: step < one.step)
        return ""

    def _publish(self, source: CheckpointFolder, one: Checkpoint) -> None:
        """Bring it to its place, then let others see it."""
        if (source.kind, one.step) not in self._moved:
            self._bring(source, one)
            self._moved.add((source.kind, one.step))
        self._commit()

    def _bring(self, source: CheckpointFolder, one: Checkpoint) -> None:
        """Copy to a hidden folder beside the target, then move the files in, meta last: it completes the set."""
        target = self._volume.path(source.target)
        target.mkdir(parents=True, exist_ok=True)
        partial = target / f"{PARTIAL}{one.step:06d}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            for name in one.files:
                origin = self._work.path(f"{source.work}/{name}")
                self._copy(origin, partial / name)
                if (partial / name).stat().st_size != origin.stat().st_size:
                    raise OSError(errno.EIO, f"{name} was cut while copying")
            for name in sorted(one.files, key=layout.is_meta):
                (partial / name).replace(target / name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _copy_and_sync(self, origin: Path, target: Path) -> None:
        """Copy a file and wait until it is on the disk: only then may its name stand for a checkpoint."""
        with origin.open("rb") as source, target.open("wb") as copy:
            while data := source.read(CHUNK):
                if time.monotonic() > self._deadline:
                    raise OSError(errno.ETIMEDOUT, "there was no time left to keep it")
                copy.write(data)
            copy.flush()
            os.fsync(copy.fileno())

    def restore(self, one: Checkpoint, *, optimizer: bool = True) -> None:
        """Bring a checkpoint from the volume to the work disk, as the only one there; it is not published again."""
        source = next(s for s in self._sources if s.kind is one.kind)
        local = self._work.path(source.work)
        whole = checkpoint_verdicts.scan_folder(self._work, "", one.kind, source.work, self._gpus)
        if not any(c.step == one.step and c.verdict is Verdict.COMPLETE for c in whole):
            local.mkdir(parents=True, exist_ok=True)
            for name in one.files:
                if optimizer or not layout.is_optimizer(name):
                    shutil.copyfile(self._volume.path(f"{one.path}/{name}"), local / name)
        self._known.add((one.kind, one.step))
        self._drop(source, lambda step: step != one.step)
        (local / f"{BROUGHT}{one.step:06d}").touch()

    def discard(self, gone: Iterable[Checkpoint]) -> None:
        """These are not on the volume any more: the same steps are to be kept again, and evaluated anew."""
        self._known -= {(one.kind, one.step) for one in gone}
        shutil.rmtree(self._work.path(layout.RESULTS), ignore_errors=True)

    def clear(self, kind: CheckpointKind) -> None:
        """Remove every step of a kind from the work disk; nanochat takes the highest it finds, whole or not."""
        self._drop(next(s for s in self._sources if s.kind is kind), lambda step: True)

    def _drop(self, source: CheckpointFolder, unwanted: Callable[[int], bool]) -> None:
        folder = self._work.path(source.work)
        for file in folder.iterdir() if folder.is_dir() else ():
            part = layout.checkpoint_part(file.name)
            if file.name.startswith(BROUGHT) or (part and unwanted(part[1])):
                file.unlink()


def copy_results(work: Path, volume: FolderVolume, folder: str) -> None:
    """Bring evaluation tables, and what a stage downloaded for all runs, to the volume."""
    for csv in sorted((work / layout.RESULTS).glob("*.csv")):
        volume.write(f"{folder}/{layout.RESULTS}/{csv.name}", csv.read_bytes())
    bundle, target = work / layout.EVAL_BUNDLE, volume.path(layout.EVAL_BUNDLE)
    if bundle.is_dir() and not bundle.is_symlink() and not target.exists():
        partial = target.with_name(f".{layout.EVAL_BUNDLE}.{os.getpid()}")
        shutil.copytree(bundle, partial)
        partial.rename(target)
    identity = work / IDENTITY
    if identity.is_file() and not identity.is_symlink() and not volume.path(IDENTITY).exists():
        volume.write(IDENTITY, identity.read_bytes())


def link_shared(base: Path, volume: FolderVolume) -> None:
    """Make a run's NANOCHAT_BASE_DIR: its own folder, with the volume's shared folders linked in."""
    base.mkdir(parents=True, exist_ok=True)
    volume.path(layout.CACHE).mkdir(exist_ok=True)
    for name in layout.SHARED:
        volume.path(name).mkdir(exist_ok=True)
        link_to(base / name, volume.path(name))
    # What comes whole is linked when it is there: else it is brought to the work disk first.
    for name, sign in ((layout.EVAL_BUNDLE, "core.yaml"), (IDENTITY, "")):
        if (volume.path(name) / sign).exists():
            link_to(base / name, volume.path(name))
        elif (base / name).is_symlink():
            (base / name).unlink()


def link_to(link: Path, target: Path) -> None:
    """Let a link of the work disk lead to a place of the volume; what is there instead of a link stays."""
    if link.is_symlink():
        link.unlink()
    if not link.exists():
        link.symlink_to(target.absolute())
