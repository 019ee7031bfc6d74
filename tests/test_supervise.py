"""Real children: output as it comes, a stop that stops, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner import processes
from runner.job.supervise import ProcessExit, run_child
from tests.conftest import wait_until


def supervise(
    tmp_path: Path, code: str, *, stop_on: bytes = b"", grace_s: float = 0.5
) -> tuple[ProcessExit, bytes, float]:
    out: list[bytes] = []
    began = time.monotonic()
    ended = run_child(
        [sys.executable, "-u", "-c", code],
        env=dict(os.environ),
        cwd=str(tmp_path),
        note=tmp_path / "child",
        on_output=out.append,
        on_tick=lambda: None,
        stopping=lambda: bool(stop_on) and stop_on in b"".join(out),
        grace_s=grace_s,
    )
    assert not (tmp_path / "child").exists()
    return ended, b"".join(out), time.monotonic() - began


def test_every_byte_arrives_in_order_whatever_it_is(tmp_path: Path) -> None:
    code = "import sys; b = sys.stdout.buffer\nfor i in range(3000): b.write(bytes([i % 256]) * 100)"
    ended, out, _ = supervise(tmp_path, code)
    assert ended == ProcessExit(0, None, False)
    assert out == b"".join(bytes([i % 256]) * 100 for i in range(3000))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(7)", ProcessExit(7, None, False)),
        ("import os; os.kill(os.getpid(), 11)", ProcessExit(None, 11, False)),
        ("1/0", ProcessExit(1, None, False)),
    ],
)
def test_exit_codes_and_signals_are_told_apart(tmp_path: Path, code: str, expected: ProcessExit) -> None:
    assert supervise(tmp_path, code)[0] == expected


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready'); time.sleep(60)"
    ended, _, seconds = supervise(tmp_path, code, stop_on=b"ready")
    assert (ended.signal, ended.stopped) == (9, True)
    assert seconds < 10


def test_a_child_that_obeys_may_finish_its_last_words(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "def bye(*_): print('saved'); sys.exit(0)\n"
        "signal.signal(15, bye); print('ready'); time.sleep(60)"
    )
    ended, out, _ = supervise(tmp_path, code, stop_on=b"ready", grace_s=20)
    assert ended == ProcessExit(0, None, True) and out.endswith(b"saved\n")


def test_grandchildren_do_not_hold_the_job_nor_outlive_it(tmp_path: Path) -> None:
    code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"
    ended, out, seconds = supervise(tmp_path, code)
    assert ended.ok and seconds < 20
    wait_until(lambda: (stat := processes._stat(int(out))) is None or stat[0] in "ZX", what="grandchild gone")


def test_a_program_that_does_not_exist_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run_child(
            ["/no/such/program"],
            env={},
            cwd=str(tmp_path),
            note=tmp_path / "child",
            on_output=lambda d: None,
            on_tick=lambda: None,
            stopping=lambda: False,
            grace_s=1,
        )


def test_the_age_of_a_process_is_known_from_within() -> None:
    code = "import time; from runner import processes as p; a = p.age_s(); time.sleep(0.3); print(a, p.age_s())"
    began = time.monotonic()
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    took = time.monotonic() - began
    assert 0 <= float(said[0]) <= took + 0.1 and 0.25 <= float(said[1]) - float(said[0]) <= took


def test_a_pid_alone_is_not_a_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        name = processes.call_id(child.pid)
        assert processes.pid_if_alive(name) == child.pid
        assert processes.pid_if_alive(name + "0") is None
        assert processes.pid_if_alive(f"local-{child.pid}-") is None
    finally:
        child.kill()
    wait_until(lambda: processes.pid_if_alive(name) is None, what="a killed child counts as gone, zombie or not")
    child.wait()


@pytest.mark.parametrize("name", ["", "local", "local--", "local-x-y", "modal-1-2", "fc-123", "local-99999999-1"])
def test_a_call_id_that_names_nothing_is_not_alive(name: str) -> None:
    assert processes.pid_if_alive(name) is None


def test_a_child_that_outlived_its_job_is_ended_but_never_a_stranger(tmp_path: Path) -> None:
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0)
    note = tmp_path / "child"
    note.write_text(processes.call_id(orphan.pid) + "9")
    assert not processes.kill_leftover(note)
    assert orphan.poll() is None
    processes.note_child(note, orphan.pid)
    assert processes.kill_leftover(note)
    assert orphan.wait(10) == -signal.SIGKILL
    assert not processes.kill_leftover(note)
