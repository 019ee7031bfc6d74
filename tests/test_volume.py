"""The Volume contract, over a folder: whole files, and no way out."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import Unreachable, UsageError
from runner.volumes.folder import FolderVolume
from runner.volumes.holdings import inventory
from runner.volumes.run_records import check_engine, read_run, runs_on


@pytest.fixture
def volume(tmp_path: Path) -> FolderVolume:
    (tmp_path / "v").mkdir()
    (tmp_path / "secret").write_text("outside")
    return FolderVolume(str(tmp_path / "v"))


def test_what_is_written_is_listed_and_read_back_in_parts(volume: FolderVolume) -> None:
    volume.write("runs/a/log", b"0123456789")
    volume.write("x", b"1")
    assert [(e.path, e.is_dir, e.bytes) for e in volume.list("")] == [("runs", True, 0), ("x", False, 1)]
    assert [e.path for e in volume.list("runs/a")] == ["runs/a/log"]
    assert [volume.read("runs/a/log", o, n) for o, n in ((0, None), (2, 3), (-4, None), (-400, 2), (50, 2))] == [
        b"0123456789", b"234", b"6789", b"01", b"",
    ]  # fmt: skip


def test_a_rewrite_is_all_or_nothing_and_leaves_no_scrap(volume: FolderVolume) -> None:
    volume.write("a", b"old")
    volume.write("a", b"new")
    assert volume.read("a") == b"new" and len(volume.list("")) == 1


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../secret", "link", "dir-link/secret", "a\0b"])
def test_no_path_leaves_the_volume(volume: FolderVolume, path: str) -> None:
    root = Path(volume.location)
    (root / "link").symlink_to(root.parent / "secret")
    (root / "dir-link").symlink_to(root.parent)
    for act in (lambda: volume.read(path), lambda: volume.remove(path), lambda: volume.write(path, b"x")):
        with pytest.raises(FileNotFoundError):
            act()
    assert (root.parent / "secret").read_text() == "outside"


@given(st.text(max_size=40))
def test_any_path_is_inside_or_an_error(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    root = tmp_path_factory.getbasetemp() / "any-path"
    root.mkdir(exist_ok=True)
    volume = FolderVolume(str(root))
    with contextlib.suppress(FileNotFoundError, ValueError, OSError, UnicodeError):
        assert volume.path(path).resolve().is_relative_to(root.resolve())


def test_removing_a_folder_takes_its_links_but_not_what_they_point_to(volume: FolderVolume) -> None:
    root = Path(volume.location)
    volume.write("d/f", b"x")
    (root / "d" / "out").symlink_to(root.parent / "secret")
    volume.remove("d")
    assert not (root / "d").exists() and (root.parent / "secret").exists()


def test_a_volume_that_is_gone_says_so_and_is_not_made_again(volume: FolderVolume) -> None:
    Path(volume.location).rmdir()
    for act in (lambda: volume.list(""), lambda: volume.write("a", b""), lambda: inventory(volume, "nanochat")):
        with pytest.raises(Unreachable, match="is gone"):
            act()
    assert not Path(volume.location).exists()


def test_made_up_data_never_meets_the_real_engine(volume: FolderVolume) -> None:
    check_engine(volume, "rehearsal")
    check_engine(volume, "rehearsal")
    with pytest.raises(UsageError, match="rehearsal engine"):
        check_engine(volume, "nanochat")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"id": 1}', b"\xff\xfe", b'{"id":"x"}' * 3])
def test_a_damaged_record_is_no_run_and_no_crash(volume: FolderVolume, data: bytes) -> None:
    volume.write("runs/r/run.json", data)
    assert read_run(volume, "r") is None and runs_on(volume) == []


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"engine": 1}'])
def test_a_damaged_marker_is_an_error_that_says_what_to_do(volume: FolderVolume, data: bytes) -> None:
    volume.write("volume.json", data)
    with pytest.raises(UsageError, match="remove it"):
        check_engine(volume, "nanochat")
