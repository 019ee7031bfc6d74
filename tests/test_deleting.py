"""Deleting from the screens over a volume: asked first, with all that depends on it; several things at once."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.widgets import Input

from runner.errors import Unreachable
from runner.fleet.fleet import Fleet
from runner.model.states import State
from runner.volumes import deletion
from runner.volumes.base import Entries, Entry, Paths
from runner.volumes.folder import FolderVolume
from tests.answers import answer, readable
from tests.conftest import DATA
from tests.test_app import put, text_of, until, window_text
from tests.test_run import run
from tests.test_sizes_screen import sizes
from tests.test_volume_screen import LARGE, browse, fleet, root
from tui.app.app import NanochatApp
from tui.context import VolumeRef
from tui.screens import downloads
from tui.screens.checkpoints import CheckpointsScreen
from tui.screens.volume import VolumeScreen
from tui.widgets.consent import Confirm

__all__ = ["fleet"]


async def checkpoints(pilot: Any, app: NanochatApp, count: int) -> None:
    """Open the screen, with so many checkpoints found."""
    await pilot.press("6")
    await until(pilot, lambda: isinstance(app.screen, CheckpointsScreen) and len(app.screen._rows) == count, "them all")


async def test_marked_files_are_deleted_after_asking_and_keep_is_the_default(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    folder = root(fleet) / "runs/run0001/base_checkpoints/d12"
    async with app.run_test(size=LARGE) as pilot:
        screen = await browse(pilot, app, "runs/run0001/base_checkpoints/d12", "meta_000020.json")
        await pilot.press("space", "space", "x")
        await until(pilot, lambda: isinstance(app.screen, Confirm) and "for good" in text_of(app), "the question")
        assert "2 files" in text_of(app) and "nanochat-tui volume rm -r" in text_of(app)
        await answer(pilot, "escape")
        await until(pilot, lambda: app.screen is screen, "no")
        assert len(list(folder.iterdir())) == 9
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, Confirm) and "for good" in text_of(app), "the question")
        await answer(pilot, *"tag-1", "enter")
        await until(pilot, lambda: len(list(folder.iterdir())) == 7 and len(screen._entries) == 7, "yes")


@pytest.mark.parametrize("whole_run", [False, True], ids=["a file", "a run"])
async def test_what_is_deleted_for_good_is_not_said_to_be_kept(fleet: Fleet, whole_run: bool) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        if whole_run:
            await until(pilot, lambda: "tag-1" in text_of(app), "the run")
        else:
            await browse(pilot, app, "runs/run0001/base_checkpoints/d12", "meta_000020.json")
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, Confirm) and "takes its room" in text_of(app), "it is kept")
        assert "cannot be undone" not in text_of(app)
        await answer(pilot, "ctrl+g")
        await until(pilot, lambda: "cannot be undone" in text_of(app), "it is not kept")
        assert "takes its room" not in text_of(app) and "--now" in text_of(app)
        await answer(pilot, "ctrl+g")
        await until(pilot, lambda: "takes its room" in text_of(app), "it is kept again")
        assert "cannot be undone" not in text_of(app)


async def test_what_is_deleted_goes_only_when_its_name_was_typed(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        screen = await browse(pilot, app, "runs/run0001", "base_checkpoints")
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, Confirm) and "for good" in text_of(app), "the question")
        assert "could no longer be resumed" in text_of(app)
        await readable(pilot)
        for typed in ("", "base", "base_checkpoints"):
            assert (root(fleet) / "runs/run0001/base_checkpoints").is_dir()
            app.screen.query_one(Input).value = typed
            app.screen.query_one(Input).focus()
            await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen, "done")
        await until(pilot, lambda: not (root(fleet) / "runs/run0001/base_checkpoints").exists(), "gone")


async def test_files_of_a_run_that_went_live_while_one_was_asked_stay(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "runs/run0001", "base_checkpoints")
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, Confirm) and "for good" in text_of(app), "the question")
        live = [msgspec.structs.replace(r, state=State.RUNNING) for r in app.runs]
        monkeypatch.setattr(fleet, "runs_on_volume", lambda backend, location: live)
        await answer(pilot, *"base_checkpoints", "enter")
        await until(pilot, lambda: any("since you were asked" in n.message for n in app._notifications), "why not")
        assert (root(fleet) / "runs/run0001/base_checkpoints").is_dir()


async def test_what_a_run_loses_is_said_also_before_the_screen_has_come_to_look_at_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = NanochatApp(fleet)
    monkeypatch.setattr(app.files, "runs_on", lambda place: [])
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "runs/run0001", "base_checkpoints")
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, Confirm) and "for good" in text_of(app), "the question")
        assert "tag-1 could no longer be resumed" in text_of(app) or "nothing could go on from tag-1" in text_of(app)


async def test_nothing_is_deleted_before_it_is_known_how_much_nor_when_that_cannot_be_known(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = threading.Event()

    def unreachable(*asked: object) -> deletion.Removal:
        known.wait(20)
        raise Unreachable("the volume is gone")

    monkeypatch.setattr(deletion, "plan_deletion", unreachable)
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        screen = await browse(pilot, app, "runs/run0001/base_checkpoints/d12", "meta_000020.json")
        await pilot.press("x", "y")
        await until(pilot, lambda: isinstance(app.screen, Confirm) and "adding up" in text_of(app), "the question")
        known.set()
        await until(pilot, lambda: "the volume is gone" in text_of(app), "the trouble")
        await answer(pilot, *"meta_000020.json", "enter", "escape")
        await until(pilot, lambda: app.screen is screen, "no")
        assert len(list((root(fleet) / "runs/run0001/base_checkpoints/d12").iterdir())) == 9


async def test_best_and_last_are_kept_and_the_rest_goes(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await checkpoints(pilot, app, 3)
        assert "0.7000" in text_of(app) and "resumable on 1 GPU" in text_of(app)
        await pilot.press("K")
        await until(pilot, lambda: "best and last stay: base 40, base 60" in window_text(app), "the question")
        assert "loses what it saved at step 20" in window_text(app)
        await answer(pilot, *"tag-1", "enter")
        await until(pilot, lambda: isinstance(app.screen, CheckpointsScreen) and len(app.screen._rows) == 2, "two")
        await pilot.press("enter")
        await until(
            pilot, lambda: isinstance(app.screen, VolumeScreen) and "meta_000040" in app.screen._list.current, ""
        )


async def test_what_was_deleted_since_is_no_longer_among_the_sizes_and_files_of_a_folder_open_where_they_are(
    fleet: Fleet,
) -> None:
    (root(fleet) / "old").mkdir()
    (root(fleet) / "old" / "large.bin").write_bytes(b"x" * 5_000_000)
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "")
        await pilot.press("z")
        await until(pilot, lambda: "old/" in text_of(app) and "added up" in text_of(app), "sizes")
        await pilot.press("enter")
        await until(pilot, lambda: "(files here)" in text_of(app), "its files")
        await pilot.press("x")
        await until(pilot, lambda: any("shows these files" in t.text for t in app.toasts.all), "what to do instead")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, VolumeScreen) and "large.bin" in text_of(app), "the file")
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await answer(pilot, *"large.bin", "enter")
        await until(pilot, lambda: not (root(fleet) / "old" / "large.bin").exists(), "it to go")
        await until(pilot, lambda: isinstance(app.screen, VolumeScreen) and not app.usages, "the sizes to be forgotten")
        await pilot.press("z")
        await until(pilot, lambda: app.usages and "5.0 MB" not in text_of(app).splitlines()[1], "what is there now")


def saved(folder: Path, *steps: int) -> None:
    """Whole checkpoints of these steps, the first of which measured best."""
    folder.mkdir(parents=True)
    for step in steps:
        shutil.copyfile(DATA / "torch" / "model.pt", folder / f"model_{step:06d}.pt")
        shutil.copyfile(DATA / "torch" / "optim.pt", folder / f"optim_{step:06d}_rank0.pt")
        (folder / f"meta_{step:06d}.json").write_text(json.dumps({"step": step, "val_bpb": step / 100}))


async def test_older_checkpoints_of_marked_runs_go_with_what_else_is_marked_in_one_question(fleet: Fleet) -> None:
    put(fleet, 2, State.CANCELLED)
    saved(root(fleet) / "runs/run0002/base_checkpoints/d12", 10, 20, 30, 40)
    (root(fleet) / "eval_bundle").mkdir()
    (root(fleet) / "eval_bundle" / "core.yaml").write_bytes(b"x" * 500)
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        screen = await sizes(pilot, app)
        assert len(screen._advice) == 3
        await pilot.press("tab", "a", "x")
        await until(pilot, lambda: "best and last stay" in window_text(app), "the question")
        said = window_text(app)
        assert "eval_bundle and older checkpoints of 2 runs" in said
        assert "2 checkpoints of tag-2; best and last stay: base 10, base 40" in said
        assert "1 checkpoint of tag-1; best and last stay: base 40, base 60" in said
        assert "checkpoints tag-1 --prune" in said and "volume rm -r eval_bundle" in said and "--now" not in said
        await answer(pilot, "ctrl+g")
        await until(pilot, lambda: window_text(app).count("--now") == 3, "each of them for good")
        await answer(pilot, *"delete", "enter")
        await until(pilot, lambda: not (root(fleet) / "eval_bundle").exists(), "all of it to go")
        left = {p.name for p in (root(fleet) / "runs").glob("*/base_checkpoints/*/meta*")}
        assert left == {f"meta_{step:06d}.json" for step in (10, 40, 60)}
        await until(pilot, lambda: any("about" in t.text for t in app.toasts.all), "how much went")


async def test_keep_best_and_last_is_for_every_marked_run(fleet: Fleet) -> None:
    put(fleet, 2, State.CANCELLED)
    saved(root(fleet) / "runs/run0002/base_checkpoints/d12", 10, 20, 30)
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await checkpoints(pilot, app, 6)
        await pilot.press("a", "K")
        await until(pilot, lambda: "best and last stay" in window_text(app), "the question")
        assert "Delete older checkpoints of 2 runs?" in window_text(app)
        await answer(pilot, *"delete", "enter")
        await until(pilot, lambda: isinstance(app.screen, CheckpointsScreen) and len(app.screen._rows) == 4, "four")
        await pilot.press("U")
        await until(pilot, lambda: isinstance(app.screen, CheckpointsScreen) and len(app.screen._rows) == 6, "all back")


async def test_marked_checkpoints_are_called_checkpoints(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await checkpoints(pilot, app, 3)
        await pilot.press("a", "x")
        await until(pilot, lambda: "9 files" in window_text(app), "the question")
        assert "Delete checkpoints of steps 20, 40, 60 of tag-1?" in window_text(app)
        await answer(pilot, *"tag-1", "enter")
        await until(pilot, lambda: any("60 of tag-1, about" in t.text for t in app.toasts.all), "what went")


async def test_a_run_that_has_nothing_to_spare_by_now_loses_nothing(fleet: Fleet) -> None:
    folder = root(fleet) / "runs/run0001/base_checkpoints/d12"
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await sizes(pilot, app)
        for file in folder.glob("*_000020*"):
            file.unlink()
        await pilot.press("tab", "x")
        await until(pilot, lambda: "only best and last are there" in window_text(app), "nothing to delete")
        await answer(pilot, *"tag-1", "enter", "escape")
        assert len(list(folder.iterdir())) == 6


def test_many_files_of_one_folder_are_looked_at_by_one_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / f"{number}").write_bytes(b"x" * number)
    (tmp_path / "a" / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "sub" / "deep" / "file").write_bytes(b"xyz")
    volume, asked = FolderVolume(str(tmp_path)), list[str]()
    scan = volume.scan

    def counted(path: str, *, deep: bool = False, left_out: Paths | None = None) -> Iterator[Entries]:
        asked.append(path)
        return scan(path, deep=deep, left_out=left_out)

    monkeypatch.setattr(volume, "scan", counted)
    found = deletion.contents_of(volume, ["a/1", "a/2", "a/sub"])
    assert sorted((e.path, e.bytes) for e in found) == [("a/1", 1), ("a/2", 2), ("a/sub/deep/file", 3)]
    assert asked == ["a", "a/sub"]
    assert [e.bytes for e in deletion.contents_of(volume, ["a/4"])] == [4]


async def test_what_is_pruned_is_judged_again_when_it_is_answered(fleet: Fleet) -> None:
    folder = root(fleet) / "runs/run0001/base_checkpoints/d12"
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await checkpoints(pilot, app, 3)
        await pilot.press("K")
        await until(pilot, lambda: "best and last stay: base 40, base 60" in window_text(app), "the question")
        for file in (*folder.glob("*_000040*"), *folder.glob("*_000060*")):
            file.unlink()
        await answer(pilot, *"tag-1", "enter")
        said = "other checkpoints are there since you were asked"
        await until(pilot, lambda: any(said in told.text for told in app.toasts.all), "why not")
        assert len(list(folder.iterdir())) == 3, "the last one stays"


async def test_of_several_runs_those_that_train_keep_all_and_what_stands_against_it_is_said_first(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(fleet, 2, State.CANCELLED)
    saved(root(fleet) / "runs/run0002/base_checkpoints/d12", 10, 20, 30)
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await checkpoints(pilot, app, 6)
        screen = app.screen
        assert isinstance(screen, CheckpointsScreen)
        trains = msgspec.structs.replace(fleet.registry.get("run0002"), state=State.RUNNING)
        screen._rows = {key: (trains if of.id == trains.id else of, one) for key, (of, one) in screen._rows.items()}
        await pilot.press("a", "K")
        await until(pilot, lambda: "best and last stay" in window_text(app), "the question")
        assert "of tag-1?" in window_text(app) and "tag-2" not in window_text(app)
        await answer(pilot, "escape")
        await until(pilot, lambda: app.screen is screen, "the list")
        monkeypatch.setattr(fleet, "runs_on_volume", lambda backend, location: [trains])
        app.files.ask_remove(VolumeRef("local", str(root(fleet))), [], lambda: None, pruned=[trains])
        await until(pilot, lambda: "! tag-2 is running" in text_of(app), "what stands against it")
        body = window_text(app)
        assert body.index("! tag-2 is") < body.index("best and last stay")


async def test_all_that_could_go_is_not_the_trash(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    fleet.remove_files("local", str(root(fleet)), ["base_data_climbmix"])
    (root(fleet) / "eval_bundle").mkdir()
    (root(fleet) / "eval_bundle" / "core.yaml").write_bytes(b"x" * 500)
    fleet.remove_files("local", str(root(fleet)), ["runs/run0001/log"])
    async with app.run_test(size=LARGE) as pilot:
        screen = await sizes(pilot, app)
        assert any(key.startswith("trash") for key in screen._advice)
        await pilot.press("tab", "a", "x")
        await until(pilot, lambda: "eval_bundle and older checkpoints of tag-1" in window_text(app), "the question")
        await answer(pilot, "escape")


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (("model_000020.pt", "meta_000020.json"), "checkpoint of step 20 of t"),
        (("model_000020.pt", "meta_000020.json", "optim_000060_rank0.pt"), "model_000020.pt and 2 more"),
        (("model_000020.pt", "meta_000040.json"), "model_000020.pt and 1 more"),
        (("optim_000020_rank0.pt", "optim_000060_rank0.pt"), "optimizer states of 2 checkpoints of t"),
        (("optim_000020_rank0.pt",), "optim_000020_rank0.pt of step 20"),
        (("log", "model_000020.pt", "meta_000020.json"), "log and checkpoint of step 20 of t"),
    ],
)
def test_only_what_is_a_whole_checkpoint_is_called_one(names: tuple[str, ...], title: str) -> None:
    assert downloads.described([f"runs/r/{name}" for name in names], {"runs/r": "t"}) == title


def test_many_thousand_paths_are_planned_by_one_look_at_each() -> None:
    paths = [f"runs/r/base_checkpoints/d4/model_{step:06d}.pt" for step in range(30_000)] + ["runs/x", "runs/x/log"]
    began = time.process_time()
    gone = deletion.outermost(paths)
    assert len(gone) == 30_001 and "runs/x/log" not in gone
    known = [run(State.DONE, id=f"r{n}", tag=f"t{n}", folder=f"r{n}") for n in range(200)]
    found = deletion.plan_deletion(paths, [Entry(path, False, 1, 0.0) for path in paths], known)
    # Each against each would be minutes.
    assert found.files == 30_002 and time.process_time() - began < 20
