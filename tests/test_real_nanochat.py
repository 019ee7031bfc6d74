"""The real nanochat on this CPU, where it is: NANOCHAT_DIR (a checkout) and NANOCHAT_PYTHON (a Python with torch)."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runner.nanochat import grammar, shapes
from runner.nanochat.code_facts import pinned
from runner.text.sanitize import strip_ansi
from tests.conftest import Cli, wait_until
from tests.pin import facts_of_folder

DIR, PYTHON = os.environ.get("NANOCHAT_DIR"), os.environ.get("NANOCHAT_PYTHON")
LONGEST_TRAINING_S = 600.0
pytestmark = [
    pytest.mark.skipif(not (DIR and PYTHON), reason="NANOCHAT_DIR and NANOCHAT_PYTHON are not set"),
    # A training that shares its processor with others takes many times as long as one that is alone.
    pytest.mark.timeout(4 * LONGEST_TRAINING_S),
]
SHORT = ("--engine", "nanochat", "--model", "d2", "--iterations", "60", "--save-every", "20", "--eval-every", "20")
# A resume begins at the next row group, so up to a thousand documents are skipped; 0.484617 became 0.484468.
SKIPPED_DATA = 0.02


@pytest.fixture
def corpus(cli: Cli) -> Cli:
    cli.limit_s = LONGEST_TRAINING_S
    volume = cli.home / "volumes" / "nanochat"
    volume.mkdir(parents=True)
    made = Path(__file__).with_name("made_up_data.py")
    subprocess.run([str(PYTHON), made, "2048"], env={**os.environ, "NANOCHAT_BASE_DIR": str(volume)}, check=True)
    return cli


def unknown(cli: Cli, name: str) -> list[str]:
    """Lines that nanochat itself has printed and the grammar does not know."""
    lines = map(strip_ansi, re.split(r"[\n\r]", (cli.run_dir(name) / "log").read_text("utf-8", "replace")))
    return [line for line in lines if line.strip() and grammar.parse(line) is None]


def val_bpb(cli: Cli, name: str) -> dict[int, float]:
    events = [json.loads(line) for line in (cli.run_dir(name) / "events.jsonl").read_text().splitlines()]
    return {e["step"]: e["bpb"] for e in events if e["kind"] == "val_bpb" and e["stage"] == "base"}


def test_the_real_pipeline_killed_anywhere_and_resumed_ends_as_one_that_was_not(corpus: Cli) -> None:
    cli, strike = corpus, random.Random(20).randint(22, 58)
    cli("launch", "--task", "base", "--tag", "whole", *SHORT, "--watch")
    cli("launch", "--task", "speedrun", "--tag", "real", *SHORT, "--sft-iterations", "20")
    wait_until(lambda: (cli.run("real")["step"] or 0) >= strike, seconds=LONGEST_TRAINING_S, what=f"step {strike}")
    for pid in cli.processes():
        os.kill(pid, signal.SIGKILL)
    assert cli.run("real")["state"] == "interrupted"
    assert max(c["step"] for c in cli.json("checkpoints", "real") if c["verdict"] == "complete") >= 20
    watched = cli("resume", "real", "--watch")
    assert watched.stdout.splitlines()[-1].startswith("✓ real done")
    shown = cli.run("real")
    assert (shown["step"], shown["attempts"], shown["stage"]) == (60, 2, "report")
    straight, resumed = val_bpb(cli, "whole"), val_bpb(cli, "real")
    assert list(straight) == [0, 20, 40, 60]
    assert straight[20] == resumed[20]
    assert resumed[60] == pytest.approx(straight[60], rel=SKIPPED_DATA)
    stages = {s["name"]: s["state"] for s in shown["stages"]}
    assert stages.pop("prepare") == "skipped" and set(stages.values()) == {"done"}
    report = (cli.run_dir("real") / "report.md").read_text()
    assert "| ChatCORE |" in report and "| 60 |" in report and (cli.run_dir("real") / "loss.svg").exists()
    for name in ("whole", "real"):
        assert cli.run(name)["unknown_lines"] == len(unknown(cli, name)) <= 20, unknown(cli, name)


def test_the_real_smoke_test_and_single_stages_after_it(corpus: Cli) -> None:
    cli = corpus
    cli("launch", "--task", "test", "--engine", "nanochat", "--model", "d2", "--tag", "t", "--watch")
    assert {(c["step"], c["verdict"]) for c in cli.json("checkpoints")} == {(5, "complete"), (10, "complete")}
    cli("launch", "--task", "sft", "--from", "t", "--tag", "s", "--sft-iterations", "8", "--watch")
    assert [(c["kind"], c["verdict"]) for c in cli.json("checkpoints", "s")] == [("sft", "complete")]
    cli("launch", "--task", "eval", "--from", "s", "--tag", "e", "--watch")
    assert "| ChatCORE |" in (cli.run_dir("e") / "report.md").read_text()
    cli("launch", "--task", "base", "--from", "t", "--iterations", "14", "--tag", "on", "--watch")
    assert cli.run("on")["step"] == 14


def copied(folder: Path) -> Path:
    """A checkout of one's own: NANOCHAT_DIR as it is."""
    shutil.copytree(str(DIR), folder, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__"))
    return folder


def test_a_dirty_folder_is_trained_and_gone_on_with_whatever_becomes_of_it(corpus: Cli, tmp_path: Path) -> None:
    cli, folder = corpus, copied(tmp_path / "mine")
    model = folder / "nanochat" / "gpt.py"
    assert "softcap = 15" in model.read_text()
    cli("launch", "--task", "base", "--tag", "upstream", *SHORT, "--watch")
    model.write_text(model.read_text().replace("softcap = 15", "softcap = 5"))
    cli("launch", "--task", "base", "--tag", "whole", *SHORT, "--code", str(folder), "--watch")
    cli("launch", "--task", "base", "--tag", "killed", *SHORT, "--code", str(folder))
    wait_until(lambda: (cli.run("killed")["step"] or 0) >= 30, seconds=LONGEST_TRAINING_S, what="step 30")
    model.write_text("this is no Python any more")
    shutil.rmtree(folder)
    for pid in cli.processes():
        os.kill(pid, signal.SIGKILL)
    cli("resume", "killed", "--watch")
    upstream, whole, killed = (val_bpb(cli, name) for name in ("upstream", "whole", "killed"))
    # No cap is felt at step 0, as the logits of a new model are next to nothing.
    assert abs(whole[20] / upstream[20] - 1) > 1e-3 and abs(whole[60] / upstream[60] - 1) > 1e-3
    assert (killed[0], killed[20]) == (whole[0], whole[20])
    assert killed[60] == pytest.approx(whole[60], rel=SKIPPED_DATA)


def test_the_table_of_the_pinned_commit_is_what_its_scripts_say(tmp_path: Path) -> None:
    folder = copied(tmp_path / "pinned")
    assert facts_of_folder(folder) == pinned()


def real_sizes() -> list[dict[str, Any]]:
    env = {**os.environ, "PYTHONPATH": str(DIR)}
    script = Path(__file__).with_name("real_sizes.py")
    done = subprocess.run([str(PYTHON), script], env=env, cwd=str(DIR), capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_sizes_are_those_of_the_model_code_on_the_meta_device() -> None:
    for real in real_sizes():
        depth, aspect, head_dim, vocab, seq_len, window = real["shape"]
        ours = shapes.model_shape(depth, aspect=aspect, head_dim=head_dim, vocab=vocab, seq_len=seq_len, window=window)
        counts = real["counts"]
        theirs = [counts[k] for k in ("wte", "value_embeds", "lm_head", "transformer_matrices", "scalars", "total")]
        groups = [ours.wte, ours.value_embeds, ours.lm_head, ours.matrices, ours.scalars, ours.params]
        assert (real["shape"], groups) == (real["shape"], theirs)
        assert (real["shape"], ours.flops_per_token) == (real["shape"], real["flops_per_token"])
