"""Whether the Python that will run nanochat can import what its stages import, asked of that Python itself."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from runner.engines import nanochat_dir, nanochat_python
from runner.model.code import Code
from runner.system import atomic
from runner.text.sanitize import strip_ansi

# A torch that is read from a slow disk for the first time takes half a minute.
DEADLINE_S = 90.0
MOST = 200
# What every stage needs, and what the checkout's own stages say at their beginning; none of them is run.
_PROBE = """
import ast, importlib, pathlib, sys
wanted, files = sys.argv[1].split(), map(pathlib.Path, sys.argv[2:])
for file in files:
    for node in ast.parse(file.read_text("utf-8")).body if file.exists() else ():
        if isinstance(node, ast.Import):
            wanted += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            wanted.append(node.module)
for name in dict.fromkeys(wanted):
    try:
        importlib.import_module(name)
    except BaseException as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        sys.exit(f"cannot import {name}: {words}")
"""


_ALWAYS = ("torch", "rustbpe", "tiktoken", "pyarrow.parquet")
_STAGES = ("tok_train", "base_train", "base_eval", "chat_sft", "chat_eval")
# Of somebody's own code only these are asked for, as no run is without them.
_OWN = ("tokenizer", "base")


def problem(home: Path) -> tuple[str, str] | None:
    """What cannot be imported, in the import's own words, and what to do; None when everything can."""
    python, checkout = nanochat_python(home), nanochat_dir(home)
    where = checkout if checkout.is_dir() else home
    return _asked(python, where, checkout, _ALWAYS, [f"scripts/{stage}.py" for stage in _STAGES])


def problem_of_code(home: Path, code: Code) -> tuple[str, str] | None:
    """The same for a person's own code, as it was packed on this machine; asked until it has once been well.

    None, too, where it was packed on another machine. Raises UsageError, OSError.
    """
    from runner.source import origin
    from runner.source.unpack import BadArchive, unpack

    archive, facts = origin.archive(code.sha, home), origin.known_facts(code.sha, home)
    if facts is None or not archive.is_file():
        return None
    python = nanochat_python(home, code)
    # Another Python, or the same path with another behind it, is asked anew.
    well, known = archive.with_name(f"{code.sha}.imports"), f"{python} {_changed(python)}"
    with contextlib.suppress(OSError):
        if well.read_text() == known:
            return None
    with tempfile.TemporaryDirectory(prefix="nanochat-code-") as folder:
        top = Path(folder) / "code"
        try:
            unpack(archive, top, code.sha)
        except BadArchive as error:
            return f"the code {code} cannot be unpacked: {error}", "give it again with --code"
        scripts = [facts.scripts[stage].module.replace(".", "/") + ".py" for stage in _OWN if stage in facts.scripts]
        if found := _asked(python, top / facts.root, top / facts.root, _ALWAYS[:1], scripts):
            return found
    atomic.write(well, known.encode())
    return None


def _changed(python: Path) -> int:
    """When the packages of a Python last changed, as far as its folder tells."""
    folders = [*python.parent.parent.glob("lib/python3*/site-packages"), python]
    return max((path.stat().st_mtime_ns for path in folders if path.exists()), default=0)


def _asked(
    python: Path, where: Path, code: Path, wanted: Sequence[str], files: Sequence[str]
) -> tuple[str, str] | None:
    env = {**os.environ, "PYTHONPATH": str(code)}
    env.pop("PYTHONSAFEPATH", None)
    do = f"{python} -m pip install what is missing, or set NANOCHAT_PYTHON to another Python"
    argv = [str(python), "-c", _PROBE, " ".join(wanted), *files]
    try:
        done = subprocess.run(argv, cwd=where, env=env, capture_output=True, check=False, timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        return f"{python} does not import torch within {DEADLINE_S:.0f} s", "try again, or set NANOCHAT_PYTHON"
    except OSError as error:
        return f"{python} does not start ({error.strerror})", do
    if not done.returncode:
        return None
    lines = [strip_ansi(line) for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if line.startswith("cannot import ")), lines[-1] if lines else "")
    ended = f"its imports end with signal {-done.returncode}" if done.returncode < 0 else said
    return f"{python} {ended}"[:MOST], do
