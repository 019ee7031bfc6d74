"""What is deleted on this machine comes back for days: whole, whoever is killed meanwhile, and nothing shows it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from runner.errors import UsageError
from runner.fleet.fleet import Fleet
from runner.model.states import State
from runner.volumes import trash
from runner.volumes.base import TRASH
from runner.volumes.disk_usage import DiskUsage
from runner.volumes.folder import FolderVolume
from tests.conftest import Cli, in_own_mounts
from tests.killed_at import watch
from tests.test_app import put

DAY_S = 86_400.0
NOW = 1_795_000_000.0


def content(root: Path) -> dict[str, bytes]:
    """Every file of a volume but those of its trash."""
    files = (p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): p.read_bytes() for p in files if p.relative_to(root).parts[0] != TRASH}


@pytest.fixture
def volume(tmp_path: Path) -> FolderVolume:
    root = tmp_path / "volume"
    for path in ("a/meta_000010.json", "a/model_000010.pt", "a/b/c", "d"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    return FolderVolume(str(root))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """One run that has ended, with files."""
    (tmp_path / "home").mkdir()
    fleet = Fleet(tmp_path / "home", clock=lambda: NOW)
    root = Path(fleet.volume_location("local", "rehearsal"))
    put(fleet, 1, State.FAILED)
    folder = root / fleet.registry.find("tag-1").path
    folder.mkdir(parents=True)
    (folder / "log").write_text("lines\n")
    return fleet


def test_what_is_deleted_is_no_content_any_more_and_comes_back_as_it_was(volume: FolderVolume) -> None:
    root = Path(volume.location)
    before = content(root)
    entry = trash.put(volume, ["a", "d"], NOW, 7)
    assert entry and entry.paths == ("a", "d") and content(root) == {}
    usage = DiskUsage()
    for batch in volume.scan("", deep=True):
        usage.add(batch)
    assert volume.list("") == [] and usage.at("").files == 0
    for path in (TRASH, f"{TRASH}/{entry.id}/what.json", f"./{TRASH}"):
        with pytest.raises(FileNotFoundError):
            volume.stat(path)
        with pytest.raises(FileNotFoundError):
            volume.remove(path)
    assert [e.paths for e in trash.entries(volume)] == [("a", "d")]
    trash.restore(volume, entry)
    assert content(root) == before and trash.entries(volume) == []


def test_what_stands_where_it_was_is_not_written_over(volume: FolderVolume) -> None:
    entry = trash.put(volume, ["a/b/c", "d"], NOW, 7)
    assert entry
    (Path(volume.location) / "d").write_text("another")
    with pytest.raises(UsageError, match="d is there already"):
        trash.restore(volume, entry)
    assert (Path(volume.location) / "d").read_text() == "another"
    assert len(trash.entries(volume)[0].paths) == 2, "nothing has come back by half"


def test_it_is_gone_after_its_days_and_no_earlier_whatever_is_set_by_then(volume: FolderVolume) -> None:
    trash.put(volume, ["d"], NOW, 7)
    assert trash.sweep(volume, NOW + 6.9 * DAY_S) == 0
    assert trash.usage(volume).files == 1 and trash.usage(volume).until == NOW + 7 * DAY_S
    assert trash.sweep(volume, NOW + 7.1 * DAY_S) == 1
    assert trash.usage(volume).files == 0 and list((Path(volume.location) / TRASH).iterdir()) == []


def test_half_of_what_a_kill_left_of_an_emptying_is_not_offered_and_goes_with_the_next(volume: FolderVolume) -> None:
    entry = trash.put(volume, ["a"], NOW, 7)
    assert entry
    place = Path(volume.location) / TRASH / entry.id
    place.rename(place.with_name(f"{entry.id}.going"))
    assert trash.entries(volume) == [] and trash.usage(volume).files == 3
    assert trash.sweep(volume, NOW) == 1 and trash.usage(volume).files == 0


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../x", "", ".", "out/x"])
def test_a_record_that_somebody_made_up_takes_nothing_out_of_the_volume(volume: FolderVolume, path: str) -> None:
    root = Path(volume.location)
    entry = trash.put(volume, ["d"], NOW, 7)
    assert entry
    place = root / TRASH / entry.id
    (root.parent / "x").write_text("theirs")
    (place / "kept" / "out").symlink_to(root.parent)
    record = json.loads((place / "what.json").read_text())
    (place / "what.json").write_text(json.dumps({**record, "paths": [path]}))
    assert trash.entries(volume) == []
    with pytest.raises((UsageError, OSError)):
        trash.restore(volume, msgspec.structs.replace(entry, paths=(path,)))
    assert (root.parent / "x").read_text() == "theirs"


def test_a_link_in_the_place_of_the_trash_is_not_followed(volume: FolderVolume, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("kept")
    (Path(volume.location) / TRASH).symlink_to(tmp_path / "theirs")
    with pytest.raises(UsageError, match="no folder of ours"):
        trash.put(volume, ["d"], NOW, 7)
    assert (Path(volume.location) / "d").exists()
    trash.empty(volume)
    assert (tmp_path / "theirs" / "file").read_text() == "kept"


def test_what_is_on_another_disk_is_not_copied_but_said(tmp_path: Path) -> None:
    root = tmp_path / "volume"
    (root / "other").mkdir(parents=True)
    said = "from runner.volumes import trash\nfrom runner.volumes.folder import FolderVolume\n"
    said += f"trash.put(FolderVolume({str(root)!r}), ['other/big'], 1.0, 7)"
    script = f'mount -t tmpfs tmpfs {root}/other && echo x > {root}/other/big && {sys.executable} -c "$0"; '
    script += f"cat {root}/other/big"
    done = subprocess.run(
        [*in_own_mounts(root / "other"), "sh", "-c", script, said], capture_output=True, text=True, check=False
    )
    assert "on another disk" in done.stderr and "--now" in done.stderr and done.stdout == "x\n"


def test_a_run_comes_back_with_its_record_also_when_its_tag_is_somebody_elses_by_now(fleet: Fleet) -> None:
    run = fleet.registry.find("tag-1")
    entry = fleet.delete(run)
    assert entry and fleet.registry.all() == [] and fleet.trash()[0].tag == "tag-1"
    put(fleet, 2, tag="tag-1")
    back = fleet.restore(fleet.trash()[0])
    assert back and (back.id, back.tag, back.state) == (run.id, run.id, State.FAILED)
    assert fleet.log_file(back).read_text() == "lines\n"


def test_no_day_deletes_at_once_and_so_does_who_wants_the_room(fleet: Fleet) -> None:
    root = fleet.volume_location("local", "rehearsal")
    assert fleet.delete(fleet.registry.find("tag-1"), now=True) is None and fleet.trash() == []
    Path(root, "d").write_text("d")
    fleet.put_setting("trash_days", "0")
    assert fleet.remove_files("local", root, ["d"]) is None and not Path(root, "d").exists()
    assert not Path(root, TRASH).exists()


def killed(home: Path, number: int, act: Callable[[Fleet], object]) -> bool:
    """Whether a process of its own was killed right before its effect of this number, or had done it all before."""
    pid = os.fork()
    if not pid:
        fleet = Fleet(home, clock=lambda: NOW)
        watch(number)
        act(fleet)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def runs_of(root: Path) -> dict[str, bytes]:
    return {path: data for path, data in content(root).items() if path.startswith("runs/")}


def test_a_deletion_that_is_killed_anywhere_leaves_the_run_or_what_brings_it_back(fleet: Fleet) -> None:
    root = Path(fleet.volume_location("local", "rehearsal"))
    before = runs_of(root)
    for number in range(1, 100):
        was_killed = killed(fleet.home, number, lambda other: other.delete(other.registry.find("tag-1")))
        kept = fleet.trash()
        assert (runs_of(root) == before) != bool(kept), number
        if kept:
            fleet.restore(kept[0])
        assert runs_of(root) == before and fleet.registry.find("tag-1"), number
        if not was_killed:
            break
    assert not was_killed and number > 5
    assert fleet.registry.find("tag-1").state is State.FAILED


def test_a_restore_that_is_killed_anywhere_is_done_by_the_next(fleet: Fleet) -> None:
    root = Path(fleet.volume_location("local", "rehearsal"))
    (root / "d").write_text("d")
    before = content(root)
    for number in range(1, 100):
        fleet.delete(fleet.registry.find("tag-1"))
        fleet.remove_files("local", str(root), ["d"])
        was_killed = killed(fleet.home, number, lambda other: [other.restore(entry) for entry in other.trash()])
        for entry in fleet.trash():
            fleet.restore(entry)
        assert content(root) == before and fleet.registry.find("tag-1").state is State.FAILED, number
        if not was_killed:
            break
    assert not was_killed and number > 5


def test_files_are_named_as_they_were_and_the_last_that_went_comes_first(cli: Cli) -> None:
    cli("launch", "--task", "test", "--tag", "t", "--watch")
    folder = cli.run_dir("t")
    assert "restore t" not in cli("volume", "rm", "-y", "t:log").stderr
    said = cli("rm", "-y", "t").stderr
    assert "kept 7 days" in said and "restore t " in said
    path = f"runs/{folder.name}/log"
    assert [e["paths"] for e in cli.json("restore")] == [[f"runs/{folder.name}"], [path]]
    cli("restore", path, "t")
    assert (folder / "log").exists() and cli.json("restore") == []
    assert "no t in the trash" in cli("restore", "t", code=2).stderr


def test_the_disk_usage_has_the_trash_as_a_line_of_its_own_until_it_is_emptied(cli: Cli) -> None:
    cli("launch", "--task", "test", "--tag", "t", "--watch")
    cli("volume", "rm", "-r", "-y", "t:base_checkpoints")
    used = cli.json("volume", "du")
    assert used["trash"]["bytes"] > 10**6 > used["bytes"] and "empties in 6d" in cli("volume", "du").stderr
    assert "--yes" in cli("restore", "--empty", code=2).stderr
    assert cli.json("restore", "--empty", "--yes")["bytes"] == used["trash"]["bytes"]
    assert cli.json("volume", "du")["trash"]["bytes"] == 0 and cli.json("restore") == []


def test_files_do_not_come_back_into_the_folder_of_a_live_run(cli: Cli) -> None:
    cli("launch", "--task", "speedrun", "--tag", "live", "--step-ms", "0", "--fault", "hang@2")
    (cli.run_dir("live") / "note").write_text("mine")
    cli("volume", "rm", "-y", "--force", "live:note")
    path = f"runs/{cli.run_dir('live').name}/note"
    assert "live is " in cli("restore", path, code=2).stderr
    cli("cancel", "live")
    cli("restore", path)
    assert (cli.run_dir("live") / "note").read_text() == "mine"
