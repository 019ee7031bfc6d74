"""Cuts downloads at random operations on the disk, as a kill does, and looks at what is there, before and after."""

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.transfer.download import Download, End, list_files
from runner.volumes.folder import FolderVolume
from tests.like_vfat import like_vfat

SMALL, KILLED = 4096, 9
COUNTED = ("open", "pwrite", "fsync", "ftruncate", "truncate", "utime", "link", "rename", "replace", "unlink")


def small_blocks() -> None:
    from runner.transfer import partial_file
    from runner.volumes import base, folder

    for module in (base, folder, partial_file):
        module.__dict__["BLOCK"] = SMALL
    partial_file.SYNC_BYTES = 2 * SMALL


class Trial:
    """A run on a volume in two versions, and a folder with what was brought of the first, and with own files."""

    def __init__(self, folder: Path, rng: random.Random, *, stick: bool) -> None:
        self.volume, self.out, self._stick = FolderVolume(str(folder / "v")), folder / "out", stick
        self.own = {"x/mine.txt": b"mine", "x/notes/report.md": b"mine, too"}
        self.old = {"log": b"one\n" * 900, "status.json": b"{}", "events.jsonl": b'{"a": 1}\n' * 20}
        self.new = {name: data + b"more\n" * 2000 for name, data in self.old.items()}
        self.new |= {f"model_{n:06}.pt": rng.randbytes(SMALL * 5 + n) for n in range(3)}
        self._write(folder / "v" / "x", self.old, 1e9)
        self.out.mkdir()
        self._write(self.out, self.own, 2e9)
        self.get(lambda: None)
        self._write(folder / "v" / "x", self.new, 1e9 + 100.5)

    def _write(self, folder: Path, files: dict[str, bytes], at: float) -> None:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
            os.utime(folder / name, (at, at))

    def get(self, counted: Callable[[], None]) -> int:
        """Bring it in a process of its own, which ends where `counted` does; its exit code."""
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        code = 1
        try:
            if self._stick:
                like_vfat(self.out, setattr)
            for name in COUNTED:
                setattr(os, name, told(getattr(os, name), counted))
            download = Download(self.volume, list_files(self.volume, "x"), self.out)
            code = 0 if download.run() is End.WHOLE and not download.warnings else 2
        finally:
            os._exit(code)

    def look(self, *, ended: bool) -> None:
        found = {str(p.relative_to(self.out)): p for p in self.out.rglob("*") if p.is_file()}
        for name, data in self.own.items():
            assert found[name].read_bytes() == data, f"{name} was touched"
        for name, data in self.new.items():
            if f"x/{name}" in found:
                has = found[f"x/{name}"].read_bytes()
                assert has == data or (not ended and has == self.old.get(name)), f"{name} is half of it"
            assert not ended or f"x/{name}" in found, f"{name} is missing"


def told(real: Any, counted: Callable[[], None]) -> Any:
    def call(*args: Any, **more: Any) -> Any:
        counted()
        return real(*args, **more)

    return call


def counting(until: int, into: Path) -> Callable[[], None]:
    at = [0]

    def counted() -> None:
        at[0] += 1
        if at[0] == until:
            os._exit(KILLED)
        if until < 0:
            into.write_bytes(b"%d" % at[0])

    return counted


def main(folder: Path, times: int) -> None:
    small_blocks()
    rng, cut = random.Random(8), 0
    whole = Trial(folder / "whole", rng, stick=False)
    into = folder / "counted"
    assert whole.get(counting(-1, into)) == 0
    operations = int(into.read_bytes())
    for number in range(times):
        trial = Trial(folder / str(number), rng, stick=number % 2 == 1)
        cut += trial.get(counting(rng.randrange(1, operations), into)) == KILLED
        trial.look(ended=False)
        assert trial.get(lambda: None) == 0, f"the call after cut {number} did not bring the rest"
        trial.look(ended=True)
    print("cut", cut, "of", times, "at", operations, "operations")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
