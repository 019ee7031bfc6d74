"""No notice is lost: it counts as told when somebody got it, and is told by one process alone."""

import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import processes, settings
from runner.errors import Unreachable
from runner.fleet.registry import Registry
from runner.model.run import Run
from runner.model.states import State
from runner.monitoring import delivery, notifications
from runner.monitoring.delivery import MOST_ENDED, MOST_TRIES, DeliveryFailed, deliver
from runner.monitoring.letters import NotificationClaim
from runner.monitoring.notifications import Notification, NotificationKind, Notifier
from runner.settings import Settings
from runner.text import addresses
from tests.conftest import Cli, wait_until
from tests.test_money import of

NEWS = Notification("r", "t", NotificationKind.FAILED, "t failed", "r/1/failed")


class Hook(http.server.BaseHTTPRequestHandler):
    """Answers each POST with the next of `answers`, and remembers what came."""

    answers: ClassVar[list[int]] = []
    to = "/new"
    got: ClassVar[list[str]] = []

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.got.append(f"{self.command} {self.path}")
        self.send_response(self.answers.pop(0) if self.answers else 204)
        self.send_header("Location", self.to)
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


def posted(where: Settings) -> DeliveryFailed | None:
    return deliver("webhook", msgspec.json.encode(NEWS), where.webhook)


def ran(command: str) -> DeliveryFailed | None:
    return deliver("on_notice", msgspec.json.encode(NEWS), command)


def failed() -> Run:
    return of(State.FAILED)


def test_a_registry_that_is_busy_for_once_delays_a_notice_and_does_not_lose_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, shown = Registry(tmp_path), list[Notification]()
    teller = Notifier(registry, Settings, shown.append)

    def busy(key: str) -> NotificationClaim:
        raise Unreachable("the registry is locked")

    with monkeypatch.context() as patched:
        patched.setattr(registry, "claim_notification", busy)
        with pytest.raises(Unreachable):
            teller.check([failed()], 2001.0)
    teller.check([failed()], 2001.0)
    teller.check([failed()], 2001.0)
    assert [n.kind for n in shown] == ["failed"]
    registry.close()


def test_what_a_webhook_did_not_take_is_sent_again_until_it_has_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, webhook: Settings
) -> None:
    monkeypatch.setattr(notifications, "PAUSES_S", (0.0,))
    registry = Registry(tmp_path)
    Hook.answers = [500] * 9
    teller = Notifier(registry, lambda: webhook, lambda n: None)

    def arrived() -> bool:
        teller.check([failed()], 2001.0)
        return len(Hook.got) == 10

    wait_until(arrived)
    teller.close(60.0)
    assert registry.claim_delivery("webhook", 1e12) is None
    assert teller.problems == ["webhook: it answered 500 Internal Server Error"]
    registry.close()


def test_what_a_command_could_not_send_is_told_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, webhook: Settings
) -> None:
    monkeypatch.setattr(notifications, "PAUSES_S", (0.0,))
    registry = Registry(tmp_path)
    Hook.answers = [500]
    shown: list[Notification] = []
    for _ in range(3):
        teller = Notifier(registry, lambda: webhook, shown.append)
        teller.check([failed()], 2001.0)
        teller.close(60.0)
    assert Hook.got == ["POST /old"] * 2 and len(shown) == 1
    registry.close()


def test_pauses_between_tries_grow_and_a_clock_that_was_set_back_makes_none_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, asked, now = Registry(tmp_path), list[float](), [1e9]
    monkeypatch.setattr(notifications, "time", SimpleNamespace(time=lambda: now[0], monotonic=time.monotonic))
    monkeypatch.setattr(delivery, "deliver", lambda *words: (asked.append(now[0]), DeliveryFailed("no network"))[1])
    teller = Notifier(registry, lambda: Settings(webhook="https://h.example/x"), lambda n: None, lambda said: None)
    for second in range(0, 20_000, 5):
        now[0] = 1e9 + second
        teller.check([failed()], 2001.0)
        for thread in teller._threads.values():
            thread.join()
    pauses = [after - before for before, after in pairwise(asked)]
    assert pauses == sorted(pauses) and pauses[0] == 10 and pauses[-1] == 3600 and len(pauses) == 9
    now[0] = 5e8
    teller.check([], 2001.0)
    teller.close(60.0)
    assert asked[-1] == 5e8
    registry.close()


def test_what_never_arrives_is_given_up_after_days_and_a_command_that_was_ended_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "PAUSES_S", (0.0,))
    registry, asked = Registry(tmp_path), list[str]()

    def never(way: str, *words: object) -> DeliveryFailed:
        asked.append(way)
        return DeliveryFailed("it took too long", MOST_ENDED) if way == "on_notice" else DeliveryFailed("no network")

    monkeypatch.setattr(delivery, "deliver", never)
    both = Settings(webhook="https://h.example/x", on_notice="true")
    teller = Notifier(registry, lambda: both, lambda n: None, lambda said: None)

    def given_up() -> bool:
        teller.check([failed()], 2001.0)
        return all(not thread.is_alive() for thread in teller._threads.values())

    wait_until(given_up)
    assert (asked.count("webhook"), asked.count("on_notice")) == (MOST_TRIES, MOST_ENDED)
    registry.close()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_webhook_that_has_moved_on_its_own_host_is_posted_to_where_it_is_now(webhook: Settings, code: int) -> None:
    Hook.answers = [code]
    assert posted(webhook) is None
    assert Hook.got == ["POST /old", "POST /new"]


def test_a_webhook_that_has_moved_to_another_host_is_told_by_that_host_alone(
    webhook: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hook, "to", "https://other.example/hooks/SECRET")
    Hook.answers = [301]
    assert posted(webhook) == DeliveryFailed("it answered 301, moved to https://other.example: set that")
    assert Hook.got == ["POST /old"]


def test_a_webhook_that_sends_in_a_circle_ends(webhook: Settings) -> None:
    Hook.answers = [301] * 9
    wrong = posted(webhook)
    assert wrong and "from one address to the next" in wrong.said and len(Hook.got) <= 4


def test_of_a_command_and_a_webhook_only_what_failed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, webhook: Settings
) -> None:
    monkeypatch.setattr(notifications, "PAUSES_S", (0.0,))
    Hook.answers = [500]
    both = Settings(webhook=webhook.webhook, on_notice=f"echo x >>{tmp_path}/told")
    registry = Registry(tmp_path)
    for _ in range(3):
        teller = Notifier(registry, lambda: both, lambda n: None)
        teller.check([failed()], 2001.0)
        teller.close(60.0)
    assert (tmp_path / "told").read_text() == "x\n" and len(Hook.got) == 2
    registry.close()


def gone(pid: int) -> bool:
    return not processes.runs(pid, ("sleep",)) or not Path(f"/proc/{pid}").exists()


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "HOOK_S", 0.5)
    wrong = ran(f"sleep 97 & echo $! >{tmp_path}/pid; wait; true")
    assert wrong and "took longer" in wrong.said
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: gone(pid))


def test_what_a_commands_shell_leaves_behind_is_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "HOOK_S", 0.5)
    assert ran(f"sleep 97 & echo $! >{tmp_path}/pid") is None
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: gone(pid))


def test_nobody_waits_for_a_command_that_hangs_and_nothing_of_it_stays(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    hangs = Settings(on_notice=f"sleep 97 & echo $! >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; wait")
    teller = Notifier(registry, lambda: hangs, lambda n: None)
    teller.check([failed()], 2001.0)
    wait_until((tmp_path / "pid").exists)
    teller.close(0.0)
    (told,) = teller.problems
    assert told == "on_notice: it had not come to its end and was ended"
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: gone(pid))
    assert registry.claim_delivery("on_notice", time.time() + 60), "whoever looks next tries again"
    registry.close()


def test_a_letter_whose_bearer_was_killed_is_anybodys(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.queue_deliveries("k", b"{}", ["webhook"])
    argv = [
        sys.executable,
        "-c",
        CLAIM.replace('claim_notification("k").value', 'claim_delivery("webhook", 0.0).key'),
        str(tmp_path),
    ]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "k\n"
        assert registry.claim_delivery("webhook", 0.0) is None
        other.kill()
    letter = registry.claim_delivery("webhook", 0.0)
    assert letter and letter.key == "k"
    registry.close()


SECRET = "T0SECRET/B0SECRET?token=hunter2"


@pytest.mark.parametrize(
    "address",
    [
        f"https://nowhere.invalid/{SECRET}",
        f"http://127.0.0.1:9/{SECRET}",
        f"http://user:hunter2@127.0.0.1:9/{SECRET}",
        f"http://127.0.0.1:99999/{SECRET}",
        f"http://[::1/{SECRET}",
        f"http://ex ample/{SECRET}",
        f"gopher://h/{SECRET}",
    ],
)
def test_what_is_told_of_an_address_that_fails_is_its_host_at_the_most(address: str) -> None:
    wrong = posted(Settings(webhook=address))
    assert wrong and not any(secret in wrong.said for secret in ("SECRET", "hunter2"))


@given(st.text(max_size=40), st.sampled_from(["https://", "http://", "", "https:", "//"]))
def test_any_text_is_an_address_or_is_refused_in_words_without_it(text: str, scheme: str) -> None:
    address = f"{scheme}{text}"
    problem = addresses.problem(address)
    if not problem:
        assert urlsplit(address).hostname and address.isascii() and " " not in address
    secret = text[3:]
    assert len(secret) < 12 or secret not in problem
    addresses.host_of(address)
    assert not addresses.redirect_allowed("https://h.example/a", addresses.joined("https://h.example/a", address)) or (
        urlsplit(addresses.joined("https://h.example/a", address)).hostname == "h.example"
    )


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hooks.example/x", "begin with https://"),
        ("https://", "no host"),
        ("https://:80/x", "no host"),
        ("https://h:port/x", "host or port"),
        ("https://u:p@h/x", "name and password"),
        ("https://h.example/a b", "write that as %XX"),
        ("https://h.example/x", ""),
        ("http://127.0.0.1:8080/x?y=z", ""),
        ("https://[::1]:8080/x", ""),
    ],
)
def test_an_address_is_refused_when_it_is_set_if_it_cannot_be_used(address: str, said: str) -> None:
    assert said in addresses.problem(address) and bool(said) == bool(addresses.problem(address))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("if", "a shell cannot read it"),
        ("echo 'x", "a shell cannot read it"),
        ("nosuchcommand-x1 $NANOCHAT_TEXT", "there is no command nosuchcommand-x1"),
        ("/nosuch/place/notify x", "there is no command /nosuch/place/notify"),
        ("echo $NANOCHAT_TEXT", ""),
        ("test -n x && echo y", ""),
        ("X=1 nosuchcommand-x1", ""),
        ("[ -n x ] && { echo y; }", ""),
    ],
)
def test_a_command_is_refused_when_it_is_set_if_it_cannot_be_begun(command: str, said: str) -> None:
    assert addresses.problem_of_command(command) == said


def test_of_addresses_in_settings_the_host_alone_is_listed_and_an_error_says_nothing_of_them(cli: Cli) -> None:
    cli("settings", "webhook", f"https://hooks.example/{SECRET}")
    cli("settings", "on_notice", f"echo x; curl -u me:hunter2 ntfy.example/{SECRET} https://z.example/{SECRET}")
    for listed in (
        cli("settings").stdout,
        cli("settings", "--json").stdout,
        cli("settings", "webhook", "x", code=2).stderr,
    ):
        assert "SECRET" not in listed and "hunter2" not in listed
    assert "https://hooks.example" in cli("settings").stdout and "ntfy.example/…" in cli.json("settings")["on_notice"]
    refused = cli("settings", "webhook", f"htps://hooks.example/{SECRET}", code=2).stderr
    refused += cli("settings", "on_notice", f"nosuchcommand-x1 https://h.example/{SECRET}", code=2).stderr
    assert "SECRET" not in refused and "hunter2" not in refused
    assert "SECRET" not in (cli.home / "nanochat-tui.log").read_text()
    assert settings.load(cli.home).webhook == f"https://hooks.example/{SECRET}"


CLAIM = """
import sys
from pathlib import Path
from runner.fleet.registry import Registry
print(Registry(Path(sys.argv[1])).claim_notification("k").value, flush=True)
sys.stdin.read()
"""


def test_a_notice_is_another_processs_while_it_lives_and_anybodys_when_it_was_killed(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    argv = [sys.executable, "-c", CLAIM, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "ours\n"
        assert registry.claim_notification("k") is NotificationClaim.OTHERS
        other.kill()
    assert registry.claim_notification("k") is NotificationClaim.OURS
    registry.queue_deliveries("k")
    assert registry.claim_notification("k") is NotificationClaim.TOLD
    registry.close()


def test_what_ended_while_the_machine_slept_is_told_and_what_ended_unseen_long_ago_is_not(tmp_path: Path) -> None:
    registry, shown = Registry(tmp_path), list[Notification]()
    teller = Notifier(registry, Settings, shown.append)
    hours = 2000.0 + 2 * 3600
    teller.check([failed()], hours)
    assert shown == []
    live = msgspec.structs.replace(of(State.RUNNING, phase="training", progress_at=2000.0), id="seen")
    teller.check([live], 2001.0)
    ended = msgspec.structs.replace(failed(), id="seen")
    teller.check([ended], hours)
    woken = msgspec.structs.replace(failed(), id="woken")
    assert woken.status is not None
    woken.status.updated_at = hours - 1
    teller.check([woken], hours)
    assert [n.run for n in shown] == ["seen", "woken"]
    registry.close()


def test_the_end_of_a_run_that_lived_when_this_machine_last_looked_is_news_whatever_the_clocks_show(
    tmp_path: Path,
) -> None:
    registry, shown = Registry(tmp_path), list[Notification]()
    registry.add(of(State.RUNNING))
    teller = Notifier(registry, Settings, shown.append)
    teller.check([failed()], 2000.0 + 30 * 86_400)
    assert [n.kind for n in shown] == ["failed"]
    registry.close()


def test_time_is_not_wasted_on_what_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, asked = Registry(tmp_path), list[str]()
    telling = registry.claim_notification
    monkeypatch.setattr(registry, "claim_notification", lambda key: (asked.append(key), telling(key))[1])
    teller = Notifier(registry, Settings, lambda n: None)
    for _ in range(5):
        teller.check([failed()], time.time())
        teller.check([failed()], 2001.0)
    assert len(asked) <= 1
    registry.close()
