"""A backend and a volume to try the same things on: local, and Modal by its test server."""

import contextlib
import fcntl
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.fleet.fleet import Fleet
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.nanochat import layout
from runner.volumes.base import Volume
from tests.conftest import wait_until
from tests.gate import Gate


@dataclass
class Place:
    """A backend to try, and how to keep its runs from starting."""

    backend: str
    fleet: Fleet
    location: str
    held: Callable[[], AbstractContextManager[None]]
    gate: Gate

    def spec(self, task: str = "test", **overrides: Any) -> RunSpec:
        return RunSpec.create(task=task, model="d12", backend=self.backend, engine="rehearsal", overrides=overrides)

    def launch(self, task: str = "test", **overrides: Any) -> Run:
        return self.fleet.launch(self.spec(task, **overrides), backend=self.backend)

    def until(self, run: Run, true: Callable[[Run], Any]) -> Run:
        def look() -> Run | None:
            now = self.fleet.poll_run(self.fleet.registry.get(run.id))
            return now if true(now) else None

        found = wait_until(look, seconds=150)
        assert isinstance(found, Run)
        return found

    def launch_up_to(self, step: int, task: str = "test", **overrides: Any) -> Run:
        """A run whose training stands before a step, and does not go on until `gate` lets it."""
        self.gate.hold(step)
        run = self.launch(task, step_ms=0, **overrides)
        self.gate.reached(step)
        return self.until(run, lambda r: r.status is not None and (r.status.training.step or 0) >= step - 1)

    def ended(self, run: Run) -> Run:
        return self.until(run, lambda r: not r.live)

    def lose(self) -> None:
        """Delete the volume, as somebody else would."""
        if self.backend == "local":
            shutil.rmtree(self.location)
        else:
            import modal

            modal.Volume.objects.delete(self.location)

    def volume(self) -> Volume:
        return self.fleet.backend(self.backend).volume(self.location)


def places(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """What the fixture `place` gives."""
    if request.param == "modal":
        cloud = request.getfixturevalue("cloud")
        for name, value in cloud.env.items():
            monkeypatch.setenv(name, value)
        location = f"v{os.urandom(4).hex()}"
        gate = cloud.gate

        @contextlib.contextmanager
        def held() -> Iterator[None]:
            cloud.knobs(hold=True)
            yield
            cloud.knobs(hold=False)
    else:
        location = str(tmp_path / "volume")
        gate = Gate(tmp_path / "gate")
        for name, value in gate.env.items():
            monkeypatch.setenv(name, value)

        @contextlib.contextmanager
        def held() -> Iterator[None]:
            """Another job prepares this volume, for ever."""
            cache = Path(location) / layout.CACHE
            cache.mkdir(parents=True)
            with (cache / "prepare.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield

    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(tmp_path))
    with contextlib.closing(Fleet(tmp_path, volume=location)) as fleet:
        place = Place(request.param, fleet, location, held, gate)
        fleet.backend(request.param).make_volume(location)
        yield place
        for run in fleet.registry.all():
            if run.live:
                fleet.backend(run.backend).cancel(run, force=True)


def hostile_names(count: int) -> list[str]:
    """Names as no person gives them, but any program may: controls, escapes, tricks, markup, long ones."""
    rng = random.Random(7)
    pieces = '\x1b[2J|\x1b]0;t\x07|\n|\r|\t|\x7f|\x9b31m|\u202e|\u200b|..| |.|~|[red]|[/]|%s|%41|\\|:|*|?|"|<|>|con|NUL'
    pieces += "|con|NUL|é|e\u0301|\ufeff|漢字|\U0001f600|a|A|-rf|$(id)|`id`|'|;|&&|\u0130|\u2028|model_000010.pt"
    names: dict[str, None] = {"-": None, "--": None, "...": None, " ": None, "x" * 255: None, "con.txt": None}
    while len(names) < count:
        name = "".join(rng.choice(pieces.split("|")) for _ in range(rng.randint(1, 9)))
        if name not in (".", "..") and "/" not in name and len(name.encode()) <= 255:
            names[name] = None
    return list(names)
