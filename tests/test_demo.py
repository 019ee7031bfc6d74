"""`demo`: runs of every kind to look around in, one that goes on, and nothing of the person's that is touched."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from runner.demo import home as demo_home
from runner.errors import UsageError
from runner.fleet.fleet import Fleet
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.model.states import State
from runner.model.status import OutcomeKind
from runner.monitoring.ledger import per_hour, spending
from runner.nanochat import layout
from runner.volumes import run_records
from runner.volumes.checkpoint_verdicts import Verdict
from tests.conftest import CLI, Cli, wait_until
from tests.terminal import Terminal
from tests.test_app import text_of, until
from tui.app.app import NanochatApp
from tui.presentation import run_format

LIVE = "going-on"
REFUSED = "a demo"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("demo")
    demo_home.fill(home)
    yield home
    demo_home.leave(home)


@pytest.fixture
def fleet(made: Path) -> Iterator[Fleet]:
    with contextlib.closing(Fleet(made)) as found:
        yield found


def ended(fleet: Fleet) -> list[Run]:
    return [run for run in fleet.registry.all() if run.tag != LIVE]


def test_there_is_a_run_of_every_kind_and_looking_at_them_changes_none(fleet: Fleet) -> None:
    found = {
        run.tag: (run.state, run.status and run.status.outcome and run.status.outcome.kind) for run in ended(fleet)
    }
    assert found == {
        "speedrun-d24": (State.DONE, OutcomeKind.DONE),
        "speedrun-d12": (State.DONE, OutcomeKind.DONE),
        **{f"d12-lr-{rate}": (State.DONE, OutcomeKind.DONE) for rate in ("0.01", "0.02", "0.04", "0.08")},
        "too-large": (State.FAILED, OutcomeKind.OOM),
        "taken-away": (State.DONE, OutcomeKind.DONE),
        "d20-stopped": (State.CANCELLED, OutcomeKind.CANCELLED),
        "d16-diverged": (State.FAILED, OutcomeKind.NAN),
    }
    assert {run.tag: run for run in ended(fleet)} == {run.tag: run for run in fleet.poll_all() if run.tag != LIVE}
    taken = fleet.find("taken-away")
    assert taken.attempt == 2 and taken.status and taken.status.containers.preemptions == 1
    assert run_format.hardware(fleet.find("speedrun-d24")) == "8×H100"


def test_every_line_that_was_drawn_is_one_that_nanochat_prints(fleet: Fleet) -> None:
    recorded = {"speedrun-d12", "taken-away", "too-large"}
    assert {
        run.tag: run.status.work.unknown_lines for run in ended(fleet) if run.status and run.tag not in recorded
    } == (dict.fromkeys({run.tag for run in ended(fleet)} - recorded, 0))


def test_no_run_is_of_tomorrow_and_no_file_of_one_is_as_young_as_the_demo(fleet: Fleet) -> None:
    for run in ended(fleet):
        assert run.ended_at and run.created_at < run.ended_at < time.time() - 3600
        folder = Path(run.volume, run.path)
        young = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_mtime > run.ended_at + 1]
        assert {path.name for path in young} <= {layout.RUN_FILE}, run.tag
        assert (folder / layout.REPORT_FILE).exists() == (run.state is State.DONE)


def test_checkpoints_have_verdicts_to_look_at(fleet: Fleet) -> None:
    run = fleet.find("speedrun-d24")
    verdicts = {c.verdict for c in run_records.own_checkpoints(fleet.volume_of(run), run)}
    assert verdicts == {Verdict.COMPLETE, Verdict.WEIGHTS_ONLY, Verdict.INCOMPLETE}


def test_money_is_told_as_it_would_be_on_modal_and_what_goes_on_costs_by_the_hour(fleet: Fleet) -> None:
    runs = fleet.poll_all()
    assert sum(spending(runs, [], time.time()).days.values()) > 100

    def trains() -> Run | None:
        run = fleet.poll_run(fleet.find(LIVE))
        return run if run.status and run.status.training.step else None

    live = wait_until(trains)
    assert live.live and per_hour([live]) == Decimal("3.95")
    assert fleet.settings.local_usd_per_hour == 0


def _launch(engine: str, backend: str) -> Callable[[Fleet], object]:
    return lambda fleet: fleet.launch(RunSpec.create(backend=backend, engine=engine), backend=backend)


@pytest.mark.parametrize(
    "act",
    [
        _launch("nanochat", "local"),
        _launch("nanochat", "modal"),
        _launch("rehearsal", "modal"),
        lambda fleet: fleet.resume(fleet.find("d20-stopped")),
        lambda fleet: fleet.discover(),
        lambda fleet: fleet.workspace(),
        lambda fleet: fleet.code("karpathy/nanochat@master"),
        lambda fleet: fleet.put_setting("webhook", "https://example.com/"),
        lambda fleet: fleet.put_setting("on_notice", "true"),
    ],
)
def test_nothing_leaves_a_demo_where_there_is_a_token_of_modal(
    fleet: Fleet, act: Callable[[Fleet], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-of-the-person")
    before = len(fleet.registry.all())
    with pytest.raises(UsageError, match=REFUSED):
        act(fleet)
    assert len(fleet.registry.all()) == before and not fleet.reaches_modal
    assert all(run.backend is BackendName.LOCAL for run in fleet.registry.all())


def test_variables_that_name_what_is_the_persons_own_mean_nothing_in_a_demo(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOCHAT_TUI_VOLUME", str(tmp_path))
    monkeypatch.setenv("NANOCHAT_TUI_WEBHOOK", "https://example.com/")
    with contextlib.closing(Fleet(made, volume=str(tmp_path))) as fleet:
        assert Path(fleet.volume_location("local", "rehearsal")).is_relative_to(made)
        assert not fleet.settings.webhook
    assert not [*tmp_path.iterdir()]


async def test_the_head_of_every_screen_says_that_it_is_a_demo(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(160, 50)) as pilot:
        await until(pilot, lambda: "demo" in text_of(app).splitlines()[0])


async def test_the_plan_of_a_recorded_run_is_that_of_its_gpus(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(160, 50)) as pilot:
        await until(pilot, lambda: "speedrun-d24" in text_of(app))
        await pilot.press("j", "enter")
        await until(pilot, lambda: "9,136 lines" in text_of(app))
        await pilot.press("p")
        await until(pilot, lambda: "torchrun --standalone --nproc_per_node=8" in text_of(app))


async def test_a_run_that_never_came_to_a_step_has_no_charts_but_more_of_its_log(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(160, 50)) as pilot:
        await until(pilot, lambda: "too-large" in text_of(app))
        await pilot.press(*"jjjj", "enter")
        await until(pilot, lambda: "OutOfMemoryError" in text_of(app))
        assert "no values yet" not in text_of(app) and not app.screen.query_one("#plots").display
        await pilot.press("escape", "k", "enter")
        await until(pilot, lambda: "step 0" in text_of(app) and bool(app.screen.query_one("#plots").display))


async def test_a_run_is_found_by_the_reason_of_its_end_on_every_way(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: "too-large" in text_of(app))
        await pilot.press("slash", *"oom", "enter")
        await until(pilot, lambda: "1 of 11" in text_of(app))
        await pilot.press("ctrl+t", *"oom")
        await until(pilot, lambda: "1 found" in text_of(app))


ANEW = {"task": "base", "model": "d24", "engine": "nanochat", "overrides": "iterations=3"}


@pytest.mark.parametrize(("form", "model"), [(ANEW, "d24"), ({"task": "base", "from": "d16-diverged"}, "d16")])
async def test_the_advice_after_a_failure_leads_to_a_plan_that_a_demo_can_start(
    fleet: Fleet, form: dict[str, str], model: str
) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: "too-large" in text_of(app))
        app.launch_with(form)
        await until(pilot, lambda: f"a rehearsal on this machine: base of {model}" in text_of(app))
        assert f"nanochat-tui launch --task base --model {model} --engine rehearsal" in text_of(app)


def test_a_folder_that_holds_anything_is_left_as_it_is(cli: Cli, made: Path, tmp_path: Path) -> None:
    (mine := tmp_path / "mine").mkdir()
    (mine / "thesis.txt").write_text("all of it")
    assert "not empty" in cli("demo", "--no-open", "--home", str(mine), code=2).stderr
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    assert "demo already" in cli("demo", "--no-open", "--home", str(made), code=2).stderr


def test_what_was_begun_is_gone_where_it_could_not_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tui.cli import demo, main

    def fails(home: Path) -> None:
        raise OSError("no room")

    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(tmp_path / "own"))
    monkeypatch.setattr(demo_home, "fill", fails)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OSError, match="no room"):
        demo.demo(main.parsed(["demo", "--no-open"]), lambda home: 0)
    assert not [*tmp_path.iterdir()]


async def test_every_run_can_be_looked_at_in_every_way_without_an_end_of_the_app(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: f"─ {LIVE} ─" in text_of(app), "the runs")
        for run in list(app.runs):
            await until(pilot, lambda tag=run.tag: f"─ {tag} ─" in text_of(app), run.tag)
            await pilot.press("enter")
            await until(pilot, lambda: app.current_mode == "watch" and "Log" in text_of(app), "Watch")
            await pilot.press("M")
            await until(pilot, lambda: "Metrics" in text_of(app), "Metrics")
            await pilot.press("x", "x", "x", "escape", "escape")
            await until(pilot, lambda: app.current_mode == "runs", "the way back")
            await pilot.press("j")


def test_opened_and_left_it_leaves_nothing_and_has_not_touched_the_data_folder(cli: Cli, tmp_path: Path) -> None:
    (scratch := tmp_path / "scratch").mkdir()
    before = sorted(cli.home.rglob("*")) if cli.home.exists() else None
    env = {**cli.env, "TMPDIR": str(scratch), "HOME": str(tmp_path)}
    terminal = Terminal([*CLI, "demo"], env, 160, 50)
    try:
        for text in (LIVE, "speedrun-d24", "$115.", "demo"):
            terminal.wait_for(text)
        (home,) = scratch.glob("nanochat-tui-demo-*")
        started = Cli(home)
        assert started.processes()
        terminal.press("q")
        assert terminal.wait_exit() == 0
    finally:
        terminal.kill()
    assert not home.exists() and not started.processes()
    assert (sorted(cli.home.rglob("*")) if cli.home.exists() else None) == before
    assert not os.path.lexists(tmp_path / ".local")
