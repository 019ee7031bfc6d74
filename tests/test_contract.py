"""What every backend and every volume must do, run unchanged over each of them."""

from pathlib import Path
from typing import Any

import pytest

from runner.errors import Unreachable, UsageError
from runner.model.run import Run
from runner.model.states import State
from runner.model.status import OutcomeKind
from runner.text.filenames import BROUGHT
from runner.transfer.download import Download, End, list_files
from runner.volumes import deletion
from runner.volumes.base import Volume
from tests.place import Place, hostile_names


def test_a_launched_run_is_polled_to_its_end_and_leaves_its_record_on_the_volume(place: Place) -> None:
    run = place.launch()
    assert run.state is State.QUEUED and len(run.calls) == 1
    done = place.ended(run)
    assert done.state is State.DONE and done.status and done.status.training.step == 10
    names = {e.name for e in place.volume().list(run.path)}
    assert {"run.json", "status.json", "log", "events.jsonl", "report.md", "base_checkpoints"} <= names
    assert [c.verdict.value for c in place.fleet.checkpoints(done)] == ["complete", "complete"]


def test_the_log_on_this_disk_is_the_log_on_the_volume(place: Place) -> None:
    run = place.launch(step_ms=100)

    def some(r: Run) -> bool:
        place.fleet.pull_log(r)
        return place.fleet.log_file(r).exists() and b"step 00003" in place.fleet.log_file(r).read_bytes()

    place.until(run, some)
    done = place.ended(run)
    place.fleet.pull_log(done)
    assert place.fleet.log_file(done).read_bytes() == place.volume().read(f"{run.path}/log")
    events = place.fleet.log_file(done).with_name("events.jsonl").read_bytes()
    assert events == place.volume().read(f"{run.path}/events.jsonl") and events.count(b"\n") > 10


def test_a_run_that_has_not_begun_can_be_cancelled(place: Place) -> None:
    with place.held():
        run = place.launch()
        assert place.fleet.poll_run(run).live
        place.fleet.cancel(run)
        ended = place.ended(run)
    assert ended.state is State.CANCELLED and ended.status and not ended.status.training.step


def test_a_run_that_trains_can_be_cancelled_and_resumed_where_it_was_saved(place: Place) -> None:
    run = place.launch_up_to(50, "speedrun", iterations=80, save_every=20)
    place.fleet.cancel(run)
    ended = place.ended(run)
    place.gate.open()
    assert ended.state is State.CANCELLED
    saved = max(c.step for c in place.fleet.checkpoints(ended) if c.verdict == "complete")
    assert saved >= 20
    again = place.ended(place.fleet.resume(ended))
    assert (again.state, again.attempt) == (State.DONE, 2)
    assert again.status and again.status.training.val_bpb == pytest.approx(0.959286, abs=1e-6)
    place.fleet.pull_log(again)
    assert f"step {saved} is the newest complete checkpoint" in place.fleet.log_file(again).read_text()


def test_a_run_goes_back_to_a_chosen_checkpoint(place: Place) -> None:
    failed = place.ended(place.launch("base", iterations=50, save_every=10, fault=["crash@45"]))
    with pytest.raises(UsageError, match="no complete checkpoint at step 25"):
        place.fleet.resume(failed, step=25)
    done = place.ended(place.fleet.resume(failed, step=20))
    assert done.state is State.DONE
    place.fleet.pull_log(done)
    log = place.fleet.log_file(done).read_text()
    assert "put aside: base 30, base 40" in log and "step 20 is the newest complete checkpoint" in log


def test_a_failed_run_says_why_and_can_be_resumed(place: Place) -> None:
    failed = place.ended(place.launch("speedrun", iterations=40, save_every=10, fault=["oom@30"]))
    assert failed.state is State.FAILED and failed.outcome
    assert failed.outcome.kind is OutcomeKind.OOM and "out of GPU memory" in failed.outcome.message
    assert place.ended(place.fleet.resume(failed)).state is State.DONE


def test_a_live_run_is_neither_resumed_nor_deleted_and_an_ended_one_not_cancelled(place: Place) -> None:
    run = place.launch_up_to(5, "speedrun")
    with pytest.raises(UsageError, match="already"):
        place.fleet.resume(run)
    with pytest.raises(UsageError, match="cancel"):
        place.fleet.delete(run)
    place.fleet.cancel(run)
    ended = place.ended(run)
    with pytest.raises(UsageError, match="not running"):
        place.fleet.cancel(ended)


def test_a_deleted_run_is_gone_from_the_volume_and_from_this_disk(place: Place) -> None:
    done = place.ended(place.launch())
    place.fleet.pull_log(done)
    place.fleet.delete(done)
    assert place.fleet.registry.all() == []
    assert [e for e in place.volume().list("runs") if done.id in e.name] == []
    assert not place.fleet.log_file(done).exists()


def test_a_volume_of_another_engine_is_refused(place: Place) -> None:
    place.volume().write("volume.json", b'{"engine":"nanochat"}')
    with pytest.raises(UsageError, match="nanochat engine"):
        place.launch()
    assert place.fleet.registry.all() == []


def test_files_are_written_read_in_part_listed_renamed_and_removed(place: Place) -> None:
    volume = place.volume()
    volume.write("a/b/one.txt", b"0123456789")
    volume.write("a/two.bin", bytes(range(256)) * 40_000)
    assert volume.read("a/b/one.txt") == b"0123456789"
    assert volume.read("a/b/one.txt", 2, 3) == b"234"
    assert volume.read("a/b/one.txt", -4) == b"6789"
    assert volume.read("a/b/one.txt", 8, 100) == b"89"
    assert volume.read("a/b/one.txt", 50) == b"" and volume.read("a/b/one.txt", 3, 0) == b""
    assert volume.read("a/two.bin", 8_388_600, 20) == (bytes(range(256)) * 40_000)[8_388_600:8_388_620]
    assert volume.read("a/two.bin", -65_557) == (bytes(range(256)) * 40_000)[-65_557:]
    listed = [(e.path, e.is_dir, e.bytes) for e in volume.list("a")]
    assert listed == [("a/b", True, 0), ("a/two.bin", False, 10_240_000)]
    assert [e.path for e in volume.list("")] == ["a"]
    volume.write("a/b/one.txt", b"new")
    assert volume.read("a/b/one.txt") == b"new"
    volume.rename("a/b/one.txt", "c/d.txt")
    assert volume.read("c/d.txt") == b"new" and volume.list("a/b") == []
    volume.rename("c", "e")
    assert volume.read("e/d.txt") == b"new"
    volume.remove("a")
    assert [e.path for e in volume.list("")] == ["e"]


def test_what_is_not_there_is_not_found(place: Place) -> None:
    volume = place.volume()
    for ask in (volume.list, volume.read, volume.remove):
        with pytest.raises(FileNotFoundError):
            ask("nowhere/at-all")
    with pytest.raises(FileNotFoundError):
        volume.rename("nowhere", "somewhere")
    volume.write("file", b"x")
    with pytest.raises(NotADirectoryError):
        volume.list("file")


@pytest.mark.parametrize("path", ["../out", "a/../../out", "/etc/passwd", "a\0b"])
def test_no_path_leaves_the_volume(place: Place, path: str) -> None:
    volume = place.volume()
    for ask in (volume.list, volume.read, volume.remove, lambda p: volume.write(p, b"x")):
        with pytest.raises(FileNotFoundError):
            ask(path)


def test_a_volume_that_is_not_there_is_unreachable(place: Place) -> None:
    nowhere = place.fleet.backend(place.backend).volume(f"{place.location}-gone")
    with pytest.raises(Unreachable, match="volume"):
        nowhere.list("")


def names_of(volume: Volume, path: str, **how: Any) -> list[str]:
    return [e.path for batch in volume.scan(path, **how) for e in batch]


def test_a_folder_is_scanned_in_batches_and_deep_each_entry_once(place: Place, store: Path) -> None:
    for n in range(2500):
        (store / "many" / f"{n % 5}").mkdir(parents=True, exist_ok=True)
        (store / "many" / f"{n % 5}" / f"f{n:05d}").write_bytes(b"x" * (n % 7))
    volume = place.volume()
    assert sorted(names_of(volume, "many")) == [f"many/{n}" for n in range(5)]
    deep = names_of(volume, "", deep=True)
    assert len(deep) == len(set(deep)) == 2506
    assert len(list(volume.scan("", deep=True))) > 1, "the first come before the last are known"
    entry = volume.stat("many/3/f00003")
    assert (entry.path, entry.is_dir, entry.bytes) == ("many/3/f00003", False, 3)
    assert volume.stat("many").is_dir and volume.stat("").is_dir
    for ask in (volume.stat, lambda p: names_of(volume, p)):
        with pytest.raises(FileNotFoundError):
            ask("many/nothing")


def test_a_listing_that_breaks_in_the_middle_is_asked_for_again_and_is_whole(
    place: Place, store: Path, request: pytest.FixtureRequest
) -> None:
    for n in range(1600):
        (store / f"f{n:04d}").touch()
    if place.backend == "modal":
        request.getfixturevalue("cloud").knobs(cut_listings=2)
    found = names_of(place.volume(), "")
    assert len(found) == len(set(found)) == 1600
    if place.backend == "modal":
        request.getfixturevalue("cloud").knobs(cut_listings=99)
        with pytest.raises(Unreachable):
            names_of(place.volume(), "")


def test_hostile_names_are_listed_brought_home_and_deleted_one_by_one(
    place: Place, store: Path, tmp_path: Path
) -> None:
    names = hostile_names(500)
    (store / "odd").mkdir()
    for n, name in enumerate(names):
        (store / "odd" / name).write_bytes(str(n).encode())
    volume = place.volume()
    assert sorted(e.name for e in volume.list("odd")) == sorted(names)
    outside = set(tmp_path.rglob("*"))
    assert Download(volume, list_files(volume, "odd"), tmp_path / "home" / "here").run() is End.WHOLE
    came = {p for p in tmp_path.rglob("*") if p not in outside and p.is_file() and store not in p.parents}
    came.discard(tmp_path / "home" / "here" / BROUGHT)
    assert len(came) == 500 and all((tmp_path / "home" / "here" / "odd") == p.parent for p in came)
    assert sorted(int(p.read_bytes()) for p in came) == list(range(500)), "none replaced another"
    for name in names:
        deletion.remove(volume, [f"odd/{name}"])
    assert volume.list("odd") == []
    with pytest.raises(FileNotFoundError, match="volume itself"):
        volume.remove("")
