"""What is on its way: changed by many threads, gone through by the screen."""

import threading

import pytest

from runner.errors import NanochatError
from runner.fleet.registry import DownloadRequest
from tui.screens.transfers import Transfer, Transfers

WANTED = DownloadRequest("local", "/v", "runs/a/log", "/home")


def test_a_download_is_under_way_once_and_takes_the_place_of_what_was_cut_of_it() -> None:
    going = Transfers()
    going.add_interrupted([WANTED, WANTED])
    assert [one.cut for one in going] == [True]
    one = Transfer("log", WANTED)
    going.begin(one)
    assert list(going) == [one]
    with pytest.raises(NanochatError, match="on its way already"):
        going.begin(Transfer("log", WANTED))
    going.end(one)
    going.end(one)
    assert not list(going)


def test_many_threads_begin_and_end_while_another_goes_through_them() -> None:
    going, over = Transfers(), threading.Event()
    seen: list[int] = []

    def work() -> None:
        for number in range(200):
            one = Transfer(str(number))
            going.begin(one)
            going.end(one)

    def look() -> None:
        while not over.is_set():
            seen.append(len([one.name for one in going]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    looker = threading.Thread(target=look)
    for thread in [looker, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    looker.join()
    assert not list(going) and max(seen) <= 4
