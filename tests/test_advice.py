"""What is advised is what helps: its commands are commands, and those that can be tried here do what is promised."""

import contextlib
import io
import re
import shlex

import pytest

from runner.diagnosis.advice import ADVICE, CanResume, Cause, resume_of
from runner.model.status import OutcomeKind
from runner.nanochat import layout
from tests.conftest import Cli
from tui.cli.main import parser

QUICK = ("--step-ms", "1", "--iterations", "12", "--save-every", "4", "--eval-every", "-1")
COMMAND = re.compile(r"nanochat-tui ((?:[a-z]+|RUN|--[a-z-]+)(?: (?:RUN|--[a-z-]+|error|ls))*)")


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_says_what_to_do_and_whether_a_resume_can_help(cause: Cause) -> None:
    advice = ADVICE[cause]
    assert advice.text and advice.kind is not OutcomeKind.UNKNOWN
    # Advice that sends into a resume as it is, and advice that says that none can help, would lead in a circle.
    if advice.resume is CanResume.NO:
        assert not re.search(r"(?<!a )\bresume\b", advice.text), advice.text
    if advice.resume is CanResume.CHANGED:
        assert not advice.text.startswith("resume"), advice.text


@pytest.mark.parametrize("cause", Cause)
def test_every_command_that_is_advised_is_one(cause: Cause) -> None:
    for words in COMMAND.findall(ADVICE[cause].text):
        command = shlex.split(words.replace("RUN", "a-run"))
        parser(command[0]).parse_args(command)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        parser("launch").parse_args(["launch", "--help"])
    for flag in re.findall(r"launch[^;:]*?(--[a-z][a-z0-9-]+)", ADVICE[cause].text):
        assert flag in said.getvalue(), flag


def test_an_end_without_a_cause_of_its_own_says_whether_a_resume_can_help() -> None:
    assert {kind: resume_of(kind) for kind in (OutcomeKind.DONE, OutcomeKind.BUDGET, OutcomeKind.CANCELLED)} == {
        OutcomeKind.DONE: CanResume.NO,
        OutcomeKind.BUDGET: CanResume.CHANGED,
        OutcomeKind.CANCELLED: CanResume.YES,
    }


def _advised(cli: Cli, tag: str) -> list[str]:
    """The command of ours that `show` advises, its first one."""
    said = re.search(r"^  do +(.*)", cli("show", tag).stdout, re.MULTILINE)
    assert said
    found = re.search(
        r"(?:nanochat-tui )?((?:launch|resume|logs|checkpoints) [^;()]*?)(?: goes on| shows|;| \(|$)", said[1]
    )
    assert found, said[1]
    return shlex.split(found[1])


def test_a_smaller_batch_after_the_gpus_memory_was_not_enough_goes_on_from_what_was_kept(cli: Cli) -> None:
    cli("launch", "--task", "base", "--tag", "big", "--fault", "oom@6", *QUICK, "--watch", code=1)
    record = cli.json("show", "big")
    end = record["outcome"]
    assert (end["kind"], end["resume"]) == ("oom", "after a change")
    log = (cli.run_dir("big") / layout.LOG_FILE).read_text().split("\n")
    assert "out of memory" in log[end["line"] - 1]
    assert re.search(rf"\b{end['line']:,}\b", cli("show", "big").stdout)
    advised = _advised(cli, "big")
    assert "--device-batch-size" in advised
    cli(*advised, "--tag", "small", *QUICK, "--watch")
    assert cli.run("small")["state"] == "done"


def test_the_errors_that_an_unknown_failure_sends_to_have_its_cause(cli: Cli) -> None:
    cli("launch", "--task", "base", "--tag", "odd", "--fault", "crash@6", *QUICK, "--watch", code=1)
    end = cli.json("show", "odd")["outcome"]
    assert (end["kind"], end["resume"]) == ("crash", "after a change")
    assert "rehearsed crash at step 6" in cli(*_advised(cli, "odd")).stdout


def test_a_checkpoint_of_a_failed_run_can_be_gone_back_to_and_the_rest_be_pruned(cli: Cli) -> None:
    cli("launch", "--task", "base", "--tag", "kept", "--fault", "crash@9", *QUICK, "--watch", code=1)
    assert {one["step"] for one in cli.json("checkpoints", "kept")} == {4, 8}
    cli("checkpoints", "kept", "--prune", "--yes")
    cli("resume", "kept", "--watch")
    assert cli.run("kept")["state"] == "done"
