"""The registry: found by every name, changed by several at once, rebuilt when it cannot be read."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from runner.errors import NoSuchRun, Unreachable, UsageError
from runner.fleet.fleet import Fleet
from runner.fleet.registry import DownloadRequest, Registry
from runner.fleet.registry_file import FILE
from runner.model.backend_name import BackendName
from runner.model.identifiers import check_tag
from runner.model.run import Call, decode_run
from runner.model.states import State
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
        "import sys, msgspec; from pathlib import Path; from runner.fleet.registry import Registry\n"
        "r = Registry(Path(sys.argv[1]))\n"
        "for _ in range(50): r.update('a', lambda x: msgspec.structs.replace(x, attempt=x.attempt + 1))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    assert [p.wait(60) for p in both] == [0, 0]
    assert registry.get("a").attempt == 100


def test_every_change_whoever_makes_it_makes_another_version_and_a_look_makes_none(tmp_path: Path) -> None:
    mine, theirs = Registry(tmp_path), Registry(tmp_path)
    mine.add(run(id="a"))
    seen = [mine.version()]
    theirs.add(run(id="b", tag="u"))
    seen.append(mine.version())
    for registry, attempt in ((mine, 5), (theirs, 6)):
        registry.update("a", lambda one, n=attempt: msgspec.structs.replace(one, attempt=n))
        seen.append(mine.version())
    assert len(set(seen)) == 4
    mine.all(), theirs.all()
    assert mine.version() == seen[-1]


def test_only_records_that_have_changed_are_read_again_whoever_changed_them(tmp_path: Path) -> None:
    registry, other = Registry(tmp_path), Registry(tmp_path)
    for name in ("a", "b", "c"):
        registry.add(run(id=name, tag=f"tag-{name}", created_at=float(ord(name))))
    c, b, a = registry.all()
    assert [id(found) for found in registry.all()] == [id(c), id(b), id(a)]
    other.update("b", lambda found: msgspec.structs.replace(found, tag="other"))
    other.remove("c")
    now = registry.all()
    assert [r.tag for r in now] == ["other", "tag-a"] and now[1] is a and b.tag == "tag-b"


def test_a_change_that_fails_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(run(id="a"))
    with pytest.raises(ZeroDivisionError):
        registry.update("a", lambda r: msgspec.structs.replace(r, attempt=1 // 0))
    assert registry.get("a").attempt == 1
    registry.update("a", lambda r: msgspec.structs.replace(r, attempt=7))
    assert registry.get("a").attempt == 7


def rows(home: Path, table: str = "runs") -> dict[str, bytes]:
    with contextlib.closing(sqlite3.connect(home / FILE)) as db:
        return dict(db.execute(f"SELECT id, record FROM {table}").fetchall())


def damage(path: Path, how: str) -> None:
    """Spoil a registry that nobody has open."""
    data = path.read_bytes()
    if how == "not a database":
        path.write_bytes(b"this is no database" * 100)
    elif how == "cut":
        path.write_bytes(data[:3000])
    elif how in ("empty", "one byte"):
        path.write_bytes(data[: how == "one byte"])
    elif how == "another format":
        path.write_bytes(data[:44] + b"\0\0\0\7" + data[48:])
    elif how == "one that forbids writing":
        path.write_bytes(data[:18] + b"\7" + data[19:])
    elif how == "a name that is no text":
        path.write_bytes(data.replace(b"CREATE TABLE runs", b"CREATE \xf2\xc6\x11\x39\x82 runs", 1))
    elif how == "a page of it":
        # The root of the table of runs, as it is found by what it holds.
        page = data.rindex(b'"tag":"one"') // 4096 * 4096
        path.write_bytes(data[:page] + b"\xff" * 4096 + data[page + 4096 :])
    else:
        said = {
            "from the future": "PRAGMA user_version = 99",
            "no table of runs": "DROP TABLE runs",
            "a table of others": "ALTER TABLE runs RENAME COLUMN record TO theirs",
            "no table of what was told": "DROP TABLE told",
            "a row that is no run": "UPDATE runs SET record = '{\"id\": 7}'",
            "a row of brackets": f"UPDATE runs SET record = '{'[' * 100_000}'",
            "a row of nothing": "UPDATE runs SET record = x''",
            "a row of a number": "UPDATE runs SET record = 5",
        }
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute(said[how])


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A home with one run that is done, to be copied."""
    cli = Cli(tmp_path_factory.mktemp("spoilt") / "home")
    cli("launch", "--tag", "one", "--watch", "--step-ms", "0")
    return cli


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("not a database", "0 of its runs could be read; 1 run came back"),
        ("cut", "0 of its runs could be read; 1 run came back"),
        ("a page of it", "0 of its runs could be read; 1 run came back"),
        ("another format", "1 run came back"),
        ("a table of others", "1 of its runs could be read; 0 runs came back"),
        ("a name that is no text", "1 run came back"),
        ("one that forbids writing", ""),
        ("from the future", "newer nanochat-tui (version 99)"),
        ("empty", "there was no registry; 1 run came back"),
        ("one byte", "1 run came back"),
        ("no table of runs", "there was no registry; 1 run came back"),
        ("no table of what was told", ""),
        ("a row that is no run", "of one (ID) cannot be read (Expected `str`, got `int` - at `$.id`)"),
        ("a row of brackets", "1 run came back"),
        ("a row of nothing", "1 run came back"),
        ("a row of a number", "1 run came back"),
    ],
)
def test_a_registry_that_cannot_be_read_is_kept_aside_and_comes_back(
    cli: Cli, spoilt: Cli, how: str, said: str
) -> None:
    shutil.copytree(spoilt.home, cli.home, ignore=shutil.ignore_patterns("registry.db*", "volumes"))
    with contextlib.closing(sqlite3.connect(spoilt.home / FILE)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(spoilt.home / FILE, cli.home / FILE)
    [before] = map(decode_run, rows(cli.home).values())
    damage(cli.home / FILE, how)
    fleet = Fleet(cli.home)
    [after] = fleet.poll_all()
    assert (after.id, after.tag, after.state, after.outcome) == (before.id, "one", State.DONE, before.outcome)
    assert said.replace("ID", before.id) in " ".join(fleet.notices) and bool(said) == bool(fleet.notices)
    kept_aside = "its runs" in said or "version" in said or how in ("another format", "a name that is no text")
    assert bool(list(cli.home.glob("registry.db.kept-*"))) == kept_aside
    fleet.close()
    again = Fleet(cli.home)
    assert not again.notices and again.registry.mark_sent("x")
    again.close()


def test_damage_in_the_middle_of_the_work_is_mended_and_the_work_is_done(tmp_path: Path) -> None:
    lost: list[str] = []
    registry = Registry(tmp_path)
    registry.restored_by(lost.append)
    registry.add(run(id="a", tag="a"))
    lost.clear()
    for spoil in ("DROP TABLE told", "DROP TABLE downloads"):
        registry._db.execute(spoil)
    assert registry.mark_sent("k") and not lost
    registry._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(tmp_path / FILE, "not a database")
    registry._db.execute("PRAGMA cache_size = 0")
    registry.add(run(id="b", tag="b"))
    assert "damaged" in lost[0] and registry.get("b").tag == "b"
    registry.close()


def test_a_file_that_another_process_has_put_aside_is_not_written_any_more(tmp_path: Path) -> None:
    here, other = Registry(tmp_path), Registry(tmp_path)
    here.add(run(id="a", tag="a"))
    damage(tmp_path / FILE, "from the future")
    Registry(tmp_path).close()
    other.add(run(id="b", tag="b"))
    assert {r.id for r in here.all()} == {"a", "b"}
    here.close()
    other.close()


def newer(record: bytes) -> bytes:
    """A record as a later release may write it: more of everything, in every place."""
    raw = msgspec.json.decode(record)
    raw |= {"colour": "red", "state": "paused"}
    raw["spec"] |= {"task": "rl", "optimizer": "muon2"}
    raw["spec"]["overrides"] |= {"rewards": 3, "iterations": -5}
    raw["calls"][0] |= {"region": "eu"}
    return msgspec.json.encode(raw)


def put_row(home: Path, run_id: str, record: bytes) -> None:
    with contextlib.closing(sqlite3.connect(home / FILE)) as db, db:
        db.execute("UPDATE runs SET record = ? WHERE id = ?", (record, run_id))


def test_a_run_of_a_newer_release_is_shown_can_be_changed_and_keeps_what_only_that_one_knows(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for name in ("a", "b"):
        registry.add(run(id=name, tag=name))
    put_row(tmp_path, "a", newer(rows(tmp_path)["a"]))
    found = registry.get("a")
    assert len(registry.all()) == 2 and (found.state, found.live, found.newer) == (State.UNKNOWN, True, True)
    registry.update("a", lambda r: msgspec.structs.replace(r, attempt=2, calls=[*r.calls, Call("x", 1.0)]))
    raw = msgspec.json.decode(rows(tmp_path)["a"])
    assert (raw["attempt"], raw["colour"], raw["state"], raw["spec"]["task"]) == (2, "red", "paused", "rl")
    assert raw["spec"]["overrides"]["rewards"] == 3 and raw["spec"]["overrides"]["iterations"] == -5
    assert [call.get("region") for call in raw["calls"]] == ["eu", None] and "schema" in raw
    registry.update("a", lambda r: msgspec.structs.replace(r, state=State.FAILED))
    assert msgspec.json.decode(rows(tmp_path)["a"])["state"] == "failed"
    registry.close()


def test_a_row_that_only_a_newer_release_can_read_waits_for_it(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for name in ("a", "b"):
        registry.add(run(id=name, tag=name))
    whole = rows(tmp_path)["a"]
    put_row(tmp_path, "a", b'{"runs": "are now told otherwise"}')
    assert [r.id for r in registry.all()] == ["b"] and list(rows(tmp_path, "refused")) == ["a"]
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute("UPDATE refused SET record = ?", (whole,))
    registry.close()
    upgraded = Registry(tmp_path)
    assert {r.id for r in upgraded.all()} == {"a", "b"} and not rows(tmp_path, "refused")
    upgraded.close()


def test_a_registry_that_is_a_folder_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(Unreachable):
        Registry(tmp_path)


OPEN = """
import os, sys, time
from pathlib import Path
from runner.fleet.registry import Registry
for home in sys.argv[1:]:
    at = time.monotonic() + 0.1
    for _ in range(8):
        if not os.fork():
            time.sleep(max(0.0, at - time.monotonic()))
            Registry(Path(home))
            sys.exit()
    if any(os.wait()[1] for _ in range(8)):
        sys.exit(home)
"""


def test_several_commands_may_be_the_first_ones_at_once(tmp_path: Path) -> None:
    homes = [tmp_path / str(number) for number in range(5)]
    for home in homes:
        home.mkdir()
    done = subprocess.run([sys.executable, "-c", OPEN, *map(str, homes)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


BEGIN = """
import sys
from pathlib import Path
from runner.fleet.registry import Registry, DownloadRequest
Registry(Path(sys.argv[1])).begin_download(DownloadRequest("local", "/v", "runs/\\udcff", "/home/me", "red"))
print(flush=True)
sys.stdin.read()
"""


def test_runs_without_a_tag_get_one_each_however_many_are_launched_at_once(tmp_path: Path) -> None:
    registries = [Registry(tmp_path), Registry(tmp_path)]
    tags = [registries[n % 2].add(run(id=f"id{n}", tag="")).tag for n in range(60)]
    assert len(set(tags)) == 60 and all(check_tag(tag) for tag in tags)


def test_a_download_is_remembered_while_its_process_lives_and_offered_once_it_is_killed(tmp_path: Path) -> None:
    registry, wanted = Registry(tmp_path), DownloadRequest("local", "/v", "runs/\udcff", "/home/me", "red")
    argv = [sys.executable, "-c", BEGIN, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        assert registry.interrupted_downloads() == []
        other.kill()
    for odd in ('"x"', "'[1]'", "'[1, 2, 3, 4]'", "'{}'", "7"):
        registry._db.execute(f"INSERT INTO downloads VALUES ({odd.replace(chr(34), chr(39))}, 'y')")
    assert registry.interrupted_downloads() == [wanted]
    registry.begin_download(wanted)
    assert registry.interrupted_downloads() == []
    registry.end_download(wanted)
    assert registry.interrupted_downloads() == []


def test_a_run_that_only_a_newer_release_knows_how_to_start_is_listed_and_not_resumed(tmp_path: Path) -> None:
    with contextlib.closing(Fleet(tmp_path)) as fleet:
        (tmp_path / "v").mkdir()
        fleet.registry.add(run(id="a", tag="a", volume=str(tmp_path / "v")))
        fleet.registry.add(run(id="b", tag="b"))
        put_row(tmp_path, "a", newer(rows(tmp_path)["a"]))
        put_row(tmp_path, "b", rows(tmp_path)["b"].replace(b'"backend":"local"', b'"backend":"lambda"'))
        assert {r.tag: r.state for r in fleet.poll_all()} == {"a": State.INTERRUPTED, "b": State.RUNNING}
        assert "newer nanochat-tui" in fleet.unreachable["b"]
        with pytest.raises(UsageError, match="newer nanochat-tui"):
            fleet.resume(fleet.registry.get("a"))


@pytest.mark.parametrize(("written", "read"), [("local", "local"), ("modal", "modal"), ("lambda", "unknown")])
def test_the_backend_of_a_stored_run_is_one_of_ours_or_unknown_and_stays_as_it_was_written(
    tmp_path: Path, written: str, read: str
) -> None:
    registry = Registry(tmp_path)
    for name in ("a", "b"):
        registry.add(run(id=name, tag=name))
    put_row(tmp_path, "a", rows(tmp_path)["a"].replace(b'"backend":"local"', f'"backend":"{written}"'.encode()))
    found = {r.id: r for r in registry.all()}
    assert (found["a"].backend, found["b"].backend) == (BackendName(read), BackendName.LOCAL)
    assert found["a"].newer == (read == "unknown") and not rows(tmp_path, "refused")
    registry.update("a", lambda r: msgspec.structs.replace(r, attempt=2))
    kept = msgspec.json.decode(rows(tmp_path)["a"])
    assert (kept["attempt"], kept["backend"]) == (2, written)
    registry.close()


def test_a_closed_registry_is_an_error_in_a_line_and_leaves_no_connection(tmp_path: Path) -> None:
    with contextlib.closing(Fleet(tmp_path)) as fleet:
        registry = fleet.registry
    with pytest.raises(Unreachable):
        registry.all()
    assert not list(tmp_path.glob("registry.db-*"))


def test_a_tag_of_full_length_gets_its_number_and_stays_a_tag(tmp_path: Path) -> None:
    with contextlib.closing(Fleet(tmp_path)) as fleet:
        tag = "t" * 48
        fleet.registry.add(run(State.DONE, id="a", tag=tag, volume=str(tmp_path)))
        released = fleet._launcher._renamed(tag, {tag})
        assert check_tag(released.tag) and released.tag.endswith(".1")


def test_runs_that_a_damaged_page_no_longer_leads_to_are_missed(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for number in range(40):
        registry.add(run(id=f"id{number:02}", tag=f"t{number:02}"))
    registry.close()
    path = tmp_path / FILE
    with contextlib.closing(sqlite3.connect(path)) as db:
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'runs'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    data, page = bytearray(path.read_bytes()), (root - 1) * size
    first = page + int.from_bytes(data[page + 12 : page + 14], "big")
    # The way to the runs at the end leads to those at the beginning.
    data[page + 8 : page + 12] = data[first : first + 4]
    path.write_bytes(data)
    again, lost = Registry(tmp_path), list[str]()
    again.restored_by(lost.append)
    assert "damaged" in lost[0] and again.set_aside
    again.close()
