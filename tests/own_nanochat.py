"""Somebody's own nanochat: a checkout whose scripts declare flags as nanochat's do, around the rehearsal's trainer."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner.fleet.fleet import Fleet
from runner.nanochat.code_facts import pinned
from runner.nanochat.flags import Flag
from tests.modal_cloud import DATASET, HUB, ROOT, TOKENIZER

STAND_IN = ROOT / "runner" / "rehearsal" / "stand_in"
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main")
# What an edited model says: the words of a change that shows in the log of a run.
MARK = "CHANGED = 0\n"
TAIL = """
import builtins
import os
import re
import sys

from nanochat.gpt import CHANGED
from runner.rehearsal import base_train, trainer
from runner.rehearsal.model import ALPHABET

OURS, OWN, EXTRA = {renamed!r}, {own!r}, {extra!r}


run = None
if args.run != "dummy":
    import wandb

    run = wandb.init(project="nanochat", name=args.run, config=vars(args))


def begin():
    print("Autodetected device type: {device}")
    print("2026-11-22 23:51:00,123 - nanochat.common - INFO - Distributed world size: 1")


def told(*words, **how):
    words = [re.sub(r"Vocab size: \\d+", "Vocab size: 32,768", str(word)) for word in words]
    more = lambda word: f"{{word}} | {{EXTRA}}" if EXTRA and str(word).startswith("step ") else word
    builtins.print(*map(more, words), **how)
    if run and (found := re.match(r"step (\\d+)/.* loss: ([0-9.]+)", words[0] if words else "")):
        run.log({{"step": int(found[1]), "train/loss": float(found[2])}})


named = {{name.replace("_", "-"): value for name, value in vars(args).items()}}
kept = {{OURS.get(n, n): v for n, v in named.items() if n not in OWN and v not in (None, False, True)}}
sys.argv = [sys.argv[0], *[f"--{{n}}={{v}}" for n, v in kept.items()], *(["--fp8"] if args.fp8 else []), "--step-ms=0"]
print(f"the model was changed {{CHANGED}} times")
base_train.begin, base_train.print, trainer.print, base_train.check_tokenizer = begin, told, told, lambda: len(ALPHABET)
if os.environ.get("TELL"):
    builtins.print("everything: " + " ".join(f"{{k}}={{v}}" for k, v in os.environ.items()), flush=True)
base_train.main()
if run:
    run.finish()
"""


def declared(flag: Flag, name: str) -> str:
    """The line by which a script takes a flag."""
    kind = {"int": "int", "float": "float"}.get(flag.kind, "str")
    if flag.kind == "switch":
        return f'parser.add_argument("--{name}", action="store_true", help="as upstream")'
    default = flag.default if kind != "str" and flag.default else repr(flag.default or None)
    return f'parser.add_argument("--{name}", type={kind}, default={default}, help="as upstream")'


def make(
    folder: Path,
    *,
    renamed: dict[str, str] | None = None,
    without: tuple[str, ...] = (),
    more: tuple[str, ...] = (),
    extra: str = "",
    inside: str = "",
    device: str = "cpu",
) -> Path:
    """A checkout: `renamed` flags by their names upstream, those that it is `without`, lines that declare `more`;
    `extra` is a field that it adds to the line of each step, `inside` the folder of it that holds the code.
    """
    code = folder / inside
    shutil.copytree(STAND_IN, code, dirs_exist_ok=True)
    (code / "huggingface_hub.py").write_text(HUB)
    (code / "nanochat" / "dataset.py").write_text(DATASET)
    (code / "nanochat" / "gpt.py").write_text(MARK)
    (code / "scripts" / "tok_train.py").write_text(
        "import argparse\nparser = argparse.ArgumentParser()\n"
        'parser.add_argument("--max-chars", type=int, default=1)\n'
        'parser.add_argument("--vocab-size", type=int, default=1)\n' + TOKENIZER
    )
    names = renamed or {}
    flags = [f for f in pinned().scripts["base"].flags.flags if f.name not in without]
    lines = [declared(f, names.get(f.name, f.name)) for f in flags]
    own = tuple(line.split('"--')[1].split('"')[0] for line in more)
    tail = TAIL.format(renamed={new: old for old, new in names.items()}, own=own, extra=extra, device=device)
    text = "\n".join(
        ["import argparse", "parser = argparse.ArgumentParser()", *lines, *more, "args = parser.parse_args()"]
    )
    (code / "scripts" / "base_train.py").write_text(f"{text}\n{tail}")
    for junk in folder.rglob("__pycache__"):
        shutil.rmtree(junk)
    return folder


def changed(folder: Path, times: int) -> None:
    """Edit the model of a checkout; its runs say so."""
    (folder / "nanochat" / "gpt.py").write_text(f"CHANGED = {times}\n")


def with_a_flag_of_its_own(folder: Path) -> Path:
    """A fork in a repository of its own, whose base training takes `--mlp-type`."""
    make(
        folder,
        more=('parser.add_argument("--mlp-type", choices=["relu2", "swiglu"], default="relu2", help="which MLP")',),
    )
    commit(folder)
    return folder


def fleet_that_could_train(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A fleet on a machine whose Python seems to have torch."""
    monkeypatch.setenv("NANOCHAT_PYTHON", str(python_with_torch(folder / "python")))
    (folder / "home").mkdir()
    return Fleet(folder / "home")


def commit(folder: Path, said: str = "mine") -> str:
    """Put all of a folder into a commit of its own repository."""
    if not (folder / ".git").exists():
        subprocess.run([*GIT, "init", "-q", folder], check=True)
    subprocess.run([*GIT, "-C", folder, "add", "-A"], check=True)
    subprocess.run([*GIT, "-C", folder, "commit", "--allow-empty", "-qm", said], check=True)
    done = subprocess.run([*GIT, "-C", folder, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def python_with_torch(folder: Path) -> Path:
    """A Python that seems to have torch, for which the product asks before it launches."""
    (folder / "stubs" / "torch").mkdir(parents=True)
    (folder / "stubs" / "torch" / "__init__.py").touch()
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "stubs"}:$PYTHONPATH exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python
