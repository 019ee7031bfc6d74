"""A person's own code in the app: the form packs, shows and launches it; Watch and Compare show what differs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from runner.errors import NanochatError, UsageError
from runner.fleet.fleet import Fleet
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.nanochat import layout
from runner.volumes.folder import FolderVolume
from tests import own_nanochat
from tests.answers import answer
from tests.conftest import Cli
from tests.own_nanochat import changed
from tests.test_app import put, text_of, until
from tui.app.app import NanochatApp
from tui.screens.compare import CompareScreen
from tui.screens.launch import LaunchScreen
from tui.screens.watch import WatchScreen
from tui.widgets.choice import Choice
from tui.widgets.diff_page import DiffPage
from tui.widgets.flag_field import FlagField, FlagList

HOSTILE = "\x1b]0;title\x07\x1b[2J\u202eevil [bold]x[/]\n"


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    return own_nanochat.fleet_that_could_train(tmp_path, monkeypatch)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return own_nanochat.with_a_flag_of_its_own(tmp_path / "fork")


def said(app: NanochatApp, text: str) -> Callable[[], bool]:
    """Whether a text is on the screen, on however many lines."""
    return lambda: text.replace(" ", "") in "".join(text_of(app).split()).replace("│", "")


def value(app: NanochatApp, name: str) -> str:
    return app.screen.query_one(f"#{name}", Input).value


async def form(pilot: Pilot[int], **values: str) -> None:
    """The form of a new run, with these values."""
    await pilot.press("n")
    await until(pilot, lambda: "likely" in text_of(pilot.app), "the plan")
    for name, text in values.items():
        field = pilot.app.screen.query_one(f"#{name.replace('_', '-')}")
        assert isinstance(field, Input | Choice)
        field.value = text


async def test_the_plan_shows_the_code_and_f5_launches_what_it_showed(fleet: Fleet, mine: Path) -> None:
    changed(mine, 7)
    sha = fleet.code(str(mine)).sha
    app = NanochatApp(fleet)
    async with app.run_test(size=(200, 50)) as pilot:
        await form(pilot, code=str(mine), model="d4", overrides="iterations=10", set="base.mlp-type=swiglu")
        await until(pilot, said(app, f"with changes, {sha[:12]}"), "the code")
        command = f"--iterations 10 --code {mine} --set base.mlp-type=swiglu"
        await until(pilot, said(app, command), "the command")
        await pilot.press("f5")
        await until(pilot, lambda: fleet.registry.all(), "the run")
        spec = fleet.registry.all()[0].spec
        assert spec.code and spec.code.sha == sha and spec.code.dirty and spec.engine == "nanochat"
        assert [str(one) for one in spec.flags] == ["base.mlp-type=swiglu"]
        await until(pilot, lambda: isinstance(app.screen, WatchScreen), "the run is watched")
        await until(pilot, lambda: not app.runs[0].live, "the end")


async def test_a_folder_that_has_changed_is_shown_before_it_is_launched(fleet: Fleet, mine: Path) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(200, 50)) as pilot:
        await form(pilot, code=str(mine), model="d4", overrides="iterations=10")
        await until(pilot, said(app, fleet.code(str(mine)).short), "the code")
        changed(mine, 8)
        await pilot.press("f5")
        await until(pilot, lambda: "has changed meanwhile" in str(app.toasts.all), "it is told")
        await until(pilot, said(app, fleet.code(str(mine)).short), "the code as it is now")
        assert fleet.registry.all() == [] and isinstance(app.screen, LaunchScreen)
        await pilot.press("f5")
        await until(pilot, lambda: fleet.registry.all(), "the run")
        code = fleet.registry.all()[0].spec.code
        assert code and code.sha == fleet.code(str(mine)).sha
        await until(pilot, lambda: app.runs and not app.runs[0].live, "the end")


async def test_words_for_code_are_not_looked_at_before_they_are_whole(
    fleet: Fleet, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    obtain = fleet.obtain_code

    def obtained(text: str, **how: Any) -> Any:
        asked.append(text)
        return obtain(text, **how)

    monkeypatch.setattr(fleet, "obtain_code", obtained)
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 30)) as pilot:
        await form(pilot)
        app.screen.query_one("#code").focus()
        await pilot.press(*str(mine))
        await until(pilot, lambda: "then the code is looked at" in text_of(app), "what it waits for")
        assert asked == []
        await pilot.press("enter")
        await until(pilot, said(app, "code fork@"), "the code")
        assert set(asked) == {str(mine)} and app.focused is app.screen.query_one("#set")


async def test_an_address_is_fetched_once_however_the_other_fields_change(
    fleet: Fleet, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    obtain = fleet.obtain_code

    def obtained(text: str, **how: Any) -> Any:
        asked.append(text)
        return obtain(text, **how)

    monkeypatch.setattr(fleet, "obtain_code", obtained)
    shutil.copytree(mine / ".git", tmp_path / "theirs.git")
    app = NanochatApp(fleet)
    async with app.run_test(size=(200, 50)) as pilot:
        await form(pilot, code=f"file://{tmp_path}/theirs.git@main", model="d4")
        await until(pilot, said(app, "code theirs@"), "the code")
        for steps in (10, 12, 13):
            app.screen.query_one("#overrides", Input).value = f"iterations={steps}"
            await until(pilot, said(app, f"--num-iterations={steps}"), "the plan")
        await pilot.press("f5")
        await until(pilot, lambda: fleet.registry.all(), "the run")
        assert len(asked) == 1
        await until(pilot, lambda: app.runs and not app.runs[0].live, "the end")


async def test_what_a_stranger_wrote_about_flags_does_no_harm(fleet: Fleet, tmp_path: Path) -> None:
    evil = "[bold]x[/] \\x1b]0;title\\x07 \\u202e"
    line = f'parser.add_argument("--evil", default="{evil}", choices=["{evil}"], help="{evil}")'
    folder = own_nanochat.make(tmp_path / "fork", more=(line,))
    app = NanochatApp(fleet)
    async with app.run_test(size=(160, 50)) as pilot:
        await form(pilot, code=str(folder), set="base.evi")
        app.screen.query_one(FlagField).focus()
        await until(
            pilot, lambda: any(one.name == "evil" for one in app.screen.query_one(FlagField).flags), "the flags"
        )
        await pilot.press("end", "f2")
        await until(pilot, lambda: isinstance(app.screen, FlagList) and "base.evil" in text_of(app), "the list")
        assert "\x1b" not in text_of(app) and "\u202e" not in text_of(app) and "[bold]x[/]" in text_of(app)


async def test_what_is_wrong_with_code_is_said_at_its_field(fleet: Fleet, mine: Path, tmp_path: Path) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(200, 50)) as pilot:
        await form(pilot, code=str(tmp_path / "nowhere"))
        error = app.screen.query_one("#code-error")
        await until(pilot, lambda: error.display and said(app, "nowhere is not there")(), "no such folder")
        (mine / ".env").write_text("WANDB_API_KEY=0123456789012345678901234567890123456789\n")
        app.screen.query_one("#code", Input).value = str(mine)
        await until(pilot, said(app, "looks like a secret: .env"), "the secret")
        await until(pilot, said(app, f"--code {mine} --include-secrets"), "the command that would")
        await pilot.press("f5")
        assert fleet.registry.all() == []
        (mine / ".env").unlink()
        for text, words, field in (
            ("base.mlp-typ=x", "no such flag: it has --mlp-type", "set"),
            ("base.mlp-type=x", "is one of relu2, swiglu", "set"),
            ("base.run=x", "nanochat-tui's own flag", "set"),
            ("base.x='", "a quote is not closed", "set"),
        ):
            app.screen.query_one("#set", Input).value = text
            await until(pilot, said(app, words), words)
            assert app.screen.query_one(f"#{field}-error").display
        app.screen.query_one("#set", Input).value = ""
        app.screen.query_one("#pass-env", Input).value = "A=secret"
        await until(pilot, said(app, "that is not a name"), "no name")
        assert app.screen.query_one("#pass-env-error").display


async def test_a_flag_that_no_stage_takes_is_said_to_do_nothing_beside_the_plan(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(160, 50)) as pilot:
        await form(pilot, task="base", set="sft.init-lr-frac=0.5 base.matrix-lr=0.03")
        await until(
            pilot, said(app, "--set sft.init-lr-frac=0.5 does nothing: --task base has no such stage"), "a note"
        )
        app.screen.query_one("#set", Input).value = "rl.num-epochs=2"
        await until(pilot, said(app, "no task has a stage rl"), "what is wrong")


async def test_each_backend_has_its_own_field_for_keys(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(200, 50)) as pilot:
        await form(pilot, engine="nanochat", wandb="on", pass_env="HF_TOKEN")
        await until(pilot, said(app, "--engine nanochat --wandb --pass-env HF_TOKEN"), "the command")
        assert "secrets" not in text_of(app) and "pass-env" in text_of(app)
        app.screen.query_one("#backend", Choice).value = "modal"
        app.screen.query_one("#secrets", Input).value = "hf wandb"
        await until(pilot, said(app, "--wandb --secret hf --secret wandb"), "the command on Modal")
        assert "pass-env" not in text_of(app)


async def test_the_form_begins_with_what_is_set_and_a_rehearsal_passes_it_over(fleet: Fleet, mine: Path) -> None:
    for name, words in (("code", str(mine)), ("wandb", "mine"), ("secrets", "hf,wandb")):
        fleet.put_setting(name, words)
    app = NanochatApp(fleet)
    async with app.run_test(size=(200, 50)) as pilot:
        await form(pilot)
        assert [value(app, n) for n in ("code", "wandb", "secrets")] == [str(mine), "mine", "hf wandb"]
        await until(pilot, said(app, "$ nanochat-tui launch --task test --model d12F5"), "none of it for a rehearsal")
        app.screen.query_one("#engine", Choice).value = "nanochat"
        await until(pilot, said(app, f"--engine nanochat --code {mine} --wandb mineF5"), "all of it")
        app.screen.query_one("#code", Input).value = ""
        app.screen.query_one("#wandb", Input).value = ""
        command = (
            "$ NANOCHAT_TUI_CODE=default nanochat-tui launch --task test --model d12 --engine nanochat --wandb off"
        )
        await until(pilot, said(app, command), "nothing of it, whatever is set")


async def test_a_flag_is_chosen_from_the_list_and_completed_by_tab(fleet: Fleet, mine: Path) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await form(pilot, code=str(mine))
        await until(pilot, said(app, "code fork@"), "the code")
        field = app.screen.query_one(FlagField)
        field.focus()
        await pilot.press(*"base.warmd", "tab", *"0.5", "space", "f2")
        await until(pilot, lambda: isinstance(app.screen, FlagList), "the list")
        assert field.value == "base.warmdown-ratio=0.5 "
        assert "base.run" not in text_of(app) and "--model: as upstream" in text_of(app)
        await pilot.press(*"mlp")
        await until(pilot, lambda: "relu2, swiglu" in text_of(app) and "1 of" in text_of(app), "one is left")
        await pilot.press("enter", *"swi")
        await until(pilot, lambda: field.value.endswith("base.mlp-type=swi"), "what is typed goes behind the =")
        await pilot.press(*"glu", "f2", "escape", *"!", "tab")
        assert field.value == "base.warmdown-ratio=0.5 base.mlp-type=swiglu!"
        assert app.focused is app.screen.query_one("#wandb")


async def test_the_form_is_whole_at_24_lines(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await form(pilot)
        assert all(label in text_of(app) for label in ("task", "overrides", "code", "set", "wandb", "pass-env"))


def launched(fleet: Fleet, folder: Path, number: int) -> Run:
    """A run on record with the code of a folder as it is now, on its volume."""
    spec = RunSpec.create(task="base", model="d4", engine="nanochat", gpus=1, code=fleet.code(str(folder)))
    run = fleet.registry.get(put(fleet, number, spec=spec))
    fleet._core.code.bring(FolderVolume(run.volume), run)
    return run


async def test_the_difference_of_a_run_is_read_from_watch(fleet: Fleet, mine: Path) -> None:
    (Path(fleet.home) / "volumes" / "rehearsal").mkdir(parents=True)
    put(fleet, 1)
    (mine / "nanochat" / "gpt.py").write_text(f"CHANGED = 9\n# {HOSTILE}")
    launched(fleet, mine, 2)
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "tag-2" in text_of(app), "the runs")
        app.watch_run(fleet.registry.get("run0002"))
        await until(pilot, lambda: "code fork@" in text_of(app), "the run")
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, DiffPage) and "+CHANGED = 9" in text_of(app), "the diff")
        assert "\x1b" not in text_of(app) and "\u202e" not in text_of(app)
        await pilot.press("slash", *"evil", "enter", "escape", "escape")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen), "back")
        app.watch_run(fleet.registry.get("run0001"))
        await until(pilot, lambda: "tag-1" in text_of(app), "the other run")
        await pilot.press("D")
        await until(pilot, lambda: "no code of your own" in str(app.toasts.all), "it says so")


async def test_compare_says_which_files_differ_and_shows_how(fleet: Fleet, mine: Path) -> None:
    (Path(fleet.home) / "volumes" / "rehearsal").mkdir(parents=True)
    launched(fleet, mine, 1)
    changed(mine, 3)
    (mine / "new.py").write_text("x = 1\n")
    launched(fleet, mine, 2)
    app = NanochatApp(fleet)
    async with app.run_test(size=(120, 50)) as pilot:
        await until(pilot, lambda: len(app.runs) == 2, "the runs")
        app.compare([fleet.registry.get(f"run000{n}") for n in (1, 2)])
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "the screen")
        await until(pilot, lambda: "1 added, 1 changed" in text_of(app), "what differs")
        assert "changed  nanochat/gpt.py" in text_of(app) and "added    new.py" in text_of(app)
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, DiffPage) and "+CHANGED = 3" in text_of(app), "the diff")
        await pilot.press("escape")
        assert isinstance(app.screen, CompareScreen)


def test_code_is_read_from_the_volume_and_only_if_it_is_what_it_was(fleet: Fleet, mine: Path, tmp_path: Path) -> None:
    (Path(fleet.home) / "volumes" / "rehearsal").mkdir(parents=True)
    old = launched(fleet, mine, 1)
    changed(mine, 3)
    new = launched(fleet, mine, 2)
    plain = fleet.registry.get(put(fleet, 3))
    files, diff = fleet.code_difference(old, new)
    assert files == [("nanochat/gpt.py", "changed")] and "-CHANGED = 0\n+CHANGED = 3\n" in diff
    assert fleet.code_difference(old, old) == fleet.code_difference(old, plain) == ([], "")
    shutil.rmtree(fleet.home / "code")
    assert fleet.code_difference(old, new) == (files, diff)
    assert old.spec.code and new.spec.code
    here = fleet.home / "code" / f"{old.spec.code.sha}.tar.gz"
    here.write_bytes(b"damaged")
    assert fleet.code_difference(old, new) == (files, diff)
    shutil.rmtree(fleet.home / "code")
    there = Path(old.volume)
    shutil.copy(there / layout.code_archive(new.spec.code.sha), there / layout.code_archive(old.spec.code.sha))
    with pytest.raises(NanochatError, match="its sha256 is another"):
        fleet.code_difference(old, new)
    assert not here.exists()
    (there / layout.code_archive(old.spec.code.sha)).unlink()
    with pytest.raises(NanochatError, match="is gone from the volume"):
        fleet.code_difference(old, new)
    with pytest.raises(UsageError, match="trains the pinned upstream"):
        fleet.code_diff(plain)


def test_the_command_compares_code(cli: Cli, fleet: Fleet, mine: Path) -> None:
    cli.home = fleet.home
    cli.env["NANOCHAT_TUI_HOME"] = str(fleet.home)
    (Path(fleet.home) / "volumes" / "rehearsal").mkdir(parents=True)
    launched(fleet, mine, 1)
    changed(mine, 3)
    launched(fleet, mine, 2)
    put(fleet, 3)
    said = cli("compare", "tag-1", "tag-2", "tag-3", "--code").stdout
    assert "code of tag-2 against tag-1: 1 changed\n  changed  nanochat/gpt.py" in said
    assert "code of tag-3: the pinned upstream" in said and "fork@" in said
    assert cli.json("compare", "tag-1", "tag-2", "tag-3", "--code")["code"] == {
        "tag-2": {"nanochat/gpt.py": "changed"},
        "tag-3": None,
    }
    assert "-CHANGED = 0\n+CHANGED = 3\n" in cli("compare", "tag-1", "tag-2", "--diff").stdout
    assert "tag-3 trains the pinned upstream" in cli("compare", "tag-1", "tag-3", "--diff", code=2).stderr
    flags = cli("flags", "base", "--code", str(mine)).stdout
    assert "base.mlp-type" in flags and "which MLP" in flags


async def test_a_question_after_which_nothing_is_launched_leaves_the_form_as_it_was(fleet: Fleet, mine: Path) -> None:
    fleet.put_setting("local_usd_per_hour", "2")
    app = NanochatApp(fleet)
    async with app.run_test(size=(160, 50)) as pilot:
        await form(pilot, code=str(mine), model="d12")
        await until(pilot, said(app, "code fork@"), "the code")
        await pilot.press("f5")
        await answer(pilot, "escape")
        assert isinstance(app.screen, LaunchScreen) and value(app, "code") == str(mine)
        assert fleet.registry.all() == []
