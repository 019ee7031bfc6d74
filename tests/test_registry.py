"""The registry: found by every name, changed by several at once, rebuilt when it cannot be read."""

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from runner.errors import NoSuchRun, Unreachable, UsageError
from runner.registry import FILE, Registry, Wanted
from runner.run import State, check_tag
from tests.conftest import Cli
from tests.test_run import run


def test_a_run_is_found_by_id_tag_unique_prefix_and_last(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(run(id="abcd", tag="d12-red", created_at=1.0))
    registry.add(run(id="abxy", tag="d12-blue", created_at=2.0))
    assert {registry.find(n).id for n in ("abcd", "d12-red", "abc", "d12-r")} == {"abcd"}
    assert registry.find("last").id == "abxy"
    with pytest.raises(UsageError, match="several"):
        registry.find("ab")
    for absent in ("zz", "", "last;"):
        with pytest.raises((NoSuchRun, UsageError)):
            registry.find(absent)


def test_a_taken_tag_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(run(id="a", tag="t", state=State.FAILED))
    with pytest.raises(UsageError, match=r"resume goes on with it.*--force-restart"):
        registry.add(run(id="b", tag="t"))


def test_two_processes_change_one_run_without_losing_a_change(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(run(id="a", attempt=0))
    code = (
        "import sys, msgspec; from pathlib import Path; from runner.registry import Registry\n"
        "r = Registry(Path(sys.argv[1]))\n"
        "for _ in range(50): r.update('a', lambda x: msgspec.structs.replace(x, attempt=x.attempt + 1))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    assert [p.wait(60) for p in both] == [0, 0]
    assert registry.get("a").attempt == 100


def test_a_change_that_fails_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(run(id="a"))
    with pytest.raises(ZeroDivisionError):
        registry.update("a", lambda r: msgspec.structs.replace(r, attempt=1 // 0))
    assert registry.get("a").attempt == 1
    registry.update("a", lambda r: msgspec.structs.replace(r, attempt=7))
    assert registry.get("a").attempt == 7


def damage(path: Path, how: str) -> None:
    if how == "not a database":
        path.write_bytes(b"this is no database" * 100)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    elif how == "from the future":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
    else:
        with sqlite3.connect(path) as db:
            db.execute("UPDATE runs SET record = '{\"id\": 7}'")
        db.close()


@pytest.mark.parametrize("how", ["not a database", "cut", "from the future", "unreadable record"])
def test_a_registry_that_cannot_be_read_is_kept_aside_and_rebuilt_from_the_volumes(cli: Cli, how: str) -> None:
    cli("launch", "--tag", "one", "--watch", "--step-ms", "0")
    before = cli.run("one")
    for extra in (FILE + "-wal", FILE + "-shm"):
        (cli.home / extra).unlink(missing_ok=True)
    damage(cli.home / FILE, how)
    listed = cli("ls", "--json")
    assert "is kept as" in listed.stderr and "1 run came back" in listed.stderr
    assert list(cli.home.glob("registry.db.kept-*"))
    after = cli.run("one")
    assert {k: after[k] for k in ("id", "tag", "state", "step", "outcome")} == {
        k: before[k] for k in ("id", "tag", "state", "step", "outcome")
    }
    assert "kept as" not in cli("ls").stderr


def test_a_registry_that_is_a_folder_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(Unreachable):
        Registry(tmp_path)


OPEN = """
import sys, time
from pathlib import Path
from runner.registry import Registry
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
Registry(Path(sys.argv[1]))
"""


def test_several_commands_may_be_the_first_ones_at_once(tmp_path: Path) -> None:
    for number in range(5):
        home = tmp_path / str(number)
        home.mkdir()
        argv = [sys.executable, "-c", OPEN, str(home), str(time.time() + 0.5)]
        said = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(8)]
        assert [process.communicate(timeout=60)[1] for process in said] == [""] * 8


BEGIN = """
import sys
from pathlib import Path
from runner.registry import Registry, Wanted
Registry(Path(sys.argv[1])).begin(Wanted("local", "/v", "runs/\\udcff", "/home/me", "red"))
print(flush=True)
sys.stdin.read()
"""


def test_runs_without_a_tag_get_one_each_however_many_are_launched_at_once(tmp_path: Path) -> None:
    registries = [Registry(tmp_path), Registry(tmp_path)]
    tags = [registries[n % 2].add(run(id=f"id{n}", tag="")).tag for n in range(60)]
    assert len(set(tags)) == 60 and all(check_tag(tag) for tag in tags)


def test_a_download_is_remembered_while_its_process_lives_and_offered_once_it_is_killed(tmp_path: Path) -> None:
    registry, wanted = Registry(tmp_path), Wanted("local", "/v", "runs/\udcff", "/home/me", "red")
    argv = [sys.executable, "-c", BEGIN, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        assert registry.cut() == []
        other.kill()
    assert registry.cut() == [wanted]
    registry.begin(wanted)
    assert registry.cut() == []
    registry.end(wanted)
    assert registry.cut() == []
