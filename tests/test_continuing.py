"""Runs that go on from another run's checkpoint: one stage each, and the number of GPUs that must not change."""

import contextlib
import shutil

import pytest

from runner.fleet.fleet import Fleet
from tests.conftest import Cli

QUICK = ("--step-ms", "0", "--model", "d4")


@pytest.fixture
def trained(cli: Cli) -> Cli:
    """A base model of 40 steps on 8 ranks, called `b`."""
    cli("launch", "--task", "base", "--tag", "b", "--gpus", "8", "--iterations", "40", "--watch", *QUICK)
    return cli


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The same for tests that only look at it."""
    cli = Cli(tmp_path_factory.mktemp("kept") / "home")
    cli("launch", "--task", "base", "--tag", "b", "--gpus", "8", "--iterations", "40", "--watch", *QUICK)
    return cli


def stages(cli: Cli, name: str) -> dict[str, str]:
    return {s["name"]: s["state"] for s in cli.run(name)["stages"]}


def test_each_stage_alone_goes_on_from_the_run_before_it(trained: Cli) -> None:
    cli = trained
    assert stages(cli, "b") == {"prepare": "done", "tokenizer": "done", "base": "done", "report": "done"}
    cli("launch", "--task", "sft", "--from", "b", "--tag", "s", "--watch")
    assert stages(cli, "s") == {"prepare": "skipped", "sft": "done", "report": "done"}
    assert [(c["kind"], c["ranks"]) for c in cli.json("checkpoints", "s")] == [("sft", 8)]
    assert (cli.run_dir("s") / "loss.svg").exists()
    cli("launch", "--task", "eval", "--from", "s", "--tag", "e", "--watch")
    assert stages(cli, "e") == {"prepare": "skipped", "base_eval": "skipped", "chat_eval": "done", "report": "done"}
    assert cli.json("checkpoints", "e") == [] and cli.run("e")["outcome"]["message"].startswith("ChatCORE")
    cli("launch", "--task", "eval", "--from", "b", "--tag", "eb", "--watch")
    assert stages(cli, "eb")["base_eval"] == "done" and stages(cli, "eb")["chat_eval"] == "skipped"


def test_training_goes_on_from_a_chosen_step_of_another_run(trained: Cli) -> None:
    asked = ("--task", "base", "--from", "b", "--step", "20", "--iterations", "60", "--tag", "longer", "--watch")
    said = trained("launch", *asked).stdout
    assert "Resuming optimization from step 20" in said and "step 00019/00060" not in said
    assert trained.run("longer")["step"] == 60
    assert {c["step"] for c in trained.json("checkpoints", "longer")} == {24, 30, 36, 42, 48, 54, 60}


def test_another_number_of_gpus_is_refused_with_both_ways_out(trained: Cli) -> None:
    refused = trained("launch", "--task", "sft", "--from", "b", "--gpus", "4", code=2).stderr
    assert "was saved on 8 GPUs" in refused and "use --gpus 8" in refused and "--load-optimizer 0" in refused
    assert len(trained.json("ls")) == 1
    said = trained("launch", "--task", "sft", "--from", "b", "--gpus", "4", "--load-optimizer", "0", "--watch").stdout
    assert "--load-optimizer=0" in said
    assert [c["ranks"] for c in trained.json("checkpoints", "last")] == [4]


def test_a_resume_on_other_gpus_is_refused_once_there_is_a_checkpoint(cli: Cli) -> None:
    flags = ("--gpus", "8", "--iterations", "40", "--save-every", "10", *QUICK)
    cli("launch", "--task", "speedrun", "--tag", "c", "--fault", "crash@25", *flags, "--watch", code=1)
    assert "was saved on 8 GPUs" in cli("resume", "c", "--gpus", "4", code=2).stderr
    cli("launch", "--task", "speedrun", "--tag", "early", "--fault", "crash@5", *flags, "--watch", code=1)
    cli("resume", "early", "--gpus", "4", "--watch")
    assert {c["ranks"] for c in cli.json("checkpoints", "early")} == {4}
    assert "early is done: launch a new run" in cli("resume", "early", "--gpus", "1", code=2).stderr


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--task", "base", "--step", "5"), "say --from RUN too"),
        (("--task", "sft", "--from", "b", "--fault", "crash@3"), "--fault strikes base training"),
        (("--task", "base", "--load-optimizer", "0"), "--load-optimizer is for fine-tuning"),
        (("--task", "sft"), "sft needs a checkpoint to begin with: say --from RUN"),
        (("--task", "speedrun", "--from", "b"), "speedrun begins with nothing"),
        (("--task", "sft", "--from", "b", "--model", "d6"), "that run is a d4"),
        (("--task", "base", "--from", "b"), "has trained 40 steps already: give more --iterations"),
        (("--task", "base", "--from", "b", "--step", "7", "--iterations", "60"), "no whole base checkpoint at step 7"),
        (("--task", "sft", "--from", "b", "--backend", "modal"), "b is on local: leave --backend out"),
    ],
)
def test_what_cannot_be_continued_is_refused_before_anything_starts(
    kept: Cli, asked: tuple[str, ...], says: str
) -> None:
    assert says in kept("launch", *asked, code=2).stderr
    assert len(kept.json("ls")) == 1


def test_a_source_that_is_gone_when_the_job_starts_is_never_taken_for_a_new_run(trained: Cli) -> None:
    trained("launch", "--task", "base", "--from", "b", "--iterations", "60", "--tag", "n", "--fault", "hang@45")
    trained("cancel", "n")
    shutil.rmtree(trained.run_dir("n") / "base_checkpoints", ignore_errors=True)
    shutil.rmtree(trained.run_dir("b"))
    shutil.rmtree(trained.home / "work" / trained.run("n")["id"])
    assert "no whole base checkpoint" in trained("resume", "n", "--watch", code=2).stderr
    # Where the client could not see that, the job does.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runner.planning.grounds.check_source", lambda *a: None)
        with contextlib.closing(Fleet(trained.home)) as fleet:
            fleet.resume(fleet.registry.find("n"))
    assert "no whole checkpoint of" in trained("watch", "n", code=1).stdout


def test_a_run_may_stop_at_the_first_loss_that_is_nan(cli: Cli) -> None:
    flags = ("--iterations", "40", "--save-every", "10", "--fault", "nan@25", "--step-ms", "20", "--stop-on-nan")
    said = cli("launch", "--tag", "n", *flags, "--watch", code=1).stdout
    assert "✗ n failed" in said and "the loss is nan since step 25; step 20 was kept before" in said
    assert cli.run("n")["outcome"]["kind"] == "nan"


def test_a_loss_that_is_nan_is_otherwise_an_alarm(cli: Cli) -> None:
    cli("launch", "--tag", "n", "--iterations", "20", "--fault", "nan@5", "--step-ms", "0", "--watch")
    shown = cli.run("n")
    assert shown["state"] == "done" and "loss is nan at step 5" in shown["warnings"]


def test_the_next_estimate_is_corrected_by_a_run_of_the_same_shape(cli: Cli) -> None:
    flags = ("--task", "base", "--model", "d4", "--iterations", "60", "--step-ms", "30")
    first = cli.json("plan", *flags)["plan"]
    cli("launch", *flags, "--tag", "mine", "--watch")
    second = cli.json("plan", *flags)["plan"]
    assert "rehearsal" in first["speed"] and second["speed"].startswith("your run mine: 0.")
