"""Which files of a folder travel as its code."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.nanochat.command_lines import REPOSITORY
from runner.source.code_files import files_of, state_of

WHO = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false", "-c", "protocol.file.allow=always")


def git(folder: Path, *words: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", "-C", folder, *WHO, *words], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one commit of two files, in which `out/` is ignored."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "master")
    write(folder, train_dot_py="1", lib__model_dot_py="2", _dot_gitignore="out/\n*.bin\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def names(folder: Path) -> list[str]:
    return [entry.name for entry in files_of(folder).files]


BASE = [".gitignore", "lib/model.py", "train.py"]


def test_new_files_travel_before_anyone_adds_them_and_ignored_ones_never(repo: Path) -> None:
    write(repo, new_dot_py="3", out__big="4", x_dot_bin="5", lib__out__y="6")
    assert names(repo) == [".gitignore", "lib/model.py", "new.py", "train.py"]
    assert files_of(repo).note == ""


def test_a_file_that_git_knows_travels_although_it_is_ignored_by_now(repo: Path) -> None:
    write(repo, x_dot_bin="5")
    git(repo, "add", "-f", "x.bin")
    assert "x.bin" in names(repo)


def test_what_was_deleted_or_has_another_name_now_is_gone_before_anyone_commits_it(repo: Path) -> None:
    (repo / "train.py").rename(repo / "run.py")
    (repo / "lib/model.py").unlink()
    assert names(repo) == [".gitignore", "run.py"]


def test_a_folder_in_the_place_of_a_file_and_a_link_in_the_place_of_a_folder_are_what_they_are_now(repo: Path) -> None:
    (repo / "train.py").unlink()
    write(repo, train_dot_py__a="x", other__model_dot_py="2")
    (repo / "lib/model.py").unlink()
    (repo / "lib").rmdir()
    (repo / "lib").symlink_to("other")
    found = {entry.name: entry.target for entry in files_of(repo).files}
    assert found == {".gitignore": "", "lib": "other", "other/model.py": "", "train.py/a": ""}


def test_a_folder_inside_of_a_repository_is_listed_from_itself_on(repo: Path) -> None:
    assert names(repo / "lib") == ["model.py"]


def test_a_folder_that_an_outer_repository_ignores_is_taken_as_it_is_and_that_is_said(repo: Path) -> None:
    write(repo, out__nanochat__train_dot_py="1")
    found = files_of(repo / "out/nanochat")
    assert [entry.name for entry in found.files] == ["train.py"] and "ignores it" in found.note


def test_a_worktree_has_the_files_and_the_branch_of_its_own(repo: Path, tmp_path: Path) -> None:
    git(repo, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    write(tmp_path / "side", more_dot_py="")
    assert names(tmp_path / "side") == [*BASE[:2], "more.py", "train.py"]
    assert state_of(tmp_path / "side").branch == "side" and state_of(tmp_path / "side").dirty


def test_files_of_a_submodule_travel_if_they_are_there_and_it_is_said_where_they_are_not(
    repo: Path, tmp_path: Path
) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q", "-b", "master")
    git(outer, "submodule", "--quiet", "add", str(repo), "deps/repo")
    git(outer, "commit", "-q", "-m", "one")
    write(outer / "deps/repo", out__big="", new_dot_py="")
    inner = [f"deps/repo/{name}" for name in [*BASE[:2], "new.py", "train.py"]]
    assert names(outer) == [".gitmodules", *inner]
    git(tmp_path, "clone", "-q", str(outer), "again")
    found = files_of(tmp_path / "again")
    assert [entry.name for entry in found.files] == [".gitmodules"]
    assert found.note == "the submodule deps/repo is empty"


def test_a_repository_that_was_cloned_into_another_travels_with_it(repo: Path) -> None:
    git(repo, "clone", "-q", str(repo), "inner")
    write(repo / "inner", out__big="")
    assert names(repo) == [".gitignore", *(f"inner/{name}" for name in BASE), "lib/model.py", "train.py"]


@pytest.mark.parametrize("name", [b"\xff\xfe.py", "ü 日本.py".encode(), b"two\nlines", b"-n", b'q"\\', b" "])
def test_any_name_that_a_disk_takes_is_listed_as_it_is(repo: Path, name: bytes) -> None:
    with Path(os.fsdecode(bytes(repo) + b"/" + name)).open("w"):
        pass
    assert name in map(os.fsencode, names(repo))
    (repo / ".git").rename(repo.parent / "gone")
    assert name in map(os.fsencode, names(repo))


def test_without_git_what_tools_have_made_stays_behind(tmp_path: Path) -> None:
    write(tmp_path, train_dot_py="", wandb__run_dot_py="", src__a_dot_pyc="", src__b_dot_py="", _dot_DS_Store="")
    for made in (".venv/pyvenv.cfg", ".venv/lib/x.py", "wandb/run-2/log", "node_modules/x", "src/__pycache__/b"):
        (tmp_path / made).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / made).touch()
    found = files_of(tmp_path)
    assert [entry.name for entry in found.files] == ["src/b.py", "train.py"]
    assert found.note.startswith("it is no git repository")


def test_a_module_named_wandb_is_code(tmp_path: Path) -> None:
    write(tmp_path, wandb__stub_dot_py="")
    assert names(tmp_path) == ["wandb/stub.py"]


def test_a_repository_that_git_refuses_is_read_without_it_and_the_reason_is_said(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert "belongs to another user" in files_of(repo).note and names(repo) == BASE
    assert state_of(repo).commit == ""
    monkeypatch.undo()
    (repo / ".git/HEAD").write_text("nonsense")
    assert files_of(repo).note and names(repo) == BASE
    monkeypatch.setenv("PATH", "/nowhere")
    assert files_of(repo).note.startswith("git is not installed")


def test_a_repository_runs_nothing_of_its_own_and_another_one_in_the_environment_is_not_asked(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    git(repo, "config", "core.fsmonitor", str(hook))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert names(repo) == BASE and state_of(repo).branch == "master"
    assert not (tmp_path / "ran").exists()


def test_a_link_that_leads_out_is_refused_by_its_name_and_one_that_stays_inside_is_kept(repo: Path) -> None:
    (repo / "same").symlink_to("lib/../train.py")
    (repo / "lib/up").symlink_to("../train.py")
    found = {entry.name: entry.target for entry in files_of(repo).files if entry.target}
    assert found == {"lib/up": "../train.py", "same": "lib/../train.py"}
    for target in ("/etc/passwd", "../x", str(repo / "train.py"), "lib/up/../../..", "same2"):
        (repo / "same2").symlink_to(target)
        with pytest.raises(UsageError, match="same2 is a link that leads out of the folder: replace it by a copy"):
            files_of(repo)
        (repo / "same2").unlink()


def test_what_is_no_file_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    write(tmp_path, train_dot_py="")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        found = files_of(tmp_path)
    assert [entry.name for entry in found.files] == ["train.py"]
    assert "pipe is left out" in found.note and "s is left out" in found.note


def test_no_folder_and_an_empty_one_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name, said in (("file", "is no folder"), ("gone", "is not there"), ("empty", "there is no file")):
        with pytest.raises(UsageError, match=said):
            files_of(tmp_path / name)


def test_a_folder_of_a_whole_disk_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.source.code_files.MOST_MEMBERS", 20)
    for n in range(30):
        (tmp_path / str(n)).touch()
    with pytest.raises(UsageError, match="more than 20 files"):
        files_of(tmp_path)


def test_a_state_names_commit_branch_and_changes(repo: Path) -> None:
    clean = state_of(repo)
    assert (clean.commit, clean.branch, clean.dirty) == (git(repo, "rev-parse", "HEAD"), "master", False)
    write(repo, out__x="")
    assert not state_of(repo).dirty
    write(repo, new="")
    assert state_of(repo).dirty
    git(repo, "checkout", "-q", "--detach")
    assert state_of(repo).branch == ""


def test_a_repository_without_a_commit_has_a_branch_and_no_more(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "trunk")
    assert state_of(tmp_path) == type(state_of(tmp_path))("", "trunk", False, "")
    assert state_of(tmp_path / "gone").commit == ""


def test_the_base_is_the_newest_commit_that_nanochat_itself_has(repo: Path, tmp_path: Path) -> None:
    base = git(repo, "rev-parse", "HEAD")
    git(tmp_path, "clone", "-q", str(repo), "fork")
    fork = tmp_path / "fork"
    git(fork, "remote", "set-url", "origin", f"{REPOSITORY}.git")
    write(fork, mine="")
    git(fork, "add", ".")
    git(fork, "commit", "-q", "-m", "mine")
    assert state_of(fork).base == base != state_of(fork).commit
    git(fork, "remote", "set-url", "origin", "git@github.com:Karpathy/nanochat")
    assert state_of(fork).base == base
    git(fork, "remote", "set-url", "origin", "git@example.org:me/else")
    assert state_of(fork).base == ""
