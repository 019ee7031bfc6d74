"""No notice is lost: it counts as told when somebody got it, and is told by one process alone."""

import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from runner import notices, process
from runner.errors import Unreachable
from runner.notices import Notice, Teller, deliver
from runner.registry import Registry, Telling
from runner.run import Run
from runner.settings import Settings
from runner.states import State
from tests.conftest import wait_until
from tests.test_money import of

NEWS = Notice("r", "t", "failed", "t failed", "r/1/failed")


class Hook(http.server.BaseHTTPRequestHandler):
    """Answers each POST with the next of `answers`, and remembers what came."""

    answers: ClassVar[list[int]] = []
    got: ClassVar[list[str]] = []

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.got.append(f"{self.command} {self.path}")
        self.send_response(self.answers.pop(0) if self.answers else 204)
        self.send_header("Location", "/new")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET = _answer

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def webhook() -> Iterator[Settings]:
    Hook.answers, Hook.got = [], []
    server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Settings(webhook=f"http://127.0.0.1:{server.server_address[1]}/old")
    server.shutdown()
    server.server_close()


def failed() -> Run:
    return of(State.FAILED)


def test_a_registry_that_is_busy_for_once_delays_a_notice_and_does_not_lose_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, shown = Registry(tmp_path), list[Notice]()
    teller = Teller(registry, Settings, shown.append)

    def busy(key: str) -> Telling:
        raise Unreachable("the registry is locked")

    with monkeypatch.context() as patched:
        patched.setattr(registry, "may_tell", busy)
        with pytest.raises(Unreachable):
            teller.look([failed()], 2001.0)
    teller.look([failed()], 2001.0)
    teller.look([failed()], 2001.0)
    assert [n.kind for n in shown] == ["failed"]
    registry.close()


def test_what_a_webhook_did_not_take_is_sent_again_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, webhook: Settings
) -> None:
    monkeypatch.setattr(notices, "AGAIN_S", (0.01, 0.01))
    registry = Registry(tmp_path)
    Hook.answers = [500, 500, 204]
    teller = Teller(registry, lambda: webhook, lambda n: None)
    teller.look([failed()], 2001.0)
    wait_until(lambda: registry.may_tell("abc/1/failed") is Telling.TOLD)
    assert Hook.got == ["POST /old"] * 3 and teller.problems == ["webhook: it answered 500 Internal Server Error"]
    registry.close()


def test_what_a_command_could_not_send_is_told_by_the_next_one(tmp_path: Path, webhook: Settings) -> None:
    registry = Registry(tmp_path)
    Hook.answers = [500]
    for _ in range(3):
        teller = Teller(registry, lambda: webhook, lambda n: None)
        teller.look([failed()], 2001.0)
        teller.wait()
    assert Hook.got == ["POST /old"] * 2
    registry.close()


def test_a_webhook_that_has_moved_is_told_and_gets_no_empty_question(webhook: Settings) -> None:
    for code in (301, 302, 307):
        Hook.answers = [code]
        assert "moved: set its new address" in deliver(NEWS, webhook)["webhook"]
    assert Hook.got == ["POST /old"] * 3


def test_of_a_command_and_a_webhook_only_what_failed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, webhook: Settings
) -> None:
    monkeypatch.setattr(notices, "AGAIN_S", (0.01,))
    Hook.answers = [500]
    both = Settings(webhook=webhook.webhook, on_notice=f"echo x >>{tmp_path}/told")
    registry = Registry(tmp_path)
    Teller(registry, lambda: both, lambda n: None).look([failed()], 2001.0)
    wait_until(lambda: registry.may_tell("abc/1/failed") is Telling.TOLD)
    assert (tmp_path / "told").read_text() == "x\n" and len(Hook.got) == 2
    registry.close()


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "HOOK_S", 0.5)
    hangs = Settings(on_notice=f"sleep 97 & echo $! >{tmp_path}/pid; wait; true")
    assert "took longer" in deliver(NEWS, hangs)["on_notice"]
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not process.runs(pid, ("sleep",)) or not Path(f"/proc/{pid}").exists())


CLAIM = """
import sys
from pathlib import Path
from runner.registry import Registry
print(Registry(Path(sys.argv[1])).may_tell("k").value, flush=True)
sys.stdin.read()
"""


def test_a_notice_is_another_processs_while_it_lives_and_anybodys_when_it_was_killed(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    argv = [sys.executable, "-c", CLAIM, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "ours\n"
        assert registry.may_tell("k") is Telling.OTHERS
        other.kill()
    assert registry.may_tell("k") is Telling.OURS
    registry.end_telling("k", told=False)
    assert registry.may_tell("k") is Telling.OURS
    registry.end_telling("k", told=True)
    assert registry.may_tell("k") is Telling.TOLD
    registry.close()


def test_what_ended_while_the_machine_slept_is_told_and_what_ended_unseen_long_ago_is_not(tmp_path: Path) -> None:
    registry, shown = Registry(tmp_path), list[Notice]()
    teller = Teller(registry, Settings, shown.append)
    hours = 2000.0 + 2 * 3600
    teller.look([failed()], hours)
    assert shown == []
    live = of(State.RUNNING, doing="training", progress_at=2000.0)
    live.id = "seen"
    teller.look([live], 2001.0)
    ended = failed()
    ended.id = "seen"
    teller.look([ended], hours)
    woken = failed()
    woken.id = "woken"
    assert woken.status is not None
    woken.status.updated_at = hours - 1
    teller.look([woken], hours)
    assert [n.run for n in shown] == ["seen", "woken"]
    registry.close()


def test_time_is_not_wasted_on_what_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, asked = Registry(tmp_path), list[str]()
    telling = registry.may_tell
    monkeypatch.setattr(registry, "may_tell", lambda key: (asked.append(key), telling(key))[1])
    teller = Teller(registry, Settings, lambda n: None)
    for _ in range(5):
        teller.look([failed()], time.time())
        teller.look([failed()], 2001.0)
    assert len(asked) <= 1
    registry.close()
