"""A folder becomes one archive: the same code the same one, a changed one never the old one."""

import gzip
import hashlib
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.source import pack as packing
from runner.source.code_files import CodeFile, files_of
from runner.source.difference import archive_files
from runner.source.pack import Packed, pack
from runner.source.unpack import unpack
from tests.disk import full_at
from tests.modal_cloud import ROOT

FILES = {
    "README.md": b"# nanochat\n",
    "nanochat/gpt.py": b"import torch\n",
    "nanochat/empty.py": b"",
    "runs/speedrun.sh": b"#!/bin/bash\n",
    "deep/" + "n" * 200 + "/" + "m" * 120 + ".txt": b"a long name\n",
    "data\udcff.bin": bytes(range(256)) * 9,
    "two\nlines": b"1",
    "ünï.txt": "ü".encode(),
}
# What is in an archive decides its address, on every machine, in every release: runs name their code by it.
GOLDEN = "a7740ce7eb7ffd8375f9df42b64c9e56cbfcd020277541cab66e32564c17dd75"


def tree(folder: Path, names: list[str] | None = None) -> Path:
    """The files above, written in this order, with links."""
    for name in names or list(FILES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FILES[name])
    (folder / "runs/speedrun.sh").chmod(0o755)
    (folder / "runs/link").symlink_to("../nanochat/gpt.py")
    (folder / ("l" * 110)).symlink_to("deep/" + "n" * 200)
    return folder


def aged(folder: Path, seconds: float = 100.0, *, include_secrets: bool = False) -> None:
    """Let a folder's archive be older than any doubt: what is remembered of it was made so much later."""
    real = time.time_ns
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time_ns", lambda: real() + int(seconds * 1e9))
        pack(folder, folder.parent / "cache", include_secrets=include_secrets)


def test_the_address_of_known_content_never_changes(tmp_path: Path) -> None:
    assert pack(tree(tmp_path / "a"), tmp_path / "cache").sha256 == GOLDEN


def test_order_times_modes_owner_and_place_make_no_other_archive(tmp_path: Path) -> None:
    first = pack(tree(tmp_path / "a"), tmp_path / "cache")
    names = list(FILES)
    random.Random(1).shuffle(names)
    before = os.umask(0o077)
    try:
        other = tree(tmp_path / "else" / "where", names)
    finally:
        os.umask(before)
    for path in other.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    (other / "runs/speedrun.sh").chmod(0o700)
    (other / "README.md").chmod(0o606)
    if os.getuid() == 0:
        os.chown(other / "README.md", 12345, 12345)
    second = pack(other, tmp_path / "cache2")
    assert second.sha256 == first.sha256
    assert second.path.read_bytes() == first.path.read_bytes()
    assert hashlib.sha256(gzip.decompress(first.path.read_bytes())).hexdigest() == first.sha256
    assert (first.files, first.bytes) == (len(FILES) + 2, sum(map(len, FILES.values())))


@pytest.mark.parametrize("change", ["content", "name", "executable", "target", "new", "gone"])
def test_any_change_of_code_is_another_archive(tmp_path: Path, change: str) -> None:
    folder = tree(tmp_path / "a")
    first = pack(folder, tmp_path / "cache")
    if change == "content":
        (folder / "README.md").write_bytes(b"# nanochaT\n")
    elif change == "name":
        (folder / "README.md").rename(folder / "README.txt")
    elif change == "executable":
        (folder / "README.md").chmod(0o755)
    elif change == "target":
        (folder / "runs/link").unlink()
        (folder / "runs/link").symlink_to("../README.md")
    elif change == "new":
        (folder / "new.py").touch()
    else:
        (folder / "README.md").unlink()
    assert pack(folder, tmp_path / "cache").sha256 != first.sha256


def test_other_tools_read_the_archive(tmp_path: Path) -> None:
    packed = pack(tree(tmp_path / "a"), tmp_path / "cache")
    with tarfile.open(packed.path, errors="surrogateescape") as archive:
        found = {member.name: member for member in archive}
        assert {n for n, m in found.items() if m.isfile()} == set(FILES)
        assert all(m.mtime == m.uid == m.gid == 0 and m.uname == "" for m in found.values())
        assert {m.mode for m in found.values() if m.isfile()} == {0o644, 0o755}
        assert found["runs/link"].linkname == "../nanochat/gpt.py"
        for name, data in FILES.items():
            file = archive.extractfile(name)
            assert file and file.read() == data
    subprocess.run(["tar", "-tzf", packed.path], check=True, capture_output=True)


def test_what_is_packed_comes_out_the_same(tmp_path: Path) -> None:
    packed = pack(tree(tmp_path / "a"), tmp_path / "cache")
    unpack(packed.path, tmp_path / "out", packed.sha256)
    assert pack(tmp_path / "out", tmp_path / "cache2").sha256 == packed.sha256
    assert (tmp_path / "out/runs/speedrun.sh").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out/runs/link").read_bytes() == b"import torch\n"


def test_an_unchanged_folder_is_known_without_reading_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tree(tmp_path / "a")
    aged(folder)
    monkeypatch.setattr(packing, "_read", lambda *_: pytest.fail("a file was read"))
    assert pack(folder, tmp_path / "cache").sha256 == GOLDEN


def test_a_change_that_leaves_size_and_time_as_they_were_is_seen(tmp_path: Path) -> None:
    folder = tree(tmp_path / "a")
    aged(folder)
    path = folder / "README.md"
    before = path.stat()
    path.write_bytes(b"# nanochaT\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert pack(folder, tmp_path / "cache").sha256 != GOLDEN


def test_a_change_within_the_tick_of_the_clock_in_which_the_archive_was_made_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tree(tmp_path / "a")
    path = folder / "README.md"
    # A disk whose times are whole seconds, and on which the file has been written twice in one.
    monkeypatch.setattr("runner.source.pack.entry_of", lambda name, found, target="": coarse(name, found, target))
    monkeypatch.setattr("runner.source.code_files.entry_of", lambda name, found, target="": coarse(name, found, target))
    first = pack(folder, tmp_path / "cache")
    path.write_bytes(b"# nanochaT\n")
    assert pack(folder, tmp_path / "cache").sha256 != first.sha256


def coarse(name: str, found: os.stat_result, target: str) -> CodeFile:
    second = 1_000_000_000
    return CodeFile(
        name, found.st_size, found.st_mtime_ns // second * second, found.st_ctime_ns // second * second,
        found.st_ino, found.st_mode, target,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["removed", "cut", "index damaged", "index empty"])
def test_a_cache_that_has_lost_something_is_made_whole(tmp_path: Path, how: str) -> None:
    folder = tree(tmp_path / "a")
    aged(folder)
    packed = pack(folder, tmp_path / "cache")
    whole = packed.path.read_bytes()
    [index] = (tmp_path / "cache/known").iterdir()
    if how == "removed":
        packed.path.unlink()
    elif how == "cut":
        packed.path.write_bytes(whole[:-9])
    else:
        index.write_bytes(b"{" if how == "index damaged" else b"")
    assert pack(folder, tmp_path / "cache") == packed
    assert packed.path.read_bytes() == whole


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tree(tmp_path / "a")
    real, times = os.read, 3

    def read(fd: int, most: int) -> bytes:
        nonlocal times
        data = real(fd, most)
        if data == FILES["README.md"] and times:
            times -= 1
            with (folder / "README.md").open("r+b") as file:
                file.write(b"#")
            os.utime(folder / "README.md", ns=(0, times))
        return data

    monkeypatch.setattr(os, "read", read)
    with pytest.raises(UsageError, match=r"README.md changes while it is read: stop what writes it"):
        pack(folder, tmp_path / "cache")
    assert times == 0 and not list((tmp_path / "cache").iterdir())
    times = 2
    assert pack(folder, tmp_path / "cache").sha256 == GOLDEN


def test_a_file_that_grows_without_end_and_one_that_goes_away_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tree(tmp_path / "a")
    listing = files_of(folder)
    (folder / "README.md").unlink()
    monkeypatch.setattr(packing, "files_of", lambda _: listing)
    with pytest.raises(UsageError, match=r"README.md cannot be read"):
        pack(folder, tmp_path / "cache")
    (folder / "README.md").symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match=r"README.md cannot be read"):
        pack(folder, tmp_path / "cache")
    (folder / "README.md").unlink()
    os.mkfifo(folder / "README.md")
    with pytest.raises(UsageError, match=r"README.md changes while it is read"):
        pack(folder, tmp_path / "cache")


def test_data_among_the_code_is_refused_with_the_largest_files(tmp_path: Path) -> None:
    folder = tree(tmp_path / "a")
    for n in range(12):
        with (folder / f"shard_{n:02d}").open("wb") as file:
            file.truncate((n + 1) * 1_000_000)
    with pytest.raises(UsageError) as caught:
        pack(folder, tmp_path / "cache")
    assert "78.0 MB of files, more than 50 MB" in caught.value.what
    assert "shard_11 (12.0 MB), shard_10 (11.0 MB)" in caught.value.hint and "shard_01" not in caught.value.hint
    assert not (tmp_path / "cache").exists()


def test_secrets_are_refused_together_by_name_and_never_shown(tmp_path: Path) -> None:
    folder = tree(tmp_path / "a")
    token = "hf_" + "QvRtKsWzPmLnXyHgJdFbCqTaNeUoIiBkGh"
    (folder / ".env").write_text(f"HF_TOKEN={token}\n")
    (folder / "notes.txt").write_text(f"mine: {token}\n")
    with pytest.raises(UsageError) as caught:
        pack(folder, tmp_path / "cache")
    assert "look like secrets: .env (" in caught.value.what and "notes.txt (holds a token" in caught.value.what
    assert ".gitignore" in caught.value.hint and "--include-secrets" in caught.value.hint
    assert token not in str(caught.value) and not list((tmp_path / "cache").glob("*"))


def test_a_folder_packed_with_its_secrets_once_is_refused_without_the_word_all_the_same(tmp_path: Path) -> None:
    folder = tree(tmp_path / "a")
    (folder / "id_rsa").touch()
    first = pack(folder, tmp_path / "cache", include_secrets=True)
    assert "id_rsa" in archive_files(first.path)
    aged(folder, include_secrets=True)
    with pytest.raises(UsageError, match="looks like a secret: id_rsa"):
        pack(folder, tmp_path / "cache")
    assert pack(folder, tmp_path / "cache", include_secrets=True).sha256 == first.sha256


def test_a_disk_that_is_full_leaves_nothing_and_the_error_names_the_cache(tmp_path: Path) -> None:
    folder = tree(tmp_path / "a")
    (folder / "noise").write_bytes(random.Random(1).randbytes(3_000_000))
    for size in (0, 5_000, 2_000_000):
        with full_at(size), pytest.raises(OSError, match="too large") as caught:
            pack(folder, tmp_path / "cache")
        assert caught.value.filename == str(tmp_path / "cache")
        assert not list((tmp_path / "cache").iterdir())
    assert pack(folder, tmp_path / "cache").path.exists()


def test_two_at_once_make_the_same_archive(tmp_path: Path) -> None:
    folder, found = tree(tmp_path / "a"), list[Packed]()
    threads = [threading.Thread(target=lambda: found.append(pack(folder, tmp_path / "cache"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {packed.sha256 for packed in found} == {GOLDEN}
    assert len(list((tmp_path / "cache").glob("*.tar.gz"))) == 1
    assert archive_files(found[0].path)["README.md"] == FILES["README.md"]


KILLED = """
import os, signal, sys
from pathlib import Path
from runner.source.pack import pack
from runner.source import known, secrets
secrets.by_content(b"")
left = int(sys.argv[3])
def count(event, words):
    global left
    if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.link"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
pack(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_whoever_is_killed_anywhere_leaves_no_half_archive_and_the_next_one_works(tmp_path: Path) -> None:
    folder = tree(tmp_path / "a")
    cache = tmp_path / "cache"
    points = [*random.Random(3).sample(range(1, 36), 5), *range(36, 44)]
    killed = 0
    for point in points:
        argv = [sys.executable, "-c", KILLED, str(folder), str(cache), str(point)]
        done = subprocess.run(argv, cwd=ROOT, check=False, capture_output=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        killed += done.returncode != 0
        for archive in cache.glob("*.tar.gz"):
            assert hashlib.sha256(gzip.decompress(archive.read_bytes())).hexdigest() == archive.name[:64]
    assert killed > len(points) // 2
    assert pack(folder, cache).sha256 == GOLDEN
    left = list(cache.glob(".new-*"))
    assert left
    for path in left:
        os.utime(path, (1, 1))
    (folder / "new.py").touch()
    pack(folder, cache)
    assert not list(cache.glob(".new-*"))
