"""Uploads to both kinds of volume: whole, stopped, gone on with, and nothing written over."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import UsageError
from runner.transfer import upload
from runner.transfer.download import TransferProgress
from runner.volumes.base import BLOCK
from runner.volumes.folder import FolderVolume
from tests.noise import BIG, noise
from tests.place import Place


@pytest.mark.parametrize("what", ["the volume", "what is sent"])
def test_an_upload_that_a_disk_refuses_names_the_file_that_it_is_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "x").write_bytes(noise(100))
    volume = FolderVolume(str(tmp_path / "v"))

    def refused(*a: object) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    class Broken(io.BytesIO):
        read = write = refused

    opened = Path.open
    if what == "what is sent":
        monkeypatch.setattr(Path, "open", lambda path, *a, **k: Broken() if path.name == "x" else opened(path, *a, **k))
    else:
        monkeypatch.setattr(os, "fdopen", lambda fd, mode: os.close(fd) or Broken())
    with pytest.raises(OSError) as told:
        upload.upload(volume, upload.plan_upload(tmp_path / "x", "to/y")[0])
    assert told.value.filename == str(tmp_path / ("x" if what == "what is sent" else "v/to/y"))


def test_a_folder_is_sent_whole_and_what_is_no_file_is_told(place: Place, store: Path, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    (origin / "sub").mkdir(parents=True)
    (origin / "sub" / "big").write_bytes(noise(BIG))
    (origin / "a").write_bytes(b"a")
    (origin / "link").symlink_to("a")
    os.mkfifo(origin / "pipe")
    sendings, left_out = upload.plan_upload(origin, "to/here")
    assert sorted(p.name for p in left_out) == ["link", "pipe"]
    told: list[TransferProgress] = []
    upload.upload(place.volume(), sendings, told=told.append)
    assert place.volume().read("to/here/sub/big") == noise(BIG) and place.volume().read("to/here/a") == b"a"
    assert (told[-1].files_done, told[-1].bytes_done) == (2, BIG + 1)
    assert upload.unsent(place.volume(), sendings) == ([], [])
    for odd in (origin / "pipe", Path("/dev/zero")):
        with pytest.raises(UsageError, match="neither file nor folder"):
            upload.plan_upload(odd, "x")


def test_a_file_that_is_sent_a_second_time_is_never_told_as_more_than_it_is(tmp_path: Path) -> None:
    class Twice(FolderVolume):
        def put(self, origin: Path, path: str, told: Callable[[int], None], *, over: bool) -> None:
            told(60)
            super().put(origin, path, told, over=over)

    (tmp_path / "v").mkdir()
    (tmp_path / "x").write_bytes(noise(100))
    told: list[int] = []
    sendings = upload.plan_upload(tmp_path / "x", "x")[0]
    upload.upload(Twice(str(tmp_path / "v")), sendings, told=lambda p: told.append(p.bytes_done))
    assert max(told) == told[-1] == 100


def test_a_file_that_is_stopped_on_its_way_leaves_nothing_on_the_volume(
    place: Place, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(noise(BIG, seed=77))
    came: list[int] = []
    with pytest.raises(upload.UploadStopped):
        upload.upload(
            place.volume(),
            upload.plan_upload(tmp_path / "big", "big")[0],
            told=lambda p: came.append(p.bytes_done),
            stopped=lambda: bool(came),
        )
    assert place.volume().list("") == [] and list(store.iterdir()) == []


def test_an_upload_that_was_cut_goes_on_and_nothing_else_of_that_name_is_written_over(
    place: Place, store: Path, tmp_path: Path
) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    for name, data in (("a", noise(BIG)), ("b", b"two"), ("c", b""), ("d", noise(BIG, seed=3))):
        (origin / name).write_bytes(data)
    sendings = upload.plan_upload(origin, "to")[0]
    upload.upload(place.volume(), sendings[:3])
    left, there = upload.unsent(place.volume(), sendings)
    assert ([s.path for s in left], there) == (["to/d"], [])
    upload.upload(place.volume(), left)
    assert upload.unsent(place.volume(), sendings) == ([], [])
    changed = bytearray(noise(BIG))
    changed[BLOCK + 1] ^= 1
    (origin / "a").write_bytes(changed)
    (origin / "b").write_bytes(b"other")
    again = upload.plan_upload(origin, "to")[0]
    assert upload.unsent(place.volume(), again) == ([s for s in again if s.path in ("to/a", "to/b")], ["to/a", "to/b"])
    with pytest.raises(upload.UploadStopped):
        upload.unsent(place.volume(), sendings, stopped=lambda: True)


def test_what_is_no_file_is_in_the_way_of_an_upload_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    os.mkfifo(tmp_path / "v" / "x")
    (tmp_path / "x").touch()
    sendings = upload.plan_upload(tmp_path / "x", "x")[0]
    assert upload.unsent(FolderVolume(str(tmp_path / "v")), sendings) == (sendings, ["x"])
