"""A file of the person's is never written over: what was brought is known by its record and its content."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.system.placing import move_into
from runner.text.filenames import BROUGHT, PARTS_FOLDER
from runner.transfer.download import Download, End, list_files
from runner.transfer.downloaded_files import DestinationJournal, LocalCopy
from runner.volumes.base import Entry
from runner.volumes.folder import FolderBlockReader, FolderVolume
from tests.conftest import Cli, in_own_mounts
from tests.like_vfat import like_vfat
from tests.noise import BIG, noise
from tests.test_transfer import here

RUN = ("log", "status.json", "events.jsonl", "log.times", "report.md", "run.json", "loss.svg")


class Trial:
    """A volume with a folder `x`, and a folder to bring it into."""

    def __init__(self, folder: Path) -> None:
        self.there, self.out = folder / "v" / "x", folder / "out"
        self.there.mkdir(parents=True)
        self.volume = FolderVolume(str(folder / "v"))

    def write(self, name: str, data: bytes, at: float = 1_700_000_001.5) -> None:
        path = self.there / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (at, at))

    def get(self, path: str = "x", *, force: bool = False, to: Path | None = None) -> Download:
        download = Download(self.volume, list_files(self.volume, path), to or self.out, overwrite=force)
        assert download.run() is End.WHOLE
        return download

    @property
    def mine(self) -> dict[str, bytes]:
        return here(self.out)


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


@pytest.mark.parametrize("name", RUN)
def test_a_file_of_ones_own_is_kept_whatever_it_is_called(trial: Trial, name: str) -> None:
    trial.write(name, b"a long line of the run\n" * 9)
    trial.out.mkdir()
    (trial.out / name).write_bytes(b"mine, the only copy\n")
    try:
        assert trial.get(f"x/{name}").warnings
    except UsageError as error:
        assert "is there already, and is another" in str(error)
    assert trial.mine == {name: b"mine, the only copy\n"}
    trial.get(f"x/{name}", force=True)
    assert trial.mine == {name: b"a long line of the run\n" * 9}


@pytest.mark.parametrize("name", RUN)
def test_what_was_brought_is_brought_up_to_date_unless_the_person_changed_it(trial: Trial, name: str) -> None:
    trial.write(name, b"first\n")
    trial.get()
    trial.write(name, b"other\nsecond\n", at=1_700_000_100.0)
    trial.get()
    assert trial.mine == {f"x/{name}": b"other\nsecond\n"}
    (trial.out / "x" / name).write_bytes(b"mine\nnow, all\n")
    trial.write(name, b"third, and longer than before\n", at=1_700_000_200.0)
    try:
        assert trial.get().warnings
    except UsageError as error:
        assert "is there already, and is another" in str(error)
    assert trial.mine == {f"x/{name}": b"mine\nnow, all\n"}


def test_the_log_of_another_run_does_not_take_the_place_of_one_that_was_brought(trial: Trial) -> None:
    trial.write("a/status.json", b'{"run": 1}')
    trial.write("b/status.json", b'{"run": 2, "more": 0}')
    trial.get("x/a/status.json")
    with pytest.raises(UsageError, match="is another"):
        trial.get("x/b/status.json")
    assert trial.mine == {"status.json": b'{"run": 1}'}


def test_a_checkpoint_that_was_saved_anew_does_not_replace_the_one_at_home_unless_it_is_said(trial: Trial) -> None:
    trial.write("model_000020.pt", b"one way")
    trial.get()
    trial.write("model_000020.pt", b"another", at=1_700_000_100.0)
    assert trial.get().warnings, "of the same size: its content decides"
    trial.write("model_000020.pt", b"a longer other", at=1_700_000_100.0)
    with pytest.raises(UsageError, match="is another"):
        trial.get()
    assert trial.mine == {"x/model_000020.pt": b"one way"}
    trial.get(force=True)
    assert trial.mine == {"x/model_000020.pt": b"a longer other"}


@pytest.mark.parametrize("how", ["refused", "ignored", "two seconds"])
def test_a_disk_that_keeps_no_times_gets_all_files_and_the_next_call_reads_nothing(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    real = os.utime

    def utime(path: Any, times: Any) -> None:
        if how == "refused":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        if how == "two seconds":
            real(path, tuple(t // 2 * 2 for t in times))

    for name in ("a.bin", "log", "status.json"):
        trial.write(name, name.encode())
    trial.write("big.pt", noise(BIG))
    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", utime)
        trial.get()
        again = trial.get()
        assert again.progress.bytes_read == 0 and again.progress.files_done == 4
    trial.write("log", b"log, and more of it", at=1_700_000_900.0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", utime)
        trial.get()
    assert trial.mine["x/log"] == b"log, and more of it" and trial.mine["x/big.pt"] == noise(BIG)


def test_a_folder_that_was_copied_without_its_times_is_still_known_by_its_content(trial: Trial, tmp_path: Path) -> None:
    trial.write("log", b"log\n")
    trial.write("status.json", b"{}")
    trial.write("model_000001.pt", noise(1000))
    trial.get()
    copy = tmp_path / "copy"
    shutil.copytree(trial.out, copy, copy_function=shutil.copyfile)
    again = trial.get(to=copy)
    assert again.progress.bytes_read == 0 and again.progress.files_done == 3
    trial.write("status.json", b'{"step": 2}', at=1_700_000_500.0)
    trial.get(to=copy)
    assert here(copy)["x/status.json"] == b'{"step": 2}'


@pytest.mark.parametrize("journal", ["gone", "torn", "of another folder", "no text", "a link", "a folder"])
def test_without_a_journal_content_decides_and_nothing_is_lost(trial: Trial, tmp_path: Path, journal: str) -> None:
    trial.write("log", b"one\n")
    trial.write("a.bin", b"0123456789")
    trial.get()
    path = trial.out / BROUGHT
    said = path.read_bytes()
    path.unlink()
    match journal:
        case "torn":
            path.write_bytes(said[:-30])
        case "of another folder":
            path.write_bytes(said.replace(b'"x/', b'"y/'))
        case "no text":
            path.write_bytes(b"\xff\x00" * 500 + b"\n{}\n[[[")
        case "a link":
            (tmp_path / "own").write_bytes(b"own")
            path.symlink_to(tmp_path / "own")
        case "a folder":
            path.mkdir()
    for name in ("log", "a.bin"):
        os.utime(trial.out / "x" / name, (5.0, 5.0))
    trial.write("log", b"one\ntwo\n", at=1_700_000_700.0)
    if journal in ("a link", "a folder"):
        with pytest.raises(Exception, match="cannot be noted"):
            trial.get()
        assert trial.mine["x/a.bin"] == b"0123456789"
        return
    assert not trial.get().warnings
    assert trial.mine == {"x/log": b"one\ntwo\n", "x/a.bin": b"0123456789"}
    assert trial.get().progress.bytes_read == 0


def test_a_file_that_the_person_makes_while_its_name_is_brought_is_kept_and_the_rest_comes(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.write("a", b"theirs, and longer")
    trial.write("b", b"b")
    block = FolderBlockReader.block

    def late(source: FolderBlockReader, number: int) -> bytes:
        if not (trial.out / "x" / "a").exists():
            (trial.out / "x").mkdir(exist_ok=True)
            (trial.out / "x" / "a").write_bytes(b"mine")
        return block(source, number)

    monkeypatch.setattr(FolderBlockReader, "block", late)
    download = trial.get()
    assert len(download.warnings) == 1 and "x/a is there already, and is another: --force" in download.warnings[0]
    assert trial.mine == {"x/a": b"mine", "x/b": b"b"} and download.progress.files == 1


def test_a_file_that_its_volume_does_not_give_is_told_and_the_others_come(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        trial.write(name, name.encode())
    block = FolderBlockReader.block

    def refused(source: FolderBlockReader, number: int) -> bytes:
        if source._entry.name == "b":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return block(source, number)

    with monkeypatch.context() as patched:
        patched.setattr(FolderBlockReader, "block", refused)
        assert trial.get().warnings == ["x/b cannot be read (Permission denied): see to the volume"]
    assert trial.mine == {"x/a": b"a", "x/c": b"c"} and not (trial.out / PARTS_FOLDER).exists()
    assert not trial.get().warnings and trial.mine["x/b"] == b"b"


def test_on_a_memory_stick_the_rest_arrives_and_what_did_not_is_named(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("Log", "log", "a b", "Sub/one", "sub", "log.times")
    for name in names:
        trial.write(name, name.encode())
    trial.write("large.pt", b"x" * 5000)
    trial.out.mkdir()
    like_vfat(trial.out, monkeypatch.setattr, most=4096)
    download = trial.get()
    assert len(download.warnings) == 1 and "large.pt is too large for the file system" in download.warnings[0]
    assert sorted(trial.mine.values()) == sorted(n.encode() for n in names)
    assert not (trial.out / PARTS_FOLDER).exists()
    again = trial.get()
    assert again.progress.bytes_read == 0 and again.progress.files_done == len(names)


def test_a_name_that_differs_by_case_from_ones_own_file_does_not_replace_it(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.write("MODEL.PT", b"theirs, longer")
    trial.write("b", b"b")
    (trial.out / "x").mkdir(parents=True)
    (trial.out / "x" / "model.pt").write_bytes(b"mine")
    like_vfat(trial.out, monkeypatch.setattr)
    with pytest.raises(UsageError, match="is another"):
        trial.get()
    assert trial.mine == {"x/model.pt": b"mine"}


def test_a_name_that_a_file_system_refuses_is_left_out_by_name(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.write("good", b"g")
    trial.write("bad", b"b")
    link = os.link

    def refusing(path: Any, to: Any, **more: Any) -> None:
        if Path(to).name == "bad":
            raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ))
        link(path, to, **more)

    monkeypatch.setattr(os, "link", refusing)
    (warning,) = trial.get().warnings
    assert "x/bad cannot be written" in warning and os.strerror(errno.EILSEQ) in warning
    assert trial.mine == {"x/good": b"g"} and not (trial.out / PARTS_FOLDER).exists()


def test_a_disk_that_makes_no_file_longer_and_says_no_size_gets_all_the_same(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.write("big.pt", noise(BIG))
    ftruncate = os.ftruncate

    def refused(fd: int, size: int) -> None:
        if size > os.fstat(fd).st_size:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        ftruncate(fd, size)

    monkeypatch.setattr(os, "ftruncate", refused)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 0))
    trial.get()
    assert trial.mine == {"x/big.pt": noise(BIG)}


def test_what_had_come_and_was_damaged_since_is_read_again(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    from runner.transfer.partial_file import PartialFile, part_path

    for where in ("volumes.base", "volumes.folder", "transfer.partial_file"):
        monkeypatch.setattr(f"runner.{where}.BLOCK", 4096)
    trial.write("big", noise(9 * 4096))
    (item,) = list_files(trial.volume, "x/big")
    first = PartialFile(trial.volume, item, DestinationJournal(trial.out, trial.volume.location), lambda *a: None)
    for number in (0, 1, 2):
        first.fetch_block(number)
    first.close()
    with part_path(trial.out, item).open("r+b") as part:
        part.seek(5000)
        part.write(b"torn")
    trial.get("x/big")
    assert trial.mine == {"big": noise(9 * 4096)}


@given(
    st.lists(
        st.tuples(st.sampled_from(["get", "force", "mine", "grow", "new", "touch", "lose"]), st.binary(max_size=9))
    )
)
def test_whatever_happens_a_file_of_the_person_is_there_until_it_is_forced(steps: list[tuple[str, bytes]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        trial, own, at = Trial(Path(folder)), None, 1_700_000_000.0
        trial.write("log", b"begin\n", at)
        target = trial.out / "x" / "log"
        for what, data in steps:
            at += 10
            if what in ("get", "force"):
                try:
                    trial.get(force=what == "force")
                except UsageError:
                    assert what == "get"
                if what == "force":
                    assert target.read_bytes() == (trial.there / "log").read_bytes()
                    own = None
            elif what == "mine":
                own = b"own" + data
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(own)
            elif what == "grow":
                trial.write("log", (trial.there / "log").read_bytes() + data + b"\n", at)
            elif what == "new":
                trial.write("log", data, at)
            elif what == "touch" and target.exists():
                os.utime(target, (at, at))
            elif what == "lose":
                (trial.out / BROUGHT).unlink(missing_ok=True)
            if own is not None:
                assert target.read_bytes().startswith(own)


def test_no_name_is_given_over_a_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for links in (True, False):
        if not links:
            monkeypatch.setattr(os, "link", lambda *a, **k: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
        (tmp_path / "part").write_bytes(b"new")
        (tmp_path / "own").write_bytes(b"own")
        with pytest.raises(FileExistsError):
            move_into(tmp_path / "part", tmp_path / "own", over=False)
        move_into(tmp_path / "part", tmp_path / f"fresh{links}", over=False)
        assert (tmp_path / "own").read_bytes() == b"own" and not (tmp_path / "part").exists()


def test_a_folder_judges_by_its_record_before_it_reads_anything(trial: Trial) -> None:
    trial.write("a.pt", b"1234")
    trial.get()
    entry = trial.volume.stat("x/a.pt")
    home = DestinationJournal(trial.out, trial.volume.location)
    assert home.judge("x/a.pt", entry) is LocalCopy.WHOLE
    assert home.judge("x/b.pt", entry) is LocalCopy.NOTHING
    assert home.judge("x/a.pt", Entry("x/a.pt", False, 5, entry.mtime)) is LocalCopy.ANOTHER
    with pytest.raises(UsageError, match="is no file"):
        home.judge("x", entry)


CUT = Path(__file__).with_name("cut_downloads.py")


def test_a_download_that_is_cut_at_any_of_fifty_places_is_whole_or_told_and_own_files_are_untouched(
    tmp_path: Path,
) -> None:
    words = [sys.executable, str(CUT), str(tmp_path), "50"]
    env = {**os.environ, "PYTHONPATH": str(CUT.parents[1])}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.split()[:2] == ["cut", "50"]


def test_onto_a_real_vfat_everything_comes_and_the_next_call_reads_nothing(tmp_path: Path, cli: Cli) -> None:
    if not shutil.which("mkfs.vfat") or "vfat" not in Path("/proc/filesystems").read_text().split():
        pytest.skip("this machine has no vfat")
    image, stick = tmp_path / "stick.img", tmp_path / "stick"
    stick.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.vfat", str(image)], check=True, capture_output=True)
    trial = Trial(tmp_path)
    for name in ("Log", "log", "status.json", "a b"):
        trial.write(name, name.encode())
    get = f"{sys.executable} -m tui.cli volume get x {stick} --volume {trial.volume.location} --json"
    script = (
        f"mount -o loop {image} {stick} || exit 77; {get} && umount {stick} && mount -o loop {image} {stick} && {get}"
    )
    prefix = ["unshare", "--mount"] if os.geteuid() == 0 else in_own_mounts(stick)
    done = subprocess.run([*prefix, "sh", "-c", script], env=cli.env, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this machine lets nobody mount a vfat")
    assert done.returncode == 0, done.stderr
    assert '"read": 0' in done.stdout
