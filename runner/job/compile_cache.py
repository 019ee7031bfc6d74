"""Compiled kernels (inductor, Triton): on fast local disk while training, as one archive on the volume between runs."""

import os
import shutil
import tarfile
import threading
from pathlib import Path

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
        if not self._archive.is_file():
            return ""
        try:
            with tarfile.open(self._archive) as tar:
                tar.extractall(self.folder, filter="data")
        except (OSError, tarfile.TarError, ValueError) as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            return f"[COMPILE] what was compiled earlier cannot be used ({error}); compiling anew"
        self._restored = self._files()
        return f"[COMPILE] {len(self._restored)} files compiled by an earlier run"

    def publish_later(self) -> None:
        """Archive what is new, in a thread, once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._publish, name="compile-cache", daemon=True)
            self._thread.start()

    def close(self) -> None:
        if self._thread:
            self._thread.join(60)

    def _files(self) -> set[str]:
        return {str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file()}

    def _publish(self) -> None:
        now = self._files()
        if now <= self._restored:
            return
        self._archive.parent.mkdir(parents=True, exist_ok=True)
        partial = self._archive.with_name(f".{self._archive.name}.{os.getpid()}")
        try:
            with tarfile.open(partial, "w") as tar:
                for name in sorted(now):
                    tar.add(self.folder / name, name)
            partial.replace(self._archive)
        except (OSError, tarfile.TarError):
            # A kernel being written just now, or a full volume: the next run compiles for itself.
            partial.unlink(missing_ok=True)
