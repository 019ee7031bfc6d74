"""Downloads from both kinds of volume: whole, resumed, verified, and never outside the chosen folder."""

import errno
import filecmp
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import FileChanged, NanochatError, Unreachable, UsageError
from runner.text.filenames import BROUGHT, PARTS_FOLDER
from runner.transfer import upload
from runner.transfer.download import Download, End, TransferProgress, list_files, plan_download
from runner.transfer.downloaded_files import DestinationJournal
from runner.transfer.partial_file import PartialFile, crcs_match, part_path
from runner.volumes.base import BLOCK, Entry
from runner.volumes.folder import FolderBlockReader, FolderVolume
from tests.modal_cloud import Cloud
from tests.noise import BIG, noise, write_noise
from tests.place import Place


def same(one: Path, other: Path) -> bool:
    """Whether two files have the same content."""
    return filecmp.cmp(one, other, shallow=False)


def fill(folder: Path) -> dict[str, bytes]:
    files = {"runs/a/log": b"x" * 100, "runs/a/empty": b"", "runs/a/ck/model.pt": noise(BIG), "runs/a/ck/m.json": b"{}"}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return files


def here(folder: Path) -> dict[str, bytes]:
    """What is in a folder, but for the journal of what was brought there."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != BROUGHT)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_a_folder_comes_home_whole_with_its_times_and_leaves_no_scrap(
    place: Place, store: Path, tmp_path: Path
) -> None:
    files = fill(store)
    told: list[TransferProgress] = []
    download = Download(place.volume(), list_files(place.volume(), "runs/a"), tmp_path / "out", told=told.append)
    assert download.run() is End.WHOLE
    assert here(tmp_path / "out") == {name.removeprefix("runs/"): data for name, data in files.items()}
    total = sum(map(len, files.values()))
    assert (told[-1].files_done, told[-1].bytes_done, told[-1].bytes_read) == (4, total, total)
    for name in files:
        there, mine = (store / name).stat(), (tmp_path / "out" / name.removeprefix("runs/")).stat()
        assert int(mine.st_mtime) == int(there.st_mtime)


def test_a_file_and_a_folder_whose_names_end_in_a_star_are_those_and_no_pattern(
    place: Place, store: Path, tmp_path: Path
) -> None:
    (store / "all*").mkdir()
    (store / "all*" / "x**").write_bytes(b"x")
    (store / "all-others").write_bytes(b"y")
    assert [e.path for e in place.volume().list("all*")] == ["all*/x**"]
    assert Download(place.volume(), list_files(place.volume(), "all*/x**"), tmp_path / "out").run() is End.WHOLE
    assert list(here(tmp_path / "out").values()) == [b"x"]


def test_what_is_there_already_is_not_read_again_and_another_file_is_not_overwritten_unless_forced(
    place: Place, store: Path, tmp_path: Path
) -> None:
    fill(store)
    items = list_files(place.volume(), "runs/a")
    Download(place.volume(), items, tmp_path / "out").run()
    again = Download(place.volume(), items, tmp_path / "out")
    assert again.run() is End.WHOLE and again.progress.bytes_read == 0 and again.progress.files_done == 4
    (tmp_path / "out" / "a" / "ck" / "m.json").write_text("mine")
    with pytest.raises(UsageError, match="already"):
        Download(place.volume(), items, tmp_path / "out").run()
    assert (tmp_path / "out" / "a" / "ck" / "m.json").read_text() == "mine"
    assert Download(place.volume(), items, tmp_path / "out", overwrite=True).run() is End.WHOLE
    assert (tmp_path / "out" / "a" / "ck" / "m.json").read_bytes() == b"{}"


def test_a_download_that_is_stopped_goes_on_where_it_was(place: Place, store: Path, tmp_path: Path) -> None:
    write_noise(store / "big", 10 * BLOCK + 1)
    items = list_files(place.volume(), "big")
    download = Download(place.volume(), items, tmp_path, workers=2)

    def told(progress: TransferProgress) -> None:
        if progress.bytes_done >= 3 * BLOCK:
            download.stop()

    download._told = told
    slow = download._volume.open

    def open_slowly(entry: Entry) -> object:
        source = slow(entry)
        fast = source.block

        def slowly(number: int) -> bytes | memoryview:
            time.sleep(0.15)
            return fast(number)

        source.block = slowly
        return source

    download._volume.open = open_slowly  # type: ignore[assignment]
    assert (
        download.run() is End.STOPPED
        and list((tmp_path / PARTS_FOLDER).glob("*.journal"))
        and not (tmp_path / "big").exists()
    )
    download._volume.open = slow
    rest = Download(place.volume(), items, tmp_path)
    assert rest.run() is End.WHOLE and same(tmp_path / "big", store / "big")
    assert rest.progress.bytes_read <= 8 * BLOCK and rest.progress.bytes_done == 10 * BLOCK + 1
    assert not (tmp_path / PARTS_FOLDER).exists()


KILLED = """
import sys, time
from pathlib import Path
from runner.volumes.folder import FolderBlockReader, FolderVolume
from runner.transfer.downloaded_files import DestinationJournal
from runner.transfer import download, partial_file
volume, out = FolderVolume(sys.argv[1]), Path(sys.argv[2])
partial_file.SYNC_BYTES, partial_file.WRITE_BYTES = 2 * partial_file.BLOCK, partial_file.BLOCK
fast = partial_file.os.pwrite
partial_file.os.pwrite = lambda *a: (time.sleep(0.05), fast(*a))[1]
download.Download(volume, download.list_files(volume, "big"), out, workers=2).run()
"""


def test_a_download_that_is_killed_reads_little_again(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    write_noise(tmp_path / "v" / "big", 24 * BLOCK)
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "v"), str(out)])
    journal = None
    for _ in range(2000):
        journal = next(iter((out / PARTS_FOLDER).glob("*.journal")), None) if (out / PARTS_FOLDER).is_dir() else None
        if journal and len(journal.read_bytes().split()) > 28:
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert journal and not (out / "big").exists()
    noted = len({word for line in journal.read_bytes().splitlines()[1:] for word in line.split() if b"@" not in word})
    rest = Download(FolderVolume(str(tmp_path / "v")), list_files(FolderVolume(str(tmp_path / "v")), "big"), out)
    assert rest.run() is End.WHOLE and same(out / "big", tmp_path / "v" / "big")
    assert rest.progress.bytes_read == (24 - noted) * BLOCK <= 16 * BLOCK


def test_blocks_that_a_loss_of_power_may_have_taken_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "big").write_bytes(noise(4 * BLOCK))
    volume, out = FolderVolume(str(tmp_path / "v")), tmp_path / "out"
    item = list_files(volume, "big")[0]
    monkeypatch.setattr("runner.transfer.partial_file.SYNC_BYTES", 2 * BLOCK)
    part = PartialFile(volume, item, DestinationJournal(out, volume.location), lambda *a: None)
    for number in (0, 1, 2):
        part.fetch_block(number)
    os.close(part._fd)
    assert PartialFile(volume, item, DestinationJournal(out, volume.location), lambda *a: None).wanted == [3]
    monkeypatch.setattr("runner.processes.boot_id", lambda: "another")
    assert PartialFile(volume, item, DestinationJournal(out, volume.location), lambda *a: None).wanted == [2, 3]
    monkeypatch.setattr("runner.processes.boot_id", lambda: "")
    assert PartialFile(volume, item, DestinationJournal(out, volume.location), lambda *a: None).wanted == [2, 3]


def changing(download: Download, change: Callable[[], object]) -> None:
    """Do something each time a block has come."""
    count = download._count
    download._count = lambda *a: (count(*a), change())[0]


@pytest.mark.parametrize("times", [1, 99])
def test_a_file_that_changes_while_it_is_read_is_asked_for_again_and_never_taken_for_whole(
    place: Place, store: Path, tmp_path: Path, times: int
) -> None:
    (store / "d").mkdir()
    (store / "d" / "other").write_bytes(b"other")
    (store / "d" / "big").write_bytes(noise(BIG))
    made = 0

    def change() -> None:
        nonlocal made
        if made < times:
            made += 1
            (store / "new").write_bytes(noise(BIG, seed=made + 1))
            os.utime(store / "new", (1e9 + made, 1e9 + made))
            (store / "new").replace(store / "d" / "big")

    download = Download(place.volume(), list_files(place.volume(), "d"), tmp_path / "out", workers=1)
    changing(download, change)
    if times == 1:
        assert download.run() is End.WHOLE
        assert (tmp_path / "out" / "d" / "big").read_bytes() == noise(BIG, seed=2)
        assert download.progress.bytes_done == download.progress.bytes == BIG + 5
    else:
        with pytest.raises(FileChanged, match="d/big"):
            download.run()
        assert here(tmp_path / "out") == {"d/other": b"other"}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> int:
    for where in ("volumes.base", "volumes.folder", "transfer.partial_file"):
        monkeypatch.setattr(f"runner.{where}.BLOCK", 4096)
    return 4096


def test_a_change_that_one_of_eight_threads_sees_is_never_lost_to_another_that_looks_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_blocks: int
) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "big").write_bytes(noise(200 * small_blocks))
    changes, others = [40], threading.Event()
    block, bring, forget = FolderBlockReader.block, PartialFile.fetch_block, PartialFile.discard

    def changed_once(source: FolderBlockReader, number: int) -> bytes:
        if number in changes:
            changes.clear()
            raise FileChanged("changed", "again")
        return block(source, number)

    def noted(part: PartialFile, number: int) -> object:
        if part._dead:
            # Whoever comes now has been here before, and did with it what it would.
            others.set()
        return bring(part, number)

    def late(part: PartialFile, *, gone: bool = False) -> None:
        if not gone:
            others.wait(5)
        forget(part, gone=gone)

    monkeypatch.setattr(FolderBlockReader, "block", changed_once)
    monkeypatch.setattr(PartialFile, "fetch_block", noted)
    monkeypatch.setattr(PartialFile, "discard", late)
    volume = FolderVolume(str(tmp_path / "v"))
    download = Download(volume, list_files(volume, "big"), tmp_path / "out", workers=8)
    assert download.run() is End.WHOLE and others.is_set()
    assert (tmp_path / "out" / "big").read_bytes() == noise(200 * small_blocks)
    assert download.progress.bytes_done == download.progress.bytes


def test_the_damage_that_the_last_thread_finds_is_never_lost_to_another_that_looks_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_blocks: int
) -> None:
    (tmp_path / "v").mkdir()
    with zipfile.ZipFile(tmp_path / "v" / "model.pt", "w") as archive:
        archive.writestr("m/data/0", noise(8 * small_blocks))
    data = bytearray((tmp_path / "v" / "model.pt").read_bytes())
    data[5 * small_blocks] ^= 1
    (tmp_path / "v" / "model.pt").write_bytes(data)
    judging, bring, judge = threading.Event(), PartialFile.fetch_block, crcs_match

    def held(part: PartialFile, number: int) -> object:
        brought = bring(part, number)
        judging.wait(0.5)
        return brought

    def slowly(path: Path) -> bool:
        judging.set()
        time.sleep(0.3)
        return judge(path)

    monkeypatch.setattr(FolderBlockReader, "verified", False)
    monkeypatch.setattr(PartialFile, "fetch_block", held)
    monkeypatch.setattr("runner.transfer.partial_file.crcs_match", slowly)
    volume = FolderVolume(str(tmp_path / "v"))
    download = Download(volume, list_files(volume, "model.pt"), tmp_path / "out", workers=8)
    assert download.run() is End.WHOLE
    assert len(download.warnings) == 1 and "damaged" in download.warnings[0]


def test_a_file_that_is_removed_from_the_volume_meanwhile_is_told_and_the_others_come(
    place: Place, store: Path, tmp_path: Path
) -> None:
    files = fill(store)
    items = list_files(place.volume(), "runs/a")
    (store / "runs" / "a" / "ck" / "model.pt").unlink()
    download = Download(place.volume(), items, tmp_path / "out")
    assert download.run() is End.WHOLE and download.warnings == ["runs/a/ck/model.pt has been removed from the volume"]
    assert len(here(tmp_path / "out")) == len(files) - 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_is_told_by_the_file_that_is_waited_for_and_the_download_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_blocks: int, code: int
) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "big").write_bytes(noise(20 * small_blocks))
    volume, out = FolderVolume(str(tmp_path / "v")), tmp_path / "out"
    pwrite, room = os.pwrite, [7]

    def refusing(fd: int, data: bytes, offset: int) -> int:
        if not room[0]:
            raise OSError(code, os.strerror(code))
        room[0] -= 1
        return pwrite(fd, data, offset)

    monkeypatch.setattr("runner.transfer.partial_file.os.pwrite", refusing)
    monkeypatch.setattr("runner.transfer.partial_file.os.fsync", lambda fd: refusing(fd, b"", 0))
    with pytest.raises(Unreachable) as told:
        Download(volume, list_files(volume, "big"), out).run()
    assert str(out / "big") in told.value.what and os.strerror(code) in told.value.what
    assert "the same command goes on" in told.value.hint and PARTS_FOLDER not in str(told.value)
    monkeypatch.undo()


def test_a_folder_that_vanishes_under_a_download_is_told_by_the_file_that_is_waited_for(
    tmp_path: Path, small_blocks: int
) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "big").write_bytes(noise(20 * small_blocks))
    volume, out = FolderVolume(str(tmp_path / "v")), tmp_path / "out"
    download = Download(volume, list_files(volume, "big"), out, workers=1)
    changing(download, lambda: shutil.rmtree(out, ignore_errors=True))
    with pytest.raises(Unreachable, match="out/big cannot be written"):
        download.run()


def test_a_journal_that_ends_in_half_a_number_never_makes_a_block_count_that_has_not_come(
    tmp_path: Path, small_blocks: int
) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "big").write_bytes(noise(20 * small_blocks))
    volume, out = FolderVolume(str(tmp_path / "v")), tmp_path / "out"
    item = list_files(volume, "big")[0]
    first = PartialFile(volume, item, DestinationJournal(out, volume.location), lambda *a: None)
    first.fetch_block(0)
    first.close()
    journal = part_path(out, item).with_suffix(".journal")
    with journal.open("ab") as cut:
        cut.write(b"1")
    second = PartialFile(volume, item, DestinationJournal(out, volume.location), lambda *a: None)
    second.fetch_block(2)
    second.close()
    assert PartialFile(volume, item, DestinationJournal(out, volume.location), lambda *a: None).wanted == [
        1,
        *range(3, 20),
    ]


def test_a_log_that_grows_while_it_is_read_comes_as_it_was_and_is_replaced_by_a_longer_one(
    place: Place, store: Path, tmp_path: Path
) -> None:
    (store / "log").write_bytes(noise(BIG))
    download = Download(place.volume(), list_files(place.volume(), "log"), tmp_path / "out", workers=1)

    def grow() -> None:
        with (store / "log").open("ab") as log:
            log.write(b"more")

    changing(download, grow)
    assert download.run() is End.WHOLE and (tmp_path / "out" / "log").read_bytes() == noise(BIG)
    assert Download(place.volume(), list_files(place.volume(), "log"), tmp_path / "out").run() is End.WHOLE
    assert (tmp_path / "out" / "log").read_bytes() == (store / "log").read_bytes()


def test_two_downloads_of_one_file_do_not_spoil_each_other(place: Place, store: Path, tmp_path: Path) -> None:
    (store / "big").write_bytes(noise(BIG))
    items = list_files(place.volume(), "big")
    first = Download(place.volume(), items, tmp_path, workers=1)
    seen: list[str] = []

    def second() -> None:
        if not seen:
            seen.append("")
            with pytest.raises(NanochatError, match="being brought to this folder already"):
                Download(place.volume(), items, tmp_path).run()
            seen.append("refused")

    changing(first, second)
    assert first.run() is End.WHOLE and seen == ["", "refused"]
    assert (tmp_path / "big").read_bytes() == noise(BIG)


def test_an_error_that_nobody_thought_of_is_no_success(
    place: Place, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    monkeypatch.setattr("runner.transfer.partial_file._write_all", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Download(place.volume(), list_files(place.volume(), "runs/a"), tmp_path / "out").run()
    (tmp_path / "x").write_text("x")
    monkeypatch.setattr(type(place.volume()), "put", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        upload.upload(place.volume(), upload.plan_upload(tmp_path / "x", "x")[0])


def test_a_part_of_another_file_is_never_gone_on_with(place: Place, store: Path, tmp_path: Path) -> None:
    (store / "big").write_bytes(noise(BIG))
    item = list_files(place.volume(), "big")[0]
    part = part_path(tmp_path, item)
    for journal in (b"", b"{}\n0 1 2 3\n", b"\xff" * 50, b"0 1 2"):
        part.parent.mkdir()
        part.write_bytes(bytes(BIG))
        part.with_suffix(".journal").write_bytes(journal)
        assert Download(place.volume(), [item], tmp_path, overwrite=True).run() is End.WHOLE
        assert (tmp_path / "big").read_bytes() == noise(BIG)
        (tmp_path / "big").unlink()


def test_a_full_disk_is_noticed_before_anything_is_brought(
    place: Place, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "big").write_bytes(noise(BIG))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(BIG, 0, BIG))
    with pytest.raises(UsageError, match="free in"):
        Download(place.volume(), list_files(place.volume(), "big"), tmp_path / "out").run()
    assert here(tmp_path / "out") == {}


def test_a_folder_that_is_a_link_out_of_the_chosen_one_is_not_written_through(
    place: Place, store: Path, tmp_path: Path
) -> None:
    fill(store)
    (tmp_path / "out").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "outside")
    with pytest.raises(UsageError, match="leads out"):
        Download(place.volume(), list_files(place.volume(), "runs/a"), tmp_path / "out", overwrite=True).run()
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_broken_line_an_expired_address_and_a_wrong_bit_are_asked_for_again(
    place: Place, store: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if place.backend == "local":
        pytest.skip("a disk has no lines")
    cloud: Cloud = request.getfixturevalue("cloud")
    (store / "big").write_bytes(noise(BIG))
    for trouble in ({"refuse_block": 2}, {"garble_block": 2}):
        cloud.knobs(**trouble)
        assert Download(place.volume(), list_files(place.volume(), "big"), tmp_path).run() is End.WHOLE
        assert (tmp_path / "big").read_bytes() == noise(BIG)
        (tmp_path / "big").unlink()
        cloud.well()
    cloud.knobs(cut_blocks_after=2)
    with pytest.raises(Unreachable, match="goes on from here"):
        Download(place.volume(), list_files(place.volume(), "big"), tmp_path, workers=1).run()
    cloud.well()
    rest = Download(place.volume(), list_files(place.volume(), "big"), tmp_path)
    assert rest.run() is End.WHOLE and (tmp_path / "big").read_bytes() == noise(BIG)
    assert rest.progress.bytes_read == BIG - 2 * BLOCK, "what came before the cut is not read again"


def test_a_damaged_checkpoint_is_noticed_also_where_the_store_gives_no_digest(
    place: Place, store: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if place.backend == "local":
        pytest.skip("nothing is damaged on the way from disk to disk")
    cloud: Cloud = request.getfixturevalue("cloud")
    with zipfile.ZipFile(store / "model.pt", "w") as archive:
        archive.writestr("m/data/0", noise(100_000))
    data = bytearray((store / "model.pt").read_bytes())
    data[5000] ^= 1
    (store / "model.pt").write_bytes(data)
    cloud.knobs(digests=False)
    download = Download(place.volume(), list_files(place.volume(), "model.pt"), tmp_path / "out")
    assert download.run() is End.WHOLE and "damaged" in download.warnings[0]


def test_a_volume_that_is_deleted_under_a_download_is_said_to_be_gone_and_is_found_when_made_anew(
    place: Place, store: Path, tmp_path: Path
) -> None:
    fill(store)
    volume = place.volume()
    items = list_files(volume, "runs/a")
    place.lose()
    with pytest.raises(Unreachable):
        Download(volume, items, tmp_path / "out").run()
    with pytest.raises(Unreachable):
        list(volume.scan("", deep=True))
    place.fleet.backend(place.backend).make_volume(place.location)
    assert [e for batch in volume.scan("", deep=True) for e in batch] == []


def test_a_run_goes_to_a_folder_of_its_name() -> None:
    entries = [Entry("runs/a/log", False, 1, 0.0), Entry("runs/a/x", True, 0, 0.0)]
    assert [i.target for i in plan_download(entries, "runs/a")] == ["a/log"]
    assert [i.target for i in plan_download(entries, "")] == ["runs/a/log"]
    assert [i.target for i in plan_download(entries, "runs/a", "my-run")] == ["my-run/log"]
