"""What every attack has: its dice, a folder, homes to attack, and a count of what was tried and what was lost."""

import contextlib
import os
import random
import shutil
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from tests.conftest import Cli
from tests.terminal import Terminal

SHORT = ("--task", "base", "--iterations", "60", "--save-every", "10", "--eval-every", "30")
ENDED = ("done", "failed", "cancelled", "interrupted", "out of budget")
LONGEST_S = 90.0
T = TypeVar("T")


class Skipped(Exception):
    """This machine cannot be attacked that way."""


@dataclass
class Claim:
    """One thing that must hold, how often it was tried, and what was seen where it did not hold."""

    tries: int = 0
    lost: list[str] = field(default_factory=list)


class Bench:
    """One attack's place. `strike` is called again and again; what it claims is counted by its words."""

    def __init__(self, name: str, seed: int, root: Path) -> None:
        self.name, self.root = name, root / name
        self.root.mkdir(parents=True)
        self.rng = random.Random(f"{seed}/{name}")
        self.claims: dict[str, Claim] = {}
        self.figures: list[str] = []
        self.skipped = ""
        self._made: dict[str, Any] = {}
        self._homes: list[Cli] = []

    def claim(self, what: str, holds: object, seen: object = "") -> bool:
        """Count a try; where it does not hold, `seen` is what a person needs to understand it."""
        claim = self.claims.setdefault(what, Claim())
        claim.tries += 1
        if not holds:
            claim.lost.append(str(seen)[-2000:])
        return bool(holds)

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What is made at the first strike and used by all."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    def cli(self, name: str = "") -> Cli:
        """The command line in a home of its own, or in one by name."""
        home = self.root / (name or f"home{len(self._homes)}")
        made = Cli(home)
        self._homes.append(made)
        return made

    def copy_of(self, home: Path) -> Cli:
        """The command line in a copy of a home; its volumes stay where they were."""
        made = self.cli()
        shutil.copytree(home, made.home, symlinks=True)
        return made

    def say(self, cli: Cli, what: str, *words: str, codes: tuple[int, ...] = (0, 1, 2, 3, 4, 5)) -> str:
        """Run a command that may fail, but only as people are told that commands fail. Its stdout."""
        try:
            done = cli(*words, code=None)
        except subprocess.TimeoutExpired:
            self.claim(what, False, f"{words}: not done after 120 s")
            return ""
        fine = done.returncode in codes and "Traceback" not in done.stderr
        self.claim(what, fine, (words, done.returncode, done.stderr[-1500:]))
        return done.stdout

    def settled(self, cli: Cli, name: str) -> dict[str, Any]:
        """The run once it is not live."""
        deadline = time.monotonic() + LONGEST_S
        while (run := cli.run(name))["state"] not in ENDED:
            if time.monotonic() > deadline:
                raise AssertionError(f"{name} is still {run['state']} after {LONGEST_S:.0f} s")
            time.sleep(0.2)
        return dict(run)

    def brought_to_its_end(self, cli: Cli, name: str) -> dict[str, Any]:
        """The run, resumed as often as it takes, up to six times."""
        for _ in range(6):
            run = self.settled(cli, name)
            if run["state"] == "done":
                break
            cli("resume", name)
        return run

    @contextlib.contextmanager
    def terminal(self, cli: Cli, argv: list[str], columns: int = 100, lines: int = 30) -> Iterator[Terminal]:
        made = Terminal(argv, {k: v for k, v in cli.env.items() if k != "NO_COLOR"}, columns, lines)
        try:
            yield made
        finally:
            made.kill()

    def close(self) -> None:
        for cli in self._homes:
            for pid in cli.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)


def struck(attack: ModuleType, bench: Bench, seconds: float) -> None:
    """Strike until the time is up, at least once. A strike that fails itself is a loss with its traceback."""
    deadline = time.monotonic() + seconds
    try:
        while not bench.skipped:
            try:
                attack.strike(bench)
            except Skipped as reason:
                bench.skipped = str(reason)
            except (AssertionError, OSError, ValueError, KeyError, subprocess.SubprocessError):
                bench.claim("goes as it should", False, traceback.format_exc())
            if time.monotonic() > deadline:
                return
    finally:
        bench.close()


def mounts() -> None:
    """See that this process may mount, or skip."""
    if os.environ.get("CHAOS_MOUNTS") != "1":
        raise Skipped("this machine lets nobody mount")


def mounted(folder: Path, options: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def remounted(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def shim(bench: Bench, name: str) -> Path:
    """A library of ours to be loaded before all others, compiled here."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        raise Skipped("no C compiler")
    source, made = Path(__file__).with_name(f"{name}.c"), bench.root / f"{name}.so"
    if not made.exists():
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(source), "-ldl"], check=True)
    return made
