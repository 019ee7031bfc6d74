"""What a person has set: kept, refused when it makes no sense, obeyed; and how many logs stay on this disk."""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from runner import settings, settings_file
from runner.fleet.fleet import Fleet
from runner.logs import cache
from runner.paths import data_dir
from runner.settings import MEANING, Settings
from runner.system import atomic, client_log
from runner.volumes import known_volumes
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
        assert cache.trim(tmp_path, 350, {"oldest-live"}) == 200
    assert {p.name for p in tmp_path.iterdir()} == {"oldest-live", "old-open", "new"}
    assert cache.trim(tmp_path, 350, set()) == 0 and cache.size(tmp_path) == 300


HOSTILE_JSON = [
    b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"volume":"\\ud800"}', b'{"volume":"a\\u0000b"}', b'{"volume": 3}',
    b'{"keep_logs_gb": "nan"}', b'{"keep_logs_gb": -1}', b'{"keep_logs_gb": 1e308}', b'{"ask_above_usd": "1e999999"}',
    b'{"ask_above_usd": "sNaN"}', b'{"bell": 1}', b'{"log_times": "x"}', b'{"webhook": "file:///etc/passwd"}',
    b'{"local_usd_per_hour": "inf", "log_wrap": true}',
]  # fmt: skip
HOSTILE_TOML = [
    b"{", b"[]", b"\xff\xfe", b"gpu", b"a = " + b"[" * 100_000, b"bell = true\nbell = true", b"volume = 3",
    b"volume = [[]]",     b"gpu = 'B2'", b"gpus = 3", b"gpus = true", b"gpus = 8.0", b"gpus = -1", b"gpus = nan",
    b"[backend]", b"[[secrets]]",     b"backend.local = 1", b"engine = 1979-05-27", b"backend = 'Modal '",
    b"secrets = ['a b']", b"secrets = ['a', 'a']",     b"secrets = ['a', 1]", b"env = 'en-x'", b"env = '-x'",
    b"wandb = 'a/b'", b"code = '--upload-pack=x'",     b'code = "\\u001b[2J"', b"volume = 'modal:a b'",
    b"volume = 'modal:'", b"keep_logs_gb = inf",
    b"keep_logs_gb = 1e999999",     b"ask_above_usd = 1e99999999999999999999999", b"gpus = 1" + b"0" * 5000,
    b"bell = 1", b"local_usd_per_hour = nan\nlog_wrap = true",
]  # fmt: skip
HOSTILE = [*((settings_file.JSON, data) for data in HOSTILE_JSON), *((settings.FILE, data) for data in HOSTILE_TOML)]


@pytest.mark.parametrize(("file", "data"), HOSTILE, ids=lambda said: repr(said[:30]))
def test_a_settings_file_that_makes_no_sense_is_told_in_a_line_and_stands_in_nobodys_way(
    tmp_path: Path, file: str, data: bytes
) -> None:
    (tmp_path / file).write_bytes(data)
    with contextlib.closing(Fleet(tmp_path)) as fleet:
        assert len(fleet.notices) == 1 and file in fleet.notices[0]
        assert fleet.settings == Settings(log_wrap=b"log_wrap" in data)
        fleet.trim_logs()
    assert (tmp_path / file).read_bytes() == data


def test_a_setting_of_a_newer_release_is_told_once_and_kept_and_what_is_wrong_can_be_taken_back(tmp_path: Path) -> None:
    (tmp_path / settings.FILE).write_bytes(b'\xef\xbb\xbfpalette = "dark"\nbell = false\nkeep_logs_gb = "nan"\n')
    said = []
    for _ in range(2):
        with contextlib.closing(Fleet(tmp_path)) as fleet:
            said.append(" ".join(fleet.notices))
            assert fleet.settings == Settings(bell=False)
    assert "palette" in said[0] and "palette" not in said[1] and "keep_logs_gb" in said[1]
    settings.put(tmp_path, "log_wrap", "on")
    settings.put(tmp_path, "keep_logs_gb", "default")
    assert (tmp_path / settings.FILE).read_bytes() == b'\xef\xbb\xbfpalette = "dark"\nbell = false\nlog_wrap = true\n'
    assert (tmp_path / settings.FILE).stat().st_mode & 0o777 == 0o600


def test_a_live_run_is_stopped_whatever_the_settings_hold(cli: Cli) -> None:
    cli("launch", "--task", "base", "--tag", "live", "--iterations", "900", "--step-ms", "100")
    (cli.home / settings.FILE).write_text("{")
    said = cli("cancel", "live").stderr
    assert said.count("\n") == 1 and "mend or remove it" in said
    assert cli("settings", code=2).stdout == "" and cli("settings", "bell", "off", code=2)
    assert (cli.home / settings.FILE).read_text() == "{"


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_nobody_else_can_read_what_is_private(cli: Cli, umask: int) -> None:
    before = os.umask(umask)
    try:
        cli("settings", "webhook", "https://hooks.example.com/SECRET")
        private = [cli.home, *(p for p in cli.home.iterdir() if p.is_file())]
        assert len(private) >= 4 and not [p for p in private if p.stat().st_mode & 0o077]
        for path in private:
            path.chmod(0o755 if path.is_dir() else 0o644)
        cli("ls")
        names = {"registry.db", settings.FILE, client_log.FILE}
        assert not [p for p in private if p.stat().st_mode & 0o077 and p.name in {*names, cli.home.name}]
    finally:
        os.umask(before)


def test_a_folder_that_serves_others_too_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(tmp_path))
    for mode, after in ((0o1777, 0o1777), (0o755, 0o700)):
        (tmp_path / "registry.db").touch()
        tmp_path.chmod(mode)
        assert data_dir().stat().st_mode & 0o7777 == after


def test_no_link_is_followed_where_a_file_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    monkeypatch.setattr(os, "urandom", lambda count: b"\0" * count)
    (tmp_path / f".{'00' * 8}.tmp").symlink_to(precious)
    with pytest.raises(FileExistsError):
        atomic.write(tmp_path / "settings.toml", b"x")
    assert precious.read_text() == "mine"


def test_the_list_of_volumes_is_read_in_its_old_form_and_whatever_is_in_it(tmp_path: Path) -> None:
    old = b"/etc\n\xff\xfe\n/pro\xe2\x80\xa8c\n\0\n/" + b"a" * 5000 + b"\n-x\nrelative\n"
    (tmp_path / "volumes.txt").write_bytes(old)
    (tmp_path / known_volumes.FILE).write_bytes(b"[" * 100_000)
    assert known_volumes.known(tmp_path)[:2] == ["/etc", "/pro\u2028c"]
    for _ in range(2):
        known_volumes.remember(tmp_path, "/one\u0085two\nthree")
    assert known_volumes.known(tmp_path)[-1:] == ["/one\u0085two\nthree"]
    with contextlib.closing(Fleet(tmp_path)) as fleet:
        assert fleet.registry.all() == []


def test_two_commands_that_end_at_once_trim_the_kept_logs_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        kept(tmp_path, f"run{number}", 100, 9 - number)
    taking = shutil.rmtree

    def other_was_faster(path: Path) -> None:
        monkeypatch.setattr(shutil, "rmtree", taking)
        for gone in ("run0", "run1"):
            taking(tmp_path / gone)
        taking(path)

    monkeypatch.setattr(shutil, "rmtree", other_was_faster)
    cache.trim(tmp_path, 0, set())
    assert cache.size(tmp_path) == 0
    (tmp_path / "run9").mkdir()
    assert cache.trim(tmp_path, 0, set()) == 0
