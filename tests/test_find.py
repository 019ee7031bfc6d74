"""One search over everything: what fits is found, counted, kept in bounds, and one key leads there."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from runner.errors import UsageError
from runner.finding import log_lines, names
from runner.finding.hits import Batch, Group, Hit, Kind, Results
from runner.fleet.finding import Finder
from runner.fleet.fleet import Fleet
from runner.logs.search import parse_query
from runner.model.states import State
from runner.volumes import trash
from runner.volumes.base import TRASH, Entry
from runner.volumes.folder import FolderVolume
from tests.answers import answer
from tests.conftest import Cli
from tests.demo import demo
from tests.test_app import HOSTILE, put, text_of, until
from tui.app.app import NanochatApp
from tui.context import VolumeRef
from tui.screens.checkpoints import CheckpointsScreen
from tui.screens.volume import VolumeScreen
from tui.screens.watch import WatchScreen
from tui.widgets.dialogs import TextPage
from tui.widgets.find_prompt import FindPrompt
from tui.widgets.log_view import LogView
from tui.widgets.virtual_list import VirtualList

SIZE = (120, 34)


def found(finder: Finder, text: str) -> dict[Kind, Group]:
    results = Results()
    for batch in finder.search(text):
        results.add(batch)
    return {group.kind: group for group in results.groups({})}


@pytest.mark.parametrize(
    ("name", "typed", "is_found"),
    [
        ("d12-lr2 base step 7500", "lr2 7500", True),
        ("d12-lr2 base step 7500", "7500 d12", True),
        ("runs/d26/base/model_007500.pt", "mdl75", True),
        ("runs/d26/base/model_007500.pt", "zmdl", False),
        ("a very long name of strewn letters in here", "alnh", False),
    ],
)
def test_words_fit_in_any_order_and_letters_that_are_strewn_do_not(name: str, typed: str, is_found: bool) -> None:
    assert (names.fits(name, name, typed) is not None) == is_found


def test_only_the_best_are_kept_and_all_are_counted() -> None:
    results = Results(kept=3)
    for number in (5, 1, 4, 2, 3):
        results.add(Batch(Kind.FILE, [Hit(Kind.FILE, str(number), str(number), rank=(number,))], 1))
    [group] = results.groups({Kind.FILE: 2})
    assert [hit.name for hit in group.hits] == ["1", "2"] and group.more == 3 and results.count == 5
    assert len(results.groups({})[0].hits) == 3


def log_of(tmp_path: Path, lines: list[str]) -> Path:
    path = tmp_path / "log"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_newest_lines_of_a_log_are_kept_by_their_numbers_and_all_are_counted(tmp_path: Path) -> None:
    path = log_of(tmp_path, [f"line {n} needle" if n % 10 == 0 else f"line {n}" for n in range(1000)])
    batches = list(log_lines.lines_of(path, parse_query("needle"), "id", "tag", lambda: False, kept=3))
    results = Results()
    for batch, _ in batches:
        results.add(batch)
    assert results.count == 100 and sum(len(batch.hits) for batch, _ in batches) == 3
    assert [hit.line for hit in results.groups({})[0].hits] == [990, 980, 970]
    assert results.groups({})[0].hits[0].name == "line 990 needle"


def test_a_search_in_a_log_that_nobody_wants_any_more_ends_in_its_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "PIECE", 1 << 19)
    path = log_of(tmp_path, ["needle " + "x" * 200] * 40_000)
    stopped = threading.Event()
    shares = []
    for _, share in log_lines.lines_of(path, parse_query("needle"), "id", "tag", stopped.is_set):
        shares.append(share)
        stopped.set()
    assert len(shares) == 1 and 0 < shares[0] < 1


def test_a_long_line_is_shown_from_a_little_before_what_was_found() -> None:
    wanted = parse_query("needle")
    shown = log_lines.excerpt("x" * 5000 + "needle" + "y" * 5000, wanted)
    assert "needle" in shown and len(shown) <= log_lines.LONGEST + 1
    assert log_lines.query_of("!needle").invert is False
    with pytest.raises(UsageError):
        log_lines.query_of("~(")


def test_what_one_search_has_listed_the_next_goes_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(tmp_path)
    fleet.volume_location("local", "rehearsal")
    listed: list[int] = []

    def scan(self: FolderVolume, path: str, **given: object) -> Iterator[list[Entry]]:
        for number in range(5):
            listed.append(number)
            yield [Entry(f"file-{number}", False, 1, 1.0)]

    monkeypatch.setattr(FolderVolume, "scan", scan)
    finder, stopped = Finder(fleet), threading.Event()
    for batch in finder.search("file", stopped.is_set):
        if any(hit.name == "file-1" for hit in batch.hits):
            stopped.set()
    assert listed == [0, 1]
    assert len(found(finder, "file")[Kind.FILE].hits) == 5 and listed == [0, 1, 2, 3, 4]


def test_what_is_in_the_trash_is_not_found_and_a_volume_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    volume = FolderVolume(fleet.volume_location("local", "rehearsal"))
    volume.write("unique-name", b"x")
    assert Kind.FILE in found(Finder(fleet), "unique-name")
    trash.put(volume, ["unique-name"], 1.0, 7)
    assert Kind.FILE not in found(Finder(fleet), "unique-name")


def test_the_command_line_finds_the_same_and_says_with_its_code_whether_it_did(cli: Cli) -> None:
    cli("launch", "--task", "test", "--tag", "amber", "--watch")
    said = cli("find", "[STAGE]").stdout
    assert "log lines:" in said and "amber:" in said
    hits = cli.json("find", "amber")
    assert hits["run"]["hits"][0]["tag"] == "amber" and hits["checkpoint"]["hits"][0]["step"] == 10
    line = cli.json("find", "~^\\[DONE\\]", "--kind", "log")["log"]["hits"][0]
    assert cli("logs", "amber").stdout.splitlines()[line["line"] - 1] == line["text"]
    assert "nothing has" in cli("find", "no such thing", code=1).stderr
    assert json.loads(cli("find", "no such thing", "--json", code=1).stdout) == {}
    assert "no regex" in cli("find", "~(", code=2).stderr
    assert "trash_days" in cli("find", "trash").stdout


async def search(app: NanochatApp, pilot: Pilot[int], text: str, wanted: str) -> FindPrompt:
    """The prompt with a text typed, once something is found."""
    await pilot.press("ctrl+t")
    await until(pilot, lambda: isinstance(app.screen, FindPrompt), "the prompt")
    prompt = app.screen
    assert isinstance(prompt, FindPrompt)
    prompt.query_one(Input).value = text
    await until(pilot, lambda: prompt.typed == text and not prompt.is_busy, "the search")
    await until(pilot, lambda: wanted in text_of(app), wanted)
    return prompt


async def test_enter_goes_to_the_very_line_of_a_log_and_marks_what_was_looked_for(tmp_path: Path) -> None:
    app = NanochatApp(demo(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        prompt = await search(app, pilot, "Step 00050 | Validation", "d4-blue:")
        hit = prompt.query_one(VirtualList).current
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen), "Watch")
        view = app.screen.query_one(LogView)
        await until(pilot, lambda: view.here is not None, "the line")
        assert hit.startswith("log/") and view.here == int(hit.rpartition(":")[2]) and view.search is not None
        assert app.watched == hit.removeprefix("log/").partition(":")[0]


async def test_enter_goes_to_a_checkpoint_to_a_file_and_to_what_a_setting_is(tmp_path: Path) -> None:
    app = NanochatApp(demo(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        await search(app, pilot, "d4-blue step 100", "base step 100")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, CheckpointsScreen), "Checkpoints")
        rows = app.screen.query_one(VirtualList)
        await until(pilot, lambda: rows.current.endswith("/d4/100"), "the checkpoint")
        await search(app, pilot, "report.md", "report.md")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, VolumeScreen), "Volume")
        files = app.screen.query_one("#list", VirtualList)
        await until(pilot, lambda: files.current.endswith("/report.md"), "the file")
        await search(app, pilot, "keep_logs_gb", "keep_logs_gb")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TextPage), "the setting")
        assert "value  5" in text_of(app) and "nanochat-tui settings keep_logs_gb VALUE" in text_of(app)
        assert "built in" in text_of(app)


async def test_more_of_a_kind_is_shown_when_it_is_asked_for(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for number in range(20):
        put(fleet, number)
    app = NanochatApp(fleet)
    async with app.run_test(size=SIZE) as pilot:
        await search(app, pilot, "tag-", "… 14 more")
        await pilot.press(*["down"] * 6, "enter")
        await until(pilot, lambda: "tag-0" in text_of(app) and "more: Enter" not in text_of(app), "all")
        assert isinstance(app.screen, FindPrompt)


async def test_what_an_older_text_finds_late_is_not_shown_for_a_newer_one(tmp_path: Path) -> None:
    go_on, ended = threading.Event(), threading.Event()

    def slow(text: str, stop: object) -> Iterator[Batch]:
        if text == "old":
            go_on.wait(60)
            ended.set()
        yield Batch(Kind.RUN, [Hit(Kind.RUN, text, f"found-{text}")], 1)

    app = NanochatApp(Fleet(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        prompt = FindPrompt(slow, app.tone, app.fleet.clock)
        app.push_screen(prompt)
        await until(pilot, lambda: prompt.query(Input), "the prompt")
        prompt.query_one(Input).value = "old"
        await until(pilot, lambda: prompt.typed == "old", "the old search")
        prompt.query_one(Input).value = "new"
        await until(pilot, lambda: "found-new" in text_of(app), "the new one")
        go_on.set()
        await until(pilot, ended.is_set, "the end of the old one")
        await pilot.pause()
        assert "found-old" not in text_of(app) and "found-new" in text_of(app)


async def test_text_of_strangers_is_shown_as_text(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    put(fleet, 1, State.FAILED)
    log = fleet.log_file(fleet.registry.find("tag-1"))
    log.parent.mkdir(parents=True)
    log.write_text(f"needle {HOSTILE}\n")
    (log.parent / "[bold]needle[b]\x1b[2J\n").write_text("x")
    app = NanochatApp(fleet)
    async with app.run_test(size=SIZE) as pilot:
        await search(app, pilot, "needle", "tag-1:1")
        shown = text_of(app)
        assert "[bold]x[/]" in shown and "[bold]needle" in shown and "\x1b" not in shown and "\u202e" not in shown


async def test_a_deletion_is_taken_back_by_one_key_unless_it_was_for_good(tmp_path: Path) -> None:
    app = NanochatApp(demo(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        run = app.fleet.registry.find("d4-green")
        folder = Path(run.volume) / run.path
        for keys in ((), ("ctrl+g",)):
            app.ask_delete([run])
            await until(pilot, lambda: "kept 7 days" in text_of(app), "what goes")
            assert "--now" not in text_of(app)
            if keys:
                await answer(pilot, *keys)
                await until(pilot, lambda: "rm d4-green --now" in text_of(app), "for good")
            await answer(pilot, *"d4-green", "enter")
            await until(pilot, lambda: any("deleted d4-green" in told.text for told in app.toasts.all), "gone")
            assert not folder.exists()
            if not keys:
                assert any("U brings it back for 7 days" in told.text for told in app.toasts.all)
                await pilot.press("U")
                await until(
                    pilot, lambda: any("brought back: d4-green" in told.text for told in app.toasts.all), "back"
                )
                assert folder.is_dir() and app.fleet.registry.find("d4-green").state is run.state
                app.toasts.all.clear()
        assert app.fleet.trash() == []
        await pilot.press("U")
        await until(pilot, lambda: any("nothing was deleted here" in t.text for t in app.toasts.all), "nothing")


async def test_the_trash_is_emptied_alone_and_only_after_its_word(tmp_path: Path) -> None:
    app = NanochatApp(Fleet(tmp_path))
    place = VolumeRef("local", app.fleet.volume_location("local", "rehearsal"))
    volume = FolderVolume(place.location)
    volume.write("d", b"1234")
    trash.put(volume, ["d"], app.fleet.clock(), 7)
    async with app.run_test(size=SIZE) as pilot:
        app.files.ask_remove(place, [TRASH, "other"], lambda: None)
        assert any("emptied by itself" in told.text for told in app.toasts.all)
        done = threading.Event()
        app.files.ask_remove(place, [TRASH], done.set)
        await until(pilot, lambda: "Empty the trash?" in text_of(app), "the question")
        await answer(pilot, *"trash", "enter")
        await until(pilot, done.is_set, "its end")
    assert trash.usage(volume).files == 0


def test_where_nothing_can_be_kept_the_question_says_so(tmp_path: Path) -> None:
    app = NanochatApp(Fleet(tmp_path))
    assert "kept 7 days" in app.files.fate("local") and "cannot be undone" in app.files.fate("modal")
    assert app.files.instead("local") and not app.files.instead("modal")
    app.fleet.put_setting("trash_days", "0")
    assert "cannot be undone" in app.files.fate("local")
