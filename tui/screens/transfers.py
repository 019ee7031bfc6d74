"""What is on its way from and to volumes, for the threads that do it and for the screen that shows it."""

import threading
from collections.abc import Iterable, Iterator

from runner.errors import NanochatError
from runner.fleet.registry import DownloadRequest
from runner.text import filenames
from runner.transfer import download
from runner.transfer.download import TransferProgress


def name_of(wanted: DownloadRequest) -> str:
    """What a download is called in the line of transfers."""
    return wanted.local_name or wanted.path.rpartition("/")[2] or wanted.location


class Transfer:
    """One transfer: what it is called, how far it is, and how it is paused (a download) or stopped.

    `cut` is a download that was begun and is not under way, as its app was killed or the line was.
    """

    def __init__(self, name: str, wanted: DownloadRequest | None = None, *, cut: bool = False) -> None:
        self.name, self.progress = name, TransferProgress()
        self.wanted, self.cut = wanted, cut
        self.download: download.Download | None = None
        self.stopped = threading.Event()

    def told(self, progress: TransferProgress) -> None:
        self.progress = progress

    def stop(self) -> None:
        self.stopped.set()
        if self.download:
            self.download.stop()


class Transfers:
    """All transfers. Each change makes another tuple, so that who goes through them sees one state."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: tuple[Transfer, ...] = ()

    def __iter__(self) -> Iterator[Transfer]:
        return iter(self._all)

    def begin(self, one: Transfer) -> None:
        """Add one. What was cut of the same download is that one now. Raises NanochatError when it is under way."""
        with self._lock:
            same = [o for o in self._all if one.wanted and o.wanted == one.wanted]
            if any(not o.cut for o in same):
                raise NanochatError(
                    f"{filenames.path_for_terminal(one.name)} is on its way already", "wait for it, or stop it with P"
                )
            self._all = (*(o for o in self._all if o not in same), one)

    def end(self, one: Transfer) -> None:
        with self._lock:
            self._all = tuple(o for o in self._all if o is not one)

    def add_interrupted(self, downloads: Iterable[DownloadRequest]) -> None:
        """Keep downloads that did not come to their end, to be gone on with."""
        with self._lock:
            known = {o.wanted for o in self._all}
            self._all += tuple(Transfer(name_of(w), w, cut=True) for w in dict.fromkeys(downloads) if w not in known)
