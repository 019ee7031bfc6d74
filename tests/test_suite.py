"""What the other tests stand on: they may be started from anywhere, and see nothing of one another."""

import os
import subprocess
import sys
import time
from pathlib import Path

import hypothesis
import hypothesis.strategies
import modal
import pytest

from tests.conftest import COMMANDS
from tests.modal_cloud import ROOT, Cloud

SAYS = "import tests.conftest, subprocess, sys; subprocess.run([sys.executable, '-c', 'import signal as s; print(*(s.getsignal(n) is s.SIG_IGN for n in (s.SIGINT, s.SIGHUP, s.SIGTERM)))'])"  # noqa: E501 - one program


def test_started_by_nohup_in_the_background_children_still_hear_their_signals() -> None:
    words = ["sh", "-c", 'trap "" INT HUP TERM; exec "$0" -c "$1"', sys.executable, SAYS]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False"] * 3


_EXAMPLES: list[list[int]] = []


@hypothesis.settings(max_examples=3)
@hypothesis.given(hypothesis.strategies.integers())
def _seen(number: int) -> None:
    _EXAMPLES[-1].append(number)
    time.sleep(0.25 if len(_EXAMPLES[-1]) == 2 else 0)


def test_examples_are_the_same_every_time_and_a_slow_one_is_no_failure() -> None:
    for _ in range(2):
        _EXAMPLES.append([])
        _seen()
    assert _EXAMPLES[0] == _EXAMPLES[1] and len(_EXAMPLES[0]) == 3


def fork(tmp_path: Path, program: str, **env: str) -> subprocess.CompletedProcess[str]:
    # A name of its own: Python takes a compiled file for that of any source of its size and second.
    name = f"program_{len(list(tmp_path.glob('program_*.py')))}"
    (tmp_path / f"{name}.py").write_text(program)
    return COMMANDS.run(name, [], {**os.environ, "PYTHONPATH": str(tmp_path), **env}, str(ROOT), 60)


def test_a_fork_finds_no_client_of_modal_before_it_imports_one_that_has_the_settings_of_its_own_environment(
    tmp_path: Path,
) -> None:
    (tmp_path / "modal.toml").write_text('[mine]\ntoken_id = "ak-of-the-file"\n')
    says = (
        "import sys\nprint('modal' in sys.modules)\n"
        "import modal.config as c\nprint(c.config.get('token_id'), c.config.get('environment'))"
    )
    env = {"MODAL_CONFIG_PATH": str(tmp_path / "modal.toml"), "MODAL_PROFILE": "mine", "MODAL_ENVIRONMENT": "lab"}
    without = {n: "" for n in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET") if n in os.environ}
    assert fork(tmp_path, says, **env, **without).stdout.split() == ["False", "ak-of-the-file", "lab"]
    (tmp_path / "modal.toml").write_text("[[[")
    assert "Key group not on a line by itself" in fork(tmp_path, says, **env).stderr


def test_a_fork_ends_as_a_program_does(tmp_path: Path) -> None:
    last = "import atexit, sys, threading, time\natexit.register(print, 'at the end')\n"
    last += "threading.Thread(target=lambda: (time.sleep(0.2), print('its thread'))).start()\n"
    done = fork(tmp_path, f"{last}print('a word', end='')\nsys.exit('no')")
    assert (done.returncode, done.stdout, done.stderr) == (1, "a wordits thread\nat the end\n", "no\n")
    failed = fork(tmp_path, "raise ValueError('bad')")
    assert failed.returncode == 1 and failed.stderr.endswith("ValueError: bad\n")
    assert fork(tmp_path, "import sys; sys.exit(7)").returncode == 7


def test_what_one_test_left_on_the_cloud_is_not_there_for_the_next(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    volume = modal.Volume.from_name(f"v{os.urandom(4).hex()}", create_if_missing=True)
    with volume.batch_upload() as batch:
        batch.put_file(__file__, "/left")
    kept = modal.Dict.from_name("left", create_if_missing=True)
    kept["key"] = "value"
    app = modal.App("left")
    waits = app.function(image=modal.Image.debian_slim(), serialized=True, name="waits")(_wait)
    app.deploy()
    call = waits.spawn()
    assert [*cloud.state()["calls"]] == [call.object_id]
    cloud.clean()
    state = cloud.state()
    assert state["calls"] == state["tasks"] == {}
    assert volume.name not in state["volumes"] and "key" not in kept
    assert "left" in {one["name"] for one in state["apps"].values()}


def _wait() -> None:
    import time

    time.sleep(600)
