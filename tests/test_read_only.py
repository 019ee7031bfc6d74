"""Who only looks changes nothing: not by a key, a command, the core or a volume; and sees that it is so."""

import argparse
import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from runner import settings
from runner.errors import ReadOnly
from runner.fleet.fleet import Fleet
from runner.fleet.registry import DownloadRequest
from runner.model.spec import RunSpec
from runner.model.states import State
from runner.monitoring.notifications import Notification, Notifier
from runner.recipes import shelf
from runner.recipes.recipe import Recipe
from runner.system import new_files, read_only
from runner.transfer import download, upload
from runner.volumes import trash
from runner.volumes.folder import FolderVolume
from tests.conftest import Cli
from tests.test_app import put, text_of, until
from tests.test_run import run
from tui.app.app import NanochatApp
from tui.cli.changes import change
from tui.cli.commands import COMMANDS
from tui.cli.main import parsed
from tui.presentation.keymap import CHANGING, HOMES, KEYS
from tui.presentation.tabs import TABS
from tui.widgets.consent import Question

MODES = [tab.mode for tab in TABS]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder with a run that is done, one that failed, their files, and something in the trash."""
    (tmp_path / "home").mkdir()
    with Fleet(tmp_path / "home") as fleet:
        volume = FolderVolume(str(fleet.home / "volumes" / "rehearsal"))
        Path(volume.location).mkdir(parents=True)
        for number, state in ((1, State.DONE), (2, State.FAILED)):
            put(fleet, number, state)
            volume.write(f"{fleet.registry.get(f'run{number:04d}').path}/log", b"one line\n")
        volume.write("old.txt", b"old")
        trash.put(volume, ["old.txt"], 1e9, 9999)
    return tmp_path / "home"


@pytest.fixture
def looking(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(read_only.VARIABLE, "1")
    return home


def kept(home: Path) -> tuple[object, ...]:
    """The bytes of volumes, settings and recipes, and every row of the registry."""
    files = [*(home / "volumes").rglob("*"), home / settings.FILE, *(home / "recipes").rglob("*")]
    digests = {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files) if f.is_file()}
    with closing(sqlite3.connect(home / "registry.db")) as db:
        return digests, tuple(db.iterdump())


def core(fleet: Fleet) -> Iterator[tuple[str, Callable[[], object]]]:
    """Everything in the core by which something is changed."""
    done, failed = (fleet.registry.get(f"run000{n}") for n in (1, 2))
    spec, home = RunSpec.create(task="test", model="d12", backend="local"), fleet.home
    volume = fleet.volume_of(done)
    local, entry = fleet.backend("local"), volume.stat(f"{done.path}/log")
    (thing,) = fleet.trash()
    wanted = DownloadRequest("local", volume.location, done.path, str(home))
    yield "launch", lambda: fleet.launch(spec)
    yield "resume", lambda: fleet.resume(failed)
    yield "cancel", lambda: fleet.cancel(run(State.RUNNING))
    yield "delete", lambda: fleet.delete(done)
    yield "delete for good", lambda: fleet.delete(done, now=True)
    yield "remove files", lambda: fleet.remove_files("local", volume.location, [done.path])
    yield "restore", lambda: fleet.restore(thing)
    yield "download", lambda: fleet.download(done, "", home / "brought")
    yield "put a setting", lambda: fleet.put_setting("gpu", "A10")
    yield "pack code", lambda: fleet.code(str(home))
    yield "write a setting", lambda: settings.put(home, "gpu", "A10")
    yield "keep a recipe", lambda: shelf.save(Recipe(), "mine", home)
    yield "write", lambda: volume.write("x", b"x")
    yield "put", lambda: volume.put(home / "registry.db", "x", lambda n: None, over=True)
    yield "remove", lambda: volume.remove(done.path)
    yield "rename", lambda: volume.rename(done.path, "elsewhere")
    yield "trash", lambda: trash.put(volume, [done.path], 1.0, 1)
    yield "bring back", lambda: trash.restore(volume, thing)
    yield "empty", lambda: trash.empty(volume)
    yield "spawn", lambda: local.launch(run(State.LAUNCHING))
    yield "end", lambda: local.cancel(run(State.RUNNING), force=True)
    yield "forget", lambda: local.forget(done)
    yield "make", lambda: local.make_volume(str(home / "new"))
    yield "bring", lambda: download.Download(volume, download.plan_download([entry], done.path), home / "brought")
    yield "send", lambda: upload.plan_upload(home / "registry.db", "x")
    yield "begin a download", lambda: fleet.registry.begin_download(wanted)
    yield "forget a download", lambda: fleet.registry.end_download(wanted)
    yield "save", lambda: new_files.new_file(str(home / "new.log"))
    yield "save under a number", lambda: new_files.new_files(lambda n: [home / f"new{n}.log"]).__enter__()


def test_whatever_changes_something_in_the_core_is_refused_in_words_and_nothing_has_changed(looking: Path) -> None:
    with Fleet(looking) as fleet:
        before, names = kept(looking), sorted(p.name for p in looking.iterdir())
        for name, act in core(fleet):
            with pytest.raises(ReadOnly, match=r"read-only: it does not \w+ .*without --read-only"):
                act()
                pytest.fail(name)
        assert kept(looking) == before and sorted(p.name for p in looking.iterdir()) == names


def test_without_it_the_same_is_done(home: Path) -> None:
    with Fleet(home) as fleet:
        fleet.put_setting("gpu", "A10")
        fleet.delete(fleet.registry.get("run0001"), now=True)
    assert "A10" in (home / settings.FILE).read_text()


@pytest.mark.parametrize(("value", "says"), [("", False), ("0", False), ("off", False), ("1", True), ("maybe", True)])
def test_what_nobody_understands_is_taken_for_looking_only(value: str, says: bool) -> None:
    assert read_only.is_set({read_only.VARIABLE: value}) is says


# Each command line that changes something; those of a command that does not are left out.
CHANGES = (
    "launch --task test -y",
    "resume tag-2 -y",
    "cancel tag-2",
    "rm tag-1 -y",
    "restore old.txt",
    "restore --empty -y",
    "volume get tag-1: .",
    "volume put /etc/hostname x",
    "volume rm -r runs -y",
    "volume mv runs elsewhere",
    "checkpoints --prune -y",
    "settings gpu A10",
    "plan --save-recipe mine",
    "compare tag-1 tag-2 --csv new.csv",
    "compare tag-1 tag-2 --svg new.svg",
    "doctor --bundle new.tar.gz",
    "demo --no-open",
)
LOOKS = {"recipes", "flags", "ls", "show", "logs", "view", "watch", "find", "cost", "completion", "keys", "serve"}


def test_every_command_is_known_to_change_something_or_not() -> None:
    found = {parsed(words.split()).command for words in CHANGES}
    assert found | LOOKS == set(COMMANDS) and not found & LOOKS
    assert all(change(parsed(words.split())) for words in CHANGES)
    assert not any(map(change, (argparse.Namespace(command=name) for name in LOOKS)))
    for words in ("settings", "settings gpu", "restore", "plan", "doctor", "compare a b", "checkpoints", "volume ls"):
        assert not change(parsed(words.split())), words


def test_every_command_that_changes_something_is_refused_by_the_flag_and_by_the_variable(home: Path) -> None:
    cli = Cli(home)
    before, here = kept(home), sorted(Path.cwd().iterdir())
    for words in CHANGES:
        said = cli("--read-only", *words.split(), code=2).stderr
        assert said.startswith("nanochat-tui: read-only: it does not ") and said.count("\n") == 1, words
    cli.env[read_only.VARIABLE] = "1"
    assert "read-only" in cli("rm", "tag-1", "--read-only", "-y", code=2).stderr
    assert "read-only" in cli("rm", "tag-1", "-y", code=2).stderr
    assert "tag-1" in cli("ls").stdout and "old.txt" in cli("restore").stdout
    assert kept(home) == before and sorted(Path.cwd().iterdir()) == here


async def test_no_key_of_the_app_changes_anything_nor_is_it_shown_and_the_head_says_so(looking: Path) -> None:
    with closing(Fleet(looking)) as fleet:
        app = NanochatApp(fleet)
        async with app.run_test(size=(160, 40)) as pilot:
            await until(pilot, lambda: "read-only" in text_of(app).splitlines()[0], "the head")
            before = kept(looking)
            for mode in MODES:
                app.action_show(mode)
                await until(pilot, lambda mode=mode: app.current_mode == mode and app.screen.is_mounted, mode)
                await pilot.pause()
                active = {b.binding.id: b.binding.key for b in app.screen.active_bindings.values()}
                assert all(active.get(id, "none") == "none" for id in CHANGING), mode
            for key in KEYS:
                if key.id not in CHANGING:
                    continue
                app.action_show(HOMES[key.screen] if key.screen != "compare" else "runs")
                await pilot.pause()
                await pilot.press(key.keys.split(",")[0])
                app.act_later(app.screen, key)
                await pilot.pause()
                assert app.toasts.all[-1].text == f"read-only: it does not {key.label.lower()}"
                assert not isinstance(app.screen, Question), key.id
            assert kept(looking) == before


async def test_help_palette_and_search_have_not_what_cannot_be_done(looking: Path) -> None:
    with closing(Fleet(looking)) as fleet:
        app = NanochatApp(fleet)
        async with app.run_test(size=(120, 160)) as pilot:
            await until(pilot, lambda: "tag-1" in text_of(app), "the runs")
            for opens in ("f1", "ctrl+p"):
                await pilot.press(opens)
                await pilot.press(*"cancel")
                await until(pilot, lambda: len(app.screen_stack) > 1, opens)
                await pilot.pause()
                assert "stop the marked runs" not in text_of(app)
                await pilot.press(*["backspace"] * len("cancel"))
                await pilot.pause()
                for change in ("launch a run", "bring back what was deleted"):
                    assert change not in text_of(app), change
                await pilot.press("escape")
                await until(pilot, lambda: len(app.screen_stack) == 1, "closed")


async def test_what_is_chosen_for_the_look_holds_while_the_app_is_open_and_is_not_kept(looking: Path) -> None:
    with closing(Fleet(looking)) as fleet:
        app = NanochatApp(fleet)
        async with app.run_test() as pilot:
            app.keep(("theme", "nord"))
            await app.workers.wait_for_complete([w for w in app.workers if w.group == "settings"])
            await pilot.pause()
            assert not any("theme" in toast.text for toast in app.toasts.all)
    assert not (looking / settings.FILE).exists()


def test_a_notice_is_shown_and_left_to_others_to_deliver(looking: Path, tmp_path: Path) -> None:
    with Fleet(looking) as fleet:
        told = tmp_path / "told"
        hook = settings.Settings(on_notice=f"touch {told}")
        shown: list[Notification] = []
        notifier = Notifier(fleet.registry, lambda: hook, shown.append)
        before = kept(looking)
        ended = fleet.registry.get("run0002")
        notifier.check([ended], ended.ended_at or 0.0)
        notifier.check([ended], ended.ended_at or 0.0)
        notifier.close()
        assert [n.run for n in shown] == ["run0002"] and kept(looking) == before and not told.exists()


def test_what_is_on_modal_is_refused_before_modal_is_asked(looking: Path) -> None:
    from runner.backends.modal.backend import ModalBackend
    from runner.backends.modal.volume import ModalVolume

    backend, volume = ModalBackend(looking, print), ModalVolume("v")
    for act in (
        lambda: backend.launch(run(State.LAUNCHING, backend="modal")),
        lambda: backend.cancel(run(State.RUNNING, backend="modal")),
        lambda: backend.make_volume("v"),
        lambda: backend.ensure_deployed("nanochat", live=[]),
        lambda: volume.make(),
        lambda: volume.write("x", b"x"),
        lambda: volume.put(looking / "registry.db", "x", lambda n: None, over=True),
        lambda: volume.remove("x"),
        lambda: volume.rename("x", "y"),
    ):
        with pytest.raises(ReadOnly):
            act()


async def test_who_only_looks_is_not_told_a_key_that_launches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(read_only.VARIABLE, "1")
    with closing(Fleet(tmp_path)) as fleet:
        app = NanochatApp(fleet)
        async with app.run_test() as pilot:
            await until(pilot, lambda: "No runs yet." in text_of(app), "the empty list")
            assert "Press" not in text_of(app)
