"""An archive from anywhere becomes a folder only as a whole, only if it is the right one, and reaches nothing else."""

import contextlib
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.source import code_files, tar
from runner.source.difference import archive_files
from runner.source.limits import CODE, Limits
from runner.source.links import leading_out
from runner.source.pack import pack
from runner.source.unpack import BadArchive, unpack
from tests.disk import full_at
from tests.modal_cloud import ROOT


def info(name: str, kind: bytes = tarfile.REGTYPE, **more: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in more.items():
        setattr(made, field, value)
    return made


def archive(*entries: tarfile.TarInfo | tuple[str, bytes], end: bytes = tar.END) -> bytes:
    """A tar of these entries, as Python's own module writes them, also where it should not."""
    made = b""
    for entry in entries:
        head, data = (info(entry[0], size=len(entry[1])), entry[1]) if isinstance(entry, tuple) else (entry, b"")
        made += head.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + tar.padded(data)
    return made + end


def put(plain: bytes, target: Path, sha256: str | None = None, limits: Limits = CODE) -> None:
    packed = gzip.compress(plain) if limits.packed else plain
    unpack(io.BytesIO(packed), target, sha256 or hashlib.sha256(plain).hexdigest(), limits)


def link(name: str, target: str) -> tarfile.TarInfo:
    return info(name, tarfile.SYMTYPE, linkname=target)


def patched(plain: bytes, at: int, new: bytes) -> bytes:
    """An archive with other bytes in its first header, whose checksum is right."""
    block = bytearray(plain[: tar.BLOCK])
    block[at : at + len(new)] = new
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + plain[tar.BLOCK :]


HOSTILE = {
    "absolute": (archive(("/etc/x", b"")), "/etc/x is an absolute path"),
    "up": (archive(("../x", b"")), "leads out of the folder"),
    "up in the middle": (archive(("a/../../x", b"")), "leads out of the folder"),
    "a dot": (archive(("./x", b"")), "no name of a file"),
    "no name": (archive(("", b"")), "an empty name"),
    "two slashes": (archive(("a//x", b"")), "no name of a file"),
    "NUL": (patched(archive(("abc", b"")), 4, b"d"), "NUL"),
    "NUL in a long name": (archive(("a" * 150, b"")).replace(b"aaaa", b"aa\0a", 1), "NUL"),
    "hard link": (archive(("a", b"1"), info("b", tarfile.LNKTYPE, linkname="a")), "b is a hard link"),
    "hard link out": (archive(info("b", tarfile.LNKTYPE, linkname="/etc/passwd")), "b is a hard link"),
    "link out": (archive(link("b", "/etc")), "b is a link that leads out"),
    "link up": (archive(link("a/b", "../../x")), "a/b is a link that leads out"),
    "link through a link": (archive(link("c", "a/b/.."), ("a/x", b""), link("a/b", "..")), "leads out"),
    "link to itself": (archive(link("c", "c")), "leads out"),
    "links in a circle": (archive(link("a", "b"), link("b", "a")), "leads out"),
    "link in other letters": (archive(link("p", "."), link("q", "P/../x")), "leads out"),
    "link to nothing": (archive(link("c", "")), "a link to no path"),
    "file through a link": (archive(link("a", "b"), ("a/x", b"")), "inside of what is no folder"),
    "file through a file": (archive(("a", b""), ("a/b/x", b"")), "inside of what is no folder"),
    "file over a link": (archive(link("a", "b"), ("a", b"")), "a is there twice"),
    "link over a file": (archive(("a", b""), link("a", "b")), "a is there twice"),
    "file over a folder": (archive(("a/x", b""), ("a", b"")), "a is there twice"),
    "folder over a file": (archive(("a", b""), info("a", tarfile.DIRTYPE)), "a is there twice"),
    "twice": (archive(("a", b"1"), ("a", b"2")), "a is there twice"),
    "character device": (archive(info("d", tarfile.CHRTYPE)), "d is a device"),
    "block device": (archive(info("d", tarfile.BLKTYPE)), "d is a device"),
    "fifo": (archive(info("d", tarfile.FIFOTYPE)), "d is a fifo"),
    "sparse": (archive(info("d", tarfile.GNUTYPE_SPARSE)), "d is a sparse file"),
    "extended header": (archive(info("d", tarfile.XHDTYPE)), "d is an extended header"),
    "unknown kind": (archive(info("d", b"Z")), "d is of an unknown kind"),
    "long name": (archive(("a" * 256, b"")), "a name is too long"),
    "long path": (archive(("a/" * 501 + "x", b"")), "a name is too long"),
    "endless name": (archive(("a" * 100_000, b"")), "a name is too long"),
    "long target": (archive(link("a", "b/" * 600)), "a link to no path"),
    "too large": (archive(info("a", size=201_000_000)), "holds more than 200 MB"),
    "size of nonsense": (patched(archive(("a", b"")), 124, b"-1          "), "a header is damaged"),
    "size in binary": (patched(archive(("a", b"")), 124, b"\xff" * 12), "a header is damaged"),
    "link with bytes": (archive(info("a", tarfile.SYMTYPE, linkname="b", size=5)), "a header is damaged"),
    "checksum": (archive(("a", b"")).replace(b"0000644", b"0000645", 1), "a header is damaged"),
    "no end": (archive(("a", b"x"), end=b""), "is cut off"),
    "half an end": (archive(("a", b"x"), end=bytes(512)), "is cut off"),
    "cut in a file": (archive(("a", b"x" * 2000))[:1500], "is cut off"),
    "cut in a header": (archive(("a", b"x"))[:300], "is cut off"),
    "more after the end": (archive(("a", b"x")) + archive(("b", b"")), "goes on after its end"),
    "an end in two": (archive(("a", b""), end=bytes(512)) + archive(("b", b"")), "a header is damaged"),
    "nothing": (b"", "is cut off"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused_in_one_line_and_leaves_nothing(what: str, tmp_path: Path) -> None:
    plain, said = HOSTILE[what]
    with pytest.raises(BadArchive, match=said) as caught:
        put(plain, tmp_path / "in/out")
    with pytest.raises(BadArchive, match=said):
        put(plain, tmp_path / "in/out", limits=CODE._replace(packed=False))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1200
    assert not list((tmp_path / "in").iterdir()) and [p.name for p in tmp_path.iterdir()] == ["in"]
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(plain))
    with pytest.raises(BadArchive, match=said):
        archive_files(tmp_path / "a.tar.gz")


def test_too_many_files_and_too_many_folders_are_refused(tmp_path: Path) -> None:
    for entries in ([(f"f{n}", b"") for n in range(51)], [("/".join(f"{f}{n}" for n in range(30)), b"") for f in "ab"]):
        with pytest.raises(BadArchive, match="more than 50 files"):
            put(archive(*entries), tmp_path / "out", limits=CODE._replace(members=50))


def test_a_bomb_of_zeros_costs_neither_memory_nor_disk(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb", "wb", compresslevel=1) as file:
        file.write(info("a", size=19_000_000).tobuf(tarfile.GNU_FORMAT))
        for _ in range(4):
            file.write(bytes(10_000_000))
    assert (tmp_path / "bomb").stat().st_size < 300_000
    tracemalloc.start()
    with pytest.raises(BadArchive, match="more than 20 MB"):
        unpack(tmp_path / "bomb", tmp_path / "out", "0" * 64, CODE._replace(unpacked=20_000_000))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [path.name for path in tmp_path.iterdir()] == ["bomb"] and most < 5_000_000


def test_links_through_links_through_links_cost_no_time() -> None:
    links = {f"l{n:04d}": f"l{n + 1:04d}/" * 38 + "x" for n in range(2_000)}
    began = time.process_time()
    assert leading_out(links)
    assert time.process_time() - began < 5


def test_what_is_no_gzip_is_cut_off_or_goes_on_after_its_end_is_refused(tmp_path: Path) -> None:
    plain = archive(("a", os.urandom(5000)))
    packed, address = gzip.compress(plain), hashlib.sha256(plain).hexdigest()
    cases = {
        "no gzip": [b"", b"hello" * 100, plain, packed[:30] + b"\0\0\0\0" + packed[34:]],
        "cut off|no gzip": [packed[:n] for n in (5, 18, 1000, len(packed) - 9, len(packed) - 1)],
        "goes on after": [packed + b"x", packed + packed, packed + bytes(70_000)],
    }
    for said, all_of_them in cases.items():
        for data in all_of_them:
            with pytest.raises(BadArchive, match=said if data else "cut off"):
                unpack(io.BytesIO(data), tmp_path / "out", address)
    assert not list(tmp_path.iterdir())


def test_another_archive_than_the_one_that_was_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match="its sha256 is another"):
        put(archive(("a", b"1")), tmp_path / "out", hashlib.sha256(archive(("a", b"2"))).hexdigest())
    assert not list(tmp_path.iterdir())


def test_archives_of_other_tools_are_read_and_nobody_becomes_root_by_them(tmp_path: Path) -> None:
    entries = [info("d", tarfile.DIRTYPE), info("d/s", mode=0o6755), info("w", mode=0o666), link("d/l", "../w")]
    before = os.umask(0o077)
    try:
        put(archive(*entries, end=bytes(10240)), tmp_path / "out")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert modes == {"s": 0o755, "w": 0o644, "l": 0o644}
    assert (tmp_path / "out/d/l").readlink() == Path("../w")


def test_a_folder_that_is_there_is_kept_and_the_archive_not_even_read(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    unpack(tmp_path / "none", tmp_path / "out", "")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


def test_many_at_once_make_one_folder_and_none_fails(tmp_path: Path) -> None:
    plain = archive(*((f"{n % 7}/{n}", b"x" * n) for n in range(200)))
    failed = list[BaseException]()

    def one() -> None:
        try:
            put(plain, tmp_path / "out")
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 200


KILLED = """
import sys, time
from pathlib import Path
from runner.source.unpack import unpack
class Slow:
    def __init__(self, path): self.file = open(path, "rb")
    def read(self, n):
        data = self.file.read(2000)
        if not data: print("waits", flush=True); time.sleep(60)
        return data
unpack(Slow(sys.argv[1]), Path(sys.argv[2]), "")
"""


def test_what_a_killed_unpacker_left_is_cleared_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    plain = archive(("a", os.urandom(9000)))
    (tmp_path / "cut").write_bytes(gzip.compress(plain)[:-8])
    argv = [sys.executable, "-c", KILLED, str(tmp_path / "cut"), str(tmp_path / "x/out")]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as living:
        assert living.stdout and living.stdout.readline()
        [part] = (tmp_path / "x").iterdir()
        put(plain, tmp_path / "x/out")
        assert part.exists()
        living.kill()
    put(plain, tmp_path / "x/out")
    assert not part.exists()
    (tmp_path / "x/out").rename(tmp_path / "x/before")
    (tmp_path / "x/out.part-new").mkdir()
    (tmp_path / "x/out.part-old").mkdir()
    os.utime(tmp_path / "x/out.part-old", (1, 1))
    (tmp_path / "x/out.part-file").touch()
    put(plain, tmp_path / "x/out")
    assert {path.name for path in (tmp_path / "x").iterdir()} == {"before", "out", "out.part-new", "out.part-file"}


def test_a_full_disk_leaves_nothing_and_the_error_names_the_folder(tmp_path: Path) -> None:
    plain = archive(("a", b"x" * 100_000))
    with full_at(50_000), pytest.raises(OSError, match="too large") as caught:
        put(plain, tmp_path / "out")
    assert caught.value.filename == str(tmp_path / "out") and not list(tmp_path.iterdir())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "A", "b", "..", ".", "", "c\n"]), min_size=1, max_size=4).map("/".join),
            st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.LNKTYPE]),
            st.lists(st.sampled_from(["a", "A", "b", "..", ".", ""]), min_size=1, max_size=5).map("/".join),
        ),
        max_size=6,
    )
)
def test_nothing_that_comes_out_leads_out(tmp_path: Path, entries: list[tuple[str, bytes, str]]) -> None:
    top = tmp_path / os.urandom(6).hex()
    target = top / "in" / "out"
    with contextlib.suppress(BadArchive):
        put(archive(*(info(name, kind, linkname=to if kind in b"12" else "") for name, kind, to in entries)), target)
    assert {path.name for path in top.iterdir()} <= {"in"} and {path.name for path in (top / "in").iterdir()} <= {"out"}
    for path in target.rglob("*"):
        assert Path(os.path.realpath(path)).is_relative_to(target)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_an_archive_with_any_bytes_changed_is_refused_or_the_same(tmp_path: Path, data: st.DataObject) -> None:
    plain = archive(("a/b", b"hello"), link("l", "a"), ("n" * 120, b"x" * 600))
    address = hashlib.sha256(plain).hexdigest()
    damaged = bytearray(plain if data.draw(st.booleans()) else gzip.compress(plain, mtime=0))
    is_plain = len(damaged) == len(plain)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    target = tmp_path / os.urandom(6).hex()
    try:
        unpack(io.BytesIO(gzip.compress(damaged) if is_plain else damaged), target, address)
    except BadArchive:
        assert not target.exists()
    else:
        assert (target / "a/b").read_bytes() == b"hello" and (target / "l").is_symlink()


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..", "pyvenv.cfg", *code_files.MADE) and not name.endswith(".pyc")
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, st.binary(max_size=2000), min_size=1, max_size=5))
def test_whatever_is_packed_comes_out_as_it_was(tmp_path: Path, files: dict[str, bytes]) -> None:
    top = tmp_path / os.urandom(6).hex()
    (top / "a" / "in").mkdir(parents=True)
    for name, content in files.items():
        (top / "a" / "in" / name).write_bytes(content)
    packed = pack(top / "a", top / "cache", include_secrets=True)
    unpack(packed.path, top / "out", packed.sha256)
    assert {path.name: path.read_bytes() for path in (top / "out/in").iterdir()} == files
    assert archive_files(packed.path) == {f"in/{name}": content for name, content in files.items()}
