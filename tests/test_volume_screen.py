"""Volume, Checkpoints and Sizes by keyboard: what a person does with files, and what must not happen to them."""

import filecmp
import json
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.widgets import Input

from runner.fleet.fleet import Fleet
from runner.model.states import State
from runner.text import units
from runner.text.filenames import path_for_terminal
from runner.text.sanitize import sanitize_line
from runner.volumes.base import Entries
from runner.volumes.folder import FolderVolume
from tests.answers import answer
from tests.conftest import DATA
from tests.place import hostile_names
from tests.test_app import put, text_of, until, window_text
from tests.test_preview import trapped
from tui.app.app import NanochatApp
from tui.screens.launch import LaunchScreen
from tui.screens.volume import VolumeScreen
from tui.widgets.consent import Confirm
from tui.widgets.folder_tree import FolderTree
from tui.widgets.virtual_list import FileList

LARGE = (130, 34)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """A run that was cancelled, with three checkpoints of real torch files."""
    (tmp_path / "home").mkdir()
    fleet = Fleet(tmp_path / "home")
    put(fleet, 1, State.CANCELLED)
    folder = root(fleet) / "runs" / "run0001" / "base_checkpoints" / "d12"
    folder.mkdir(parents=True)
    for step, bpb in ((20, 0.9), (40, 0.7), (60, 0.8)):
        shutil.copyfile(DATA / "torch" / "model.pt", folder / f"model_{step:06d}.pt")
        shutil.copyfile(DATA / "torch" / "optim.pt", folder / f"optim_{step:06d}_rank0.pt")
        (folder / f"meta_{step:06d}.json").write_text(json.dumps({"step": step, "val_bpb": bpb}))
    (root(fleet) / "runs" / "run0001" / "log").write_text("[STAGE] base\nstep 1\nValueError: oh\n")
    (root(fleet) / "base_data_climbmix").mkdir()
    return fleet


def root(fleet: Fleet) -> Path:
    return Path(fleet.volume_location("local", "rehearsal"))


async def browse(pilot: Any, app: NanochatApp, path: str, name: str = "") -> VolumeScreen:
    """Open the Volume screen on a folder, with the cursor on a name."""
    await pilot.press("4")
    await until(pilot, lambda: isinstance(app.screen, VolumeScreen) and app.screen._entries, "the volume")
    screen = app.screen
    assert isinstance(screen, VolumeScreen)
    screen.open_at(screen.place, path, name)
    await until(pilot, lambda: not screen._looking and (not name or screen._list.current.endswith(name)), path)
    return screen


async def test_folders_are_gone_into_and_out_of_and_the_cursor_comes_back(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        screen = await browse(pilot, app, "", "runs")
        await pilot.press("enter")
        await until(pilot, lambda: "run0001" in screen._list.current, "the run")
        await pilot.press("l", "l")
        await until(pilot, lambda: screen._folder.endswith("base_checkpoints"), "its checkpoints")
        await pilot.press("h", "backspace")
        await until(pilot, lambda: screen._folder == "runs" and screen._list.current == "runs/run0001", "back")
        await pilot.press("escape")
        await until(pilot, lambda: app.current_mode == "runs", "the runs")


async def test_the_tree_shows_the_way_to_a_folder_that_was_opened_from_another_screen(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: "complete" in text_of(app), "the checkpoints")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, VolumeScreen), "the volume")
        tree = app.screen.query_one(FolderTree)
        await until(pilot, lambda: str(tree.cursor_node and tree.cursor_node.data).endswith("/d12"), "its folder")
        labels = [str(tree.get_node_at_line(line).label) for line in range(tree.last_line + 1)]  # type: ignore[union-attr]
        assert labels == ["base_data_climbmix", "runs", "tag-1", "base_checkpoints", "d12"]
        await pilot.press("left", "left")
        await until(pilot, lambda: tree.cursor_node and tree.cursor_node.data == "runs/run0001", "the run")


async def test_a_checkpoint_shows_its_verdict_and_its_tensors(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "runs/run0001/base_checkpoints/d12", "model_000040.pt")
        await until(pilot, lambda: "lm_head.weight" in text_of(app), "its tensors")
        assert "step 40, last bpb 0.7000, complete: resumable on 1 GPU" in text_of(app)


async def test_a_log_opens_in_the_log_view_and_escape_gives_the_list_back(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        screen = await browse(pilot, app, "runs/run0001", "log")
        await until(pilot, lambda: "ValueError: oh" in text_of(app), "the log")
        await pilot.press("enter", "/", *"step", "enter")
        await until(pilot, lambda: "'step' in 1 lines" in text_of(app), "the search")
        await pilot.press("escape", "escape")
        await until(pilot, lambda: screen._list.has_focus, "the list")


async def test_a_file_is_found_by_a_few_letters_and_a_folder_is_filtered_and_sorted(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        screen = await browse(pilot, app, "runs/run0001/base_checkpoints/d12", "model_000020.pt")
        await pilot.press("f", *"0 opt")
        await until(pilot, lambda: len(screen._entries) == 3, "three optimizer states")
        await pilot.press("enter", "escape")
        await until(pilot, lambda: len(screen._entries) == 9, "all")
        await pilot.press("s")
        await until(pilot, lambda: screen._list._keys[0].endswith("model_000020.pt"), "the largest first")
        await pilot.press("slash", *"mt60")
        await until(pilot, lambda: screen._list.current.endswith("meta_000060.json"), "the best match")
        await pilot.press("enter", "enter")
        await until(pilot, lambda: "000060" in text_of(app) and screen.has_class("reading"), "its content")


async def test_a_second_click_on_a_head_turns_the_order_round_and_the_key_begins_anew(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        screen = await browse(pilot, app, "runs/run0001/base_checkpoints/d12", "model_000020.pt")

        def names() -> list[str]:
            return [key.rpartition("/")[2] for key in screen._list._keys]

        by_name = names()
        for column, first, last in (("name", by_name[-1], by_name[0]), ("size", "model_000020.pt", "meta_000060.json")):
            screen._list.post_message(FileList.HeadClicked(column))
            await until(pilot, lambda first=first, last=last: (names()[0], names()[-1]) == (first, last), column)
        screen._list.post_message(FileList.HeadClicked("size"))
        await until(pilot, lambda: names()[0].startswith("meta_") and names()[-1].startswith("model_"), "the smallest")
        await pilot.press("s", "s")
        await until(pilot, lambda: names() == by_name, "the names again")


async def test_finding_looks_also_where_nobody_has_been(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        screen = await browse(pilot, app, "")
        await pilot.press("slash", *"opt40")
        await until(pilot, lambda: screen._list.current.endswith("optim_000040_rank0.pt"), "a file four folders down")


async def test_a_folder_that_cannot_be_read_says_why_and_is_read_again_by_key(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = FolderVolume.scan, [True]

    def scan(self: FolderVolume, path: str, **how: Any) -> Iterator[Entries]:
        if path == "runs" and broken[0]:
            raise PermissionError(13, "Permission denied", path)
        yield from real(self, path, **how)

    monkeypatch.setattr(FolderVolume, "scan", scan)
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "runs")
        await until(pilot, lambda: "Permission denied: Ctrl-R" in text_of(app), "the problem")
        broken[0] = False
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "run0001" in text_of(app), "the folder")


async def test_a_volume_that_is_deleted_meanwhile_is_said_to_be_gone_and_found_when_it_is_back(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "runs")
        root(fleet).rename(fleet.home / "aside")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "! the volume folder" in text_of(app), "the problem")
        assert "run0001" in text_of(app), "what was known stays"
        (fleet.home / "aside").rename(root(fleet))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "! the volume" not in text_of(app), "the folder again")


async def test_a_run_is_brought_home_from_the_keyboard(fleet: Fleet, tmp_path: Path) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "runs", "run0001")
        await pilot.press("d")
        await until(pilot, lambda: app.screen.query(Input) and "tag-1:" in text_of(app), "where to")
        app.screen.query_one(Input).value = str(tmp_path / "out")
        await answer(pilot, "enter")
        await until(pilot, lambda: (tmp_path / "out" / "tag-1" / "log").exists(), "the log")
        await until(pilot, lambda: any("tag-1 is in" in n.message for n in app._notifications), "the word of it")
        there = root(fleet) / "runs/run0001"
        files = {str(p.relative_to(there)) for p in there.rglob("*") if p.is_file()}
        assert {
            str(p.relative_to(tmp_path / "out/tag-1")) for p in (tmp_path / "out/tag-1").rglob("*") if p.is_file()
        } == files


async def test_a_checkpoint_is_one_download_which_says_its_step_its_size_and_where_it_goes(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    tokenizer = root(fleet) / "tokenizer"
    tokenizer.mkdir()
    for name in ("tokenizer.pkl", "token_bytes.pt"):
        (tokenizer / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path / "here")
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: "complete" in text_of(app), "the checkpoints")
        await pilot.press("d")
        await until(pilot, lambda: "5 files" in text_of(app), "how much it is")
        sizes = [p.stat().st_size for p in (root(fleet) / "runs/run0001/base_checkpoints/d12").glob("*_000040*")]
        assert "Download checkpoint of step 40 of tag-1 into which folder?" in text_of(app)
        assert units.size(sum(sizes) + 2) in text_of(app)
        app.screen.query_one(Input).value = "out"
        await until(pilot, lambda: "into out/tag-1/base_checkpoints/d12/" in text_of(app), "where it goes")
        command = "nanochat-tui volume get tag-1:base_checkpoints/d12 out --step 40"
        assert f"$ {command}" in window_text(app)
        await answer(pilot, "enter")
        await until(pilot, lambda: app.toasts.all and not app.files.busy, "the end")
        told = [toast.text for toast in app.toasts.all]
        size = units.size(sum(sizes) + 2)
        assert told == [f"checkpoint of step 40 of tag-1 is in ./out/tag-1: {size}, 5 files"]
        assert len(list((Path.cwd() / "out/tag-1/base_checkpoints/d12").iterdir())) == 3


async def test_a_file_of_a_run_is_offered_a_folder_of_that_run(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "runs/run0001", "log")
        await pilot.press("d")
        await until(pilot, lambda: "1 file" in text_of(app), "the question")
        assert app.screen.query_one(Input).value == str(tmp_path / "tag-1")
        assert "volume get tag-1:log tag-1" in text_of(app)
        await answer(pilot, "enter")
        await until(pilot, lambda: (tmp_path / "tag-1" / "log").exists(), "the log")


async def test_a_file_is_sent_to_the_folder_that_is_shown(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        screen = await browse(pilot, app, "runs/run0001", "log")
        await pilot.press("u")
        await until(pilot, lambda: app.screen is not screen, "what")
        app.screen.query_one(Input).value = str(tmp_path / "notes.txt")
        await answer(pilot, "enter")
        await until(pilot, lambda: "runs/run0001/notes.txt" in screen._entries, "the file")
        assert (root(fleet) / "runs/run0001/notes.txt").read_text() == "mine"


async def test_a_run_goes_on_from_the_checkpoint_under_the_cursor(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int | None]] = []
    monkeypatch.setattr(fleet, "resume", lambda run, step=None: asked.append((run.id, step)))
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "runs/run0001/base_checkpoints/d12", "model_000040.pt")
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        assert "nanochat-tui resume tag-1 --step 40" in text_of(app)
        await answer(pilot, "y")
        await until(pilot, lambda: asked == [("run0001", 40)], "the resume")


async def test_a_run_that_is_done_goes_on_as_a_new_one(fleet: Fleet) -> None:
    fleet.registry.remove("run0001")
    put(fleet, 1, State.DONE)
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "runs/run0001/base_checkpoints/d12", "model_000040.pt")
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, LaunchScreen), "the form")
        await until(pilot, lambda: "--from tag-1 --step 40" in text_of(app), "the command")


async def test_a_found_file_of_a_checkpoint_has_the_verdict_of_its_folder_whatever_the_list_shows(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        screen = await browse(pilot, app, "runs/run0001", "log")
        await pilot.press("slash", *"model_000040", "enter")
        wanted = "runs/run0001/base_checkpoints/d12/model_000040.pt"
        await until(pilot, lambda: list(screen._entries) == [wanted], "the file alone")
        await until(pilot, lambda: "complete: resumable on 1 GPU" in text_of(app), "the verdict")
        assert "in 3 files" in text_of(app)
        (root(fleet) / wanted).with_name("meta_000040.json").unlink()
        await pilot.press("escape", "slash", *"model_000040", "enter")
        await until(pilot, lambda: "incomplete: no meta file" in text_of(app), "what is true now")


async def test_a_lost_optimizer_of_the_last_rank_is_missed_in_the_preview_too(fleet: Fleet) -> None:
    wanted = fleet.registry.get("run0001")
    spec = msgspec.structs.replace(wanted.spec, gpus=2)
    fleet.registry.update("run0001", lambda r: msgspec.structs.replace(r, spec=spec))
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "runs/run0001/base_checkpoints/d12", "model_000040.pt")
        await until(pilot, lambda: "incomplete: optimizer of" in text_of(app), "the verdict")
    assert {c.reason for c in fleet.checkpoints(fleet.registry.get("run0001"))} == {
        "optimizer of rank 1 of 2 is missing"
    }


async def test_a_run_is_found_by_its_tag_though_its_folder_is_called_otherwise(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browse(pilot, app, "runs", "run0001")
        assert "run0001/  tag-1" in text_of(app)
        await pilot.press("slash", *"tag-1 log", "enter")
        await until(pilot, lambda: list(screen._entries)[:1] == ["runs/run0001/log"], "its log")


async def test_sizes_are_added_up_and_what_could_go_is_said(fleet: Fleet) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "")
        await pilot.press("z")
        await until(pilot, lambda: "older checkpoints of tag-1" in text_of(app), "advice")
        await until(pilot, lambda: "runs/" in text_of(app) and "100%" in text_of(app), "sizes")
        await pilot.press("enter")
        await until(pilot, lambda: "run0001/" in text_of(app), "the runs")
        await pilot.press("4")
        await until(pilot, lambda: isinstance(app.screen, VolumeScreen), "the volume")
        await until(pilot, lambda: "256.3 kB" in text_of(app), "sizes of folders")


async def test_no_pickle_is_loaded_by_looking_at_it(fleet: Fleet, tmp_path: Path) -> None:
    sprung, made = trapped(tmp_path)
    for path in made:
        shutil.copyfile(path, root(fleet) / path.name)
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        for path in made:
            await browse(pilot, app, "", path.name)
            await until(pilot, partial(lambda name: text_of(app).count(name) > 1, path.name), "the preview")
            await pilot.pause(0.3)
        assert not sprung.exists()


async def test_hostile_names_break_no_row_and_leave_no_escape(fleet: Fleet) -> None:
    folder = root(fleet) / "odd"
    folder.mkdir()
    names = hostile_names(500)
    for name in names:
        (folder / name).write_bytes(b"x")
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browse(pilot, app, "odd")
        await until(pilot, lambda: len(screen._entries) == 500, "all names")
        files = screen.query_one(FileList)
        for _ in range(30):
            for y in range(files.size.height):
                strip = files.render_line(y)
                assert strip.cell_length == files.scrollable_content_region.width
                assert strip.text == sanitize_line(strip.text)
            await pilot.press("pagedown")
        assert len({path_for_terminal(n) for n in names}) == 500, "no two of them look alike"


async def test_a_file_that_nothing_was_made_for_is_not_taken_for_another(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, failed_work: list[str]
) -> None:
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "runs/run0001", "log")
        await until(pilot, lambda: "ValueError: oh" in text_of(app), "the log")
        monkeypatch.setattr("tui.screens.volume.build_preview", lambda *a: 1 / 0)
        await browse(pilot, app, "runs/run0001/base_checkpoints/d12", "model_000040.pt")
        await until(pilot, lambda: "cannot be shown" in text_of(app), "the word of it")
        assert "ValueError: oh" not in text_of(app)
    assert all("ZeroDivisionError" in said for said in failed_work)
    failed_work.clear()


async def test_leaving_with_a_paused_download_asks_and_the_next_start_offers_to_go_on_with_it(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root(fleet) / "big").touch()
    os.truncate(root(fleet) / "big", 120 << 20)
    app = NanochatApp(fleet)
    async with app.run_test(size=LARGE) as pilot:
        await browse(pilot, app, "", "big")
        await pilot.press("d")
        await until(pilot, lambda: app.screen.query(Input) and "into which folder" in text_of(app), "where to")
        real = app.files.volume
        Slow.goes_on = threading.Event()
        app.files.volume = lambda place: Slow(real(place).location)
        app.screen.query_one(Input).value = str(tmp_path / "out")
        await answer(pilot, "enter")
        await until(pilot, lambda: app.files.busy and next(iter(app.files._going)).progress.bytes_done, "a beginning")
        await pilot.press("p")
        await until(pilot, lambda: "paused" in text_of(app), "the pause")
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await answer(pilot, "y")
        Slow.goes_on.set()
        await until(pilot, lambda: not app.files.busy, "the end")
    assert not (tmp_path / "out" / "big").exists() and fleet.registry.interrupted_downloads() == []
    monkeypatch.setattr("runner.processes.pid_if_alive", lambda by: None)
    again = NanochatApp(fleet)
    async with again.run_test(size=LARGE, notifications=True) as pilot:
        await until(pilot, lambda: "not all of big has come" in text_of(again), "the word of it")
        await pilot.press("4")
        await until(pilot, lambda: "↓ big  cut" in text_of(again), "the line of transfers")
        await pilot.press("p")
        await until(pilot, lambda: "big is in" in text_of(again), "the rest")
    assert (
        filecmp.cmp(tmp_path / "out" / "big", root(fleet) / "big", shallow=False)
        and fleet.registry.interrupted_downloads() == []
    )


class Slow(FolderVolume):
    """A volume of which all but the first block wait for a word."""

    goes_on = threading.Event()

    def open(self, entry: Any) -> Any:
        source = super().open(entry)
        fast = source.block

        def slowly(number: int) -> Any:
            if number:
                self.goes_on.wait(60)
            return fast(number)

        source.block = slowly
        return source
