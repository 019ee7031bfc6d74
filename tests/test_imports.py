"""`doctor` imports what a run will import, where the run will, and says what the import says."""

import sys
from pathlib import Path

import pytest

from runner import engine_imports
from tests.conftest import Cli


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout, and a Python beside it that has every package, each empty."""
    stubs, made = tmp_path / "stubs", tmp_path / "nanochat"
    for name in ("torch", "rustbpe", "tiktoken", "pyarrow", "wandb"):
        (stubs / name).mkdir(parents=True)
        (stubs / name / "__init__.py").touch()
    (stubs / "pyarrow" / "parquet.py").touch()
    for name in ("scripts", "nanochat"):
        (made / name).mkdir(parents=True)
        (made / name / "__init__.py").touch()
    (made / "nanochat" / "gpt.py").write_text("import torch\n")
    (made / "scripts" / "base_train.py").write_text(
        "import os, wandb\nfrom nanochat.gpt import GPT\nraise SystemExit('a training began')\n"
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={stubs}:$PYTHONPATH exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("NANOCHAT_DIR", str(made))
    monkeypatch.setenv("NANOCHAT_PYTHON", str(python))
    return tmp_path


def test_a_python_that_can_import_everything_is_fine_and_no_stage_is_run(checkout: Path) -> None:
    assert engine_imports.problem(checkout) is None


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("stubs/torch/__init__.py", "raise ImportError('libcudnn.so.9: no such file')", "torch: ImportError: libcudnn"),
        ("stubs/rustbpe/__init__.py", "raise OSError('x\\nbad\\x1b[2J ELF')", "rustbpe: OSError: x bad"),
        ("nanochat/nanochat/gpt.py", "import nobody_has_this", "nanochat.gpt: ModuleNotFoundError: No module named"),
        ("stubs/wandb/__init__.py", "import sys; sys.exit(3)", "wandb: SystemExit: 3"),
        ("stubs/torch/__init__.py", "import os; os.kill(os.getpid(), 11)", "its imports end with signal 11"),
    ],
)
def test_what_cannot_be_imported_is_told_in_the_imports_own_words(
    checkout: Path, file: str, text: str, says: str
) -> None:
    (checkout / file).write_text(text + "\n")
    found = engine_imports.problem(checkout)
    assert found and says in found[0] and "\x1b" not in found[0] and "pip install" in found[1]


def test_an_import_that_never_ends_is_not_waited_for(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "stubs/torch/__init__.py").write_text("import time; time.sleep(600)\n")
    monkeypatch.setattr(engine_imports, "DEADLINE_S", 0.2)
    found = engine_imports.problem(checkout)
    assert found and "does not import torch within" in found[0]


def test_doctor_finds_fault_with_what_a_run_would_fail_at(checkout: Path, cli: Cli) -> None:
    cli.env |= {"NANOCHAT_DIR": str(checkout / "nanochat"), "NANOCHAT_PYTHON": str(checkout / "python")}
    assert "✓ engine nanochat" in cli("doctor", "--backend", "local").stdout
    (checkout / "stubs/rustbpe/__init__.py").write_text("raise ImportError('of another package')\n")
    said = cli("doctor", "--backend", "local", code=1).stdout
    assert "✗ engine nanochat" in said and "rustbpe: ImportError: of another package" in said


def test_doctor_says_what_of_a_volume_cannot_be_used(cli: Cli) -> None:
    cli("launch", "--task", "base", "--iterations", "2", "--step-ms", "0", "--watch")
    tokenizer = cli.run_dir().parents[1] / "tokenizer" / "tokenizer.pkl"
    tokenizer.write_bytes(bytes(100))
    said = cli("doctor", "--backend", "local").stdout
    assert "– volume rehearsal" in said and "tokenizer/tokenizer.pkl in" in said and "cannot be used" in said
