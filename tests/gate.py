"""Holds a rehearsal's training before a step until a test lets it go on: tests strike where training is, not when."""

from pathlib import Path

from runner.rehearsal.trainer import GATE
from tests.conftest import wait_until


class Gate:
    """A folder that the training looks into before each step; `env` tells it which."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.env = {GATE: str(folder)}

    def hold(self, *steps: int) -> None:
        for step in steps:
            (self._folder / f"hold-{step}").touch()

    def reached(self, step: int) -> None:
        """Wait until a training stands before this step."""
        wait_until((self._folder / f"at-{step}").exists, seconds=90, what=f"training held before step {step}")

    def release(self, step: int) -> None:
        for word in ("hold", "at"):
            (self._folder / f"{word}-{step}").unlink(missing_ok=True)

    def again(self, step: int) -> None:
        """Forget that a training stood there: the next to come is waited for anew."""
        (self._folder / f"at-{step}").unlink(missing_ok=True)

    def open(self) -> None:
        for file in self._folder.iterdir():
            file.unlink(missing_ok=True)
