"""Files that a person saves: new and whole, or not there; whatever came to their names meanwhile is kept."""

import os
from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.system.new_files import new_files, whole_files
from runner.text.filenames import BROUGHT, PARTS_FOLDER
from runner.transfer.upload import exists, plan_upload, unsent, upload
from runner.volumes.folder import FolderVolume
from tests.like_vfat import like_vfat
from tests.place import Place


def test_a_file_that_appears_under_the_name_while_it_is_written_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "curves.csv"
    with pytest.raises(FileExistsError) as told, whole_files([target]) as (new,):
        new.file.write(b"ours")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs" and told.value.filename == str(target)
    assert [p.name for p in tmp_path.iterdir()] == ["curves.csv"]


def test_a_link_that_leads_nowhere_has_its_name_too(tmp_path: Path) -> None:
    (tmp_path / "a.log").symlink_to(tmp_path / "nowhere")
    with new_files(lambda n: [tmp_path / ("a.log" if n == 1 else f"a.{n}.log")]) as (new,):
        new.file.write(b"x")
    assert (tmp_path / "a.2.log").read_bytes() == b"x" and not (tmp_path / "nowhere").exists()


def test_a_report_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    with whole_files([tmp_path / "report"], 0o600) as (new,):
        new.file.write(b"x")
    assert (tmp_path / "report").stat().st_mode & 0o777 == 0o600


def test_a_volume_that_ignores_case_loses_no_file_to_another_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = FolderVolume(str(tmp_path / "v"))
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "log").write_bytes(b"theirs")
    (tmp_path / "Log").write_bytes(b"mine")
    like_vfat(tmp_path / "v", monkeypatch.setattr)
    sendings, _ = plan_upload(tmp_path / "Log", "Log")
    assert unsent(volume, sendings) == (sendings, ["Log"]) and exists(volume, "LOG") and not exists(volume, "other")
    with pytest.raises(FileExistsError):
        volume.put(tmp_path / "Log", "Log", lambda n: None, over=False)
    assert (tmp_path / "v" / "log").read_bytes() == b"theirs"


def test_what_a_download_has_put_down_for_itself_is_not_sent(tmp_path: Path) -> None:
    for name in (BROUGHT, f"{PARTS_FOLDER}/x", "a"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(b"")
    sendings, left_out = plan_upload(tmp_path / "f", "to")
    assert [s.path for s in sendings] == ["to/a"] and left_out == []
    assert os.fspath(sendings[0].origin).endswith("/a")


def test_what_came_to_a_name_while_it_was_sent_is_not_written_over(place: Place, store: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"mine")
    sendings, _ = plan_upload(tmp_path / "x", "x")
    assert unsent(place.volume(), sendings) == (sendings, [])
    (store / "x").write_bytes(b"theirs")
    with pytest.raises(UsageError, match="x is there already: --force"):
        upload(place.volume(), sendings)
    assert (store / "x").read_bytes() == b"theirs" and len(list(store.iterdir())) == 1
    upload(place.volume(), sendings, over=True)
    assert (store / "x").read_bytes() == b"mine"
