"""The packages of a person's own nanochat: brought once, kept by what asks for them, and used by what it runs."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import engine_imports
from runner.job.environment import LocalEnvironment
from runner.job.journal import Journal
from runner.job.limits import LimitMonitor
from runner.job.own_code import UnpackedCode
from runner.job.own_environment import OwnEnvironment, uv_reason
from runner.job.stop import Stop
from runner.model.code import Code
from runner.model.stages import Part
from runner.model.states import State
from runner.model.status import Outcome, OutcomeKind
from runner.nanochat import layout, python_project
from runner.nanochat.code_facts import packages_of_its_own, pinned
from runner.planning.estimate import shape_of
from runner.source import environment, origin
from runner.source.unpack import BadArchive
from runner.volumes.folder import FolderVolume
from tests import own_nanochat, own_packages
from tests.conftest import Cli, wait_until
from tests.modal_cloud import ROOT, Cloud
from tests.place import Place
from tests.statuses import a_status
from tests.test_own_code import SHORT, log, spec
from tests.test_run import SPEC, run

LIB = '[tool.uv.sources]\nnt-lib = { path = "libs/lib", editable = true }\n'
GATE = """
    pathlib.Path({here!r}).touch()
    while not pathlib.Path({go!r}).exists():
        time.sleep(0.05)
"""


class Machine:
    """A container: its work disk, an image with packages, and the volume that all share."""

    def __init__(self, folder: Path, baked: Path) -> None:
        self.volume, self.work, self.baked = FolderVolume(str(folder / "volume")), folder / "work", baked
        self.log = ""
        for path in (folder / "volume" / "runs" / "abc", self.work):
            path.mkdir(parents=True, exist_ok=True)

    def bring(self, top: Path, part: Part = Part.PREPARE, sha: str = "a" * 64) -> Path | Outcome | None:
        status = a_status(1, State.PREPARING, "c", 0.0, 0.0)
        journal = Journal(self.volume, "runs/abc", status, hold_open=False)
        stop = Stop(LimitMonitor(run(), shape_of(12, SPEC.overrides), journal.say), None)
        before = len(self._log())
        own = OwnEnvironment(
            LocalEnvironment("c"), self.volume, self.work, journal, stop,
            tick=lambda: None, commit=journal.flush, grace_s=2.5,
        )  # fmt: skip
        try:
            return own.bring(Code(sha=sha, origin=str(top)), UnpackedCode(top, top, pinned()), part)
        finally:
            journal.flush()
            self.log = self._log()[before:]

    def _log(self) -> str:
        path = self.volume.path("runs/abc/log")
        return path.read_text() if path.exists() else ""

    def other_disk(self) -> None:
        """What only this container has is gone."""
        shutil.rmtree(self.work)
        self.work.mkdir()

    def version(self, packages: Path | Outcome | None, name: str) -> str:
        """The release that a child imports."""
        assert isinstance(packages, Path), packages
        argv = [os.environ["NANOCHAT_PYTHON"], "-c", f"import {name}; print({name}.VERSION)"]
        env = {**os.environ, "PYTHONPATH": str(packages)}
        return subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout.strip()

    @property
    def kept(self) -> list[str]:
        return sorted(path.name for path in self.volume.path(layout.OWN_PACKAGES).glob("[!.]*[!k]"))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with own_packages.index(tmp_path_factory.mktemp("index") / "simple") as address:
        yield address


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory, index: str) -> Path:
    """The pinned upstream of an image, with the first release of each package."""
    folder = tmp_path_factory.mktemp("image")
    own_packages.project(folder / "nanochat", index, "nt-alpha==1.0", "nt-beta==1.0")
    own_packages.python_with(folder / "venv", index, "nt-alpha==1.0", "nt-beta==1.0")
    return folder


@pytest.fixture
def machine(tmp_path: Path, baked: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("NANOCHAT_DIR", str(baked / "nanochat"))
    monkeypatch.setenv("NANOCHAT_PYTHON", str(baked / "venv" / "bin" / "python"))
    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(tmp_path))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return Machine(tmp_path, baked)


def test_the_same_files_as_in_the_image_need_nothing(machine: Machine, tmp_path: Path, baked: Path) -> None:
    mine = shutil.copytree(baked / "nanochat", tmp_path / "mine")
    (mine / ".python-version").write_text("3.10\n")
    assert machine.bring(mine) is None and not machine.log


def test_a_difference_is_brought_once_kept_and_used_by_two_runs(machine: Machine, tmp_path: Path, index: str) -> None:
    mine = own_packages.project(tmp_path / "mine", index, "nt-alpha==2.0", "gpu:nt-beta==1.0")
    (mine / ".python-version").write_text("3.10\n")
    packages = machine.bring(mine)
    assert "[ENVIRONMENT] before those of the image: nt-alpha==2.0\n" in machine.log
    assert machine.version(packages, "nt_alpha") == "2.0" and machine.version(packages, "nt_beta") == "1.0"
    assert isinstance(packages, Path) and sorted(p.name for p in packages.iterdir()) == [
        "nt_alpha",
        "nt_alpha-2.0.dist-info",
    ]
    assert machine.version(tmp_path, "nt_alpha") == "1.0", "the image was changed"
    kept = machine.kept
    assert len(kept) == 2 and not (machine.work / "making").exists()
    for part in (Part.TRAIN, Part.PREPARE):
        machine.other_disk()
        assert machine.version(machine.bring(mine, part), "nt_alpha") == "2.0"
        assert "[EXEC]" not in machine.log and machine.kept == kept


def test_a_lock_that_is_missing_or_of_other_dependencies_is_made_anew(
    machine: Machine, tmp_path: Path, index: str
) -> None:
    mine = own_packages.project(tmp_path / "mine", index, "nt-alpha==1.0", "nt-beta==1.0")
    project = mine / "pyproject.toml"
    project.write_text(project.read_text().replace("nt-beta==1.0", "nt-beta>=2"))
    assert machine.version(machine.bring(mine), "nt_beta") == "2.0"
    assert "uv.lock is missing, or not of this pyproject.toml" in machine.log
    (mine / "uv.lock").unlink()
    assert machine.version(machine.bring(mine), "nt_beta") == "2.0"
    assert "uv.lock is missing" in machine.log and not (mine / "uv.lock").exists()


def test_what_differs_only_in_words_brings_no_packages(machine: Machine, tmp_path: Path, index: str) -> None:
    mine = own_packages.project(
        tmp_path / "mine", index, "nt-alpha==1.0", "nt-beta==1.0", more="[tool.ruff]\nline-length = 100\n"
    )
    assert machine.bring(mine) is None and "all packages are as in the image" in machine.log
    assert machine.bring(mine, Part.TRAIN) is None


def test_a_package_in_a_folder_of_the_code_is_built_and_brought_anew_with_other_code(
    machine: Machine, tmp_path: Path, index: str
) -> None:
    mine = tmp_path / "mine"
    own_packages.folder_package(mine / "libs" / "lib", "nt-lib", "0.3")
    own_packages.project(mine, index, "nt-alpha==1.0", "nt-lib", more=LIB)
    packages = machine.bring(mine)
    assert machine.version(packages, "nt_lib") == "0.3"
    assert not list(mine.rglob("*.egg-info")) and not (mine / ".venv").exists()
    (mine / "libs" / "lib" / "nt_lib.py").write_text("VERSION = 'changed'\n")
    assert machine.version(machine.bring(mine, sha="b" * 64), "nt_lib") == "changed"


@pytest.mark.parametrize("lock", [True, False], ids=["locked", "without a lock"])
def test_packages_that_cannot_be_installed_end_the_run_in_the_words_of_uv(
    machine: Machine, tmp_path: Path, index: str, lock: bool
) -> None:
    mine = own_packages.project(tmp_path / "mine", index, "nt-alpha==2.0")
    if lock:
        (mine / "uv.lock").write_text((mine / "uv.lock").read_text().replace("nt_alpha-2.0", "nt_alpha-2.1"))
    else:
        project = own_packages.project(mine, index, "nt-alpha==3.0", lock=False) / "pyproject.toml"
        assert project.exists()
    found = machine.bring(mine)
    assert isinstance(found, Outcome) and found.kind is OutcomeKind.ENVIRONMENT and found.stage == "prepare"
    said = "nt_alpha-2.1" if lock else "there is no version of nt-alpha==3.0"
    assert said in found.message and found.message.startswith("uv cannot install the packages of this code: ")
    assert found.message.isprintable() and "resume" in found.advice
    assert not machine.kept and not (machine.work / "making").exists()


def test_a_container_that_trains_without_what_was_kept_ends_and_a_resume_brings_it_again(
    machine: Machine, tmp_path: Path, index: str
) -> None:
    mine = own_packages.project(tmp_path / "mine", index, "nt-alpha==2.0")
    found = machine.bring(mine, Part.TRAIN)
    assert isinstance(found, Outcome) and found.kind is OutcomeKind.ENVIRONMENT and found.resume == "yes"
    assert "[EXEC]" not in machine.log
    machine.bring(mine)
    machine.other_disk()
    archive = next(machine.volume.path(layout.OWN_PACKAGES).glob("*.tar"))
    archive.write_bytes(archive.read_bytes().replace(b"'2.0'", b"'6.6'"))
    found = machine.bring(mine, Part.TRAIN)
    assert isinstance(found, Outcome) and "its sha256 is another" in found.message
    assert machine.version(machine.bring(mine), "nt_alpha") == "2.0"
    assert "made anew" in machine.log


def test_one_that_is_killed_while_it_makes_them_leaves_nothing_that_counts(
    machine: Machine, tmp_path: Path, index: str
) -> None:
    mine, here, go = tmp_path / "mine", tmp_path / "here", tmp_path / "go"
    own_packages.folder_package(
        mine / "libs" / "lib", "nt-lib", "0.3", before=GATE.format(here=str(here), go=str(go)).strip()
    )
    own_packages.project(mine, index, "nt-alpha==2.0", "nt-lib", more=LIB)
    words = f"""
import os
from pathlib import Path
from tests.test_own_environment import Machine
os.environ["NANOCHAT_TUI_HOME"] = {str(tmp_path)!r}
Machine(Path({str(tmp_path)!r}), Path()).bring(Path({str(mine)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", words], cwd=ROOT, start_new_session=True) as one:
        wait_until(here.exists, what="a package is being built")
        here.unlink()
        one.kill()
    assert one.returncode == -signal.SIGKILL and not machine.kept
    # The volume may hold a half of an archive, too.
    machine.other_disk()
    go.touch()
    packages = machine.bring(mine)
    assert machine.version(packages, "nt_lib") == "0.3" and machine.version(packages, "nt_alpha") == "2.0"
    assert len(machine.kept) == 2


def test_two_that_want_the_same_at_once_bring_it_once(machine: Machine, tmp_path: Path, index: str) -> None:
    mine, here, go = tmp_path / "mine", tmp_path / "here", tmp_path / "go"
    own_packages.folder_package(
        mine / "libs" / "lib", "nt-lib", "0.3", before=GATE.format(here=str(here), go=str(go)).strip()
    )
    own_packages.project(mine, index, "nt-alpha==1.0", "nt-lib", more=LIB)
    other = Machine(tmp_path / "other", machine.baked)
    other.volume = machine.volume
    found = list[Path | Outcome | None]()
    first = threading.Thread(target=lambda: found.append(machine.bring(mine)))
    first.start()
    wait_until(here.exists, what="a package is being built")
    here.unlink()
    second = threading.Thread(target=lambda: found.append(other.bring(mine)))
    second.start()
    go.touch()
    for thread in (first, second):
        thread.join(60)
    assert [machine.version(packages, "nt_lib") for packages in found] == ["0.3", "0.3"]
    assert not here.exists(), "it was built twice"


def test_an_archive_that_anybody_may_have_put_there_stays_in_its_folder(tmp_path: Path) -> None:
    tree, folder = tmp_path / "tree", tmp_path / "kept"
    (tree / "p").mkdir(parents=True)
    (tree / "p" / "run").write_text("x")
    (tree / "p" / "run").chmod(0o755)
    (tree / "p" / "same").symlink_to("run")
    kept = environment.keep(tree, ["p"], folder, "a" * 64, ["p==1"])
    assert environment.kept(folder, "a" * 64) == kept
    environment.lay_out(folder, "a" * 64, kept, tmp_path / "out")
    assert (tmp_path / "out" / "p" / "same").read_text() == "x" and os.access(tmp_path / "out" / "p" / "run", os.X_OK)
    (tree / "p" / "out").symlink_to("../../secret")
    kept = environment.keep(tree, ["p"], folder, "a" * 64, ["p==1"])
    with pytest.raises(BadArchive, match="leads out of the folder"):
        environment.lay_out(folder, "a" * 64, kept, tmp_path / "out2")
    assert len(list(folder.iterdir())) == 2 and not (tmp_path / "out2").exists()
    os.mkfifo(tree / "p" / "fifo")
    with pytest.raises(BadArchive, match="neither a file nor a link"):
        environment.keep(tree, ["p"], folder, "a" * 64, ["p==1"])
    assert environment.kept(folder, "a" * 64) is None and not list(folder.iterdir())


def test_the_address_is_of_both_files_on_both_sides_and_of_the_python() -> None:
    theirs = {"pyproject.toml": b"[project]\nname='nanochat'", "uv.lock": b"version = 1"}
    image = {"pyproject.toml": b"[project]\nname='nanochat' ", "uv.lock": b"version = 1"}
    assert environment.needs(theirs, theirs | {".python-version": b"3.10"}, "a") == ""
    seen = {
        environment.needs(theirs, image, "a", "3.11 linux"),
        environment.needs(theirs, image, "b", "3.11 linux"),
        environment.needs(theirs, image, "a", "3.12 linux"),
        environment.needs(theirs | {"uv.lock": b"version = 2"}, image, "a", "3.11 linux"),
        environment.needs(theirs, image | {"uv.lock": b"version = 2"}, "a", "3.11 linux"),
    }
    assert len(seen) == 4 and "" not in seen, "the code counts only where packages come out of it"
    assert environment.needs({"pyproject.toml": b"[tool.ruff]"}, image, "a") == ""
    inside = theirs | {"pyproject.toml": theirs["pyproject.toml"] + b"\n" + LIB.encode()}
    assert environment.needs(inside, image, "a") != environment.needs(inside, image, "b")


def test_what_uv_says_of_its_trouble_is_one_line_in_each_of_its_ways() -> None:
    drawn = [
        "Resolved 3 packages",
        "  × Failed to download `a==1`",
        "  ├─▶ Failed to fetch: `x`",
        "  ╰─▶ 404 Not",
        "      Found",
    ]
    assert uv_reason(drawn) == "Failed to download `a==1`: Failed to fetch: `x`: 404 Not Found"
    assert (
        uv_reason(["error: No solution", "  cause: Because of", "    it", "hint: try"])
        == "No solution: Because of it: hint: try"
    )
    assert uv_reason(["error: a", "  Caused by: \x1b[31mb\x1b[0m\x07"]) == "a: b"
    assert uv_reason([]) == "" and uv_reason(["killed"]) == "killed"


@given(
    st.binary(max_size=200) | st.text(alphabet='[]{}="\n.,abc1 pojectdnsulk', max_size=200).map(str.encode), st.binary()
)
def test_no_file_of_a_project_stops_the_plan(pyproject: bytes, lock: bytes) -> None:
    for one, other in ((pyproject, lock), (lock, pyproject), (pyproject, pyproject)):
        python_project.is_stale(one, other)
        python_project.has_folders(one, other)
        python_project.is_project(one)
        python_project.extras(one)
        python_project.packages(one)


def test_the_lock_of_the_pin_is_told_apart_from_another_by_its_packages(tmp_path: Path, index: str) -> None:
    assert pinned().packages["torch"] == "2.9.1+cu128" and len(pinned().project) == 2
    assert packages_of_its_own(pinned()) is None
    mine = own_packages.project(tmp_path / "mine", index, "nt-alpha==2.0", "gpu:nt-beta==1.0")
    assert python_project.packages((mine / "uv.lock").read_bytes()) == {"nt-alpha": "2.0", "nt-beta": "1.0"}


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that could train."""
    made = own_nanochat.python_with_torch(tmp_path / "python")
    monkeypatch.setenv("NANOCHAT_PYTHON", str(made))
    return made


def fork(folder: Path, index: str, *wanted: str) -> Path:
    """Somebody's nanochat that says which release it trains with."""
    made = own_nanochat.make(folder, device="cuda")
    own_packages.project(made, index, *wanted)
    model = made / "nanochat" / "gpt.py"
    model.write_text("import nt_alpha\nCHANGED = nt_alpha.VERSION\n")
    return made


@pytest.mark.parametrize("place", ["modal"], indirect=True)
def test_runs_on_modal_train_with_packages_of_their_own_brought_once(
    place: Place, python: Path, tmp_path: Path, index: str
) -> None:
    wanted = spec(place, fork(tmp_path / "fork", index, "nt-alpha==2.0"))
    told = place.fleet.plan(wanted, place.backend).packages
    assert told == "prepare installs 1 package that the pin has not: nt-alpha==2.0; kept on the volume for the next run"
    said = list[str]()
    for _ in range(2):
        done = place.ended(place.fleet.launch(wanted, backend=place.backend))
        assert done.state is State.DONE, done.outcome
        said.append(log(place, done))
        assert "the model was changed 2.0 times" in said[-1]
    assert "[EXEC] uv sync" in said[0] and "[EXEC] uv" not in said[1]


@pytest.mark.parametrize("place", ["modal"], indirect=True)
def test_packages_that_cannot_be_had_end_a_run_before_any_gpu_is_asked_for(
    place: Place, python: Path, tmp_path: Path, index: str, cloud: Cloud
) -> None:
    folder = fork(tmp_path / "fork", index, "nt-alpha==2.0")
    (folder / "uv.lock").write_text((folder / "uv.lock").read_text().replace("nt_alpha-2.0", "nt_alpha-2.1"))
    done = place.ended(place.fleet.launch(spec(place, folder), backend=place.backend))
    assert done.state is State.FAILED and done.outcome and done.outcome.kind is OutcomeKind.ENVIRONMENT
    assert "nt_alpha-2.1" in done.outcome.message
    assert len(done.calls) == 1 and not cloud.all_containers("train")


def test_a_launch_here_says_what_its_python_cannot_import_and_asks_once(cli: Cli, python: Path, tmp_path: Path) -> None:
    cli.env["NANOCHAT_PYTHON"] = str(python)
    mine = own_nanochat.make(tmp_path / "fork")
    script = mine / "scripts" / "base_train.py"
    script.write_text(f"import nt_gamma\n{script.read_text()}")
    own_nanochat.commit(mine)
    words = ["launch", *SHORT, "--code", str(mine)]
    said = cli(*words, code=2).stderr
    assert "cannot import nt_gamma: ModuleNotFoundError: No module named 'nt_gamma'" in said and "pip install" in said
    assert said.count("\n") == 1 and not cli.json("ls")
    stub = python.parent / "stubs" / "nt_gamma.py"
    asked = tmp_path / "asked"
    stub.write_text(f"open({str(asked)!r}, 'a').write('x')\n")
    code = origin.obtain(str(mine), cli.home).code
    assert engine_imports.problem_of_code(cli.home, code) is None
    assert engine_imports.problem_of_code(cli.home, code) is None
    assert asked.read_text() == "x"
    cli(*words, "--watch")
