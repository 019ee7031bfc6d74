"""A checkpoint that did not load, or that was saved after nan, is told and never chosen by itself."""

import shutil
from pathlib import Path

from tests.conftest import Cli

SHORT = ("--model", "d4", "--gpus", "1", "--iterations", "30", "--save-every", "10", "--step-ms", "0")


def saved(cli: Cli, name: str, step: int) -> Path:
    (path,) = cli.run_dir(name).rglob(f"model_{step:06d}.pt")
    return path


def verdicts(cli: Cli, name: str) -> dict[int, str]:
    return {c["step"]: c["verdict"] for c in cli.json("checkpoints", name) if c["kind"] == "base"}


def test_what_did_not_load_is_marked_and_a_resume_goes_on_from_the_one_before(cli: Cli) -> None:
    cli("launch", "--task", "base", "--tag", "h", *SHORT, "--watch")
    path = saved(cli, "h", 30)
    with path.open("r+b") as file:
        # Its numbers, not its headers: only who loads it finds that.
        file.seek(path.stat().st_size // 2)
        file.write(b"\x55" * 64)
    assert verdicts(cli, "h") == {10: "complete", 20: "complete", 30: "complete"}
    cli("launch", "--task", "sft", "--from", "h", "--tag", "s", "--sft-iterations", "4", "--watch", code=1)
    outcome = cli.run("s")["outcome"]
    assert outcome["kind"] == "checkpoint" and "step 30: a checkpoint cannot be read" in outcome["message"]
    assert outcome["advice"].endswith("goes on from step 20, the one before")
    assert verdicts(cli, "h") == {10: "complete", 20: "complete", 30: "damaged"}
    cli("resume", "s", "--watch")
    log = (cli.run_dir("s") / "log").read_text()
    assert "with step 20" in log.rpartition("[ATTEMPT 2]")[2]


def test_a_model_that_was_saved_after_nan_is_neither_evaluated_nor_gone_on_from(cli: Cli) -> None:
    said = cli("launch", "--task", "speedrun", "--tag", "n", *SHORT, "--fault", "nan@15", "--watch", code=1).stdout
    assert "the last checkpoint is not finite (its loss is nan); step 10 was kept before" in said
    assert cli.run("n")["outcome"]["kind"] == "nan"
    assert verdicts(cli, "n") == {10: "complete", 20: "not finite", 30: "not finite"}
    cli("launch", "--task", "sft", "--from", "n", "--tag", "s", "--sft-iterations", "4", "--watch")
    assert "with step 10" in (cli.run_dir("s") / "log").read_text()
    refused = cli("launch", "--task", "sft", "--from", "n", "--step", "30", "--tag", "x", code=2).stderr
    assert "no whole base checkpoint at step 30" in refused


def test_a_model_without_a_copy_is_not_gone_on_with_when_its_tokenizer_was_replaced(cli: Cli) -> None:
    cli("launch", "--task", "base", "--tag", "h", *SHORT, "--watch")
    # As runs of earlier releases are.
    shutil.rmtree(cli.run_dir("h") / "tokenizer")
    tokenizer = cli.run_dir("h").parents[1] / "tokenizer" / "tokenizer.pkl"
    own = tokenizer.read_bytes()
    tokenizer.write_bytes(own.replace(b"a", b"\\u0061", 1))
    said = cli(
        "launch", "--task", "sft", "--from", "h", "--tag", "s", "--sft-iterations", "4", "--watch", code=1
    ).stdout
    assert "is another than the one of the model" in said
    assert cli.run("s")["outcome"]["kind"] == "environment" and "put back" in cli.run("s")["outcome"]["advice"]
    tokenizer.write_bytes(own)
    cli("resume", "s", "--watch")
    cli("launch", "--task", "base", "--from", "h", "--iterations", "35", "--tag", "on", "--step-ms", "0", "--watch")
