"""Compiled kernels (inductor, Triton): on fast local disk while training, as one archive on the volume between runs."""

import contextlib
import os
import shutil
import tarfile
import threading
import time
from pathlib import Path

from runner.model.pricing import chip
from runner.model.run import Run
from runner.nanochat import layout
from runner.nanochat.command_lines import COMMIT
from runner.text import units
from runner.volumes.folder import FolderVolume

ARCHIVE_S, LEFT_S = 60.0, 86_400.0
VARIABLES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


class CompileCache:
    """`folder` on the local disk, `archive` on the volume; a problem with either costs a compilation, never a run."""

    def __init__(self, folder: Path, archive: Path) -> None:
        self.folder, self._archive = folder, archive
        self._restored: set[str] = set()
        self._thread: threading.Thread | None = None

    def environment(self) -> dict[str, str]:
        """Where PyTorch and Triton are to keep what they compile."""
        return {name: str(self.folder / name.lower()) for name in VARIABLES}

    def restore(self) -> str:
        """Unpack what an earlier run has compiled; a line about it, empty when there was none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self._archive.parent.glob(f".{self._archive.name}.*"):
            # Of a container that was killed; one that still writes is younger.
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > LEFT_S:
                    left.unlink()
        if not self._archive.is_file():
            return ""
        try:
            with tarfile.open(self._archive) as tar:
                for member in tar:
                    self._unpack(tar, member)
        except (OSError, tarfile.TarError, ValueError) as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            return f"[COMPILE] what was compiled earlier cannot be used ({error}); compiling anew"
        self._restored = self._files()
        return f"[COMPILE] {units.pluralize(len(self._restored), 'file')} compiled by an earlier run"

    def _unpack(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """One regular file, inside the folder. Raises ValueError for a name that leads out of it."""
        parts = Path(member.name).parts
        source = tar.extractfile(member) if member.isfile() else None
        if source is None:
            return
        if Path(member.name).is_absolute() or ".." in parts:
            raise ValueError(f"{member.name!r} leads out of the cache")
        target = self.folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
        target.chmod(0o755 if member.mode & 0o100 else 0o644)

    def publish_later(self) -> None:
        """Archive what is new, in a thread, once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._publish, name="compile-cache", daemon=True)
            self._thread.start()

    def close(self, within_s: float | None = None) -> None:
        """Wait for the archive, a minute at most."""
        if self._thread:
            self._thread.join(ARCHIVE_S if within_s is None else min(ARCHIVE_S, within_s))

    def _files(self) -> set[str]:
        return {str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file()}

    def _publish(self) -> None:
        now = self._files()
        if now <= self._restored:
            return
        partial = self._archive.with_name(f".{self._archive.name}.{os.getpid()}")
        try:
            self._archive.parent.mkdir(parents=True, exist_ok=True)
            with tarfile.open(partial, "w") as tar:
                for name in sorted(now):
                    tar.add(self.folder / name, name)
            partial.replace(self._archive)
        except (OSError, tarfile.TarError):
            # A kernel being written just now, or a full volume: the next run compiles for itself.
            with contextlib.suppress(OSError):
                partial.unlink()


def compile_cache_of(volume: FolderVolume, run: Run, work: Path) -> CompileCache:
    """The cache that runs of the same model, GPUs and nanochat share."""
    whose = run.spec.code.short if run.spec.code else COMMIT[:12]
    of = f"{run.spec.engine}-{run.spec.model}-{run.spec.gpus}x{chip(run.spec.gpu)}-{whose}.tar"
    return CompileCache(work / "compile", volume.path(f"{layout.COMPILE_CACHE}/{of}"))
