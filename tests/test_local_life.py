"""A local job is alive when it says so itself: by its lock, its name in it, its heartbeat; not by a pid alone."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import msgspec
import pytest

from runner import processes
from runner.backends.local_life import SILENT_S, LiveJob, find_live_job
from runner.errors import Unreachable, UsageError
from runner.model.run import Call, Run
from runner.model.states import State
from runner.model.status import Status
from runner.system import locks
from tests.conftest import CLI, Cli, wait_until
from tests.gate import Gate
from tests.statuses import a_status
from tests.test_run import run

QUICK = ("--task", "test", "--step-ms", "1")


def away(boot: str, namespace: str = "1") -> str:
    return f"local-77-node-7.x-{namespace}-{boot}.99"


def called(name: str, *, spawned_at: float = 1000.0) -> Run:
    return run(State.RUNNING, attempt=1, calls=[Call(name, spawned_at, 1)])


def beat(name: str, age: float) -> Status:
    now = time.time()
    return a_status(1, State.RUNNING, name, now - 100, now - age)


def holding(lock: Path, name: str) -> "subprocess.Popen[str]":
    """Another process that has the lock of a job of that name."""
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); f.write(sys.argv[2]); f.flush();"
        "print(flush=True); input()"
    )
    words = [sys.executable, "-c", code, str(lock), name]
    held = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert held.stdout and held.stdout.readline()
    return held


def test_a_name_says_host_and_namespace_and_those_of_earlier_releases_are_still_understood() -> None:
    name = processes.call_id(os.getpid())
    assert (
        processes.is_here(name) and processes.is_on_this_machine(name) and processes.pid_if_alive(name) == os.getpid()
    )
    start = name.rpartition("-")[2]
    old = f"local-{os.getpid()}-{start}"
    assert (
        processes.pid_if_alive(old) == os.getpid() and processes.is_on_this_machine(old) and not processes.host_of(old)
    )
    other = f"local-{os.getpid()}-a-b-7-{start}"
    assert processes.pid_if_alive(other) is None, "the same number in another container is another process"
    assert not processes.is_here(other) and processes.is_on_this_machine(other) and processes.host_of(other) == "a-b"
    for odd in ("", "local-", "local-1-", "local-x-1", "fc-1", "local-1-h-x-s", "local-\u0661-x"):
        assert processes.pid_if_alive(odd) is None and not processes.is_here(odd)


def test_a_machine_that_changes_its_name_still_knows_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    name = processes.call_id(os.getpid())
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    assert processes.pid_if_alive(name) == os.getpid() and processes.is_here(name)


def test_a_job_of_another_container_lives_for_as_long_as_its_lock_is_held(tmp_path: Path) -> None:
    name = away(processes.boot_id())
    holder = holding(tmp_path / "lock", name)
    assert find_live_job(called(name), beat(name, 1e6), tmp_path) == LiveJob(host="node-7.x")
    later = called(processes.call_id(os.getpid()))
    assert find_live_job(later, None, tmp_path) == LiveJob(host="node-7.x"), (
        "whoever was started since waits for that lock"
    )
    holder.communicate("\n")
    assert find_live_job(called(name), beat(name, 1.0), tmp_path) is None, "it is of this kernel: the lock is the truth"


def test_a_job_of_another_machine_lives_by_its_lock_or_by_its_sign_of_life(tmp_path: Path) -> None:
    name = away("otherboot")
    assert find_live_job(called(name), beat(name, 5.0), tmp_path) == LiveJob(host="node-7.x"), (
        "no lock to ask: another data folder"
    )
    (tmp_path / "lock").write_text(name)
    assert find_live_job(called(name), beat(name, 5.0), tmp_path), "some disks keep locks on each machine"
    assert find_live_job(called(name), beat(name, SILENT_S + 1), tmp_path) is None
    ended = msgspec.structs.replace(beat(name, 5.0), state=State.DONE)
    assert find_live_job(called(name), ended, tmp_path) is None
    holder = holding(tmp_path / "lock", name)
    assert find_live_job(called(name), beat(name, SILENT_S + 1), tmp_path) == LiveJob(host="node-7.x")
    holder.communicate("\n")


def test_a_job_that_was_just_started_elsewhere_is_waited_for(tmp_path: Path) -> None:
    name = away(processes.boot_id())
    (tmp_path / "lock").touch()
    assert find_live_job(called(name, spawned_at=time.time() - 1), None, tmp_path)
    assert find_live_job(called(name, spawned_at=time.time() - 60), None, tmp_path) is None


def test_whoever_ends_what_a_dead_job_left_is_not_taken_for_the_job(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    name = processes.call_id(gone.pid)
    gone.wait()
    (tmp_path / "lock").write_text(name)
    holder = holding(tmp_path / "lock", name)
    assert find_live_job(called(name), beat(name, 1.0), tmp_path) is None
    holder.communicate("\n")


def test_a_child_of_another_container_is_left_to_who_can_see_it(tmp_path: Path) -> None:
    note = tmp_path / "child"
    note.write_text(away(processes.boot_id()))
    assert not processes.kill_leftover(note) and note.exists()
    note.write_text(away("otherboot"))
    assert not processes.kill_leftover(note) and not note.exists()


def test_a_run_that_lives_elsewhere_is_cancelled_by_a_mark_and_never_started_a_second_time(
    cli: Cli, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.fleet.fleet import Fleet

    gate.hold(3)
    cli("launch", "--tag", "far", "--fault", "hang@5", *QUICK)
    gate.reached(3)
    monkeypatch.setattr("runner.processes._namespace", lambda: "1")
    monkeypatch.setattr("runner.processes.boot_id", lambda: "otherboot")
    fleet = Fleet(cli.home)
    found = fleet.poll_run(fleet.registry.find("far"))
    assert found.live, found
    with pytest.raises(Exception, match=f"on {processes._host()} already"):
        fleet.resume(found)
    with pytest.raises(Exception, match="cancel far first"):
        fleet.delete(found)
    with pytest.raises(Unreachable, match="cancel it there"):
        fleet.backend("local").cancel(found, force=True)
    gate.open()
    fleet.cancel(found)
    wait_until(lambda: fleet.poll_run(fleet.registry.find("far")).state is State.CANCELLED, what="cancelled by a mark")
    fleet.close()
    wait_until(lambda: cli.processes() == [], what="no process")


def test_a_cancel_by_force_ends_what_the_job_started_also_where_the_job_is_slow_to_go(
    cli: Cli, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.fleet.fleet import Fleet

    gate.hold(3)
    cli("launch", "--tag", "slow", *QUICK)
    gate.reached(3)
    at_once = os.kill

    def late(pid: int, sig: int) -> None:
        threading.Timer(0.3, at_once, (pid, sig)).start() if sig == signal.SIGKILL else at_once(pid, sig)

    fleet = Fleet(cli.home)
    monkeypatch.setattr(os, "kill", late)
    fleet.backend("local").cancel(fleet.registry.find("slow"), force=True)
    assert cli.processes() == []
    fleet.close()


NO_FLOCK = """
import errno, fcntl
def flock(fd, operation):
    raise OSError(errno.{code}, "no locks here")
fcntl.flock = flock
"""


@pytest.mark.parametrize("code", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_a_disk_without_locks_is_told_before_anything_begins(tmp_path: Path, cli: Cli, code: str) -> None:
    shim = tmp_path / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(textwrap.dedent(NO_FLOCK).format(code=code))
    volume = tmp_path / "v"
    (volume / "x").mkdir(parents=True)
    (volume / "x" / "a.bin").write_bytes(b"a")
    for words in (
        ("launch", "--tag", "a", "--watch", *QUICK),
        ("volume", "get", "x", str(tmp_path / "got"), "--volume", str(volume)),
    ):
        env = {**cli.env, "PYTHONPATH": str(shim)}
        done = subprocess.run([*CLI, *words], env=env, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 5, done.stderr
        assert "file system without locks (no locks here): use a folder of another disk" in done.stderr
    assert cli.json("ls") == [] and list((tmp_path / "got").iterdir()) == []


def test_a_job_that_dies_before_its_first_word_ends_the_watch_with_what_it_said(cli: Cli) -> None:
    broken = cli.home.parent / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'runner.job' in ' '.join(sys.orig_argv):\n"
        "    os.write(2, b'the loader is broken\\n'); os._exit(9)\n"
    )
    words = [*CLI, "launch", "--watch", "--tag", "b", *QUICK]
    done = subprocess.run(
        words, env={**cli.env, "PYTHONPATH": str(broken)}, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 1 and "the loader is broken" in done.stdout, (done.stdout, done.stderr)


def test_a_lock_that_is_asked_for_tells_whether_somebody_has_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locks.is_held(path)
    holder = holding(path, "x")
    assert locks.is_held(path)
    with path.open("a") as file:
        assert not locks.take(file, path) and not locks.take_within(file, path, 0.05)
    holder.communicate("\n")
    assert not locks.is_held(path)


def test_a_data_folder_without_any_locks_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    from runner.fleet.registry import Registry

    def busy(*words: object, **more: object) -> None:
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error

    def no_locks(*words: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(sqlite3, "connect", busy)
    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(locks.NoLocks, match="is on a file system without locks"):
        Registry(tmp_path)


def test_a_job_of_another_user_is_asked_by_a_mark(cli: Cli, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    from runner.fleet.fleet import Fleet

    gate.hold(3)
    cli("launch", "--tag", "theirs", "--fault", "hang@5", *QUICK)
    gate.reached(3)
    fleet = Fleet(cli.home)
    found = fleet.poll_run(fleet.registry.find("theirs"))

    def refused(pid: int, sig: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", refused)
        with pytest.raises(Unreachable, match="runs as another user, and has not answered: cancel it as that user"):
            fleet.backend("local").cancel(found, force=True)
        gate.open()
        with contextlib.suppress(UsageError):  # it may have ended by the mark before it is asked again
            fleet.cancel(found)
    wait_until(lambda: fleet.poll_run(found).state is State.CANCELLED, what="cancelled by a mark")
    fleet.close()
    wait_until(lambda: cli.processes() == [], what="no process")
