"""Where, with what and on how many GPUs a launch runs that does not say: by variable, by file, built in; asked once."""

import contextlib
import json
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import settings
from runner.errors import UsageError
from runner.fleet.fleet import Fleet
from runner.model.spec import GPU_COUNTS, RunSpec
from runner.model.states import State
from runner.planning.usual import usual_backend, with_usual
from runner.settings import BUILT_IN, MEANING, VARIABLES, Effective, Settings
from tests.answers import answer
from tests.conftest import Cli
from tests.test_app import put, text_of, until
from tests.test_settings_file import TYPED
from tui.app.app import NanochatApp
from tui.widgets.choice import Choice
from tui.widgets.consent import Confirm

OTHER = {
    "backend": "local", "engine": "nanochat", "gpu": "B200", "gpus": "8", "volume": "modal:other", "code": "x",
    "wandb": "off", "secrets": "c", "env": "main", "keep_logs_gb": "1", "log_times": "off", "log_wrap": "off",
    "local_usd_per_hour": "2", "ask_above_usd": "3", "monthly_limit_usd": "4", "bell": "on", "theme": "textual-light",
    "trash_days": "3", "keys_preset": "vim", "keys": "runs.cancel=X", "on_notice": "true", "webhook": "https://other.example",
}  # fmt: skip


@pytest.mark.parametrize("name", MEANING)
def test_a_variable_goes_before_the_file_and_the_file_before_what_is_built_in(tmp_path: Path, name: str) -> None:
    def found(**environ: str) -> tuple[Any, str]:
        holds = settings.effective(tmp_path, environ)
        return getattr(holds.settings, name), holds.origins[name]

    built_in = getattr(Settings(), name)
    in_file, by_variable = (getattr(settings.changed(Settings(), name, d[name]), name) for d in (TYPED, OTHER))
    assert found() == (built_in, BUILT_IN)
    assert found(**{VARIABLES[name]: OTHER[name]}) == (by_variable, VARIABLES[name])
    settings.put(tmp_path, name, TYPED[name])
    assert found() == found(**{VARIABLES[name]: " "}) == (in_file, "settings.toml")
    assert found(**{VARIABLES[name]: OTHER[name]}) == (by_variable, VARIABLES[name])
    assert found(**{VARIABLES[name]: "default"}) == (built_in, VARIABLES[name])
    settings.put(tmp_path, name, "default")
    assert found() == (built_in, BUILT_IN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backend", "cloud"),
        ("gpus", "3"),
        ("gpus", "many"),
        ("gpu", "H1"),
        ("bell", "perhaps"),
        ("webhook", "x"),
        ("env", "a b"),
    ],
)
def test_a_variable_that_makes_no_sense_is_refused_by_its_name_and_keeps_nobody_from_what_is_urgent(
    cli: Cli, name: str, value: str
) -> None:
    cli("launch", "--watch", "--step-ms", "0", "--tag", "a")
    variable = VARIABLES[name]
    with pytest.raises(UsageError, match=variable) as raised:
        settings.effective(cli.home, {variable: value})
    assert raised.value.field == name and (name != "webhook" or value not in raised.value.what.split(":", 1)[1])
    cli.env[variable] = value
    for words in (("plan",), ("launch",), ("settings",), ("settings", name, "default")):
        said = cli(*words, code=2).stderr
        assert said.startswith(f"nanochat-tui: {variable}: ") and said.count("\n") == 1
    assert f"{variable}: " in cli("ls").stderr and cli.json("ls")[0]["tag"] == "a"


def test_no_variable_of_a_setting_is_one_that_means_something_else() -> None:
    assert not set(VARIABLES.values()) & {"NANOCHAT_TUI_HOME", "NANOCHAT_TUI_MOUNT"}


def test_no_variable_of_a_setting_comes_into_a_job(cli: Cli) -> None:
    cli.env |= {VARIABLES["webhook"]: "https://hooks.example/SECRET", VARIABLES["gpus"]: "4"}
    cli("launch", "--task", "base", "--tag", "live", "--iterations", "900", "--step-ms", "100")
    assert cli.run("live")["gpus"] == 4
    seen = [Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in cli.processes()]
    assert seen and not [
        one for environ in seen for one in environ if one.split(b"=")[0].decode() in VARIABLES.values()
    ]
    cli("cancel", "live")


def planned(cli: Cli, *words: str) -> tuple[str, str, int, str]:
    done = cli("plan", "--json", *words)
    spec = json.loads(done.stdout)["spec"]
    return spec["engine"], spec["gpu"], spec["gpus"], done.stderr


def test_a_plan_takes_what_is_set_and_a_flag_goes_before_it(cli: Cli) -> None:
    for name, value in (("backend", "modal"), ("gpu", "B200"), ("gpus", "4")):
        cli("settings", name, value)
    assert planned(cli) == ("nanochat", "B200", 4, "")
    assert planned(cli, "--task", "speedrun", "--gpus", "8", "--gpu", "H100") == ("nanochat", "H100", 8, "")
    assert planned(cli, "--backend", "local") == ("rehearsal", "B200", 4, "")
    cli.env |= {VARIABLES["backend"]: "local", VARIABLES["gpus"]: "default"}
    assert planned(cli) == ("rehearsal", "B200", 1, "")
    shown = cli.json("settings")
    assert (shown["backend"], shown["from"]["backend"], shown["from"]["gpu"]) == (
        "local", "NANOCHAT_TUI_BACKEND", "settings.toml",
    )  # fmt: skip
    assert shown["from"]["bell"] == BUILT_IN and shown["from"].keys() == MEANING.keys()
    assert "NANOCHAT_TUI_BACKEND is set in this shell" in cli("settings", "backend", "modal").stderr
    row = next(line for line in cli("settings").stdout.splitlines() if line.startswith("gpu "))
    assert row.split()[:3] == ["gpu", "B200", "settings.toml"]


def test_settings_make_nothing_impossible_that_was_not_asked_for(cli: Cli) -> None:
    cli("settings", "engine", "nanochat")
    cli("settings", "gpus", "8")
    assert planned(cli)[2:] == (
        1, "nanochat-tui: settings.toml: gpus = 8 is passed over (8 ranks on a CPU would train 8 unrelated models)\n",
    )  # fmt: skip
    assert planned(cli, "--backend", "modal") == ("nanochat", "H100", 8, "")
    engine, _, gpus, said = planned(cli, "--fault", "crash@3")
    assert (engine, gpus) == ("rehearsal", 8) and "engine = nanochat is passed over" in said
    assert planned(cli, "--engine", "rehearsal")[0::2] == ("rehearsal", 8)
    assert "8 ranks on a CPU" in cli("plan", "--gpus", "8", "--engine", "nanochat", code=2).stderr
    first = cli("launch", "--fault", "crash@3", "--tag", "a", "--watch", code=1).stderr.splitlines()[0]
    assert first.startswith("a rehearsal on this machine")
    cli("launch", "--engine", "rehearsal", "--gpus", "2", "--step-ms", "0", "--tag", "b", "--watch")
    assert planned(cli, "--task", "base", "--from", "b", "--iterations", "99") == ("rehearsal", "H100", 2, "")
    cli("settings", "backend", "modal")
    assert planned(cli, "--task", "base", "--from", "b", "--iterations", "99") == ("rehearsal", "H100", 2, "")


SAID: dict[str, st.SearchStrategy[Any]] = {
    "task": st.sampled_from(["test", "speedrun", "base"]),
    "model": st.sampled_from([None, "d2", "d12", "d26"]),
    "backend": st.sampled_from(["local", "modal"]),
    "overrides": st.sampled_from([{}, {"step_ms": "0"}, {"save_every": "20"}]),
}
FLAGS: dict[str, st.SearchStrategy[Any]] = {
    "engine": st.sampled_from([None, "rehearsal", "nanochat"]),
    "gpus": st.sampled_from([None, *GPU_COUNTS]),
    "gpu": st.sampled_from([None, "H100", "B200"]),
}
SET = st.builds(
    Settings,
    engine=st.sampled_from(["", "rehearsal", "nanochat"]),
    gpus=st.sampled_from([0, *GPU_COUNTS]),
    gpu=st.sampled_from(["", "T4"]),
)


@given(st.fixed_dictionaries(SAID), st.fixed_dictionaries(FLAGS), SET)
def test_what_can_be_without_settings_can_be_with_any_and_what_was_said_counts(
    said: dict[str, Any], flags: dict[str, Any], chosen: Settings
) -> None:
    def create(**more: Any) -> RunSpec:
        return RunSpec.create(**said, **more)

    try:
        plain = create(**flags)
    except UsageError:
        plain = None
    try:
        spec, passed_over = with_usual(create, Effective(chosen, {}), **flags)
    except UsageError:
        assert plain is None
        return
    assert all(value is None or getattr(spec, name) == value for name, value in flags.items())
    assert spec.gpu == (flags["gpu"] or chosen.gpu or "H100")
    for name in ("engine", "gpus"):
        if flags[name] is None and (wanted := getattr(chosen, name)):
            assert getattr(spec, name) == wanted or any(f"{name} = {wanted} is passed" in line for line in passed_over)


def test_a_volume_that_is_set_is_a_folder_here_or_one_on_modal(tmp_path: Path) -> None:
    settings.put(tmp_path, "volume", "modal:lab")
    with contextlib.closing(Fleet(tmp_path)) as fleet:
        assert fleet.volume_location("modal", "nanochat") == "lab"
        assert fleet.volume_location("local", "rehearsal") == str(tmp_path / "volumes" / "rehearsal")
    with contextlib.closing(Fleet(tmp_path, volume="mine")) as fleet:
        assert fleet.volume_location("modal", "nanochat") == "mine"
    settings.put(tmp_path, "volume", "/srv/runs")
    with contextlib.closing(Fleet(tmp_path)) as fleet:
        assert fleet.volume_location("local", "rehearsal") == "/srv/runs"
        assert fleet.volume_location("modal", "rehearsal") == "nanochat-rehearsal"


def form(app: NanochatApp) -> dict[str, str]:
    return {name: app.screen.query_one(f"#{name}", Choice).value for name in ("backend", "engine", "gpu", "gpus")}


async def test_the_form_begins_with_what_is_set_and_its_command_says_so(tmp_path: Path) -> None:
    for name, value in (("engine", "nanochat"), ("gpu", "B200"), ("gpus", "8")):
        settings.put(tmp_path, name, value)
    with contextlib.closing(Fleet(tmp_path)) as fleet:
        app = NanochatApp(fleet)
        async with app.run_test(size=(110, 60)) as pilot:
            await pilot.press("n")
            await until(pilot, lambda: "gpus = 8 is passed over" in text_of(app), "the plan on this machine")
            assert form(app) == {"backend": "local", "engine": "nanochat", "gpu": "B200", "gpus": "8"}
            assert "--task test --model d12 --engine nanochat --gpu B200\n" in text_of(app).replace(" " * 3, "\n")
            app.screen.query_one("#backend", Choice).value = "modal"
            line = "--engine nanochat --backend modal --gpu B200 --gpus 8"
            await until(pilot, lambda: line in text_of(app), "the plan on Modal")
            app.screen.query_one("#gpus", Choice).value = "auto"
            app.screen.query_one("#gpu", Choice).value = "H100"
            line = "--engine nanochat --backend modal --gpu H100 --gpus 1"
            await until(pilot, lambda: line in text_of(app), "what was chosen over what is set")
            await pilot.press("escape")
            fleet.put_setting("gpus", "4")
            await pilot.press("n")
            await until(pilot, lambda: form(app)["gpus"] == "4" and form(app)["gpu"] == "B200", "the form anew")


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A fleet where there is a Modal token, and nobody who answers."""
    (tmp_path / "modal.toml").touch()
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "modal.toml"))
    home = tmp_path / "home"
    home.mkdir()
    with contextlib.closing(Fleet(home)) as fleet:
        monkeypatch.setattr(fleet, "discover", list)
        yield fleet


@pytest.mark.parametrize(("key", "backend"), [("y", "modal"), ("n", "local"), ("escape", "local")])
async def test_the_app_asks_once_where_runs_start_and_keeps_the_answer(token: Fleet, key: str, backend: str) -> None:
    put(token, 1, State.DONE)
    app = NanochatApp(token)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await until(pilot, lambda: "nanochat-tui settings backend modal" in text_of(app), "its text")
        shown = text_of(app)
        for words in ("Runs start on this machine by default. Start them on Modal?", "Modal (y)", "This machine (n)"):
            assert words in shown, shown
        await answer(pilot, key)
        await until(pilot, lambda: settings.load(token.home).backend == backend, "the answer")
        await pilot.press("n")
        await until(pilot, lambda: app.current_mode == "launch" and form(app)["backend"] == backend, "the form")
    with contextlib.closing(Fleet(token.home)) as fleet:
        fleet.discover = list
        app = NanochatApp(fleet)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause(0.5)
            assert not isinstance(app.screen, Confirm)


@pytest.mark.parametrize("why", ["variable", "file", "odd", "damaged", "no token"])
async def test_nothing_is_asked_where_it_is_said_already_or_could_not_be_kept(
    token: Fleet, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    text = {"file": "backend = 'local'", "odd": "backend = 'here'", "damaged": "{"}.get(why, "")
    (token.home / settings.FILE).write_text(text)
    if why == "variable":
        monkeypatch.setenv(VARIABLES["backend"], "local")
    if why == "no token":
        monkeypatch.setenv("MODAL_CONFIG_PATH", os.devnull)
    with contextlib.closing(Fleet(token.home)) as fleet:
        fleet.discover = list
        app = NanochatApp(fleet)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause(0.5)
            assert not isinstance(app.screen, Confirm)
    assert (token.home / settings.FILE).read_text() == text


def test_what_a_settings_file_costs_is_used_where_money_is_counted(cli: Cli) -> None:
    cli.env[VARIABLES["local_usd_per_hour"]] = "3600"
    assert Decimal(str(cli.json("settings")["local_usd_per_hour"])) == 3600
    assert "likely" in cli("plan", "--task", "base", "--iterations", "9").stdout


def test_the_usual_backend_is_this_machine() -> None:
    assert usual_backend(Settings()) == "local" and usual_backend(Settings(backend="modal")) == "modal"
