"""The core under both front ends: its backends are made once, and its memory of a volume has an age."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.fleet.fleet import Fleet
from runner.model import pricing
from runner.model.spec import RunSpec
from runner.nanochat import layout
from runner.volumes.folder import FolderVolume


def test_threads_that_need_modal_at_once_share_one_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    all_here = threading.Barrier(4)

    def load() -> Any:
        def backend(home: Path, say: object) -> object:
            made.append(home)
            time.sleep(0.05)
            return SimpleNamespace(close=lambda: None)

        return backend

    monkeypatch.setattr("runner.backends.modal.loading.modal_backend", load)
    fleet, found = Fleet(tmp_path), []

    def ask() -> None:
        all_here.wait(30)
        found.append(fleet.backend("modal"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(made) == 1 and len({id(one) for one in found}) == 1
    fleet.close()


def test_a_volume_is_looked_at_though_the_machine_was_started_a_moment_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    place: Any = SimpleNamespace(
        default_volume=lambda engine: str(folder),
        volume=lambda location: FolderVolume(location),
        prices=lambda: pricing.DATED,
        close=lambda: None,
    )
    monkeypatch.setattr("runner.fleet.places.has_modal_token", lambda: True)
    monkeypatch.setattr("runner.fleet.planner.time", SimpleNamespace(time=time.time, monotonic=lambda: 5.0))
    looked: list[str] = []

    def inventory(volume: FolderVolume, engine: str, runs: object = ()) -> layout.Inventory:
        looked.append(volume.location)
        return layout.Inventory()

    monkeypatch.setattr("runner.fleet.planner.holdings.inventory", inventory)
    fleet = Fleet(tmp_path)
    fleet._places._backends["modal"] = place
    fleet.plan(RunSpec.create(task="base", model="d12", backend="modal"), "modal")
    assert looked == [str(folder)]
    fleet.registry.close()
