"""Keys are asked for by name, seen by nobody but the training, and one run at W&B spans all attempts."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.masking import MASKED, Mask, secret_values
from tests import own_nanochat
from tests.conftest import Cli, wait_until
from tests.modal_cloud import Cloud
from tests.wandb_server import KEY, WandbServer

PLANTED = "hf_" + "Pl4nt3dS3cr3tPl4nt3dS3cr3tPl4nt3dSe"
SHORT = "--engine nanochat --task base --model d4 --gpus 1 --iterations 30 --save-every 10 --core-every -1".split()


@pytest.fixture
def server() -> Iterator[WandbServer]:
    made = WandbServer()
    yield made
    made.close()


def fork(cli: Cli, tmp_path: Path, device: str) -> Path:
    cli.env["NANOCHAT_PYTHON"] = str(own_nanochat.python_with_torch(tmp_path / "python"))
    return own_nanochat.make(tmp_path / "fork", device=device)


def files_with(folder: Path, text: str) -> list[Path]:
    """Files below a folder that hold a text; what the kernel has of processes is looked at apart."""
    wanted = text.encode()
    return [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink() and wanted in p.read_bytes()]


def command_lines() -> str:
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                lines.append((entry / "cmdline").read_bytes().decode("utf-8", "replace"))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return "\n".join(lines)


def test_a_key_that_is_passed_reaches_the_training_and_nothing_that_is_kept(
    cli: Cli, tmp_path: Path, gate: Any
) -> None:
    folder = fork(cli, tmp_path, "cpu")
    cli.env |= {"HF_TOKEN": PLANTED, "OTHER_TOKEN": "never-asked-for", "TOKENIZERS_PARALLELISM": "false", "TELL": "1"}
    gate.hold(15)
    cli("launch", *SHORT, "--code", str(folder), "--pass-env", "HF_TOKEN", "--tag", "mine")
    gate.reached(15)
    assert PLANTED not in command_lines()
    gate.open()
    cli("watch", "mine")
    said = (cli.run_dir("mine") / "log").read_text()
    assert "HF_TOKEN=***" in said and "OTHER_TOKEN" not in said and "TOKENIZERS_PARALLELISM=false" in said
    cli("doctor", "--bundle", str(tmp_path / "bundle.zip"), code=None)
    assert not files_with(tmp_path, PLANTED)
    assert "HF_TOKEN" in (cli.run_dir("mine") / "run.json").read_text()


def test_a_variable_that_is_not_set_is_told_before_anything_is_launched(cli: Cli, tmp_path: Path) -> None:
    folder = fork(cli, tmp_path, "cpu")
    said = cli("launch", *SHORT, "--code", str(folder), "--pass-env", "NOBODY_HAS_THIS", code=2).stderr
    assert "NOBODY_HAS_THIS is not set in this shell" in said and not cli.json("ls")
    assert "on this machine say --pass-env" in cli("launch", *SHORT, "--secret", "x", code=2).stderr
    assert "a rehearsal logs nothing" in cli("launch", "--engine", "rehearsal", "--wandb", code=2).stderr


def test_a_secret_of_modal_reaches_both_parts_and_one_that_is_not_there_ends_the_launch(
    modal_cli: Cli, cloud: Cloud, tmp_path: Path
) -> None:
    import modal

    folder = fork(modal_cli, tmp_path, "cuda")
    words = ("--backend", "modal", "--volume", modal_cli.volume, *SHORT, "--code", str(folder))
    words += ("--secret", "huggingface")
    said = modal_cli("launch", *words, code=2).stderr
    assert "the workspace has no Secret huggingface" in said and not modal_cli.json("ls")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.env.items():
            patch.setenv(name, value)
        modal.Secret.objects.create("huggingface", {"HF_TOKEN": PLANTED, "TELL": "1"})
    modal_cli("launch", *words, "--tag", "mine", "--watch")
    shown = modal_cli.json("show", "mine")
    assert shown["secrets"] == ["huggingface"] and shown["state"] == "done"
    log = Path(shown["log"]).read_text()
    assert "HF_TOKEN=***" in log
    assert not files_with(modal_cli.home, PLANTED) and not files_with(cloud.root / "volumes", PLANTED)


@pytest.mark.parametrize("backend", ["local", "modal"])
def test_one_run_at_wandb_spans_two_preempted_attempts_with_each_step_once(
    cli: Cli, tmp_path: Path, gate: Any, server: WandbServer, backend: str, request: pytest.FixtureRequest
) -> None:
    wandb = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url, "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "1"}
    folder = fork(cli, tmp_path, "cpu" if backend == "local" else "cuda")
    words = [*SHORT, "--code", str(folder), "--wandb", "mine", "--tag", "mine"]
    if backend == "modal":
        import modal

        cloud: Cloud = request.getfixturevalue("cloud")
        cli.env |= cloud.env
        cli.volume = f"v{os.urandom(4).hex()}"
        gate = cloud.gate
        with pytest.MonkeyPatch.context() as patch:
            for name, value in cloud.env.items():
                patch.setenv(name, value)
            modal.Secret.objects.create("wandb", wandb)
        words += ["--backend", "modal", "--volume", cli.volume, "--secret", "wandb"]
    else:
        cli.env |= wandb
    gate.hold(15, 25)
    cli("launch", *words)
    for step in (15, 25):
        gate.reached(step)
        cli("cancel", "mine")
        gate.release(step)
        cli("resume", "mine")
    cli("watch", "mine", code=None)
    shown = cli.json("show", "mine")
    assert shown["state"] == "done", shown["outcome"]
    run = f"{shown['id']}-base"
    assert list(server.runs) == [run]
    wait_until(lambda: len(server.history(run)) >= 30, what="all rows")
    steps = [row["_step"] for row in server.history(run)]
    assert steps == sorted(set(steps)) and steps[-1] == 29
    assert shown["wandb_link"].endswith(f"/mine/runs/{run}")
    assert shown["wandb_link"] in cli("show", "mine").stdout
    report = cli.run_dir("mine") / "report.md" if backend == "local" else None
    assert report is None or shown["wandb_link"] in report.read_text()
    assert not files_with(cli.home, KEY)


def test_without_a_key_what_is_logged_is_kept_with_the_run_and_that_is_said(cli: Cli, tmp_path: Path) -> None:
    folder = fork(cli, tmp_path, "cpu")
    cli("launch", *SHORT, "--code", str(folder), "--wandb", "--tag", "mine", "--watch")
    assert "[WANDB] there is no WANDB_API_KEY" in (cli.run_dir("mine") / "log").read_text()
    [kept] = (cli.run_dir("mine") / "wandb").glob("*.jsonl")
    assert kept.read_text().count("train/loss") >= 30
    assert cli.run("mine")["state"] == "done" and not cli.run("mine")["warnings"]


@given(st.binary(max_size=300), st.randoms(use_true_random=False))
def test_a_key_is_left_out_of_a_stream_however_it_is_cut(noise: bytes, rng: random.Random) -> None:
    value = PLANTED.encode()
    places = sorted(rng.randrange(len(noise) + 1) for _ in range(3))
    text = b"".join(noise[a:b] + value for a, b in zip([0, *places], [*places, len(noise)], strict=True))
    mask, out, at = Mask([value]), b"", 0
    while at < len(text):
        size = rng.randrange(1, 20)
        out += mask.take(text[at : at + size])
        at += size
    out += mask.rest()
    assert out == text.replace(value, MASKED) and value not in out


def test_a_short_value_is_a_word_and_is_left_in_the_log() -> None:
    assert secret_values({"API_KEY": "on", "HF_TOKEN": PLANTED, "HOME": "/root", "X": "12345678"}, ["X"]) == (
        PLANTED.encode(),
        b"12345678",
    )
