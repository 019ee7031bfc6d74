"""A path that a person gives is a whole one, or refused in words: never a traceback, never a folder with a tilde."""

import json
import os
import pwd
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.widgets import Input

from runner.errors import UsageError
from runner.fleet.fleet import Fleet
from runner.fleet.registry import Registry, find_run
from runner.model.states import State
from runner.paths import data_dir, readable_data_dir
from runner.system.given_path import begin_in, given_path
from tests.answers import answer
from tests.conftest import CLI, Cli
from tests.test_run import run
from tui.app.app import NanochatApp
from tui.widgets.consent import AskPath

NOBODY = "~nosuchuser/models"


def test_home_folders_are_those_of_the_users_and_relative_paths_begin_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", f"{tmp_path}/")
    monkeypatch.chdir(tmp_path)
    assert given_path("~") == given_path("~/") == tmp_path and given_path("~/a b") == tmp_path / "a b"
    assert given_path("x/~y") == tmp_path / "x" / "~y" and given_path("/x/~root") == Path("/x/~root")
    assert given_path("~root/x") == Path(pwd.getpwnam("root").pw_dir) / "x"
    assert given_path("./~x") == tmp_path / "~x" and given_path("caf\udce9") == tmp_path / "caf\udce9"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (NOBODY, "there is no user nosuchuser: write the folder out"),
        ("~\udcff/x", "there is no user"),
        ("", "no path was given"),
        ("a\0b", "leave out what cannot be seen"),
        ("a\ud800", "leave out what is no text"),
        ("x" * 300, "too long for a path"),
        ("/x" * 3000, "too long for a path"),
    ],
)
def test_what_is_no_path_is_refused_in_words(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        given_path(text)


def test_a_user_without_a_home_and_a_folder_that_is_gone_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="the current folder is gone: cd to another one"):
        given_path("x")
    assert given_path("/x") == Path("/x")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    with pytest.raises(UsageError, match="this user has no home folder"):
        given_path("~/x")
    assert begin_in() == Path("/")
    monkeypatch.setenv("HOME", "relative")
    with pytest.raises(UsageError, match="has no whole path"):
        given_path("~/x")


@given(st.text(max_size=50) | st.text(st.sampled_from("~/.a\0\udcff "), max_size=50))
def test_every_text_is_a_whole_path_or_a_usage_error(text: str) -> None:
    try:
        found = given_path(text)
    except UsageError:
        return
    assert found.is_absolute() and os.fsencode(found)


@pytest.mark.parametrize(
    "words",
    [
        ("volume", "get", "x", NOBODY),
        ("volume", "put", NOBODY),
        ("view", "--summary", NOBODY),
        ("view", "--summary", "x" * 5000),
        ("doctor", "--bundle", NOBODY),
        ("launch", "--volume", NOBODY),
        ("compare", "a", "b", "--csv", NOBODY),
        ("compare", "a", "b", "--svg", "/nowhere/at/all.svg"),
        ("compare", "a", "b", "--csv", "x", "--svg", "x"),
    ],
)
def test_every_command_refuses_such_a_path_as_a_usage_error(cli: Cli, tmp_path: Path, words: tuple[str, ...]) -> None:
    if words[0] == "compare":
        registry = Registry(Path(cli.home)) if cli.home.mkdir() is None else None
        for tag in ("a", "b"):
            assert registry
            registry.add(run(State.DONE, id=f"run{tag}aaaa", tag=tag, volume=str(tmp_path)))
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "v" / "x").mkdir(parents=True)
    volume = () if words[0] in ("launch", "compare", "view", "doctor") else ("--volume", str(tmp_path / "v"))
    done = subprocess.run(
        [*CLI, *words, *volume], env=cli.env, cwd=there, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, (done.returncode, done.stderr)
    assert list(there.iterdir()) == []


def test_a_data_folder_of_nobody_is_refused_and_no_folder_with_a_tilde_is_made(cli: Cli, tmp_path: Path) -> None:
    env = {**cli.env, "NANOCHAT_TUI_HOME": NOBODY}
    for words, code in ((("ls",), 2), (("doctor", "--backend", "local"), 1), (("plan",), 0), (("settings",), 0)):
        done = subprocess.run(
            [*CLI, *words], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
        )
        said = done.stdout + done.stderr
        assert done.returncode == code and "no user nosuchuser" in said and "Traceback" not in said, said
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("~")]


def test_a_data_folder_that_cannot_be_written_is_told_by_doctor_and_what_is_set_there_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.toml").write_text("bell = false")
    (tmp_path / "settings.json").write_text("{}")
    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *a, **k: False)
    with readable_data_dir() as (folder, problem):
        assert problem and "is not writable" in problem.what and folder != tmp_path
        assert (folder / "settings.toml").read_text() == "bell = false" and (folder / "settings.json").is_file()
    assert not folder.exists()
    monkeypatch.undo()
    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(tmp_path))
    with readable_data_dir() as (folder, problem):
        assert folder == data_dir() == tmp_path and problem is None


def test_a_setting_that_is_no_path_stops_no_command_that_does_not_need_it(cli: Cli) -> None:
    cli.home.mkdir()
    (cli.home / "settings.json").write_text(json.dumps({"volume": NOBODY}))
    assert cli.json("ls") == []
    cli("cancel", "x", code=3)
    assert "no user nosuchuser" in cli("launch", code=2).stderr
    cli("settings", "volume", "default")


async def test_a_path_that_is_none_stays_in_its_dialog_and_is_told(tmp_path: Path) -> None:
    answers: list[Any] = []
    app = NanochatApp(Fleet(tmp_path))
    async with app.run_test(size=(100, 30)) as pilot:
        app.push_screen(AskPath("where to?", "", "x"), answers.append)
        await pilot.pause()
        app.screen.query_one(Input).value = NOBODY
        await answer(pilot, "enter")
        assert isinstance(app.screen, AskPath) and answers == []
        app.screen.query_one(Input).value = str(tmp_path)
        await answer(pilot, "enter")
        assert answers == [str(tmp_path)]


def test_a_name_means_one_run_whatever_tags_there_are() -> None:
    first = run(State.DONE, id="abcdefgh", tag="one")
    second = run(State.DONE, id="bcdefghj", tag="abcdefgh")
    assert find_run([second, first], "abcdefgh") is first
    assert find_run([second, first], "one") is first and find_run([second, first], "bcd") is second


def test_no_run_gets_the_id_or_the_folder_of_another_for_its_tag(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(run(State.DONE, id="abcdefgh", tag="one", folder="one-abcdefgh"))
    for tag in ("abcdefgh", "one-abcdefgh"):
        with pytest.raises(UsageError, match="is the run one: choose another --tag"):
            registry.add(run(State.DONE, id="bcdefghj", tag=tag))
    registry.add(msgspec.structs.replace(run(State.DONE, id="bcdefghj"), tag="two-abcdefgh"))


def test_what_destroys_takes_no_prefix(cli: Cli, tmp_path: Path) -> None:
    cli.home.mkdir()
    registry = Registry(cli.home)
    (tmp_path / "v").mkdir()
    registry.add(run(State.DONE, id="abcdefgh", tag="d12-important", volume=str(tmp_path / "v")))
    registry.close()
    for words in (
        ("rm", "--yes", "d12"),
        ("rm", "--yes", "abc"),
        ("cancel", "d12"),
        ("checkpoints", "d12", "--prune", "--yes"),
        ("volume", "rm", "-r", "--yes", "d12:base_checkpoints"),
        ("volume", "mv", "d12:x", "d12:y"),
        ("volume", "put", sys.executable, "d12:x"),
    ):
        said = cli(*words, code=2).stderr
        assert "is only the beginning of d12-important (abcdefgh): type the whole name" in said, words
    assert cli.run("d12")["tag"] == "d12-important"


def test_a_user_without_a_home_has_no_data_folder_and_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "NANOCHAT_TUI_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="set NANOCHAT_TUI_HOME to a folder you own"):
        data_dir()
    with readable_data_dir() as (folder, problem):
        assert folder.is_dir() and problem and list(tmp_path.iterdir()) == []


def test_the_volume_that_is_set_is_the_same_from_every_folder(cli: Cli, tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
    words = [*CLI, "settings", "volume", "mine"]
    subprocess.run(words, env=cli.env, cwd=tmp_path / "a", check=True, capture_output=True)
    assert tomllib.loads((cli.home / "settings.toml").read_text())["volume"] == str(tmp_path / "a" / "mine")
    assert "no user nosuchuser" in cli("settings", "volume", NOBODY, code=2).stderr
