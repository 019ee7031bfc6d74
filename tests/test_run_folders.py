"""A run's folder on its volume: called by tag and id, found by the id, judged by its name alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner.fleet.fleet import Fleet
from runner.fleet.registry import Registry
from runner.model.run import Run, named
from runner.model.states import State
from runner.volumes import run_records
from runner.volumes.folder import FolderVolume
from tests.conftest import Cli
from tests.test_run import run


def recorded(volume: FolderVolume, at: str, **given: Any) -> Run:
    made = run(State.DONE, **{"id": "abcd2345", "tag": "d12-amber", "created_at": 5.0, **given})
    volume.write(f"runs/{at}/run.json", msgspec.json.encode(made))
    return made


def test_the_folder_is_called_by_the_tag_and_keeps_its_name_when_the_tag_is_taken_over(cli: Cli) -> None:
    cli("launch", "--tag", "d12", "--watch")
    first = cli.run()
    assert first["folder"] == f"runs/d12-{first['id']}"
    assert [p.name for p in Path(first["volume"], "runs").iterdir()] == [f"d12-{first['id']}"]
    cli("launch", "--tag", "d12", "--force-restart", "--watch")
    old, new = cli.run("d12.1"), cli.run("d12")
    assert old["folder"] == first["folder"] and new["folder"] == f"runs/d12-{new['id']}"
    for tag in ("d12", "d12.1"):
        assert cli("logs", tag).stdout.strip() and cli.json("checkpoints", tag) is not None
        assert "run.json" in cli("volume", "ls", f"{tag}:").stdout
    assert json.loads((Path(old["volume"]) / old["folder"] / "run.json").read_text())["tag"] == "d12.1"
    assert cli.run(f"d12-{new['id']}")["id"] == new["id"], "the folder's name, as other tools list it, names the run"
    cli("rm", "--yes", "d12.1")
    assert [p.name for p in Path(first["volume"], "runs").iterdir()] == [f"d12-{new['id']}"]


SHORT = ("--iterations", "20", "--save-every", "5", "--step-ms", "0")


def test_a_run_of_an_earlier_version_is_found_in_the_folder_that_has_its_id_and_goes_on_there(cli: Cli) -> None:
    cli("launch", "--task", "speedrun", "--tag", "old", *SHORT, "--fault", "crash@15", "--watch", code=1)
    shown = cli.run()
    volume = Path(shown["volume"])
    (volume / shown["folder"]).rename(volume / "runs" / shown["id"])
    record = volume / "runs" / shown["id"] / "run.json"
    record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "folder"}))
    for file in cli.home.glob("registry.db*"):
        file.unlink()
    assert cli.run("old")["folder"] == f"runs/{shown['id']}"
    cli("resume", "old", "--watch")
    assert cli.run("old")["state"] == "done" and (volume / "runs" / shown["id"] / "report.md").exists()
    assert [p.name for p in (volume / "runs").iterdir()] == [shown["id"]]


@pytest.mark.parametrize("folder", ["../../home", "..", "x/y-abcd2345", "-abcd2345", "d12-other", "x-abcd2345/.."])
def test_a_record_never_sends_us_into_another_folder(folder: str) -> None:
    assert run(State.DONE, id="abcd2345", folder=folder).path == "runs/abcd2345"


def test_what_a_record_says_of_its_folder_yields_to_where_it_lies(tmp_path: Path) -> None:
    volume = FolderVolume(str(tmp_path))
    recorded(volume, "d12-amber-abcd2345", folder="../../elsewhere")
    recorded(volume, "evil", id="evil2", folder="evil")
    recorded(volume, "bad name-zzzz2345", id="zzzz2345", folder="bad name-zzzz2345")
    found = run_records.read_run(volume, "abcd2345")
    assert found and found.path == "runs/d12-amber-abcd2345"
    assert [(r.id, r.path) for r in run_records.runs_on(volume)] == [("abcd2345", "runs/d12-amber-abcd2345")]
    assert run_records.runs_on(volume, {"abcd2345"}) == []


def test_a_copy_of_a_folder_is_not_a_second_run_and_does_not_take_the_first_ones_place(tmp_path: Path) -> None:
    volume = FolderVolume(str(tmp_path))
    recorded(volume, "d12-amber-abcd2345", folder="d12-amber-abcd2345")
    for name in ("a-abcd2345", "zz-abcd2345"):
        shutil.copytree(tmp_path / "runs" / "d12-amber-abcd2345", tmp_path / "runs" / name)
    found = run_records.read_run(volume, "abcd2345")
    assert found and [found.path] == [r.path for r in run_records.runs_on(volume)] == ["runs/d12-amber-abcd2345"]


def test_a_folder_that_was_renamed_with_its_id_is_still_the_runs(tmp_path: Path) -> None:
    volume = FolderVolume(str(tmp_path))
    recorded(volume, "best-one-abcd2345", folder="d12-amber-abcd2345")
    found = run_records.read_run(volume, "abcd2345")
    assert found and found.path == "runs/best-one-abcd2345"


def test_a_tag_that_is_made_up_names_the_folder_too(tmp_path: Path) -> None:
    made = Registry(tmp_path).add(run(State.LAUNCHING, id="abcd2345", tag=""))
    assert made.tag and made.path == f"runs/{made.tag}-abcd2345"
    assert named(made, "x").path == "runs/x-abcd2345"


def test_a_registry_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    with_folder = msgspec.json.decode(msgspec.json.encode(run(State.DONE, id="abcd2345", tag="t")))
    del with_folder["folder"]
    fleet = Fleet(tmp_path)
    fleet.registry.add(msgspec.convert(with_folder, Run))
    assert fleet.registry.get("abcd2345").path == "runs/abcd2345"
