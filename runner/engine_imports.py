"""Whether the Python that will run nanochat can import what its stages import, asked of that Python itself."""

import os
import subprocess
from pathlib import Path

from runner.engines import nanochat_dir, nanochat_python
from runner.text.sanitize import strip_ansi

# A torch that is read from a slow disk for the first time takes half a minute.
DEADLINE_S = 90.0
MOST = 200
# What every stage needs, and what the checkout's own stages say at their beginning; none of them is run.
_PROBE = """
import ast, importlib, pathlib, sys
wanted = ["torch", "rustbpe", "tiktoken", "pyarrow.parquet"]
for stage in ("tok_train", "base_train", "base_eval", "chat_sft", "chat_eval"):
    file = pathlib.Path("scripts", stage + ".py")
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


def problem(home: Path) -> tuple[str, str] | None:
    """What cannot be imported, in the import's own words, and what to do; None when everything can."""
    python, checkout = nanochat_python(home), nanochat_dir(home)
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    env.pop("PYTHONSAFEPATH", None)
    where = checkout if checkout.is_dir() else home
    do = f"{python} -m pip install what is missing, or set NANOCHAT_PYTHON to another Python"
    try:
        done = subprocess.run(
            [python, "-c", _PROBE], cwd=where, env=env, capture_output=True, check=False, timeout=DEADLINE_S
        )
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
