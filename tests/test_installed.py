"""The program as people get it: a wheel, installed where nothing of this checkout is."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from runner import __version__
from tests.modal_cloud import ROOT
from tests.terminal import Terminal


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One wheel for all of them."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert not done.returncode, done.stderr[-2000:]
    return next(folder.glob("*.whl"))


def test_all_that_is_no_code_is_in_the_wheel_and_nothing_but_the_two_packages(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    here = {
        path.relative_to(ROOT).as_posix()
        for package in ("runner", "tui")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == here
    assert {Path(name).suffix for name in names} >= {".tcss", ".toml", ".gz", ".typed"}
    demo = [info for info in zipfile.ZipFile(wheel).infolist() if info.filename.startswith("runner/demo/data/")]
    assert 0 < sum(info.compress_size for info in demo) < 1_500_000


def test_its_metadata_tell_what_it_is(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    told = HeaderParser().parsestr(archive.read(name).decode())
    assert (told["Name"], told["Version"], told["License-Expression"]) == ("nanochat-tui", __version__, "MIT")
    assert told["Summary"] and told["Keywords"] and told["Requires-Python"] and told.get_all("Project-URL")
    assert "Environment :: Console" in told.get_all("Classifier", [])
    assert told["Description-Content-Type"] == "text/markdown" and "nanochat" in str(told.get_payload())


def test_installed_in_a_clean_environment_it_shows_a_demo_and_opens_the_app(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    # What it depends on is lent by the environment of the tests, in which a .pth of this checkout is then not obeyed.
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*install, str(wheel)], check=True, timeout=120)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "LANG": "C.UTF-8"}
    env["MODAL_CONFIG_PATH"] = os.devnull
    program = str(tmp_path / "venv" / "bin" / "nanochat-tui")

    def said(*words: str, **more: str) -> str:
        done = subprocess.run(
            [program, *words],
            env={**env, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [python, "-c", "import runner, tui; print(runner.__file__, tui.__file__)"],
        env=env, cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert all(Path(path).is_relative_to(tmp_path) for path in where)
    assert said("--version") == f"nanochat-tui {__version__}\n"
    assert "speedrun" in said("recipes")
    home = str(tmp_path / "demo")
    assert home in said("demo", "--no-open", "--home", home)
    assert "speedrun-d24" in said("ls", NANOCHAT_TUI_HOME=home)
    terminal = Terminal([program], {**env, "NANOCHAT_TUI_HOME": home}, 120, 36)
    try:
        terminal.wait_for("speedrun-d24")
        terminal.press("q")
        assert terminal.wait_exit() == 0
    finally:
        terminal.kill()
        said("cancel", "going-on", NANOCHAT_TUI_HOME=home)
