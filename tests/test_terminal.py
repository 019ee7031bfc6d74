"""The app in a real terminal: launch, watch, cancel, resume, quit; closed and killed while a run goes on."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import CLI, Cli, wait_until
from tests.gate import Gate
from tests.modal_cloud import Cloud
from tests.terminal import Terminal


class Apps:
    """Opens the app in terminals of one home; ends them all after the test."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli
        self.opened: list[Terminal] = []

    def __call__(
        self, *words: str, columns: int = 80, lines: int = 24, before: Sequence[str] = (), command: Sequence[str] = CLI
    ) -> Terminal:
        env = {k: v for k, v in self._cli.env.items() if k != "NO_COLOR"}
        self.opened.append(Terminal([*before, *command, *words], env, columns, lines))
        return self.opened[-1]


@pytest.fixture
def app(cli: Cli) -> Iterator[Apps]:
    apps = Apps(cli)
    yield apps
    for one in apps.opened:
        one.kill()


def test_a_run_on_modal_is_launched_left_found_again_and_stopped_by_keyboard(
    modal_cli: Cli, cloud: Cloud, app: Apps
) -> None:
    cloud.gate.hold(50)
    terminal = app("--volume", modal_cli.volume, columns=160, lines=50)
    terminal.wait_for("No runs yet")
    terminal.press("n")
    terminal.wait_for("likely")
    terminal.press("right")
    terminal.wait_for("launch --task speedrun")
    terminal.press("down", "down", "down", "right")
    terminal.wait_for("--backend modal")
    terminal.press(*["down"] * 8)
    terminal.press(*"step-ms=0")
    terminal.wait_for("--step-ms 0")
    terminal.press("f5")
    terminal.wait_for("step 4", seconds=60)
    terminal.press("q")
    assert terminal.wait_exit() == 0
    again = app("--volume", modal_cli.volume)
    again.wait_for("training")
    again.press("enter")
    again.wait_for("on Modal")
    again.wait_for("| loss:", seconds=60)
    again.press("c")
    again.wait_for("A resume ")
    again.answer("y")
    again.wait_for("cancelled", seconds=60)
    assert modal_cli.run()["state"] == "cancelled"


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (160, 50)])
def test_the_whole_job_by_keyboard(cli: Cli, gate: Gate, app: Apps, columns: int, lines: int) -> None:
    gate.hold(45)
    terminal = app(columns=columns, lines=lines)
    terminal.wait_for("No runs yet")
    terminal.press("n")
    terminal.wait_for("likely")
    terminal.press("right")
    terminal.wait_for("launch --task speedrun")
    terminal.press("f5")
    gate.reached(45)
    run_id = cli.run()["id"]
    wait_until(lambda: cli.json("checkpoints"), what="a checkpoint")
    terminal.press("c")
    terminal.wait_for("A resume ")
    terminal.answer("y")
    terminal.wait_for("cancelled")
    gate.open()
    wait_until(lambda: cli.processes() == [], what="no process of the run")
    assert cli.run()["state"] == "cancelled"
    terminal.press("r")
    terminal.wait_for("from its newest checkpoint")
    terminal.answer("y")
    terminal.wait_for("✓ done", seconds=60)
    terminal.press("o")
    terminal.wait_for("Results")
    terminal.press("q")
    wait_until(lambda: "Results" not in terminal.screen, what="the run again")
    terminal.press("escape")
    wait_until(lambda: "[STAGE] report" not in terminal.screen and "n New" in terminal.screen, what="the list of runs")
    terminal.press("q")
    assert terminal.wait_exit() == 0
    shown = cli.run(run_id)
    assert (shown["state"], shown["step"], shown["attempts"]) == ("done", 200, 2)


@pytest.mark.parametrize("how", ["quit", "killed"])
def test_a_run_goes_on_without_the_app_which_finds_it_again_live_with_its_whole_log(
    cli: Cli, app: Apps, how: str
) -> None:
    cli("launch", "--tag", "alone", "--iterations", "20000", "--step-ms", "30", "--save-every", "500")
    first = app()
    first.wait_for("alone")
    first.press("enter")
    first.wait_for("following")
    if how == "quit":
        first.press("q")
        assert first.wait_exit() == 0
    else:
        os.kill(first.pid, signal.SIGKILL)
    step = cli.run("alone")["step"] or 0
    wait_until(lambda: (cli.run("alone")["step"] or 0) > step + 20, what="the run going on")
    again = app()
    again.wait_for("▶ training")
    again.press("enter")
    again.wait_for("following")
    again.press("g")
    again.wait_for("[ATTEMPT 1]")
    again.press("G")
    again.wait_for("step 00")
    now = cli.run("alone")["step"]
    wait_until(lambda: cli.run("alone")["step"] > now + 10, what="steps")
    assert "following" in again.screen
    cli("cancel", "alone")
    again.wait_for("■ cancelled")


def test_nothing_hostile_reaches_the_terminal(cli: Cli, app: Apps) -> None:
    cli("launch", "--tag", "h", "--watch", "--step-ms", "0")
    evil = b"\x1b]0;owned\x07\x1b]52;c;aGk=\x07\x1b[?1049l\x1bc[bold]x[/bold] [/nope]\xe2\x80\xae\xff\x00\n"
    with (cli.run_dir("h") / "log").open("ab") as log:
        log.write(evil * 40)
    (cli.run_dir("h") / "\x1b]0;owned\x07[red].txt").write_bytes(evil * 3)
    terminal = app(columns=100, lines=30)
    terminal.wait_for("h")
    terminal.press("enter")
    terminal.wait_for("[bold]x[/bold] [/nope]")
    terminal.press("4")
    terminal.wait_for("base_data_climbmix")
    terminal.press("down", "down", "enter")
    terminal.wait_for(f"{cli.run('h')['id']}/")
    terminal.press("enter")
    terminal.wait_for("\\x1b]0;owned\\x07[red].txt")
    terminal.press("G", "k", "k", "k", "k", "k", "k", "enter")
    time.sleep(0.5)
    assert b"\x1b]0;owned" not in terminal.raw
    assert b"]52;" not in terminal.raw and b"\x1bc" not in terminal.raw
    terminal.press("q")
    assert terminal.wait_exit() == 0


def test_ctrl_c_leaves_the_app_and_the_terminal_as_it_was(cli: Cli, app: Apps) -> None:
    terminal = app()
    terminal.wait_for("No runs yet")
    terminal.press("\x03")
    assert terminal.wait_exit() == 0
    assert b"\x1b[?1049l" in terminal.raw


RESTORED = (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1003l", b"\x1b[?2004l")


@pytest.fixture(params=["app", "view"])
def opened(request: pytest.FixtureRequest, app: Apps, tmp_path: Path) -> Terminal:
    """The app, or the view of a log, open in a terminal."""
    if request.param == "app":
        terminal = app()
        terminal.wait_for("No runs yet")
    else:
        (tmp_path / "some.log").write_text("a line of a log\n")
        terminal = app("view", str(tmp_path / "some.log"))
        terminal.wait_for("a line of a log")
    return terminal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda s: s.name)
def test_a_signal_leaves_the_app_in_order_and_the_terminal_as_it_was(opened: Terminal, number: signal.Signals) -> None:
    os.kill(opened.pid, number)
    assert opened.wait_exit() == 128 + number
    wait_until(lambda: all(restored in opened.raw for restored in RESTORED), what="a terminal in order")
    assert b"Traceback" not in opened.raw


def test_the_app_ends_when_its_terminal_has_vanished(opened: Terminal) -> None:
    opened.hang_up()
    assert opened.wait_exit() == 128 + signal.SIGHUP


def test_the_app_ends_when_its_terminal_has_vanished_and_nobody_tells_it(cli: Cli, app: Apps) -> None:
    terminal = app(before=("sh", "-c", 'trap "" HUP; exec "$@"', "sh"))
    terminal.wait_for("No runs yet")
    terminal.hang_up()
    assert terminal.wait_exit() == 128 + signal.SIGHUP


def test_bytes_that_no_terminal_sends_do_not_end_the_app(cli: Cli, app: Apps) -> None:
    terminal = app()
    terminal.wait_for("No runs yet")
    for data in (
        b"\xff\xfe\xc3",
        b"\x1b[M\xff\xff\xff",
        b"\x1b[<;;M",
        b"\x1b[<99999999999;1;1M",
        b"\x1b[200~\x00\xff",
        b"\x1b[201~",
    ):
        terminal.send(data)
        time.sleep(0.1)
    terminal.press("escape", "escape", "?")
    terminal.wait_for("letters of a key")
    terminal.press("escape", "\x03")
    assert terminal.wait_exit() == 0


def test_keys_that_come_faster_than_they_can_be_acted_upon_are_dropped_and_the_app_answers(cli: Cli, app: Apps) -> None:
    terminal = app()
    terminal.wait_for("No runs yet")
    terminal.send(b"jk" * 1500)
    terminal.wait_for("those that waited were dropped")
    wait_until(lambda: (terminal.press("?"), "letters of a key" in terminal.screen)[1], what="the help")


def test_a_fault_of_the_app_is_one_line_in_the_shell_and_its_traceback_is_in_the_log(cli: Cli, app: Apps) -> None:
    broken = "import sys, tui.cli.main\n"
    broken += "from tui.screens.cost import CostScreen\n"
    broken += "CostScreen.on_mount = lambda self: {}['gone']\nsys.exit(tui.cli.main.main())\n"
    path = cli.home.parent / "broken.py"
    path.write_text(broken)
    terminal = app(before=(sys.executable, str(path)), command=())
    terminal.wait_for("No runs yet")
    terminal.press("5")
    assert terminal.wait_exit() == 70
    line = "unexpected error: KeyError: 'gone'; details in nanochat-tui.log"
    wait_until(lambda: line in " ".join(terminal.screen.split()), what="the line")
    assert b"Traceback" not in terminal.raw
    assert "Traceback" in (cli.home / "nanochat-tui.log").read_text()
