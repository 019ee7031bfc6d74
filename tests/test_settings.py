"""What a person has set: kept, refused when it makes no sense, obeyed; and how many logs stay on this disk."""

import fcntl
import os
from pathlib import Path

import pytest

from runner import kept_logs, settings
from runner.errors import UsageError
from runner.settings import MEANING, Settings
from tests.conftest import Cli


def test_every_setting_has_a_meaning() -> None:
    assert tuple(MEANING) == Settings.__struct_fields__


def test_settings_are_listed_changed_and_taken_back(cli: Cli, tmp_path: Path) -> None:
    assert cli.json("settings")["log_wrap"] is False
    cli("settings", "log_wrap", "on")
    cli("settings", "keep_logs_gb", "0.5")
    assert cli.json("settings")["log_wrap"] is True and cli.json("settings")["keep_logs_gb"] == 0.5
    cli("settings", "log_wrap", "default")
    assert settings.load(cli.home) == Settings(keep_logs_gb=settings.load(cli.home).keep_logs_gb)
    cli("settings", "volume", str(tmp_path / "mine"))
    cli("launch", "--watch", "--step-ms", "0")
    assert (tmp_path / "mine" / "runs").is_dir()


@pytest.mark.parametrize(
    ("name", "value"),
    [("log_wrap", "perhaps"), ("keep_logs_gb", "-1"), ("keep_logs_gb", "nan"), ("log_times", "x"), ("colour", "red")],
)
def test_a_setting_that_makes_no_sense_is_refused_and_nothing_changes(cli: Cli, name: str, value: str) -> None:
    said = cli("settings", name, value, code=2).stderr
    assert said.count("\n") == 1 and settings.load(cli.home) == Settings()


def test_a_settings_file_that_is_damaged_is_named_and_left_alone(cli: Cli) -> None:
    cli("ls")
    (cli.home / settings.FILE).write_text('{"log_wrap": "')
    assert "settings.json" in cli("ls", code=2).stderr
    assert (cli.home / settings.FILE).read_text() == '{"log_wrap": "'
    with pytest.raises(UsageError):
        settings.load(cli.home)


def kept(folder: Path, name: str, size: int, age: float) -> Path:
    run = folder / name
    run.mkdir(parents=True)
    for file, data in (("log", b"x" * size), ("lock", b"")):
        (run / file).write_bytes(data)
        os.utime(run / file, (1e9 - age, 1e9 - age))
    return run


def test_the_oldest_logs_of_ended_runs_go_first_and_one_in_use_stays(tmp_path: Path) -> None:
    for name, age in (("oldest-live", 9), ("old-open", 8), ("old", 7), ("older", 7.5), ("new", 1)):
        kept(tmp_path, name, 100, age)
    with (tmp_path / "old-open" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert kept_logs.trim(tmp_path, 350, {"oldest-live"}) == 200
    assert {p.name for p in tmp_path.iterdir()} == {"oldest-live", "old-open", "new"}
    assert kept_logs.trim(tmp_path, 350, set()) == 0 and kept_logs.size(tmp_path) == 300
