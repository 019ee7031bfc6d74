"""What was compiled is kept between runs; whatever is wrong with it costs a compilation, never a run."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from runner.job.compile_cache import CompileCache


def published(cache: CompileCache) -> None:
    cache.publish_later()
    cache.close()


def test_what_one_run_compiled_the_next_one_has(tmp_path: Path) -> None:
    archive = tmp_path / "volume" / "d12.tar"
    first = CompileCache(tmp_path / "first", archive)
    assert first.restore() == ""
    for name, mode in (("torchinductor_cache_dir/ab/k.py", 0o644), ("triton_cache_dir/x.so", 0o755)):
        path = first.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.chmod(mode)
    published(first)
    second = CompileCache(tmp_path / "second", archive)
    assert second.restore() == "[COMPILE] 2 files compiled by an earlier run"
    assert (second.folder / "triton_cache_dir/x.so").read_text() == "triton_cache_dir/x.so"
    assert (second.folder / "triton_cache_dir/x.so").stat().st_mode & 0o777 == 0o755
    before = archive.stat().st_mtime_ns
    published(second)
    assert archive.stat().st_mtime_ns == before, "nothing new is not written again"


@pytest.mark.parametrize("name", ["../out", "/abs", "a/../../out"])
def test_an_archive_that_leads_out_of_the_folder_is_not_unpacked(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    cache = CompileCache(tmp_path / "deep" / "cache", tmp_path / "bad.tar")
    assert "leads out" in cache.restore()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "bad.tar"]


def test_links_are_not_followed_and_a_cut_archive_is_not_used(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    cache = CompileCache(tmp_path / "one", tmp_path / "link.tar")
    cache.restore()
    assert not list(cache.folder.iterdir())
    (tmp_path / "cut.tar").write_bytes(b"x" * 700)
    assert "cannot be used" in CompileCache(tmp_path / "two", tmp_path / "cut.tar").restore()


def test_a_volume_that_is_full_costs_nothing_but_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = CompileCache(tmp_path / "cache", tmp_path / "file" / "d12.tar")
    cache.restore()
    (cache.folder / "k").write_text("k")
    published(cache)
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_archive_that_a_killed_container_left_half_goes_with_the_next_but_not_one_under_way(tmp_path: Path) -> None:
    old, new = tmp_path / ".d12.tar.1", tmp_path / ".d12.tar.2"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1.0, 1.0))
    CompileCache(tmp_path / "work", tmp_path / "d12.tar").restore()
    assert not old.exists() and new.exists()
