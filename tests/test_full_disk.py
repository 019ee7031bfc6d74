"""A data folder that takes nothing: what is running can still be seen and ended, and nothing is begun."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner.errors import Unreachable
from runner.fleet.fleet import Fleet
from runner.fleet.registry import Registry
from runner.fleet.registry_file import FILE
from runner.model.run import Run
from runner.model.states import State
from runner.paths import VARIABLE, data_dir
from tests.conftest import Cli
from tests.test_run import run
from tui.cli.dispatch import STILL


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """A data folder that knows a run."""
    registry = Registry(tmp_path)
    registry.add(run(id="a", tag="t", state=State.FAILED))
    registry.close()
    return tmp_path


def fill(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From now on nothing in this folder can be opened for writing."""
    real = sqlite3.connect

    def connect(path: Any, *words: Any, **given: Any) -> sqlite3.Connection:
        if Path(path).parent == folder:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        opened: sqlite3.Connection = real(path, *words, **given)
        return opened

    monkeypatch.setattr("runner.fleet.registry_file.sqlite3.connect", connect)


def test_where_the_disk_takes_nothing_a_copy_of_what_is_known_serves(
    known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(monkeypatch, known)
    with pytest.raises(Unreachable, match="disk I/O error"):
        Registry(known)
    said: list[str] = []
    fleet = Fleet(known, say=said.append, or_copy=True)
    assert [r.id for r in fleet.registry.all()] == ["a"]
    assert any("is not written down" in line for line in said)
    changed = fleet.registry.update("a", lambda r: msgspec.structs.replace(r, attempt=2))
    assert (changed.attempt, fleet.registry.get("a").attempt) == (2, 2)
    fleet.close()
    monkeypatch.undo()
    after = Registry(known)
    assert after.get("a").attempt == 1
    after.close()


@pytest.mark.parametrize("or_copy", [True, False])
def test_a_disk_that_fills_up_while_the_registry_is_open_ends_no_work_that_can_do_without_it(
    known: Path, or_copy: bool
) -> None:
    registry = Registry(known, or_copy=or_copy)
    registry._db.execute("PRAGMA max_page_count = 1")

    def grow(one: Run) -> Run:
        return msgspec.structs.replace(one, host="x" * 50_000)

    if or_copy:
        assert registry.update("a", grow).host == registry.get("a").host == "x" * 50_000
        assert "full" in registry.borrowed
    else:
        with pytest.raises(Unreachable, match="full"):
            registry.update("a", grow)
    registry.close()
    assert (known / FILE).exists() and not list(known.glob(f"{FILE}.kept*"))


def test_a_data_folder_that_is_not_ours_to_write_is_good_enough_to_look_and_to_cancel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr("runner.paths.os.access", lambda path, mode: False)
    with pytest.raises(Unreachable, match="not writable"):
        data_dir()
    assert data_dir(to_write=False) == tmp_path
    assert "cancel" in STILL and not STILL & {"launch", "resume", "rm"}


def test_a_list_with_rows_that_are_last_known_is_whole_and_says_of_each_why(cli: Cli) -> None:
    cli("ls")
    registry = Registry(cli.home)
    registry.add(run(id="far", tag="far", backend="modal", state=State.RUNNING))
    registry.close()
    listed = cli("ls", "--json")
    [row] = json.loads(listed.stdout)
    assert "token" in row["unreachable"] and "last known" in listed.stderr
    assert "token" in json.loads(cli("show", "far", "--json").stdout)["unreachable"]
