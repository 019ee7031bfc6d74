"""Training that takes longer than one call may, on Modal's test server: a limit of seconds in the place of a day."""

import re

import pytest

from tests.conftest import Cli, wait_until
from tests.modal_cloud import Cloud

# What is kept for closing leaves some ten seconds of each call to work in.
LIMITED = ("--task", "base", "--model", "d4", "--call-limit", "26", "--step-ms", "80", "--save-every", "10")


def test_training_goes_on_from_call_to_call_with_the_laptop_closed_and_ends_as_in_one(
    modal_cli: Cli, cloud: Cloud
) -> None:
    modal_cli.modal(*LIMITED, "--tag", "long", "-y")
    # Nobody looks until it is over.
    folder = cloud.folder(modal_cli.volume) / modal_cli.run("long")["folder"]
    wait_until(lambda: (folder / "report.md").exists(), seconds=110, what="the end")
    cloud.idle()
    run = modal_cli.run("long")
    assert (run["state"], run["step"], run["attempts"], run["preemptions"]) == ("done", 200, 1, 0)
    assert run["val_bpb"] == pytest.approx(0.579310, abs=1e-6)
    calls = run["call_ids"]
    assert len(calls) >= 3, "prepare and two legs at least"
    log = (folder / "log").read_text()
    assert log.count("[NEXT CALL]") == len(calls) - 2
    # Each leg begins where the one before it had kept everything: no step is trained twice.
    starts = [int(s) for s in re.findall(r"--resume-from-step=(\d+)", log)]
    kept = [int(s) for s in re.findall(r"\[NEXT CALL\].*kept up to step (\d+)", log)]
    assert starts == kept
    tasks = [t for t in cloud.state()["tasks"].values() if t["call"] in calls]
    assert len(tasks) == len(calls), "each call had one container"


def test_a_cancel_between_two_calls_ends_the_one_that_waits_for_its_gpus(modal_cli: Cli, cloud: Cloud) -> None:
    modal_cli.modal(*LIMITED, "--tag", "between", "-y")
    first = wait_until(lambda: (r := modal_cli.run("between"))["step"] and r, seconds=60, what="the first leg")
    cloud.knobs(hold=True)
    folder = cloud.folder(modal_cli.volume) / first["folder"]
    wait_until(lambda: "[NEXT CALL]" in (folder / "log").read_text(), seconds=60, what="its end")
    wait_until(lambda: modal_cli.run("between")["state"] == "queued", what="the next call")
    modal_cli("cancel", "between")
    cloud.knobs(hold=False)
    assert modal_cli.run("between")["state"] == "cancelled"
    cloud.idle()
    assert modal_cli.run("between")["state"] == "cancelled"
    assert (folder / "log").read_text().count("-m scripts.base_train") == 1


def test_what_fits_into_no_call_is_not_launched(modal_cli: Cli) -> None:
    failed = modal_cli.modal(*LIMITED[:-1], "190", "--tag", "never", "-y", code=2)
    assert "until its next checkpoint" in failed.stderr and "use --save-every" in failed.stderr
    assert modal_cli.json("ls") == []
