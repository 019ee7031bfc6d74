"""A job in its container and the Dict that it shares: trouble on the way is waited out, a lock has one holder."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import modal
import pytest

from runner.backends.modal.container import LOCK_STALE_S, ModalEnvironment
from runner.backends.modal.errors import retry_transient
from runner.backends.modal.live_dict import LiveDict
from runner.errors import CredentialsError, Unreachable
from tests.modal_cloud import Cloud

KEY = "lock/vo-1/prepare.lock"


@pytest.fixture
def live(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> modal.Dict:
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    return modal.Dict.from_name(f"d{os.urandom(4).hex()}", create_if_missing=True).hydrate()


def site(live: Any, call_id: str, hand_over: Callable[..., str] = lambda *a: "fc-train") -> ModalEnvironment:
    return ModalEnvironment(cast("Any", SimpleNamespace(object_id="vo-1")), live, call_id, hand_over)


class Meanwhile:
    """A Dict in which something happens right after it was looked into."""

    def __init__(self, live: modal.Dict, happens: Callable[[], object]) -> None:
        self._live, self._happens = live, happens

    def get(self, *words: Any) -> Any:
        found = self._live.get(*words)
        self._happens()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._live, name)


@pytest.mark.parametrize("status", ["ABORTED", "UNAVAILABLE", "RESET"])
def test_trouble_while_the_lock_is_taken_or_given_back_is_waited_out(
    live: modal.Dict, cloud: Cloud, status: str
) -> None:
    # The client itself asks four times where the trouble is of the line.
    cloud.fault("DictUpdate", status, n=1 if status == "ABORTED" else 4)
    with site(live, "fc-1").exclusive_lock(Path("prepare.lock"), lambda: True) as ours:
        assert ours and live.get(KEY)[0] == "fc-1"
    assert live.get(KEY) is None


def test_what_will_not_pass_ends_the_wait_for_the_lock_at_once(live: modal.Dict, cloud: Cloud) -> None:
    cloud.fault("DictUpdate", "PERMISSION_DENIED")
    with pytest.raises(CredentialsError), site(live, "fc-1").exclusive_lock(Path("prepare.lock"), lambda: True):
        pass


def test_of_two_that_wait_for_the_lock_of_a_dead_holder_one_gets_it(live: modal.Dict) -> None:
    live.put(KEY, ["fc-dead", time.time() - 2 * LOCK_STALE_S])
    first = site(live, "fc-first")
    second = site(Meanwhile(live, lambda: first._try_to_take(KEY)), "fc-second")
    assert not second._try_to_take(KEY)
    assert live.get(KEY)[0] == "fc-first"


def test_a_holder_that_was_taken_for_dead_does_not_give_back_what_is_anothers(live: modal.Dict) -> None:
    with site(live, "fc-slow").exclusive_lock(Path("prepare.lock"), lambda: True):
        live.put(KEY, ["fc-other", time.time()])
    assert live.get(KEY)[0] == "fc-other"


def test_the_keeper_of_a_lock_that_another_has_taken_over_leaves_it_to_that_one() -> None:
    class Kept(dict[str, Any]):
        def put(self, key: str, value: Any) -> None:
            self[key] = value

    live = Kept({KEY: ["fc-other", 100.0]})
    slow = site(live, "fc-slow")
    slow._keep(KEY)
    assert live[KEY] == ["fc-other", 100.0]
    live[KEY] = ["fc-slow", 100.0]
    slow._keep(KEY)
    assert live[KEY][0] == "fc-slow" and live[KEY][1] > 100.0


def test_a_hand_over_that_could_not_be_noted_at_first_spawns_once(live: modal.Dict, cloud: Cloud) -> None:
    spawned: list[object] = []
    job = site(live, "fc-1", lambda *what: spawned.append(what) or "fc-train")
    cloud.fault("DictGet", "DATA_LOSS", n=1)
    cloud.fault("DictUpdate", "DATA_LOSS", n=1)
    run: Any = SimpleNamespace(id="r", attempt=1)
    assert job.spawn_leg(run, 1) == job.spawn_leg(run, 1) == "fc-train"
    assert len(spawned) == 1


def test_patience_ends_and_does_not_wait_for_what_will_not_pass(live: modal.Dict, cloud: Cloud) -> None:
    cloud.fault("DictGet", "ABORTED")
    with pytest.raises(Unreachable):
        retry_transient(lambda: live.get("x"), 0.3, pause=0.1)
    cloud.knobs(faults=[])
    cloud.fault("DictGet", "PERMISSION_DENIED")
    with pytest.raises(CredentialsError):
        retry_transient(lambda: live.get("x"), 3600)


def test_what_somebody_put_into_the_dict_is_read_and_never_run(live: modal.Dict, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'run'}",)

    live.update({"evil": Evil(), "call": "fc-1", "beat": b"x" * 3000})
    read = LiveDict(str(live.name))
    assert (read.get("call"), read.get("beat"), read.get("nothing")) == ("fc-1", b"x" * 3000, None)
    assert not isinstance(read.get("evil"), str | bytes) and not (tmp_path / "run").exists()


def test_a_dict_that_was_deleted_is_made_anew_and_is_empty(live: modal.Dict) -> None:
    read = LiveDict(str(live.name))
    live.put("call", "fc-1")
    assert read.get("call") == "fc-1"
    modal.Dict.objects.delete(str(live.name))
    assert read.get("call") is None
