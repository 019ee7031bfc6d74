"""Work beside the screen: what it raises is told in one line, never ends the app, and is not lost when one leaves."""

import ast
import asyncio
import importlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs
from textual.pilot import Pilot

from runner.errors import NanochatError
from runner.model.run import Run
from runner.model.states import State
from tests.conftest import wait_until
from tests.test_run import run, status
from tui import background
from tui.app import leaving
from tui.app.base_app import TerminalApp
from tui.app.leaving import _finish
from tui.app.messages import newest
from tui.background import start

SOURCES = Path(background.__file__).parent


def _starts_a_thread(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module in ("textual", "threading") and bool({a.name for a in node.names} & {"work", "Thread"})
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in ("run_worker", "Thread", "run_in_executor", "to_thread")


def test_no_thread_is_started_but_by_background() -> None:
    for path in SOURCES.rglob("*.py"):
        found = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if _starts_a_thread(n)]
        assert bool(found) == (path.name == "background.py"), path


def _told(app: TerminalApp) -> list[str]:
    return [told.text for told in app.toasts.all]


async def _until(pilot: Pilot[int], true: Callable[[], object]) -> None:
    for _ in range(500):
        if true():
            return
        await pilot.pause(0.01)
    raise AssertionError("not in time")


async def test_an_error_of_ours_is_one_line_and_the_next_piece_of_work_is_done() -> None:
    app, done = TerminalApp(), threading.Event()

    def refused() -> None:
        raise NanochatError("the volume [b]is[/b] away", "plug it in")

    async with app.run_test() as pilot:
        start(app, refused, done.set, group="x", doing="looking")
        await _until(pilot, lambda: done.is_set() and _told(app))
        assert _told(app) == ["the volume [b]is[/b] away: plug it in"]


async def test_an_error_of_the_disk_says_what_was_being_done() -> None:
    app = TerminalApp()
    async with app.run_test() as pilot:
        start(app, lambda: Path("/nowhere/at/all").read_text(), group="x", doing="reading a file")
        await _until(pilot, lambda: _told(app))
        assert _told(app) == ["reading a file failed: No such file or directory (/nowhere/at/all)"]


async def test_an_unforeseen_error_is_told_and_logged_and_the_app_goes_on(failed_work: list[str]) -> None:
    app = TerminalApp()
    async with app.run_test() as pilot:
        start(app, lambda: dict[str, str]()["gone"], group="x", doing="looking")
        await _until(pilot, lambda: _told(app))
        assert "looking went wrong (KeyError: 'gone')" in _told(app)[0]
        assert app.is_running
    assert "Traceback" in failed_work.pop()


async def test_a_watcher_that_fails_is_begun_again_and_says_the_same_only_once(
    failed_work: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "AGAIN_S", 0.001)
    app, tries = TerminalApp(), list[int]()

    def watch() -> None:
        tries.append(1)
        if len(tries) < 4:
            raise ValueError("odd")

    async with app.run_test() as pilot:
        start(app, watch, group="x", doing="watching", again=True)
        await _until(pilot, lambda: len(tries) == 4)
        assert len(_told(app)) == 1
    assert len(failed_work) == 3
    failed_work.clear()


async def test_where_a_screen_shows_the_error_itself_there_is_no_toast() -> None:
    app, shown = TerminalApp(), list[str]()

    def refused() -> None:
        raise NanochatError("no")

    async with app.run_test() as pilot:
        start(app, refused, group="x", doing="looking", failed=lambda e: shown.append(e.what))
        await _until(pilot, lambda: shown)
        assert not _told(app)


async def test_a_showing_that_fails_is_told_too(failed_work: list[str]) -> None:
    app = TerminalApp()

    def refused() -> None:
        raise NanochatError("no")

    async with app.run_test() as pilot:
        start(app, refused, group="x", doing="looking", failed=lambda e: dict[str, str]()["gone"])
        await _until(pilot, lambda: _told(app))
        assert _told(app) == ["no"]
    assert failed_work.pop()


async def test_many_pieces_of_work_do_not_wait_for_each_other() -> None:
    app, gate, done = TerminalApp(), threading.Event(), threading.Event()
    async with app.run_test() as pilot:
        for _ in range(40):
            start(app, gate.wait, group="x", doing="waiting")
        start(app, done.set, group="x", doing="looking")
        await _until(pilot, done.is_set)
        gate.set()


async def test_what_was_asked_for_is_brought_to_its_end_when_the_app_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "MOMENT_S", 0.05)
    app, begun, gate = TerminalApp(), threading.Event(), threading.Event()

    def launch() -> None:
        begun.set()
        gate.wait()
        raise NanochatError("no GPU is free", "try again later")

    async with app.run_test() as pilot:
        start(app, launch, group="x", doing="launching d12", finish=True)
        await _until(pilot, begun.is_set)
    threading.Timer(0.2, gate.set).start()
    await asyncio.to_thread(_finish, app)
    assert capsys.readouterr().err.splitlines() == [
        "nanochat-tui: still launching d12; Ctrl-C does not wait for it",
        "nanochat-tui: no GPU is free: try again later",
    ]


async def test_a_thread_that_has_something_to_show_when_the_app_is_left_ends() -> None:
    app, begun, gate, after = TerminalApp(), threading.Event(), threading.Event(), threading.Event()

    def look() -> None:
        begun.set()
        gate.wait()
        try:
            app.call_from_thread(app.bell)
        finally:
            after.set()

    async with app.run_test() as pilot:
        start(app, look, group="x", doing="looking")
        await _until(pilot, begun.is_set)
    gate.set()
    wait_until(after.is_set, seconds=5)


def test_numbers_on_the_screen_never_go_back_to_those_on_record() -> None:
    def at(updated_at: float) -> Run:
        return run(status=structs.replace(status(State.RUNNING), updated_at=updated_at))

    record, looked, later = at(100.0), at(104.0), at(106.0)
    assert newest(record, looked).status == looked.status
    assert newest(structs.replace(record, attempt=2), looked).status == record.status
    assert newest(later, looked) is later
    assert newest(record, None) is record


async def test_a_module_that_an_upgrade_took_away_is_told_as_what_it_is(failed_work: list[str]) -> None:
    app = TerminalApp()
    async with app.run_test() as pilot:
        start(app, lambda: importlib.import_module("runner.gone"), group="x", doing="looking")
        await _until(pilot, lambda: _told(app))
        assert _told(app) == ["looking failed, as nanochat-tui was changed on disk: leave it and start it again"]
    assert failed_work.pop()
