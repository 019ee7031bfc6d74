"""A file of a Modal volume, read by several threads at once."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from runner.backends.modal import volume
from runner.backends.modal.volume import ModalBlockReader
from runner.volumes.base import BLOCK, Entry


def test_a_block_that_could_not_be_compared_is_remembered_whatever_other_threads_find_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, went = threading.Event(), threading.Event()

    class Compared:
        """A good block, which is put down only after the other one was."""

        def __bool__(self) -> bool:
            return True

        def __rand__(self, other: bool) -> bool:
            seen.set()
            assert went.wait(30)
            return other

    def fetch(url: str) -> tuple[memoryview, Any]:
        data = memoryview(bytes(BLOCK if url == "0" else 10))
        if url == "0":
            return data, Compared()
        seen.wait(0.5)
        return data, False

    monkeypatch.setattr(volume, "get_block", fetch)
    there: Any = SimpleNamespace(addresses=lambda entry: ("0", "1"))
    source = ModalBlockReader(there, Entry("f", False, BLOCK + 10, 0.0))
    threads = [threading.Thread(target=source.block, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    threads[1].join(30)
    went.set()
    threads[0].join(30)
    assert not source.verified
