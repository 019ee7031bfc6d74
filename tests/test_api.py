"""The public API: loaded when it is used, and the scripts of its page do what they say."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import runner
from runner.fleet.following import lines
from runner.logs.log_file import LogFile
from tests.conftest import Cli

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


@pytest.fixture
def script(cli: Cli, tmp_path: Path) -> Callable[[str], list[str]]:
    def run(name: str) -> list[str]:
        argv, env = [sys.executable, str(EXAMPLES / name)], {**cli.env, "PYTHONPATH": str(EXAMPLES.parents[1])}
        done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_the_scripts_of_the_page_train_list_and_read_a_run(
    cli: Cli, script: Callable[[str], list[str]], tmp_path: Path
) -> None:
    said = script("train.py")
    assert said[0].startswith("about ") and said[0].endswith("$0.00")
    assert any("step 20/20" in line for line in said)
    brought = {Path(line).name for line in said if line.startswith("example/")}
    assert {"model_000020.pt", "meta_000020.json", "report.md"} <= brought
    assert all((tmp_path / line).is_file() for line in said if line.startswith("example/"))
    (best,) = script("best.py")
    assert best.endswith("  example") and 0 < float(best.split()[0]) < 10
    cli("launch", "--task", "base", "--tag", "broken", "--iterations", "20", "--save-every", "10", "--step-ms", "1",
        "--fault", "crash@15", "--watch", code=1)  # fmt: skip
    said = script("errors.py")
    assert any("rehearsed crash" in line for line in said) and said[-1] == "broken done"


def test_a_log_is_told_to_its_last_line_and_anew_where_it_was_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n\x1b[31mtwo\x1b[0m\nthr")
    log = LogFile(path)

    def ends() -> Iterator[bool]:
        yield False
        with path.open("a") as file:
            file.write("ee\n")
        yield False
        path.unlink()
        path.write_text("other\nlast")
        yield True

    assert list(lines(log, ends())) == ["one", "two", "three", "other", "last"]


def test_what_is_not_there_to_be_downloaded_is_a_line_with_what_to_do(cli: Cli, tmp_path: Path) -> None:
    cli("launch", "--tag", "a", "--watch", "--step-ms", "1")
    with runner.Fleet(cli.home) as fleet, pytest.raises(runner.UsageError, match="a has no nowhere"):
        fleet.download(fleet.find("a"), "nowhere", tmp_path)


def test_the_package_is_imported_without_what_it_only_may_need() -> None:
    code = "import sys, runner; print([m for m in sys.modules if m.startswith('runner.') or m in ('modal', 'textual')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_and_no_other_is() -> None:
    assert all(getattr(runner, name).__name__ == name for name in runner.__all__)
    assert sorted(runner._ROOM_OF) == runner.__all__
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        runner.__getattr__("Nothing")
