"""The public API: loaded when it is used, and the scripts of its page do what they say."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import runner
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


def test_the_package_is_imported_without_what_it_only_may_need() -> None:
    code = "import sys, runner; print([m for m in sys.modules if m.startswith('runner.') or m in ('modal', 'textual')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_and_no_other_is() -> None:
    assert all(getattr(runner, name).__name__ == name for name in runner.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        runner.__getattr__("Nothing")
