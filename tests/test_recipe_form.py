"""Recipes in the app: the form of a new run is filled in with one, shows what differs, and keeps one."""

import asyncio
import shlex
from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from runner.fleet.asking import asked_for
from runner.fleet.fleet import Fleet
from runner.model.code import Code
from runner.model.spec import RunSpec
from runner.recipes import recipe_text, shelf
from runner.recipes.recipe import Recipe, over
from tests import own_nanochat
from tests.answers import answer, readable
from tests.own_nanochat import changed
from tests.test_app import text_of, until
from tests.test_own_code_screens import said
from tui.app.app import NanochatApp
from tui.cli.launching import _typed
from tui.cli.main import parser
from tui.screens.launch import LaunchScreen
from tui.widgets.choice import Choice
from tui.widgets.recipe_list import RecipeList


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    return own_nanochat.fleet_that_could_train(tmp_path, monkeypatch)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return own_nanochat.with_a_flag_of_its_own(tmp_path / "fork")


def value(app: NanochatApp, name: str) -> str:
    field = app.screen.query_one(f"#{name}")
    assert isinstance(field, Input | Choice)
    return field.value


def own(fleet: Fleet, name: str, text: str) -> None:
    (fleet.home / "recipes").mkdir(exist_ok=True)
    (fleet.home / "recipes" / f"{name}.toml").write_text(text)


async def choose(pilot: Pilot[int], name: str) -> None:
    """Type the name of a recipe, and Enter."""
    await until(pilot, lambda: pilot.app.focused is not None, "the form")
    field = pilot.app.screen.query_one("#recipe", Input)
    field.focus()
    await until(pilot, lambda: field.has_focus, "its field")
    field.value = name
    await pilot.press("enter")


def form(app: NanochatApp) -> LaunchScreen:
    assert isinstance(app.screen, LaunchScreen)
    return app.screen


def of_command(fleet: Fleet, command: str) -> tuple[Recipe, RunSpec]:
    """What a command line asks for."""
    args = parser("launch").parse_args(shlex.split(command)[1:])
    recipe = _typed(args)
    if args.recipe:
        recipe = over(shelf.find(args.recipe, fleet.home)[0], recipe)
    return recipe, asked_for(fleet, recipe).spec


async def test_a_recipe_fills_the_fields_and_what_it_does_not_say_is_as_at_first(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(160, 50)) as pilot:
        await pilot.press("n")
        app.screen.query_one("#budget", Input).value = "25"
        await choose(pilot, "quick")
        await until(pilot, lambda: value(app, "task") == "base", "the fields")
        assert [value(app, n) for n in ("model", "engine", "backend", "gpu", "gpus")] == [
            "d12", "nanochat", "modal", "H100", "8",
        ]  # fmt: skip
        assert value(app, "overrides") == "core-every=999999 sample-every=-1" and value(app, "budget") == ""
        await until(pilot, said(app, "$ nanochat-tui launch --recipe quickF5"), "the command")
        app.screen.query_one("#budget", Input).value = "30"
        app.screen.query_one("#overrides", Input).value = "sample-every=-1 core-every=100 fp8"
        await until(pilot, said(app, "--recipe quick --budget 30 --core-every 100 --fp8"), "what differs")
        app.screen.query_one("#overrides", Input).value = "sample-every=-1"
        await until(pilot, said(app, "launch --task base --model d12"), "all of it, where something is taken back")
        await choose(pilot, "cpu")
        await until(pilot, lambda: value(app, "model") == "d4" and value(app, "budget") == "", "another recipe")


async def test_every_shipped_recipe_is_in_the_form_what_it_is_on_the_command_line(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(160, 50)) as pilot:
        await pilot.press("n")
        for one in shelf.kept(fleet.home):
            await choose(pilot, one.name)
            await until(pilot, said(app, f"launch --recipe {one.name}F5"), one.name)
            shown = form(app).asked()
            assert shown and shown.spec == asked_for(fleet, shelf.find(one.name, fleet.home)[0]).spec


async def test_what_is_changed_wins_over_the_recipe_and_the_run_names_it(fleet: Fleet) -> None:
    own(fleet, "mine", 'task = "test"\nmodel = "d4"\nengine = "rehearsal"\n[overrides]\niterations = 5\n')
    app = NanochatApp(fleet)
    async with app.run_test(size=(160, 50)) as pilot:
        await pilot.press("n")
        await choose(pilot, "mine")
        await until(pilot, lambda: value(app, "overrides") == "iterations=5", "the fields")
        app.screen.query_one("#model", Input).value = "d6"
        await until(pilot, said(app, "--recipe mine --model d6F5"), "the command")
        await pilot.press("f5")
        await until(pilot, lambda: fleet.registry.all(), "the run")
        spec = fleet.registry.all()[0].spec
        assert (spec.recipe, spec.model, spec.overrides.iterations) == ("mine", "d6", 5)
        await until(pilot, lambda: app.runs and not app.runs[0].live, "the end")


async def test_what_is_kept_is_the_same_launch_when_it_is_chosen(fleet: Fleet, mine: Path) -> None:
    own(fleet, "taken", "")
    app = NanochatApp(fleet)
    async with app.run_test(size=(200, 50)) as pilot:
        await pilot.press("n")
        values = {
            "model": "d4", "engine": "nanochat", "code": str(mine), "overrides": "iterations=10 no-compile",
            "set": "base.mlp-type=swiglu 'env.A=b c'", "stop-if-stalled": "20m", "pass-env": "HF_TOKEN", "budget": "3",
        }  # fmt: skip
        for name, text in values.items():
            field = app.screen.query_one(f"#{name}")
            assert isinstance(field, Input | Choice)
            field.value = text
        await until(pilot, said(app, "--pass-env HF_TOKEN"), "the command")
        before = form(app).asked()
        assert before
        await pilot.press("f4")
        await answer(pilot, *"taken", "enter")
        await until(pilot, lambda: "there is a recipe taken already" in str(app.toasts.all), "it is taken")
        await readable(pilot)
        app.screen.query_one(Input).value = "kept"
        await answer(pilot, "enter")
        await until(pilot, lambda: "launch --recipe kept" in str(app.toasts.all), "it is kept")
        recipe, _ = shelf.find("kept", fleet.home)
        assert recipe.code == str(mine) and recipe.packed is None and recipe.stop_if_stalled == "20m"
        await pilot.press("escape")
        await pilot.press("n")
        assert value(app, "code") == "" and value(app, "recipe") == ""
        await choose(pilot, "kept")
        await until(pilot, lambda: value(app, "code") == str(mine), "the fields")
        await until(pilot, said(app, f"note: kept: code from {mine}"), "what it trusts")
        await until(pilot, said(app, "kept: variables of this shell: HF_TOKEN"), "what it trusts")
        after = form(app).asked()
        assert after and after.spec == msgspec.structs.replace(before.spec, recipe="kept")
        assert {name: value(app, name) for name in values} == values


async def test_code_that_a_recipe_names_by_its_content_is_what_is_launched(fleet: Fleet, mine: Path) -> None:
    sha = fleet.code(str(mine)).sha
    text = f'task = "base"\nmodel = "d4"\nengine = "nanochat"\nbackend = "local"\ncode = "{mine}"\n'
    own(fleet, "was", f'{text}code-sha = "{sha}"\n[overrides]\niterations = 10\n')
    changed(mine, 7)
    app = NanochatApp(fleet)

    def shown() -> str:
        asked = form(app).asked()
        return asked.spec.code.sha if asked and asked.spec.code else ""

    async with app.run_test(size=(200, 50)) as pilot:
        await pilot.press("n")
        await choose(pilot, "was")
        await until(pilot, lambda: shown() == sha, "the code of the recipe")
        await until(pilot, said(app, f"note: was: its code is {sha[:12]}, that of the recipe"), "that it is that one")
        await until(pilot, said(app, "$ nanochat-tui launch --recipe wasF5"), "the command")
        await pilot.press("f4")
        await answer(pilot, *"kept", "enter")
        await until(pilot, lambda: "launch --recipe kept" in str(app.toasts.all), "it is kept")
        kept = shelf.find("kept", fleet.home)[0].packed
        assert kept and kept.sha == sha
        app.screen.query_one("#recipe", Input).value = ""
        await until(pilot, lambda: shown() not in ("", sha), "the folder as it is now")
        assert "its code is" not in text_of(app)
        await choose(pilot, "was")
        await until(pilot, lambda: shown() == sha, "the code of the recipe")
        await pilot.press("f5")
        await until(pilot, lambda: fleet.registry.all(), "the run")
        assert fleet.registry.all()[0].spec.code == fleet.same_code(Code(sha=sha, origin=str(mine)), "local")
        await until(pilot, lambda: app.runs and not app.runs[0].live, "the end")


async def test_what_is_wrong_with_a_recipe_is_said_at_its_field(fleet: Fleet) -> None:
    own(fleet, "bad", "task = \n")
    own(fleet, "odd", 'backend = "cloud"\n')
    app = NanochatApp(fleet)
    async with app.run_test(size=(160, 50)) as pilot:
        await pilot.press("n")
        for name, words in (
            ("nosuch", "unknown recipe nosuch"),
            ("quik", "did you mean quick?"),
            ("bad", "bad.toml: line 1"),
            ("odd", "unknown backend 'cloud'"),
        ):
            await choose(pilot, name)
            await until(pilot, said(app, words), words)
            assert app.screen.query_one("#recipe-error").display
            await pilot.press("f5")
            assert isinstance(app.screen, LaunchScreen) and form(app).asked() is None
        await choose(pilot, "")
        await until(pilot, said(app, "$ nanochat-tui launch --task test"), "without a recipe")
        assert fleet.registry.all() == []


async def test_a_recipe_is_chosen_from_the_list(fleet: Fleet) -> None:
    own(fleet, "aaa", "task = \n")
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("n")
        assert "? Help" in text_of(app) and "q Quit" in text_of(app)
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(app.screen, RecipeList), "the list")
        await until(pilot, lambda: "aaa.toml: line 1" in text_of(app) and "built in" in text_of(app), "the rows")
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, LaunchScreen) and value(app, "recipe") == "cpu", "chosen")
        await until(pilot, lambda: value(app, "model") == "d4", "the fields")
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(app.screen, RecipeList), "the list")
        await pilot.press("escape")
        assert value(app, "recipe") == "cpu"


async def test_the_command_with_a_recipe_asks_for_what_the_form_does(fleet: Fleet) -> None:
    text = 'task = "base"\nbackend = "modal"\nwandb = "x"\nsecrets = ["hf"]\n[set.env]\nA = "b c"\n'
    own(fleet, "mine", text)
    app = NanochatApp(fleet)
    async with app.run_test(size=(200, 50)) as pilot:
        await pilot.press("n")
        await choose(pilot, "mine")
        await until(pilot, lambda: value(app, "secrets") == "hf", "the fields")
        for changes in (
            {"wandb": "", "set": "'env.A=b c' base.matrix-lr=0.1"},
            {"secrets": "hf wandb", "gpus": "4", "model": "d26"},
            {"secrets": "", "budget": "5"},
            {"gpus": "auto", "set": ""},
        ):
            for name, changed in changes.items():
                field = app.screen.query_one(f"#{name}")
                assert isinstance(field, Input | Choice)
                field.value = changed
            await pilot.pause()
            await until(pilot, lambda: form(app).asked(), "the plan")
            shown = form(app)._shown
            assert shown
            recipe, spec = await asyncio.to_thread(of_command, fleet, shown.command)
            assert msgspec.structs.replace(spec, recipe="mine") == shown.spec, recipe_text.write(recipe)
